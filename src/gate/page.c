/* SPDX-License-Identifier: MIT */
/* Error pages: the site's own where it has one that can be read, else the gate's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/error_page.h"
#include "gate/internal.h"

#define PAGE_MAX (1u << 20)
#define QUIET_MS 60000

static struct ferry__gate_page *find(const struct ferry_gate *g, const char *file)
{
    for (unsigned i = 0; i < g->npages; i++)
        if (strcmp(g->pages[i].file, file) == 0)
            return &g->pages[i];
    return NULL;
}

int ferry__gate_pages_new(struct ferry_gate *g)
{
    const struct ferry_gate_opts *o = &g->opts;
    size_t n = 0;

    for (unsigned i = 0; i < o->nsites; i++)
        n += o->sites[i].nerror_pages;
    g->pages = calloc(n ? n : 1, sizeof *g->pages);
    if (!g->pages)
        return -ENOMEM;
    for (unsigned i = 0; i < o->nsites; i++)
        for (unsigned k = 0; k < o->sites[i].nerror_pages; k++)
            if (!find(g, o->sites[i].error_pages[k].file))
                g->pages[g->npages++].file = o->sites[i].error_pages[k].file;
    return 0;
}

/* Errors may come by the thousand, and the page is missing in each. */
static void tell_unreadable(struct ferry_gate_thread *t, const char *file, int err)
{
    struct ferry__gate_page *page = find(t->gate, file);
    uint64_t now = ferry_loop_now(t->loop), until = atomic_load(&page->quiet_ms);

    if (now >= until && atomic_compare_exchange_strong(&page->quiet_ms, &until, now + QUIET_MS))
        ferry__gate_log(t, FERRY_GATE_ERROR, "the error page %s cannot be read: %s", file,
                        ferry_strerror(err));
}

/* A whole file in a block, or NULL and *err. */
static struct ferry_block *read_page(struct ferry_gate_thread *t, const char *file, size_t *len,
                                     int *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct ferry_block *b = NULL;
    struct stat st;
    ssize_t n = -1;

    *err = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (*err == 0 && !S_ISREG(st.st_mode))
        *err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (*err == 0 && st.st_size > PAGE_MAX)
        *err = -EFBIG;
    if (*err == 0 && !(b = ferry_block_get(ferry_loop_blocks(t->loop), (size_t)st.st_size + 1)))
        *err = -ENOMEM;
    if (b && (n = pread(fd, b->data, (size_t)st.st_size, 0)) < 0)
        *err = -errno;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        ferry_block_unref(b);
        return NULL;
    }
    *len = (size_t)n;
    return b;
}

static const char *page_of(const struct ferry__exchange *x, int status)
{
    for (unsigned i = 0; x->site && i < x->site->nerror_pages; i++)
        if (x->site->error_pages[i].status == status)
            return x->site->error_pages[i].file;
    return NULL;
}

/* The site's page: bytes of its body, or a negative error and nothing is sent. */
static int64_t send_own(struct ferry__exchange *x, int status, const struct ferry_http_field *more,
                        const struct ferry_head_edit *edit)
{
    const char *file = page_of(x, status);
    struct ferry_http_field fields[2] = {{FERRY_SLICE("Content-Type"), {NULL, 0}}};
    struct ferry_http_response r = {
        .status = status, .date = ferry__gate_date(x->thread), .fields = fields, .nfields = 1};
    struct ferry_block *b;
    size_t len = 0;
    int err;

    if (!file)
        return -ENOENT;
    b = read_page(x->thread, file, &len, &err);
    if (!b) {
        tell_unreadable(x->thread, file, err);
        return -ENOENT;
    }
    fields[0].value = ferry_mime_type(x->thread->gate->opts.mime, ferry_slice_z(file));
    if (more)
        fields[r.nfields++] = *more;
    r.content_length = (int64_t)len;
    err = ferry_head_respond(x->conn->http, &r, edit);
    if (err == 0) {
        ferry_http_write(x->conn->http, b, ferry_slice(b->data, len));
        ferry_http_finish(x->conn->http);
    }
    ferry_block_unref(b);
    return err < 0 ? err : (int64_t)len;
}

void ferry__exchange_refuse(struct ferry__exchange *x, int status, const char *why)
{
    static const struct ferry_http_field retry = {FERRY_SLICE_INIT("Retry-After"),
                                                  FERRY_SLICE_INIT("1")};
    static const struct ferry_http_field allow = {FERRY_SLICE_INIT("Allow"),
                                                  FERRY_SLICE_INIT("GET, HEAD")};
    const struct ferry_http_field *more = status == 503 ? &retry : status == 405 ? &allow : NULL;
    struct ferry_head_edit mem;
    const struct ferry_head_edit *edit = ferry__host_edit(x, &mem);
    int64_t n;

    if (x->calling)
        ferry_call_abort(&x->call);
    x->calling = false;
    n = send_own(x, status, more, edit);
    if (n < 0)
        n = ferry_error_page_send(x->conn->http, status, ferry_slice_z(why),
                                  ferry__gate_date(x->thread), more, more != NULL, edit);
    x->status = status;
    if (n < 0)
        ferry_http_cut(x->conn->http);
    else if (!x->head_method)
        x->sent = (uint64_t)n;
    ferry__exchange_over(x);
}
