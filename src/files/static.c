/* SPDX-License-Identifier: MIT */
/*
 * Static files. One open, one fstat, and for what is small one pread and one close; what is large
 * goes to the machine as a range of the open file. All reading is done before the head is written,
 * so that the only surprise left is a file that shrank: then what was read is sent and the answer
 * is cut.
 */
#include "files/static.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "files/date.h"
#include "files/range.h"

#define ETAG_MAX 40
#define BOUNDARY_LEN 32
#define CONTENT_RANGE_MAX (3 * FERRY_U64_TEXT_MAX + 16)
/* One part's head: "\r\n--" boundary "\r\nContent-Type: " ... "\r\nContent-Range: " ... "\r\n\r\n"
 */
#define PART_MAX (64 + BOUNDARY_LEN + FERRY_MIME_TYPE_MAX + CONTENT_RANGE_MAX)
#define PARTS_MAX (FERRY_RANGES_MAX * PART_MAX + 64)

#define FIELD(name_, value_) ((struct ferry_http_field){FERRY_SLICE(name_), (value_)})

/* An answer being made. */
struct answer {
    const struct ferry_head_edit *edit;
    int fd;
    uint64_t size;
    struct ferry_ranges ranges; /* what is sent of the file: for 200 all of it */
    struct ferry_slice type;
    uint64_t total;            /* bytes of all ranges */
    struct ferry_block *block; /* holds `read` */
    bool in_memory;
    struct ferry_slice read; /* the ranges one behind the other, as far as the file had them */
};

static struct ferry_slice etag_of(const struct stat *st, char mem[ETAG_MAX])
{
    char *at = mem;

    *at++ = '"';
    at = ferry__put_hex(at,
                        (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec);
    *at++ = '-';
    at = ferry__put_hex(at, (uint64_t)st->st_size);
    *at++ = '"';
    return ferry_slice(mem, (size_t)(at - mem));
}

/* "bytes 0-99/1000", or "bytes * /1000" without the blank when there is no range. */
static struct ferry_slice content_range(const struct ferry_range *r, uint64_t size, char *mem)
{
    char *at = FERRY_PUT(mem, "bytes ");

    if (r) {
        at = ferry__put_u64(at, r->first, 1);
        *at++ = '-';
        at = ferry__put_u64(at, r->first + r->len - 1, 1);
    } else {
        *at++ = '*';
    }
    *at++ = '/';
    at = ferry__put_u64(at, size, 1);
    return ferry_slice(mem, (size_t)(at - mem));
}

/* Reads one range: how much of it there is, or -errno. */
static ssize_t read_range(int fd, char *to, const struct ferry_range *r)
{
    size_t n = 0;

    while (n < r->len) {
        ssize_t got = pread(fd, to + n, r->len - n, (off_t)(r->first + n));

        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return -errno;
        n += got > 0 ? (size_t)got : 0;
    }
    return (ssize_t)n;
}

/* Reads all ranges into a block. Ends at the first that the file does not have whole. */
static int read_ranges(struct answer *a, struct ferry_blocks *blocks)
{
    size_t n = 0;

    a->block = ferry_block_get(blocks, a->total);
    if (!a->block)
        return -ENOMEM;
    for (unsigned i = 0; i < a->ranges.n; i++) {
        ssize_t got = read_range(a->fd, a->block->data + n, &a->ranges.r[i]);

        if (got < 0)
            return (int)got;
        n += (size_t)got;
        if ((size_t)got < a->ranges.r[i].len)
            break;
    }
    a->read = ferry_slice(a->block->data, n);
    return 0;
}

/* Hands over the next `len` bytes of what was read, or fewer when the file had fewer. */
static uint64_t write_read(struct answer *a, struct ferry_http *h, uint64_t len)
{
    struct ferry_slice piece = ferry_slice_first(a->read, len);

    (void)ferry_http_write(h, a->block, piece);
    a->read = ferry_slice_from(a->read, piece.len);
    return piece.len;
}

/* The same for one range in either form; the last takes the descriptor along. */
static uint64_t write_range(struct answer *a, struct ferry_http *h, unsigned i)
{
    const struct ferry_range *r = &a->ranges.r[i];
    int fd = a->fd;

    if (a->in_memory)
        return write_read(a, h, r->len);
    if (i + 1 < a->ranges.n)
        fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
    else
        a->fd = -1;
    if (fd < 0)
        return 0;
    (void)ferry_http_write_file(h, fd, (int64_t)r->first, r->len);
    return r->len;
}

/* The heads of all parts and the end behind the last, in `mem`; ends[i] is where part i's head
 * ends. */
static size_t make_parts(const struct answer *a, struct ferry_slice boundary, char *mem,
                         size_t ends[FERRY_RANGES_MAX])
{
    char text[CONTENT_RANGE_MAX];
    char *at = mem;

    for (unsigned i = 0; i < a->ranges.n; i++) {
        at = FERRY_PUT(at, "\r\n--");
        at = ferry__put(at, boundary);
        at = FERRY_PUT(at, "\r\nContent-Type: ");
        at = ferry__put(at, a->type);
        at = FERRY_PUT(at, "\r\nContent-Range: ");
        at = ferry__put(at, content_range(&a->ranges.r[i], a->size, text));
        at = FERRY_PUT(at, "\r\n\r\n");
        ends[i] = (size_t)(at - mem);
    }
    at = FERRY_PUT(at, "\r\n--");
    at = ferry__put(at, boundary);
    at = FERRY_PUT(at, "--\r\n");
    return (size_t)(at - mem);
}

/* Ends the answer: complete when all of `promised` was handed over. */
static void end(struct ferry_http *h, uint64_t promised, struct ferry_static_result *out)
{
    if (out->bytes == promised) {
        /* Memory may have run out on the way: the machine then cuts by itself, and says so. */
        out->cut = ferry_http_finish(h) < 0;
        return;
    }
    ferry_http_cut(h);
    out->cut = true;
}

static int send_parts(struct answer *a, struct ferry_http *h, struct ferry_http_response *r,
                      struct ferry_http_field *type, struct ferry_static_result *out)
{
    char mem[PARTS_MAX], name[64], boundary[BOUNDARY_LEN];
    size_t ends[FERRY_RANGES_MAX], len, from = 0;
    unsigned char random[BOUNDARY_LEN / 2];
    char *at = name;
    int err;

