/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CONFIG_PRIVATE_H
#define FERRY_CONFIG_PRIVATE_H

#include <sys/types.h>

#include "config/config.h"

/* What the files of this folder share: the tree of a file's statements, the reader that turns it
 * into a configuration, and the table of settings by which it is read, written and documented. */

/* X(name, text): the blocks that have a table of settings */
#define FERRY__BLOCK_MAP(X)                                                                        \
    X(TOP, "top")                                                                                  \
    X(APPLICATION, "application")                                                                  \
    X(SITE, "site")                                                                                \
    X(MAIL, "mail")

enum ferry__block {
#define X(name, text) FERRY__BLOCK_##name,
    FERRY__BLOCK_MAP(X)
#undef X
        FERRY__BLOCKS
};

/* -- the tree
 * -------------------------------------------------------------------------------------------------
 */

struct ferry__text {
    struct ferry__text *next;
    const char *text;
    struct ferry_config_place place;
};

/* `name = value`, `name = { value, value }` or `name title... { statements }` */
struct ferry__node {
    struct ferry__node *next;
    const char *name;
    struct ferry_config_place place;
    bool block, list;          /* { statements }; { values } */
    struct ferry__text *texts; /* values, or titles */
    unsigned ntexts;
    struct ferry__node *children;
};

/* -- the reader
 * -------------------------------------------------------------------------------------------------
 */

struct ferry__message {
    struct ferry__message *next;
    unsigned file; /* in the order in which files were read */
    struct ferry_config_place place;
    const char *text;
};

struct ferry__config_file {
    struct ferry__config_file *next, *parent; /* parent: the file that includes it, while it does */
    const char *name, *folder;                /* folder: absolute, without '/' at its end */
    dev_t device;
    ino_t inode;
    unsigned number, depth;
};

struct ferry__reader {
    struct ferry_config *config;
    struct ferry_slice given;         /* the first file's text; p NULL: it is read */
    struct ferry__config_file *files; /* the newest first */
    unsigned nfiles;
    struct ferry__message *messages; /* in their order */
    unsigned nmessages;
    bool sound; /* the tree is whole: what is not in it is missing */
    int err;    /* the first that ends all: -ENOMEM, or that of the file itself */
};

/* Memory that goes with the configuration, or NULL and r->err. */
void *ferry__reader_alloc(struct ferry__reader *, size_t n);
char *ferry__reader_text(struct ferry__reader *, const char *);

/* Room for one more behind n members, in an array that only this enlarges; or NULL (and r->err). */
void *ferry__reader_grow(struct ferry__reader *, const void *array, unsigned n, size_t size);
void *ferry__grow(struct ferry_config *, const void *array, unsigned n, size_t size);

