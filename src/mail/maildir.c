/* SPDX-License-Identifier: MIT */
/*
 * Maildir (cr.yp.to/proto/maildir.html): what is in new/ is whole and on the disk, or it is not
 * there. A message goes through three steps, each for all its copies before the next begins:
 * written and synced in tmp/, linked into new/ (which never overwrites), new/ synced. Whatever
 * fails, all that was made until then is removed.
 *
 * The loop's thread prepares the work (paths, trace fields) and gets it back by a post; in between
 * it belongs to one of the threads here, which touch nothing else but the bytes of the spool.
 */
#include "mail/maildir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

#define THREADS 4
#define PIECE 65536
#define HOST_MAX 64 /* of a file name, escaped */
#define TRIES 10    /* for a name that nobody has: the first is good, unless a clock went back */

struct ferry_maildir {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct ferry_maildir_job *first, **last;
    bool end;
    atomic_uint_fast64_t count; /* of file names */
    unsigned nthreads;
    pthread_t threads[THREADS];
};

struct copy {
    struct ferry_mail_trace trace;
    char *folder;
    char name[NAME_MAX + 1]; /* in tmp/, and in new/ */
    bool in_tmp, in_new;
};

struct ferry__maildir_work {
    const struct ferry_spool *spool;
    size_t base_len; /* of each folder's path: service->maildir, which others made */
    char host[HOST_MAX + 1];
    unsigned ncopies;
    struct copy copies[];
};

/* -- folders ----------------------------------------------------------------------------------- */

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

    if (fd < 0)
        return -errno;
    /* Some file systems sync no folders, and say so. */
    if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
        err = -errno;
    close(fd);
    return err;
}

static int make_folder(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* The parts of a path from byte `from` on: those that its slashes end, and the whole. */
static int make_path(const char *path, size_t from)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    int err = 0;

    if (n >= sizeof part)
        return -ENAMETOOLONG;
    for (size_t i = from; err == 0 && i <= n; i++) {
        if (i < n && (path[i] != '/' || i == 0))
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        err = make_folder(part);
    }
    return err;
}

int ferry_maildir_prepare(const char *path)
{
    static const char *const names[] = {"tmp", "new", "cur"};
    char part[PATH_MAX];
    int err = make_folder(path);

    for (unsigned i = 0; err == 0 && i < 3; i++) {
        if ((size_t)snprintf(part, sizeof part, "%s/%s", path, names[i]) >= sizeof part)
            return -ENAMETOOLONG;
        err = make_folder(part);
    }
    return err ? err : sync_folder(path);
}

/* A folder for a recipient, from the service's own on, and each entry of it on the disk. */
static int make_folders(const char *folder, size_t base_len)
{
    char part[PATH_MAX];
    size_t n = strlen(folder);
    int err = make_path(folder, base_len);

    if (err == 0)
        err = ferry_maildir_prepare(folder);
    for (size_t i = base_len; err == 0 && i < n; i++)
        if (folder[i] == '/') {
            memcpy(part, folder, i);
            part[i] = 0;
            err = sync_folder(i ? part : "/");
        }
    return err;
}

/* One component: nothing that leads out of the folder, hides in it, or cannot be seen. */
static bool is_safe(struct ferry_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.p[i] == '/' || (unsigned char)name.p[i] < ' ' || name.p[i] == 0x7f)
            return false;
    return name.len && name.p[0] != '.';
}

