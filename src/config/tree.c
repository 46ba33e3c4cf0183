/* SPDX-License-Identifier: MIT */
/*
 * From files to statements. What is wrong is said and skipped up to the next line that can begin a
 * statement, so that one slip does not hide the others; an included file's statements stand where
 * its `include` stood.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/lex.h"
#include "config/private.h"

struct parser {
    struct ferry__reader *r;
    struct ferry__config_file *file;
    struct ferry__lexer lexer;
    struct ferry__token token;
    unsigned depth; /* of blocks */
};

static struct ferry__node *read_file(struct ferry__reader *, struct ferry__config_file *parent,
                                     unsigned depth, struct ferry_config_place, const char *name,
                                     struct ferry__node **tail, struct ferry__node **head);

static struct ferry_config_place place(const struct parser *p)
{
    return (struct ferry_config_place){p->file->name, p->token.line};
}

/* -- tokens ----------------------------------------------------------------------------------- */

static void next(struct parser *p)
{
    do
        ferry__lexer_next(&p->lexer, &p->token);
    while (p->token.type == FERRY__TOKEN_COMMENT);
}

static bool is_text(const struct parser *p)
{
    return p->token.type == FERRY__TOKEN_WORD || p->token.type == FERRY__TOKEN_STRING;
}

static char *text(struct parser *p)
{
    char *out = ferry__reader_alloc(p->r, p->token.raw.len + 1);

    if (out)
        ferry__token_text(&p->token, out);
    return out;
}

/* As it is shown in a message. */
static const char *shown(const struct parser *p, char out[64])
{
    if (p->token.type == FERRY__TOKEN_END)
        return "the end of the file";
    snprintf(out, 64, "'%.*s%s'", (int)(p->token.raw.len > 50 ? 50 : p->token.raw.len),
             p->token.raw.p, p->token.raw.len > 50 ? "..." : "");
    return out;
}

/* To what may begin a statement: the first on its line, behind whatever blocks were opened; or the
 * end of the block we are in. */
static void recover(struct parser *p)
{
    unsigned open = 0;

    for (; p->token.type != FERRY__TOKEN_END; next(p)) {
        if (open == 0 && ((p->token.first && is_text(p)) || p->token.type == FERRY__TOKEN_CLOSE))
            return;
        if (p->token.type == FERRY__TOKEN_OPEN)
            open++;
        else if (p->token.type == FERRY__TOKEN_CLOSE)
            open--;
    }
}

static void wrong(struct parser *p, const char *what)
{
    char word[64];

    if (p->token.type == FERRY__TOKEN_BAD)
        ferry__reader_say(p->r, place(p), "%s", p->token.why);
    else
        ferry__reader_say(p->r, place(p), "%s, not %s", what, shown(p, word));
    /* The word itself would look like a statement. */
    if (p->token.type != FERRY__TOKEN_CLOSE && !(p->token.first && is_text(p)))
        next(p);
    recover(p);
}

static struct ferry__text *add_text(struct parser *p, struct ferry__node *node,
                                    struct ferry__text **tail)
{
    struct ferry__text *t = ferry__reader_alloc(p->r, sizeof *t);

    if (!t)
        return NULL;
    *t = (struct ferry__text){.text = text(p), .place = place(p)};
    if (*tail)
        (*tail)->next = t;
    else
        node->texts = t;
    *tail = t;
    node->ntexts++;
    return t;
}

/* -- statements ------------------------------------------------------------------------------- */

/* Behind the opening brace; false when the list was given up. */
static bool parse_list(struct parser *p, struct ferry__node *node)
{
    struct ferry__text *tail = NULL;
    bool comma = true;

    node->list = true;
    for (next(p); p->token.type != FERRY__TOKEN_CLOSE; next(p)) {
        if (p->token.type == FERRY__TOKEN_COMMA && !comma) {
            comma = true;
        } else if (is_text(p) && comma) {
            if (!add_text(p, node, &tail))
                return false;
            comma = false;
        } else {
            char word[64];

            if (p->token.type == FERRY__TOKEN_BAD)
                ferry__reader_say(p->r, place(p), "%s", p->token.why);
            else
                ferry__reader_say(p->r, place(p), "a %s is expected in this list, not %s",
                                  comma ? "value" : "',' or '}'", shown(p, word));
            node->list = node->ntexts > 0; /* that there is none was said */
            /* The list most likely ends at the next brace, whatever stands before it. */
            while (p->token.type != FERRY__TOKEN_CLOSE && p->token.type != FERRY__TOKEN_OPEN &&
                   p->token.type != FERRY__TOKEN_END)
                next(p);
            if (p->token.type == FERRY__TOKEN_CLOSE)
                break;
            recover(p);
            return false;
        }
    }
    next(p);
    return true;
}