    /* Not to be guessed by whoever wrote the file: parts must not be made up inside it. */
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random)
        return -EAGAIN;
    for (unsigned i = 0; i < BOUNDARY_LEN; i++)
        boundary[i] = "0123456789abcdef"[random[i / 2] >> (i & 1 ? 4 : 0) & 15];
    len = make_parts(a, ferry_slice(boundary, BOUNDARY_LEN), mem, ends);
    at = FERRY_PUT(at, "multipart/byteranges; boundary=");
    at = ferry__put(at, ferry_slice(boundary, BOUNDARY_LEN));
    static_assert(sizeof name >= 31 + BOUNDARY_LEN, "the multipart type fits");
    type->value = ferry_slice(name, (size_t)(at - name));
    r->content_length = (int64_t)(len + a->total);

    err = ferry_head_respond(h, r, a->edit);
    if (err < 0)
        return err;
    for (unsigned i = 0; i < a->ranges.n; i++) {
        uint64_t sent;

        (void)ferry_http_write(h, NULL, ferry_slice(mem + from, ends[i] - from));
        sent = write_range(a, h, i);
        out->bytes += ends[i] - from + sent;
        from = ends[i];
        if (sent < a->ranges.r[i].len)
            break;
        if (i + 1 == a->ranges.n) {
            (void)ferry_http_write(h, NULL, ferry_slice(mem + from, len - from));
            out->bytes += len - from;
        }
    }
    end(h, len + a->total, out);
    return 0;
}

static int send_plain(struct answer *a, struct ferry_http *h, struct ferry_http_response *r,
                      bool has_body, struct ferry_static_result *out)
{
    int err;

    r->content_length = r->status == 304 ? -1 : (int64_t)a->total;
    err = ferry_head_respond(h, r, a->edit);
    if (err < 0)
        return err;
    if (has_body && a->total)
        out->bytes = write_range(a, h, 0);
    end(h, has_body ? a->total : 0, out);
    return 0;
}

static int send_page(const struct answer *a, struct ferry_http *h, int status,
                     struct ferry_slice date, bool has_body, struct ferry_static_result *out)
{
    char text[CONTENT_RANGE_MAX];
    struct ferry_http_field range = FIELD("Content-Range", content_range(NULL, a->size, text));
    struct ferry_slice why = status == 416
                                 ? FERRY_SLICE("The file is shorter than the range asked for.")
                                 : FERRY_SLICE("The file is not in the state the request names.");
    int len = ferry_error_page_send(h, status, why, date, &range, status == 416, a->edit);