ssize_t ferry_maildir_folder(const struct ferry_mail_service *service,
                             const struct ferry_smtp_path *rcpt, char out[FERRY_MAILDIR_FOLDER_MAX])
{
    struct ferry_slice local = ferry_smtp_path_local(rcpt), domain = ferry_smtp_path_domain(rcpt);
    char *to = out;
    bool quoted = local.len && local.p[0] == '"';

    if (rcpt->no_domain)
        domain = service->hostname ? ferry_slice_z(service->hostname) : FERRY_SLICE("localhost");
    if (!is_safe(domain) || domain.len > FERRY_SMTP_DOMAIN_MAX)
        return FERRY_EUSAGE;
    to = ferry__put(to, domain);
    *to++ = '/';
    for (size_t i = quoted; i + quoted < local.len; i++) {
        if (quoted && local.p[i] == '\\')
            i++;
        *to++ = local.p[i];
    }
    if (!is_safe(ferry_slice(out + domain.len + 1, (size_t)(to - out) - domain.len - 1)))
        return FERRY_EUSAGE;
    for (char *p = out; p < to; p++)
        *p = ferry_ascii_lower(*p);
    return to - out;
}

/* -- one copy ---------------------------------------------------------------------------------- */

static int put_path(char out[PATH_MAX], const struct copy *copy, const char *folder)
{
    int n = snprintf(out, PATH_MAX, "%s/%s/%s", copy->folder, folder, copy->name);

    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static uint64_t size_of(const struct ferry__maildir_work *work, const struct copy *copy)
{
    return copy->trace.len + work->spool->len - copy->trace.skip_len;
}

/* Seconds, then what makes it one of a kind, then the host; and the size, which servers would
 * otherwise have to ask the file for (Courier's and Dovecot's ",S="). */
static int name_it(struct ferry_maildir *m, const struct ferry__maildir_work *work,
                   struct copy *copy)
{
    struct timespec now;
    uint32_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return -errno;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(copy->name, sizeof copy->name, "%lld.M%06ldP%ldQ%llu_%08x.%s,S=%llu",
             (long long)now.tv_sec, now.tv_nsec / 1000, (long)getpid(),
             (unsigned long long)atomic_fetch_add(&m->count, 1) + 1, random, work->host,
             (unsigned long long)size_of(work, copy));
    return 0;
}

static int open_in_tmp(struct ferry_maildir *m, const struct ferry__maildir_work *work,
                       struct copy *copy)
{
    char path[PATH_MAX];
    bool made = false;

    for (unsigned tries = 0; tries < TRIES; tries++) {
        int err = name_it(m, work, copy), fd;

        if (err == 0)
            err = put_path(path, copy, "tmp");
        if (err < 0)
            return err;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) {
            copy->in_tmp = true;
            return fd;
        }
        if (errno == ENOENT && !made) {
            made = true;
            err = make_folders(copy->folder, work->base_len);
            if (err < 0)
                return err;
        } else if (errno != EEXIST && errno != EINTR) {
            return -errno;
        }
    }
    return -EEXIST;
}

static int put(int fd, struct ferry_slice bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.p, bytes.len);

        if (n == 0 || (n < 0 && errno != EINTR))
            return n ? -errno : -EIO;
        if (n > 0)
            bytes = ferry_slice_from(bytes, (size_t)n);
    }
    return 0;
}

/* The message from `at` up to `end`. */
static int put_range(int fd, const struct ferry_spool *spool, uint64_t at, uint64_t end,
                     char *piece)
{
    while (at < end) {
        size_t max = end - at < PIECE ? (size_t)(end - at) : PIECE;
        struct ferry_slice bytes;
        ssize_t n = ferry_spool_peek(spool, at, max, piece, &bytes);
        int err = n > 0 ? put(fd, bytes) : n < 0 ? (int)n : -EIO;

        if (err < 0)
            return err;
        at += (uint64_t)n;
    }
    return 0;
}

static int write_copy(struct ferry_maildir *m, const struct ferry__maildir_work *work,
                      struct copy *copy, char *piece)
{
    const struct ferry_mail_trace *trace = &copy->trace;
    int fd = open_in_tmp(m, work, copy), err;

    if (fd < 0)
        return fd;
    err = put(fd, ferry_slice(trace->text, trace->len));
    if (err == 0)
        err = put_range(fd, work->spool, 0, trace->skip, piece);
    if (err == 0)
        err = put_range(fd, work->spool, trace->skip + trace->skip_len, work->spool->len, piece);
    if (err == 0 && fsync(fd) < 0)
        err = -errno;
    if (close(fd) < 0 && err == 0 && errno != EINTR)
        err = -errno;
    return err;
}