/* One thing wrong, at a place. Returns FERRY_EUSAGE. */
int ferry__reader_say(struct ferry__reader *, struct ferry_config_place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads a file and all it includes: its statements. What is wrong is said; r->err as above. */
struct ferry__node *ferry__tree_read(struct ferry__reader *, const char *file);

/* A filter with all its arguments at their fallbacks: 0 or -ENOMEM. And the i-th of them as text; a
 * list gets one `more`. 0, -ENOMEM, or FERRY_EUSAGE with why. */
int ferry__filter_init(struct ferry_config *, struct ferry_config_filter *,
                       const struct ferry_filter_kind *);
int ferry__filter_set(struct ferry_config *, struct ferry_config_filter *, unsigned i,
                      const char *text, bool more, const char **why);

/* Makes of a block's statements what they mean, with the defaults of what they leave out. `where`
 * is the end of "there is no setting 'x' ...": "in an application". */
void ferry__block_fill(struct ferry__reader *, enum ferry__block, void *block,
                       const struct ferry__node *first, const char *where);
/* The filters of a route's block. */
void ferry__route_fill(struct ferry__reader *, struct ferry_config_route *,
                       const struct ferry__node *);
/* What only the whole tells: names used and not defined, sites in each other's way. */
void ferry__config_check(struct ferry__reader *);

/* The nearest of some names to a word that is none of them, or NULL. `next` gives the i-th name,
 * NULL behind the last. */
const char *ferry__nearest(const char *word, const char *(*next)(void *, unsigned i), void *arg);

/* NAME = VALUE in a table that is a block; what is wrong is said: 0 or FERRY_EUSAGE. */
int ferry__check_pair(struct ferry__reader *, const struct ferry__node *table,
                      const struct ferry__node *pair);

/* An address in a setting of this name, to listen on when `any`; with relative paths of sockets
 * made whole. NULL: said. */
const char *ferry__read_address(struct ferry__reader *, struct ferry_config_place, const char *name,
                                const char *text, bool any);
/* The list of addresses to listen on that a node is: 0, -ENOMEM, or FERRY_EUSAGE, and said. */
int ferry__read_addresses(struct ferry__reader *, const struct ferry__node *, const char *whose,
                          const char *const **out, unsigned *n);
/* Is it the name of a host? And of an application, or a mail service? */
bool ferry__is_host(struct ferry_slice);
bool ferry__is_name(const char *);
/* Is there an application of this name? Else it is said. And do two addresses to listen on mean
 * the same one? Then its text. */
void ferry__check_application(struct ferry__reader *, struct ferry_config_place, const char *name);
const char *ferry__listen_together(const char *const *a, unsigned na, const char *const *b,
                                   unsigned nb);
/* What only the whole tells of mail services. */
void ferry__mails_check(struct ferry__reader *);

/* A path as it is meant in the file of that place: relative ones start at the file's folder. NULL:
 * r->err. */
const char *ferry__reader_path(struct ferry__reader *, struct ferry_config_place, const char *);

/* -- values as they are written: 0, or FERRY_EUSAGE with what to write instead (static memory)
 * -------------------------------------------------------------------------------------------------
 */

#define FERRY__DURATION_MAX ((uint64_t)INT32_MAX / 86400000 * 86400000) /* whole days in an int */
#define FERRY__SIZE_MAX ((uint64_t)1 << 50)

int ferry__value_number(const char *, uint64_t *out, const char **why);
int ferry__value_switch(const char *, bool *out, const char **why);
int ferry__value_duration(const char *, uint64_t *ms, const char **why);
int ferry__value_size(const char *, uint64_t *bytes, const char **why);

#define FERRY__VALUE_MAX 32
/* And back, NUL-terminated, with the largest unit that leaves nothing over. */
void ferry__value_put_duration(uint64_t ms, char out[FERRY__VALUE_MAX]);
void ferry__value_put_size(uint64_t bytes, char out[FERRY__VALUE_MAX]);

/* -- settings
 * -------------------------------------------------------------------------------------------------
 */

enum ferry__setting_type {
    FERRY__SETTING_TEXT,     /* const char *; one of `choices`, if there are */
    FERRY__SETTING_PATH,     /* const char *, absolute; words of `choices` stay as they are */
    FERRY__SETTING_NUMBER,   /* unsigned */
    FERRY__SETTING_SWITCH,   /* bool */
    FERRY__SETTING_UNSWITCH, /* bool, the other way round */
    FERRY__SETTING_DURATION, /* unsigned, milliseconds */
    FERRY__SETTING_SIZE32,   /* uint32_t */
    FERRY__SETTING_SIZE,     /* uint64_t */
    FERRY__SETTING_CHOICE,   /* an enum, by `choices` */
    FERRY__SETTING_LIST,     /* const char *const *, and `count` */
    FERRY__SETTING_OTHER,    /* by functions of its own */
};

struct ferry__printer;

struct ferry__setting {
    const char *name;
    enum ferry__setting_type type;
    size_t offset;
    const char *form;     /* what is written behind '='; NULL: by type. Blocks begin with '{' */
    const char *fallback; /* as it would be written; NULL: unset */
    const char *help;
    bool block, many;           /* `name title { ... }`; may be said again */
    uint64_t min, max;          /* of what is a number; max 0: none but the type's */
    const char *const *choices; /* NULL behind the last */
    size_t count;               /* of a list: the offset of its number, an unsigned */
    bool paths;                 /* the texts of a list are paths */
    /* What is wrong with a text, or NULL. */
    const char *(*wrong)(const char *text);
    int (*read)(struct ferry__reader *, void *block, const struct ferry__node *);
    /* Nothing when it is not set, but for `all`. */
    void (*print)(struct ferry__printer *, const void *block, bool all);
};

/* Up to a NULL name. */
const struct ferry__setting *ferry__settings(enum ferry__block);
void ferry__settings_fallback(enum ferry__block, void *block);

/* Something of a number's type, or a switch or choice, as text is meant: 0 or FERRY_EUSAGE. */
int ferry__setting_parse(const struct ferry__setting *, const char *text, uint64_t *out,
                         const char **why);
uint64_t ferry__setting_get(const struct ferry__setting *, const void *block);
void ferry__setting_put(const struct ferry__setting *, void *block, uint64_t);
/* How a value of this is written; static memory. */
const char *ferry__setting_form(const struct ferry__setting *);

/* The functions of OTHER settings. */
int ferry__read_connect(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_spawn(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_spawn_php(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_processes(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_env(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_application(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_site(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_mail(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_mail_listen(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_threads(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_listen(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_params(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_error_page(struct ferry__reader *, void *, const struct ferry__node *);
int ferry__read_route(struct ferry__reader *, void *, const struct ferry__node *);

void ferry__print_connect(struct ferry__printer *, const void *, bool);
void ferry__print_spawn(struct ferry__printer *, const void *, bool);
void ferry__print_spawn_php(struct ferry__printer *, const void *, bool);
void ferry__print_processes(struct ferry__printer *, const void *, bool);
void ferry__print_env(struct ferry__printer *, const void *, bool);
void ferry__print_applications(struct ferry__printer *, const void *, bool);
void ferry__print_sites(struct ferry__printer *, const void *, bool);
void ferry__print_mails(struct ferry__printer *, const void *, bool);
void ferry__print_threads(struct ferry__printer *, const void *, bool);
void ferry__print_listen(struct ferry__printer *, const void *, bool);
void ferry__print_params(struct ferry__printer *, const void *, bool);
void ferry__print_error_pages(struct ferry__printer *, const void *, bool);
void ferry__print_routes(struct ferry__printer *, const void *, bool);

#endif