    if (len < 0)
        return len;
    *out = (struct ferry_static_result){.status = status, .bytes = has_body ? (uint64_t)len : 0};
    return 0;
}

/* What of the file is sent, and in which form; all that must be read is read here. */
static int prepare(struct answer *a, int status, bool has_body, struct ferry_blocks *blocks)
{
    if (status != 206)
        a->ranges = (struct ferry_ranges){a->size > 0, {{0, a->size}}};
    for (unsigned i = 0; i < a->ranges.n; i++)
        a->total += a->ranges.r[i].len;
    a->in_memory = a->total <= FERRY_STATIC_READ_MAX;
    return has_body && a->total && a->in_memory ? read_ranges(a, blocks) : 0;
}

/* Everything once the file is open. a->fd and a->block stay the caller's to give back. */
static int answer(struct answer *a, struct ferry_http *h, struct ferry_blocks *blocks,
                  const struct ferry_http_head *head, struct ferry_slice date,
                  struct ferry_static_result *out)
{
    char etag[ETAG_MAX], modified[FERRY_DATE_LEN], range[CONTENT_RANGE_MAX];
    struct ferry_http_field fields[5];
    struct ferry_http_response r = {.date = date, .fields = fields};
    bool is_get = head->method_id == FERRY_HTTP_GET, has_body;
    struct ferry_validators v;
    struct timespec now;
    struct stat st;
    int err;

    if (fstat(a->fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EACCES;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    v.etag = etag_of(&st, etag);
    /* Never later than Date (RFC 9110 section 8.8.2.1). */
    v.mtime_s = st.st_mtim.tv_sec < now.tv_sec ? st.st_mtim.tv_sec : now.tv_sec;
    v.now_s = now.tv_sec;
    v.size = a->size = (uint64_t)st.st_size;
    r.status = ferry_range_decide(head, &v, &a->ranges);
    if (r.status == 412 || r.status == 416)
        return send_page(a, h, r.status, date, is_get, out);

    has_body = is_get && r.status != 304;
    err = prepare(a, r.status, has_body, blocks);
    if (err < 0)
        return err;
    ferry_date_format(v.mtime_s, modified);
    fields[0] = FIELD("Content-Type", a->type);
    fields[1] = FIELD("Last-Modified", ferry_slice(modified, FERRY_DATE_LEN));
    fields[2] = FIELD("ETag", v.etag);
    fields[3] = FIELD("Accept-Ranges", FERRY_SLICE("bytes"));
    r.nfields = 4;
    if (r.status == 206 && a->ranges.n == 1) {
        fields[4] = FIELD("Content-Range", content_range(&a->ranges.r[0], a->size, range));
        r.nfields = 5;
    } else if (r.status == 304) {
        r.fields = fields + 1; /* section 15.4.5: no more than a cache needs */
        r.nfields = 2;
    }
    *out = (struct ferry_static_result){.status = r.status};
    if (a->ranges.n > 1)
        return send_parts(a, h, &r, &fields[0], out);
    return send_plain(a, h, &r, has_body, out);
}

int ferry_static_send(struct ferry_docroot *d, const struct ferry_mime *mime, struct ferry_http *h,
                      struct ferry_blocks *blocks, const struct ferry_http_head *head,
                      struct ferry_slice file, struct ferry_slice date,
                      const struct ferry_head_edit *edit, struct ferry_static_result *out)
{
    struct answer a;
    int err;

    if (head->method_id != FERRY_HTTP_GET && head->method_id != FERRY_HTTP_HEAD)
        return FERRY_EUSAGE;
    a.fd = ferry_docroot_read(d, file);
    if (a.fd < 0) {
        ferry_docroot_forget(d, file);
        /* What sockets and devices without a driver say when they are opened. */
        return a.fd == -ENXIO || a.fd == -ENODEV ? -EACCES : a.fd;
    }
    a.type = ferry_mime_type(mime, file);
    a.edit = edit;
    a.block = NULL;
    a.total = 0;
    a.read = ferry_slice(NULL, 0);
    err = answer(&a, h, blocks, head, date, out);
    ferry_block_unref(a.block);
    if (a.fd >= 0)
        close(a.fd);
    return err;
}

int ferry_static_status(int err)
{
    switch (err) {
    case FERRY_EUSAGE:
        return 405;
    case -EACCES:
    case -EPERM:
        return 403;
    case -ENOENT:
    case -ENOTDIR:
    case -ENAMETOOLONG:
    case -ELOOP:
        return 404;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EAGAIN:
        return 503;
    default:
        return 500;
    }
}
