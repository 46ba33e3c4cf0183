/* SPDX-License-Identifier: MIT */
/*
 * Where a draft's script lies and what it is called by: from a file name, or from a URL path below
 * a document root, to SCRIPT_FILENAME, SCRIPT_NAME, PATH_INFO, DOCUMENT_ROOT, REQUEST_URI and
 * QUERY_STRING. Whether the file is there is the application's to know, which may have another file
 * system.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "call/draft.h"
#include "cgi/path.h"

/* Without "//", "." and "..", in place. Links are left alone: the application shall see the name
 * that was typed. */
static void tidy(char *path)
{
    const char *from = path;
    char *to = path;

    while (*from) {
        size_t n = strcspn(from, "/");

        if (n == 2 && memcmp(from, "..", 2) == 0) {
            while (to > path && *--to != '/')
                ;
        } else if (n && !(n == 1 && *from == '.')) {
            *to++ = '/';
            memmove(to, from, n);
            to += n;
        }
        from += n;
        from += strspn(from, "/");
    }
    if (to == path)
        *to++ = '/';
    *to = 0;
}

static int absolute(struct ferry_draft *d, const char *path, size_t len, char **out)
{
    char cwd[PATH_MAX];

    if (*path != '/' && !d->cwd && !getcwd(cwd, sizeof cwd))
        return ferry__draft_fail(d, -errno, "the working folder: %s", ferry_strerror(-errno));
    if (*path == '/')
        *out = ferry__draft_print(d, "%.*s", (int)len, path);
    else
        *out = ferry__draft_print(d, "%s/%.*s", d->cwd ? d->cwd : cwd, (int)len, path);
    if (!*out)
        return -ENOMEM;
    tidy(*out);
    return 0;
}

/* How much of a path names the script: up to ".php/", or all of it. */
static size_t script_end(const char *path)
{
    const char *at = strstr(path, ".php/");

    return at ? (size_t)(at - path) + 4 : strlen(path);
}

/* The path of a URL for a path of files. */
static char *url_of(struct ferry_draft *d, struct ferry_slice path)
{
    char *out = ferry__draft_alloc(d, 3 * path.len + 1);
    size_t n = 0;

    if (!out)
        return NULL;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.p[i];

        if (c > 0x20 && c < 0x7f && !strchr("\"#%<>?[\\]^`{|}", c))
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, 4, "%%%02X", c);
    }
    out[n] = 0;
    return out;
}

/* The script is a file: its folder is the document root. */
static int name_file(struct ferry_draft *d, struct ferry_cgi_request *r, struct ferry_slice script)
{
    char *file, *url, *slash;
    size_t end;
    int err = absolute(d, script.p, script.len, &file);

    if (err < 0)
        return err;
    end = script_end(file);
    slash = memrchr(file, '/', end);
    r->script_filename = ferry_slice(file, end);
    r->script_name = ferry_slice(slash, (size_t)(file + end - slash));
    r->path_info = ferry_slice_z(file + end);
    r->document_root = ferry_slice(file, slash == file ? 1 : (size_t)(slash - file));
    url = url_of(d, ferry_slice_z(slash));
    r->target = ferry_slice_z(url);
    return url ? 0 : -ENOMEM;
}

/* The script is a URL path below the document root. */
static int name_url(struct ferry_draft *d, struct ferry_cgi_request *r, struct ferry_slice script)
{
    char *url =
        ferry__draft_print(d, "%s%.*s", *script.p == '/' ? "" : "/", (int)script.len, script.p);
    char *mem = url ? ferry__draft_alloc(d, strlen(url) + 16) : NULL, *root, *file;
    struct ferry_path path;
    const char *why;
    size_t end;
    int err = mem ? absolute(d, d->root, strlen(d->root), &root) : -ENOMEM;

    if (err < 0)
        return err;
    if (ferry_path_parse(ferry_slice_z(url), mem, &path, &why) < 0)
        return ferry__draft_fail(d, FERRY_EUSAGE, "%s: %s", url, why);
    mem[path.path.len] = 0;
    if (mem[path.path.len - 1] == '/')
        memcpy(mem + path.path.len, "index.php", 10);
    end = script_end(mem);
    file = ferry__draft_print(d, "%s%.*s", strcmp(root, "/") == 0 ? "" : root, (int)end, mem);
    if (!file)
        return -ENOMEM;
    r->script_filename = ferry_slice_z(file);
    r->script_name = ferry_slice(mem, end);
    r->path_info = ferry_slice_z(mem + end);
    r->document_root = ferry_slice_z(root);
    r->target = ferry_slice_z(url);
    return 0;
}

/* Data of -G is text that fits into a query. */
static int body_as_text(struct ferry_draft *d, struct ferry_slice *out)
{
    char *text;
    ssize_t n;

    *out = FERRY_SLICE("");
    if (!d->get || !d->body.len)
        return 0;
    if (d->body.len > FERRY_DRAFT_QUERY_MAX)
        return ferry__draft_fail(d, FERRY_ELIMIT, "-G: the data is longer than 1 MiB");
    text = ferry__draft_alloc(d, d->body.len);
    if (!text)
        return -ENOMEM;
    n = ferry_payload_read(&d->body, 0, text, d->body.len);
    if (n < 0 || (uint64_t)n < d->body.len)
        return ferry__draft_fail(d, (int)n, "the data cannot be read: %s", ferry_strerror((int)n));
    *out = ferry_slice(text, d->body.len);
    ferry_payload_fini(&d->body);
    return 0;
}

int ferry__draft_target(struct ferry_draft *d, struct ferry_cgi_request *r)
{
    struct ferry_slice script = ferry_slice_z(d->script), query, data;
    size_t mark = ferry_slice_find(script, '?');
    char *uri;
    int err;

    if (!mark)
        return ferry__draft_fail(d, FERRY_EUSAGE, "no script is named");
    query = ferry_slice_from(script, mark + 1);
    script = ferry_slice_first(script, mark);
    err = d->root ? name_url(d, r, script) : name_file(d, r, script);
    if (err == 0)
        err = body_as_text(d, &data);
    if (err < 0)
        return err;
    if (d->uri) {
        struct ferry_slice all = ferry_slice_z(d->uri);

        if (*d->uri != '/')
            return ferry__draft_fail(d, FERRY_EUSAGE, "--uri %s: must begin with '/'", d->uri);
        mark = ferry_slice_find(all, '?');
        r->target = ferry_slice_first(all, mark);
        query = mark < all.len ? ferry_slice_from(all, mark + 1) : query;
    }
    uri = ferry__draft_print(d, "%.*s%s%.*s%s%.*s", (int)r->target.len, r->target.p,
                             query.len || data.len ? "?" : "", (int)query.len,
                             query.len ? query.p : "", query.len && data.len ? "&" : "",
                             (int)data.len, data.p);
    if (!uri)
        return -ENOMEM;
    mark = r->target.len;
    r->target = ferry_slice_z(uri);
    r->query = ferry_slice_from(r->target, mark + 1);
    return 0;
}
