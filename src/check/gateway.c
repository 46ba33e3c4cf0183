/* SPDX-License-Identifier: MIT */
/*
 * A web server under test: its address, its process, and what surrounds each case. Every case finds
 * a web server that answers and leaves one that does; one that does not is a failure of the case
 * that was last, and is started anew where we can.
 */
#include "check/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/talk.h"
#include "io/spawn.h"

#define START_MS 15000
#define STOP_MS 5000
#define RECOVER_MS 5000 /* some take an application out of use for a second after a failure */

/* -- addresses -------------------------------------------------------------------------------- */

static int bad(char *why, size_t cap, const char *what, const char *value, const char *reason)
{
    snprintf(why, cap, "%s %s: %s", what, value, reason);
    return FERRY_EUSAGE;
}

/* http://host:port/path/ to its address, its Host field and its path. */
static int read_url(struct ferry_gateway *g, char *why, size_t cap)
{
    char authority[FERRY_ADDR_TEXT_MAX];
    const char *at = g->url + strlen("http://"), *reason;
    size_t n;

    if (strncmp(g->url, "http://", strlen("http://")) != 0)
        return bad(why, cap, "--url", g->url, "must begin with http://");
    n = strcspn(at, "/?#");
    if (n >= sizeof authority - 3)
        return bad(why, cap, "--url", g->url, "the host is too long");
    memcpy(g->stage.host, at, n);
    g->stage.host[n] = '\0';
    memcpy(authority, g->stage.host, n + 1);
    if (!strrchr(authority, ':') || authority[n - 1] == ']')
        memcpy(authority + n, ":80", 4);
    if (ferry_addr_parse(authority, false, &g->stage.web, &reason) < 0)
        return bad(why, cap, "--url", g->url, reason);
    g->prefix = at[n] ? at + n : "/";
    if (g->prefix[0] != '/' || g->prefix[strlen(g->prefix) - 1] != '/' || strpbrk(g->prefix, "?# "))
        return bad(why, cap, "--url", g->url, "its path must end with a slash");
    g->stage.prefix = g->prefix;
    return 0;
}

/*
 * What stands before the token in the path of another URL of the same web server: a path that ends
 * with a slash, or a file and then '?'. The URL may name the port as {port}, which is that of
 * --url.
 */
static int read_path(const struct ferry_gateway *g, const char *option, const char *url, char *out,
                     size_t max, char *why, size_t cap)
{
    size_t n = strlen("http://") + strlen(g->stage.host);
    const char *path = url;

    if (!url)
        return 0;
    if (url[0] != '/' && strncmp(url, g->url, n) == 0)
        path = url + n;
    if (path[0] != '/' || strpbrk(path, "?# ") ||
        snprintf(out, max, "%s%s", path, path[strlen(path) - 1] == '/' ? "" : "?") >= (int)max)
        return bad(why, cap, option, url, "must be a path, or a URL of the same host as --url");
    return 0;
}

static bool args_name(const struct ferry_gateway_opts *o, const char *word)
{
    for (const char *const *a = o->program; a && *a; a++)
        if (strstr(*a, word))
            return true;
    return o->url && strstr(o->url, word);
}

static int listen_at(struct ferry_gateway *g, char *why, size_t cap)
{
    char text[FERRY_ADDR_TEXT_MAX];
    struct ferry_addr addr;
    const char *reason;
    int err;

    if (g->opts.listen)
        snprintf(text, sizeof text, "%s", g->opts.listen);
    else if (args_name(&g->opts, "{app_port}") || args_name(&g->opts, "{app_host}") || !g->dir[0])
        snprintf(text, sizeof text, "127.0.0.1:0");
    else
        snprintf(text, sizeof text, "unix:%s/app.sock", g->dir);
    if (ferry_addr_parse(text, true, &addr, &reason) < 0)
        return bad(why, cap, "--listen", text, reason);
    err = ferry_stage_open(&g->stage, &addr);
    if (err < 0)
        snprintf(why, cap, "cannot listen on %s: %s", text, ferry_strerror(err));
    return err;
}

static unsigned free_port(void)
{
    struct ferry_addr addr;
    const char *why;
    int fd =
        ferry_addr_parse("127.0.0.1:0", true, &addr, &why) < 0 ? -1 : ferry_listen(&addr, NULL);

    if (fd < 0)
        return 0;
    if (ferry_addr_local(fd, &addr) < 0)
        addr.in.sin_port = 0;
    close(fd);
    return ferry_addr_port(&addr);
}

/* -- arguments -------------------------------------------------------------------------------- */

