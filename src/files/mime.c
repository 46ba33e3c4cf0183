/* SPDX-License-Identifier: MIT */
/*
 * MIME types. Everything is read by one parser in the form of /etc/mime.types, in this order: the
 * few names that the file gives to something else than what the web means by them, the file, and
 * the built-in table. The first that names an extension has it. An open-addressed hash, at most
 * half full, maps extensions of up to 16 bytes.
 */
#include "files/mime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"

#define EXT_MAX 16
#define FILE_MAX (256 * 1024)

/* Debian gives .ts to the translations of Qt. */
static const char firm[] = "video/mp2t ts\n";

static const char builtin[] = "text/html html htm shtml\n"
                              "text/css css\n"
                              "text/javascript js mjs cjs\n"
                              "text/plain txt text log conf ini toml\n"
                              "text/markdown md markdown\n"
                              "text/csv csv\n"
                              "text/tab-separated-values tsv\n"
                              "text/calendar ics\n"
                              "text/vcard vcf\n"
                              "text/vtt vtt\n"
                              "application/json json map\n"
                              "application/ld+json jsonld\n"
                              "application/geo+json geojson\n"
                              "application/manifest+json webmanifest\n"
                              "application/yaml yaml yml\n"
                              "application/xml xml xsl xsd\n"
                              "application/xhtml+xml xhtml xht\n"
                              "application/atom+xml atom\n"
                              "application/rss+xml rss\n"
                              "application/wasm wasm\n"
                              "application/pdf pdf\n"
                              "application/rtf rtf\n"
                              "application/epub+zip epub\n"
                              "application/zip zip\n"
                              "application/gzip gz tgz\n"
                              "application/x-bzip2 bz2\n"
                              "application/x-xz xz\n"
                              "application/x-tar tar\n"
                              "application/x-7z-compressed 7z\n"
                              "application/vnd.rar rar\n"
                              "application/zstd zst\n"
                              "application/x-brotli br\n"
                              "application/java-archive jar war\n"
                              "application/vnd.android.package-archive apk\n"
                              "application/vnd.ms-fontobject eot\n"
                              "application/vnd.apple.mpegurl m3u8\n"
                              "application/dash+xml mpd\n"
                              "application/msword doc\n"
                              "application/vnd.ms-excel xls\n"
                              "application/vnd.ms-powerpoint ppt\n"
                              "application/vnd.openxmlformats-officedocument"
                              ".wordprocessingml.document docx\n"
                              "application/vnd.openxmlformats-officedocument"
                              ".spreadsheetml.sheet xlsx\n"
                              "application/vnd.openxmlformats-officedocument"
                              ".presentationml.presentation pptx\n"
                              "application/vnd.oasis.opendocument.text odt\n"
                              "application/vnd.oasis.opendocument.spreadsheet ods\n"
                              "font/woff woff\n"
                              "font/woff2 woff2\n"
                              "font/ttf ttf\n"
                              "font/otf otf\n"
                              "image/svg+xml svg svgz\n"
                              "image/png png\n"
                              "image/apng apng\n"
                              "image/jpeg jpg jpeg jpe\n"
                              "image/gif gif\n"
                              "image/webp webp\n"
                              "image/avif avif\n"
                              "image/heic heic\n"
                              "image/jxl jxl\n"
                              "image/bmp bmp\n"
                              "image/tiff tif tiff\n"
                              "image/vnd.microsoft.icon ico\n"
                              "audio/mpeg mp3\n"
                              "audio/ogg ogg oga opus\n"
                              "audio/mp4 m4a\n"
                              "audio/aac aac\n"
                              "audio/flac flac\n"
                              "audio/wav wav\n"
                              "audio/midi mid midi\n"
                              "video/mp4 mp4 m4v\n"
                              "video/webm webm\n"
                              "video/ogg ogv\n"
                              "video/quicktime mov\n"
                              "video/x-matroska mkv\n"
                              "video/x-msvideo avi\n";

struct ext {
    uint64_t a, b; /* the extension in lower case, filled up with NUL; both 0 in a free slot */
};

struct entry {
    struct ext ext;
    struct ferry_slice type;
};

struct ferry_mime {
    char *pool, *pool_at; /* the text of the types */
    uint64_t mask;
    struct entry slots[];
};

/* False for what can be no key: empty, longer than EXT_MAX, or the key of a free slot. */
static bool ext_of(struct ferry_slice s, struct ext *out)
{
    char lower[EXT_MAX] = {0};

    if (s.len == 0 || s.len > EXT_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        lower[i] = ferry_ascii_lower(s.p[i]);
    memcpy(&out->a, lower, 8);
    memcpy(&out->b, lower + 8, 8);
    return (out->a | out->b) != 0;
}

static struct entry *find(const struct ferry_mime *m, struct ext e)
{
    uint64_t h = (e.a ^ (e.b * UINT64_C(0xff51afd7ed558ccd))) * UINT64_C(0x9e3779b97f4a7c15);

    for (uint64_t i = h >> 40;; i++) {
        const struct entry *at = &m->slots[i & m->mask];

        if ((at->ext.a == e.a && at->ext.b == e.b) || (at->ext.a | at->ext.b) == 0)
            return (struct entry *)at;
    }
}

/* A type goes into a response head as it is: a token, a slash and a token, nothing else. */
static bool is_type(struct ferry_slice s)
{
    size_t slash = ferry_slice_find(s, '/');

    if (slash == 0 || slash + 1 >= s.len || s.len > FERRY_MIME_TYPE_MAX - 16)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (i != slash && (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c)))
            return false;
    }
    return true;
}