/* At the '='. */
static void parse_value(struct parser *p, struct ferry__node *node)
{
    struct ferry__text *tail = NULL;
    unsigned line = p->token.line;

    next(p);
    if (p->token.type == FERRY__TOKEN_OPEN && p->token.line == line) {
        parse_list(p, node);
    } else if (is_text(p) && p->token.line == line) {
        add_text(p, node, &tail);
        next(p);
    } else if (p->token.type == FERRY__TOKEN_BAD && p->token.line == line) {
        wrong(p, "");
    } else {
        ferry__reader_say(p->r, (struct ferry_config_place){p->file->name, line},
                          "no value stands behind '%s ='", node->name);
        recover(p);
    }
}

static struct ferry__node *parse_statements(struct parser *, const struct ferry__node *block,
                                            struct ferry__node **tail, struct ferry__node **head);

static void parse_block(struct parser *p, struct ferry__node *node)
{
    struct ferry__node *tail = NULL;

    node->block = true;
    next(p);
    if (p->depth == FERRY_CONFIG_BLOCKS_MAX) {
        ferry__reader_say(p->r, node->place, "blocks lie %u deep at most", p->depth);
        for (unsigned open = 1; open && p->token.type != FERRY__TOKEN_END; next(p))
            open += (p->token.type == FERRY__TOKEN_OPEN) - (p->token.type == FERRY__TOKEN_CLOSE);
        return;
    }
    p->depth++;
    parse_statements(p, node, &tail, &node->children);
    p->depth--;
}

static struct ferry__node *parse_include(struct parser *p, const struct ferry__node *node,
                                         struct ferry__node **tail, struct ferry__node **head)
{
    char path[PATH_MAX];
    const char *name = node->texts ? node->texts->text : "";
    glob_t found;
    int err;

    if (node->ntexts != 1 || !*name) {
        ferry__reader_say(p->r, node->place, "include \"FILE\" is expected");
        return *tail;
    }
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", name[0] == '/' ? "" : p->file->folder,
                         name[0] == '/' ? "" : "/", name) >= sizeof path) {
        ferry__reader_say(p->r, node->place, "the name of this file is too long");
        return *tail;
    }
    if (!strpbrk(name, "*?["))
        return read_file(p->r, p->file, p->depth, node->place, path, tail, head);
    err = glob(path, 0, NULL, &found);
    if (err == GLOB_NOSPACE)
        p->r->err = -ENOMEM;
    else if (err == GLOB_ABORTED)
        ferry__reader_say(p->r, node->place, "'%s' cannot be looked for: %s", name,
                          strerror(errno));
    if (err != 0)
        return *tail;
    for (size_t i = 0; i < found.gl_pathc; i++)
        read_file(p->r, p->file, p->depth, node->place, found.gl_pathv[i], tail, head);
    globfree(&found);
    return *tail;
}

static void push(struct ferry__node *node, struct ferry__node **tail, struct ferry__node **head)
{
    if (*tail)
        (*tail)->next = node;
    else
        *head = node;
    *tail = node;
}

/* At its name. `line`: where the statement before ends. */
static void parse_statement(struct parser *p, unsigned line, struct ferry__node **tail,
                            struct ferry__node **head)
{
    struct ferry__node *node = ferry__reader_alloc(p->r, sizeof *node);
    struct ferry__text *titles = NULL;
    bool beside = p->token.line == line && !p->token.first, include;