struct words {
    char app[FERRY_ADDR_TEXT_MAX], host[FERRY_ADDR_TEXT_MAX], app_port[8], port[8];
    const char *path, *dir, *url;
};

static void set_words(const struct ferry_gateway *g, struct words *w)
{
    ferry_addr_format(&g->stage.app, w->app, sizeof w->app);
    ferry_addr_host(&g->stage.app, w->host, sizeof w->host);
    snprintf(w->app_port, sizeof w->app_port, "%u", ferry_addr_port(&g->stage.app));
    w->path = g->stage.app.any.sa_family == AF_UNIX ? g->stage.app.un.sun_path : "";
    w->dir = g->dir;
}

/* The word at the front of `text`, and how long its name in braces is; NULL when it is none. */
static const char *word_at(const struct words *w, const char *text, size_t *len)
{
    const struct {
        const char *name, *value;
    } words[] = {{"{app}", w->app},       {"{app_host}", w->host}, {"{app_port}", w->app_port},
                 {"{app_path}", w->path}, {"{port}", w->port},     {"{dir}", w->dir},
                 {"{url}", w->url}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        *len = strlen(words[i].name);
        if (strncmp(text, words[i].name, *len) == 0)
            return words[i].value;
    }
    return NULL;
}

static int replace(const struct words *w, const char *text, char **out)
{
    struct ferry_bytes b;

    ferry_bytes_init(&b, 1 << 17);
    while (*text) {
        size_t len = 0;
        const char *value = *text == '{' ? word_at(w, text, &len) : NULL;

        if (value)
            ferry_bytes_add_z(&b, value);
        else
            ferry_bytes_add(&b, text, len = 1);
        text += len;
    }
    ferry_bytes_add(&b, "", 1);
    if (b.err) {
        int err = b.err;

        ferry_bytes_fini(&b);
        return err;
    }
    *out = b.p;
    return 0;
}

static int prepare(struct ferry_gateway *g, char *why, size_t cap)
{
    const char *url = g->opts.url ? g->opts.url : "http://127.0.0.1:{port}/";
    struct words w = {.url = ""};
    char *text;
    size_t n = 0;
    int err;

    set_words(g, &w);
    snprintf(w.port, sizeof w.port, "%u", free_port());
    err = replace(&w, url, &text);
    if (err == 0) {
        snprintf(g->url, sizeof g->url, "%s", text);
        free(text);
        err = read_url(g, why, cap);
    }
    w.url = g->url;
    if (err == 0 && g->opts.log && (err = replace(&w, g->opts.log, &g->log)) == 0)
        g->opts.log = g->log;
    for (const char *const *a = g->opts.program; err == 0 && a && *a; a++) {
        if (n == FERRY_GATEWAY_ARGS_MAX)
            return bad(why, cap, "--", *a, "too many arguments");
        err = replace(&w, *a, &g->args[n++]);
    }
    if (err < 0 && err != FERRY_EUSAGE)
        snprintf(why, cap, "%s", ferry_strerror(err));
    return err;
}

/* -- the program ------------------------------------------------------------------------------ */

static int start(struct ferry_gateway *g)
{
    struct ferry_spawn_opts o = FERRY_SPAWN_INIT;
    struct ferry_spawned spawned;
    int err;

    o.argv = (const char *const *)g->args;
    o.out = o.err = g->output;
    err = ferry_spawn(&o, &spawned);
    if (err < 0)
        return err;
    g->pid = spawned.pid;
    g->pidfd = spawned.pidfd;
    return 0;
}