static bool wants_charset(struct ferry_slice type)
{
    /* XML says its own encoding. */
    if (ferry_slice_starts(type, FERRY_SLICE("text/")))
        return !ferry_slice_ends_nocase(type, FERRY_SLICE("xml"));
    return ferry_slice_eq(type, FERRY_SLICE("application/javascript"));
}

static struct ferry_slice next_word(struct ferry_slice *line)
{
    size_t from = 0, to;

    while (from < line->len && strchr(" \t\r", line->p[from]) && line->p[from])
        from++;
    to = from;
    while (to < line->len && !(strchr(" \t\r", line->p[to]) && line->p[to]))
        to++;
    *line = (struct ferry_slice){line->p + to, line->len - to};
    return ferry_slice(line->p - (to - from), to - from);
}

static void add_line(struct ferry_mime *m, struct ferry_slice line)
{
    struct ferry_slice word, kept = {0};
    struct ferry_slice type;
    struct ext e;

    line = ferry_slice_first(line, ferry_slice_find(line, '#'));
    type = next_word(&line);
    if (!is_type(type))
        return;
    while ((word = next_word(&line)).len) {
        struct entry *at;

        if (!ext_of(word, &e))
            continue;
        at = find(m, e);
        if (at->type.len)
            continue;
        if (!kept.len) {
            char *from = m->pool_at;

            m->pool_at = ferry__put(m->pool_at, type);
            if (wants_charset(type))
                m->pool_at = FERRY_PUT(m->pool_at, "; charset=utf-8");
            kept = ferry_slice(from, (size_t)(m->pool_at - from));
        }
        *at = (struct entry){e, kept};
    }
}

static void add_text(struct ferry_mime *m, struct ferry_slice text)
{
    while (text.len) {
        size_t end = ferry_slice_find(text, '\n');

        add_line(m, ferry_slice_first(text, end));
        text = ferry_slice_from(text, end + 1);
    }
}

/* How much `text` can need: an extension for each word, and for each line a charset. */
static void count(struct ferry_slice text, size_t *words, size_t *room)
{
    bool in_word = false;

    *room += text.len + 16;
    for (size_t i = 0; i < text.len; i++) {
        bool blank = strchr(" \t\r\n", text.p[i]) && text.p[i];

        *words += !blank && !in_word;
        *room += text.p[i] == '\n' ? 16 : 0;
        in_word = !blank;
    }
}

/* The whole lines of the first FILE_MAX bytes. */
static struct ferry_slice read_file(const char *path, char *mem)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t n = 0;
    ssize_t got;

    if (fd < 0)
        return ferry_slice(NULL, 0);
    do {
        got = read(fd, mem + n, FILE_MAX - n);
        if (got > 0)
            n += (size_t)got;
    } while ((got > 0 && n < FILE_MAX) || (got < 0 && errno == EINTR));
    close(fd);
    if (n == FILE_MAX)
        while (n && mem[n - 1] != '\n')
            n--;
    return ferry_slice(mem, n);
}

int ferry_mime_new(const char *path, struct ferry_mime **out)
{
    struct ferry_slice file = {0};
    size_t words = 0, room = 0, slots = 64;
    char *mem = NULL;
    struct ferry_mime *m;

    if (path) {
        mem = malloc(FILE_MAX);
        if (!mem)
            return -ENOMEM;
        file = read_file(path, mem);
    }
    count(FERRY_SLICE(firm), &words, &room);
    count(FERRY_SLICE(builtin), &words, &room);
    count(file, &words, &room);
    while (slots < words * 2)
        slots *= 2;
    m = calloc(1, sizeof *m + slots * sizeof *m->slots);
    if (m)
        m->pool = m->pool_at = malloc(room);
    if (!m || !m->pool) {
        free(m);
        free(mem);
        return -ENOMEM;
    }
    m->mask = slots - 1;
    add_text(m, FERRY_SLICE(firm));
    add_text(m, file);
    add_text(m, FERRY_SLICE(builtin));
    free(mem);
    *out = m;
    return 0;
}

void ferry_mime_free(struct ferry_mime *m)
{
    if (m)
        free(m->pool);
    free(m);
}

struct ferry_slice ferry_mime_type(const struct ferry_mime *m, struct ferry_slice file)
{
    struct ferry_slice none = FERRY_SLICE_INIT("application/octet-stream");
    const struct entry *at;
    struct ext e;
    size_t n = 0;

    while (n <= EXT_MAX && n < file.len && file.p[file.len - 1 - n] != '.') {
        if (file.p[file.len - 1 - n] == '/')
            return none;
        n++;
    }
    if (n >= file.len || !ext_of(ferry_slice_from(file, file.len - n), &e))
        return none;
    at = find(m, e);
    return at->type.len ? at->type : none;
}