    if (!node || !(node->name = text(p))) {
        p->token.type = FERRY__TOKEN_END;
        return;
    }
    node->place = place(p);
    include = strcmp(node->name, "include") == 0;
    next(p);
    while (is_text(p) && p->token.line == node->place.line && !(include && node->ntexts))
        if (add_text(p, node, &titles))
            next(p);
        else
            return;
    if (include && p->token.type != FERRY__TOKEN_EQUALS && p->token.type != FERRY__TOKEN_OPEN) {
        parse_include(p, node, tail, head);
    } else if (p->token.type == FERRY__TOKEN_EQUALS && !node->ntexts) {
        parse_value(p, node);
        push(node, tail, head);
    } else if (p->token.type == FERRY__TOKEN_OPEN) {
        parse_block(p, node);
        push(node, tail, head);
    } else if (p->token.type == FERRY__TOKEN_BAD) {
        wrong(p, "");
    } else {
        if (beside && !node->ntexts)
            ferry__reader_say(p->r, node->place,
                              "'%s' stands alone; several values go into braces: { a, b }",
                              node->name);
        else if (p->token.type == FERRY__TOKEN_EQUALS)
            ferry__reader_say(p->r, node->place, "one name is expected before '=', not '%s %s%s'",
                              node->name, node->texts->text, node->ntexts > 1 ? " ..." : "");
        else if (node->ntexts)
            ferry__reader_say(p->r, node->place,
                              "'=' is missing between '%s' and its value, or '{' behind it",
                              node->name);
        else
            ferry__reader_say(p->r, node->place, "'%s' needs '= VALUE' or '{ ... }' behind it",
                              node->name);
        if (p->token.type == FERRY__TOKEN_EQUALS)
            next(p);
        recover(p);
    }
}

/* To the end of the block, which is taken, or of the file. */
static struct ferry__node *parse_statements(struct parser *p, const struct ferry__node *block,
                                            struct ferry__node **tail, struct ferry__node **head)
{
    unsigned line = 0;

    while (!p->r->err) {
        if (p->token.type == FERRY__TOKEN_END) {
            if (block)
                ferry__reader_say(p->r, block->place, "this block '%s' has no '}' at its end",
                                  block->name);
            break;
        }
        if (p->token.type == FERRY__TOKEN_CLOSE) {
            if (!block)
                ferry__reader_say(p->r, place(p), "this '}' closes nothing");
            line = p->token.line;
            next(p);
            if (block)
                break;
        } else if (is_text(p)) {
            parse_statement(p, line, tail, head);
            line = p->token.line;
        } else {
            wrong(p, "the name of a setting is expected");
        }
    }
    return *tail;
}

/* -- files ------------------------------------------------------------------------------------ */

/* All of a file, which may be a pipe when it is the first: its length or -errno. */
static ssize_t take_bytes(struct ferry__reader *r, int fd, char **out)
{
    size_t cap = 0, n = 0;
    char *bytes = NULL;
    ssize_t got;

    do {
        if (n == cap) {
            char *more = ferry__reader_alloc(r, cap ? cap * 2 : 8192);

            if (!more)
                return -ENOMEM;
            if (n)
                memcpy(more, bytes, n);
            bytes = more;
            cap = cap ? cap * 2 : 8192;
        }
        got = read(fd, bytes + n, cap - n);
        if (got > 0)
            n += (size_t)got;
    } while (n <= FERRY_CONFIG_FILE_MAX && (got > 0 || (got < 0 && errno == EINTR)));
    if (got < 0)
        return -errno;
    *out = bytes;
    return n > FERRY_CONFIG_FILE_MAX ? -EFBIG : (ssize_t)n;
}

/* Which folder relative paths in it start from. */
static const char *folder_of(struct ferry__reader *r, const char *name)
{
    const char *slash = name ? strrchr(name, '/') : NULL;
    char given[PATH_MAX], real[PATH_MAX];
    size_t n = slash ? (size_t)(slash - name) : 0;

    if (n >= sizeof given)
        return "";
    if (n)
        memcpy(given, name, n);
    given[n] = 0;
    if (!realpath(slash ? (n ? given : "/") : ".", real))
        return ferry__reader_text(r, n ? given : ".");
    return strcmp(real, "/") == 0 ? "" : ferry__reader_text(r, real);
}