static int move_to_new(struct copy *copy)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (put_path(from, copy, "tmp") < 0 || put_path(to, copy, "new") < 0)
        return -ENAMETOOLONG;
    if (link(from, to) == 0) {
        copy->in_new = true;
        if (unlink(from) == 0)
            copy->in_tmp = false;
        return 0;
    }
    /* Where there are no hard links: the name is one of a kind, so nothing is overwritten. */
    if ((errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK && errno != ENOSYS) ||
        rename(from, to) < 0)
        return -errno;
    copy->in_tmp = false;
    copy->in_new = true;
    return 0;
}

static int sync_new(const struct copy *copy)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/new", copy->folder) >= sizeof path)
        return -ENAMETOOLONG;
    return sync_folder(path);
}

static void take_back(struct copy *copy)
{
    char path[PATH_MAX];

    if (copy->in_new && put_path(path, copy, "new") == 0)
        unlink(path);
    if (copy->in_tmp && put_path(path, copy, "tmp") == 0)
        unlink(path);
}

/* -- the threads ------------------------------------------------------------------------------- */

static int do_work(struct ferry_maildir *m, struct ferry__maildir_work *work, char *piece)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < work->ncopies; i++)
        err = write_copy(m, work, &work->copies[i], piece);
    for (unsigned i = 0; err == 0 && i < work->ncopies; i++)
        err = move_to_new(&work->copies[i]);
    for (unsigned i = 0; err == 0 && i < work->ncopies; i++)
        err = sync_new(&work->copies[i]);
    for (unsigned i = 0; err < 0 && i < work->ncopies; i++)
        take_back(&work->copies[i]);
    return err;
}

static struct ferry_maildir_job *next_job(struct ferry_maildir *m)
{
    struct ferry_maildir_job *job;

    pthread_mutex_lock(&m->lock);
    while (!m->first && !m->end)
        pthread_cond_wait(&m->more, &m->lock);
    job = m->first;
    if (job) {
        m->first = job->next;
        if (!m->first)
            m->last = &m->first;
    }
    pthread_mutex_unlock(&m->lock);
    return job;
}

static void *run(void *arg)
{
    struct ferry_maildir *m = arg;
    struct ferry_maildir_job *job;
    char piece[PIECE];

    while ((job = next_job(m))) {
        job->err = do_work(m, job->work, piece);
        ferry_loop_post(job->loop, &job->post);
    }
    return NULL;
}