/* Has it ended? Then its pid is 0, and `how` says how. */
static bool has_ended(struct ferry_gateway *g, char *how, size_t cap)
{
    int status;

    if (g->pid == 0 || waitpid(g->pid, &status, WNOHANG) != g->pid)
        return false;
    close(g->pidfd);
    /* What it started must not live on and hold its port. */
    kill(-g->pid, SIGKILL);
    g->pid = 0;
    if (WIFSIGNALED(status))
        snprintf(how, cap, "it was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, cap, "it ended with status %d", WEXITSTATUS(status));
    return true;
}

static void stop(struct ferry_gateway *g)
{
    struct pollfd p = {.fd = g->pidfd, .events = POLLIN};
    char how[128];

    ferry_stage_forget(&g->stage);
    if (g->pid == 0 || has_ended(g, how, sizeof how))
        return;
    kill(g->pid, SIGTERM);
    if (poll(&p, 1, STOP_MS) <= 0) {
        kill(-g->pid, SIGKILL);
        poll(&p, 1, STOP_MS);
    }
    has_ended(g, how, sizeof how);
}

size_t ferry_gateway_output(const struct ferry_gateway *g, char *out, size_t cap)
{
    int fd = g->opts.log ? open(g->opts.log, O_RDONLY | O_CLOEXEC) : g->output;
    struct stat st;
    ssize_t n = -1;

    if (fd >= 0 && fstat(fd, &st) == 0)
        n = pread(fd, out, cap - 1,
                  st.st_size > (off_t)cap - 1 ? st.st_size - (off_t)(cap - 1) : 0);
    if (fd >= 0 && fd != g->output)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* -- does it answer? -------------------------------------------------------------------------- */

static bool answers_once(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_try(c);
    struct ferry_asked *r;

    if (!v)
        return false;
    ferry_visit_request(v, "GET", NULL);
    /* That STDIN is not ended is for a case to say. */
    r = ferry_visit_nth(v, 0, true, 500);
    if (!r)
        r = ferry_visit_nth(v, 0, false, 500);
    if (!r)
        return false;
    ferry_asked_answer(r, "still here");
    return ferry_visit_wait_ms(v, 1000) == FERRY_HTTP_WHOLE && v->response.status == 200 &&
           ferry_slice_eq(ferry_bytes_slice(&v->response.body), FERRY_SLICE("still here"));
}

bool ferry_gateway_answers(struct ferry_check *c, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms;
    char how[128];

    while (!answers_once(c)) {
        ferry_stage_clear(ferry_stage(c));
        if (has_ended(ferry_gateway(c), how, sizeof how) || ferry_check_now() >= end)
            return false;
        ferry_stage_pass(c, 50);
    }
    ferry_stage_clear(ferry_stage(c));
    return true;
}

/* The last line of what it said, as a reason. */
static const char *last_words(const struct ferry_gateway *g, char *buf, size_t cap)
{
    size_t n = ferry_gateway_output(g, buf, cap);
    char *line;

    while (n && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
        buf[--n] = '\0';
    line = strrchr(buf, '\n');
    return line ? line + 1 : buf;
}

void ferry_gateway_restart(struct ferry_check *c, enum ferry_stage_values values)
{
    struct ferry_gateway *g = ferry_gateway(c);
    char said[1024];
    const char *words;
    bool first = g->stage.requests == 0;
    int err;

    stop(g);
    g->shaken = false;
    g->values = g->stage.values = values;
    g->stage.values_asked = false;
    err = start(g);
    if (err < 0)
        ferry_check_skip(c, "%s cannot be started: %s", g->args[0], ferry_strerror(err));
    if (!ferry_gateway_answers(c, first ? START_MS : 2000 + 2 * g->stage.timeout_ms)) {
        words = last_words(g, said, sizeof said);
        ferry_check_fail(c, "no request comes through %s%s%s", g->args[0],
                         *words ? ", which says: " : "", words);
    }
    /* Those that ask do it soon after the first request. */
    ferry_stage_pass(c, 100);
}

/* -- around each case ------------------------------------------------------------------------- */

static const char *lacks(struct ferry_check *c, unsigned needs)
{
    const struct ferry_gateway *g = ferry_gateway(c);

    if (c->opts->stop && *c->opts->stop)
        return "interrupted";
    if (needs & FERRY_NEEDS_AUTHORIZER && !g->authorizer[0])
        return "no --authorizer-url was given";
    if (needs & FERRY_NEEDS_FILTER && !g->filter[0])
        return "no --filter-url was given";
    if (needs & FERRY_NEEDS_LOG && !g->opts.log && !g->opts.program)
        return "no --log was given";
    if (needs & FERRY_NEEDS_FRESH && !g->stage.values_seen)
        return "the web server never asks GET_VALUES";
    if (needs & FERRY_NEEDS_FRESH && !g->opts.program)
        return "needs a web server that is started for it (-- PROGRAM)";
    return NULL;
}

static void before(struct ferry_check *c)
{
    struct ferry_gateway *g = ferry_gateway(c);
    enum ferry_stage_values wanted =
        c->at->needs & FERRY_NEEDS_MULTIPLEX ? FERRY_VALUES_MANY : FERRY_VALUES_ONE;

    ferry_stage_begin(&g->stage, c);
    /* Only one that has asked remembers what it was told. */
    if (g->opts.program &&
        (g->pid == 0 || g->shaken || (g->stage.values_seen && g->values != wanted)))
        ferry_gateway_restart(c, wanted);
    else
        g->values = g->stage.values = wanted;
    g->stage.prefix = c->at->needs & FERRY_NEEDS_AUTHORIZER ? g->authorizer
                      : c->at->needs & FERRY_NEEDS_FILTER   ? g->filter
                                                            : g->prefix;
    ferry_talk_fini(&c->talk);
}

static void after(struct ferry_check *c)
{
    struct ferry_gateway *g = ferry_gateway(c);
    struct ferry_talk talk;
    char how[128] = "";
    bool well, interrupted = c->opts->stop && *c->opts->stop;

    /* What follows is not part of the conversation. */
    talk = c->talk;
    memset(&c->talk, 0, sizeof c->talk);
    ferry_stage_clear(&g->stage);
    g->stage.prefix = g->prefix;
    well = interrupted || (!has_ended(g, how, sizeof how) && ferry_gateway_answers(c, RECOVER_MS));
    ferry_stage_clear(&g->stage);
    /* What a failed case has shaken is not left to the next. */
    if (g->opts.program && !interrupted && (!well || c->outcome == FERRY_FAILED))
        stop(g);
    ferry_talk_fini(&c->talk);
    c->talk = talk;
    g->stage.check = NULL;
    if (!well)
        ferry_check_fail(c, "after this the web server does not answer any more%s%s",
                         how[0] ? ": " : "", how);
}

const struct ferry_check_suite ferry_gateway_suite = {
    .name = "web server",
    .ours = "Application",
    .theirs = "Web server",
    .groups =
        (const struct ferry_check_group *const[]){
#define X(name) &ferry_check_w_##name,
            FERRY_GATEWAY_GROUP_MAP(X)
#undef X
                NULL},
    .lacks = lacks,
    .before = before,
    .after = after,
};

/* -- the whole -------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    remove(path);
    return 0;
}

static int make_dir(struct ferry_gateway *g, char *why, size_t cap)
{
    const char *tmp = getenv("TMPDIR");

    if (!g->opts.program)
        return 0;
    snprintf(g->dir, sizeof g->dir, "%s/ferry-check-XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(g->dir)) {
        int err = -errno;

        snprintf(why, cap, "cannot make a directory in %s: %s", g->dir, ferry_strerror(err));
        g->dir[0] = '\0';
        return err;
    }
    /* The web server may give up root, and still has to reach the socket in it. */
    chmod(g->dir, 0755);
    g->output = open(g->dir, O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    return g->output < 0 ? -errno : 0;
}

/* The first request, outside of all cases, so that nothing is reported of a run that cannot be. */
static int first_answer(struct ferry_gateway *g, const struct ferry_check_opts *opts, char *why,
                        size_t cap)
{
    static const struct ferry_check_case at = {.id = "start"};
    struct ferry_check c = {.suite = &ferry_gateway_suite, .opts = opts, .at = &at, .user = g};
    volatile int err = 0;

    ferry_stage_begin(&g->stage, &c);
    if (setjmp(c.leave) == 0) {
        if (g->opts.program)
            ferry_gateway_restart(&c, FERRY_VALUES_ONE);
        else if (!ferry_gateway_answers(&c, RECOVER_MS))
            ferry_check_skip(&c, "no request comes through %s", g->url);
    } else {
        snprintf(why, cap, "%s", c.reason);
        err = FERRY_ECLOSED;
    }
    ferry_stage_clear(&g->stage);
    ferry_talk_fini(&c.talk);
    g->stage.check = NULL;
    return err;
}

int ferry_gateway_open(struct ferry_gateway *g, const struct ferry_gateway_opts *o,
                       const struct ferry_check_opts *opts, char *why, size_t cap)
{
    int err;

    *g = (struct ferry_gateway){.opts = *o, .output = -1, .pidfd = -1};
    g->stage.listener = -1;
    g->stage.timeout_ms = opts->timeout_ms;
    g->stage.stop = opts->stop;
    signal(SIGPIPE, SIG_IGN);
    snprintf(why, cap, "%s", ferry_strerror(-ENOMEM));
    err = make_dir(g, why, cap);
    if (err == 0)
        err = listen_at(g, why, cap);
    if (err == 0)
        err = prepare(g, why, cap);
    if (err == 0)
        err = read_path(g, "--authorizer-url", o->authorizer_url, g->authorizer,
                        sizeof g->authorizer, why, cap);
    if (err == 0)
        err = read_path(g, "--filter-url", o->filter_url, g->filter, sizeof g->filter, why, cap);
    if (err == 0)
        err = first_answer(g, opts, why, cap);
    if (err < 0)
        ferry_gateway_close(g);
    return err;
}

void ferry_gateway_close(struct ferry_gateway *g)
{
    stop(g);
    if (g->stage.listener >= 0)
        ferry_stage_close(&g->stage);
    if (g->output >= 0)
        close(g->output);
    if (g->dir[0])
        nftw(g->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(g->log);
    for (char **a = g->args; *a; a++)
        free(*a);
}