/* The first file may be a pipe, of a shell's <(...); one that is included is waited for by nobody.
 */
static int open_file(const char *name, bool included, struct stat *st)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (included ? O_NONBLOCK : 0);
    int fd = name ? open(name, flags) : dup(STDIN_FILENO);
    int err;

    if (fd < 0)
        return -errno;
    err = fstat(fd, st) < 0                   ? -errno
          : S_ISDIR(st->st_mode)              ? -EISDIR
          : included && !S_ISREG(st->st_mode) ? -EINVAL
                                              : 0;
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* May it be included here? */
static int check_include(struct ferry__reader *r, const struct ferry__config_file *parent,
                         struct ferry_config_place at, const char *name, const struct stat *st)
{
    for (const struct ferry__config_file *f = parent; f; f = f->parent)
        if (f->device == st->st_dev && f->inode == st->st_ino && S_ISREG(st->st_mode))
            return ferry__reader_say(r, at, "'%s' is included by itself", name);
    if (parent && parent->depth >= FERRY_CONFIG_INCLUDES_MAX)
        return ferry__reader_say(r, at, "files include each other %u deep at most",
                                 FERRY_CONFIG_INCLUDES_MAX);
    if (r->nfiles >= FERRY_CONFIG_FILES_MAX)
        return ferry__reader_say(r, at, "a configuration has %u files at most",
                                 FERRY_CONFIG_FILES_MAX);
    return 0;
}

static const char *why_not_read(int err)
{
    return err == -EFBIG    ? "it is larger than 1 MiB"
           : err == -EINVAL ? "it is no regular file"
                            : strerror(-err);
}

static int cannot_read(struct ferry__reader *r, const struct ferry__config_file *parent,
                       struct ferry_config_place at, const char *name, int err)
{
    if (err == -ENOMEM || !parent)
        r->err = err;
    if (!parent)
        ferry__reader_say(r, at, "cannot be read: %s", why_not_read(err));
    else if (err != -ENOMEM)
        ferry__reader_say(r, at, "'%s' cannot be read: %s", name, why_not_read(err));
    return err;
}

/* `name` NULL: standard input. */
static struct ferry__node *read_file(struct ferry__reader *r, struct ferry__config_file *parent,
                                     unsigned depth, struct ferry_config_place at, const char *name,
                                     struct ferry__node **tail, struct ferry__node **head)
{
    struct parser p = {.r = r, .depth = depth};
    struct stat st = {0};
    char *bytes = (char *)r->given.p;
    ssize_t n = (ssize_t)r->given.len;

    if (parent || !bytes) {
        int fd = open_file(name, parent != NULL, &st);

        if (fd < 0) {
            cannot_read(r, parent, at, name, fd);
            return *tail;
        }
        if (check_include(r, parent, at, name, &st) < 0) {
            close(fd);
            return *tail;
        }
        n = take_bytes(r, fd, &bytes);
        close(fd);
    }
    p.file = ferry__reader_alloc(r, sizeof *p.file);
    if (n < 0 || !p.file) {
        cannot_read(r, parent, at, name, n < 0 ? (int)n : -ENOMEM);
        return *tail;
    }
    *p.file = (struct ferry__config_file){.next = r->files,
                                          .parent = parent,
                                          .name = ferry__reader_text(r, name ? name : at.file),
                                          .folder = folder_of(r, name),
                                          .device = st.st_dev,
                                          .inode = st.st_ino,
                                          .number = r->nfiles++,
                                          .depth = parent ? parent->depth + 1 : 1};
    r->files = p.file;
    if (r->err)
        return *tail;
    ferry__lexer_init(&p.lexer, ferry_slice(bytes, (size_t)n));
    next(&p);
    return parse_statements(&p, NULL, tail, head);
}

struct ferry__node *ferry__tree_read(struct ferry__reader *r, const char *file)
{
    struct ferry__node *head = NULL, *tail = NULL;
    bool input = !r->given.p && strcmp(file, "-") == 0;
    struct ferry_config_place at = {input ? "standard input" : file, 0};

    read_file(r, NULL, 0, at, input ? NULL : file, &tail, &head);
    return head;
}