int ferry_maildir_new(struct ferry_maildir **out)
{
    struct ferry_maildir *m = calloc(1, sizeof *m);
    sigset_t all, before;
    int err = 0;

    if (!m)
        return -ENOMEM;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    m->last = &m->first;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (err == 0 && m->nthreads < THREADS) {
        err = -pthread_create(&m->threads[m->nthreads], NULL, run, m);
        m->nthreads += err == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (m->nthreads == 0) {
        ferry_maildir_free(m);
        return err;
    }
    *out = m;
    return 0;
}

void ferry_maildir_free(struct ferry_maildir *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->end = true;
    pthread_cond_broadcast(&m->more);
    pthread_mutex_unlock(&m->lock);
    for (unsigned i = 0; i < m->nthreads; i++)
        pthread_join(m->threads[i], NULL);
    pthread_cond_destroy(&m->more);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* -- the loop's thread ------------------------------------------------------------------------- */

static void free_work(struct ferry__maildir_work *work)
{
    for (unsigned i = 0; work && i < work->ncopies; i++) {
        free(work->copies[i].trace.text);
        free(work->copies[i].folder);
    }
    free(work);
}

static void finished(struct ferry_post *post)
{
    struct ferry_maildir_job *job = ferry_container(post, struct ferry_maildir_job, post);

    free_work(job->work);
    job->work = NULL;
    job->done(job, job->err);
}

/* As in file names of Maildirs: '/' and ':' mean something there, and so does ','. */
static void put_host(const char *host, char out[HOST_MAX + 1])
{
    char *to = out;

    for (; *host && to - out + 4 <= HOST_MAX; host++) {
        unsigned char c = (unsigned char)*host;

        if (c == '/' || c == ':' || c == ',' || c == '\\')
            to += snprintf(to, 5, "\\%03o", c);
        else if (c > ' ' && c < 0x7f)
            *to++ = (char)c;
    }
    if (to == out)
        to = FERRY_PUT(to, "localhost");
    *to = 0;
}

/* In LMTP a recipient may be named twice; it has one folder. */
static bool is_known(const struct ferry__maildir_work *work, const char *folder)
{
    for (unsigned i = 0; i + 1 < work->ncopies; i++)
        if (strcmp(work->copies[i].folder, folder) == 0)
            return true;
    return false;
}

static int add_copy(struct ferry__maildir_work *work, const struct ferry_mail_facts *facts,
                    const struct ferry_mail_message *message, const struct ferry_smtp_rcpt *rcpt)
{
    const struct ferry_mail_service *service = facts->service;
    struct copy *copy = &work->copies[work->ncopies++];
    char folder[FERRY_MAILDIR_FOLDER_MAX];
    ssize_t n = 0;

    if (service->maildir_per_user)
        n = ferry_maildir_folder(service, rcpt->path, folder);
    if (n < 0)
        return (int)n;
    copy->folder = malloc(work->base_len + 1 + (size_t)n + 1);
    if (!copy->folder)
        return -ENOMEM;
    memcpy(copy->folder, service->maildir, work->base_len);
    copy->folder[work->base_len] = n ? '/' : 0;
    if (n)
        *ferry__put(copy->folder + work->base_len + 1, ferry_slice(folder, (size_t)n)) = 0;
    if (is_known(work, copy->folder)) {
        free(copy->folder);
        *copy = (struct copy){0};
        work->ncopies--;
        return 0;
    }
    n = ferry_mail_trace_make(facts, message, rcpt, &copy->trace);
    return n < 0 ? (int)n : 0;
}

static int make_work(const struct ferry_mail_facts *facts, const struct ferry_mail_message *message,
                     const struct ferry_smtp_rcpt *one, struct ferry__maildir_work **out)
{
    const struct ferry_mail_service *service = facts->service;
    unsigned n = one || !service->maildir_per_user ? 1 : facts->envelope->nrcpts;
    struct ferry__maildir_work *work = calloc(1, sizeof *work + n * sizeof *work->copies);
    const struct ferry_smtp_rcpt *rcpt = facts->envelope->rcpts;
    char host[256] = "";
    int err = 0;

    if (!work)
        return -ENOMEM;
    *out = work;
    work->spool = &message->spool;
    work->base_len = strlen(service->maildir);
    if (!service->hostname && gethostname(host, sizeof host - 1) < 0)
        host[0] = 0;
    put_host(service->hostname ? service->hostname : host, work->host);
    if (n == 0)
        return FERRY_EUSAGE;
    if (one || !service->maildir_per_user)
        return add_copy(work, facts, message, one);
    for (; err == 0 && rcpt && work->ncopies < n; rcpt = rcpt->next)
        err = add_copy(work, facts, message, rcpt);
    return err;
}

void ferry_maildir_store(struct ferry_maildir *m, struct ferry_maildir_job *job,
                         struct ferry_loop *loop, const struct ferry_mail_facts *facts,
                         const struct ferry_mail_message *message,
                         const struct ferry_smtp_rcpt *one)
{
    job->post.run = finished;
    job->loop = loop;
    job->next = NULL;
    job->work = NULL;
    job->err = make_work(facts, message, one, &job->work);
    if (job->err < 0) {
        ferry_loop_post(loop, &job->post);
        return;
    }
    pthread_mutex_lock(&m->lock);
    *m->last = job;
    m->last = &job->next;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
}
