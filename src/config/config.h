/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CONFIG_CONFIG_H
#define FERRY_CONFIG_CONFIG_H

#include <stdio.h>

#include "ferry/client.h"
#include "ferry/loop.h"
#include "mail/service.h"
#include "session/kind.h"

/*
 * A configuration as plain data: what a file says, checked, with its defaults filled in, and
 * nothing opened. `ferry run` reads it from a file, `ferry serve` makes it from its options; both
 * are then the same engine. Strings and arrays belong to the configuration.
 */

/* Where in which file something was said. */
struct ferry_config_place {
    const char *file; /* NULL: not from a file */
    unsigned line;
};

struct ferry_config_spawn {
    const char *const *argv; /* NULL: not started by us */
    unsigned processes_min, processes_max;
    const char *user, *group, *chdir;
    const char *const *env; /* NAME=VALUE */
    unsigned nenv;
    bool php; /* PHP, found and set up for the folder `chdir`; argv[0], if any, is the program */
};

struct ferry_config_application {
    const char *name;
    struct ferry_config_place place;
    struct ferry_client_opts client; /* its addresses too, unless it is spawned */
    struct ferry_config_spawn spawn;
};

struct ferry_config_filter {
    const struct ferry_filter_kind *kind;
    struct ferry_config_place place;
    struct ferry_arg_value *values; /* kind->nargs; clients are NULL here: */
    const char **applications;      /* their names, by argument; NULL: none */
    uint64_t said;                  /* 1 << argument: it was written, or set by hand */
};

struct ferry_config_route {
    const char *pattern; /* as of struct ferry_gate_route */
    struct ferry_config_place place;
    struct ferry_config_filter *filters;
    unsigned nfilters;
};

struct ferry_config_error_page {
    int status;
    const char *file;
};

enum ferry_config_log_format { FERRY_CONFIG_LOG_COMBINED, FERRY_CONFIG_LOG_JSON };

struct ferry_config_site {
    const char *const *names; /* "shop.example.org", "*.example.org"; none: any other */
    unsigned nnames;
    struct ferry_config_place place;
    const char *const *listen; /* addresses */
    unsigned nlisten;
    const char *root; /* NULL: none */
    const char *server_name;
    bool project_root; /* root is a project's own folder: hide what such folders hold */
    const struct ferry_param *params; /* told to every application */
    unsigned nparams;
    struct ferry_config_route *routes;
    unsigned nroutes;
    struct ferry_config_error_page *error_pages;
    unsigned nerror_pages;
    const char *access_log; /* a file, "-" or "off" */
    enum ferry_config_log_format log_format;
    uint64_t body_max; /* 0: the default */
};

struct ferry_config_mail {
    const char *name;
    struct ferry_config_place place;
    const char *const *listen; /* addresses */
    unsigned nlisten;
    const char *application; /* of the scripts that have none of their own */
    const char *validate_application, *save_application, *auth_application;
    const char *const *tls_certs, *const *tls_keys; /* files; no keys: they are in the former */
    unsigned ntls_certs, ntls_keys;
    /* Without its name, clients and certificates, which are given when it starts. Here a size_max
     * of 0 means none. */
    struct ferry_mail_service service;
};

enum ferry_config_mail_log { FERRY_CONFIG_MAIL_TEXT, FERRY_CONFIG_MAIL_JSON };
enum ferry_config_switch { FERRY_CONFIG_AUTO, FERRY_CONFIG_ON, FERRY_CONFIG_OFF };

struct ferry_config {
    struct ferry_config_application *applications;
    unsigned napplications;
    struct ferry_config_site *sites;
    unsigned nsites;
    struct ferry_config_mail *mails;
    unsigned nmails;
    unsigned threads; /* 0: one for each processor */
    enum ferry_io io;
    uint32_t head_max;
    const char *user, *group; /* of the worker, after its sockets are bound; NULL: as we are */
    enum ferry_config_switch sandbox;
    const char *pid_file;
    const char *mail_log; /* a file, "-" or "off" */
    enum ferry_config_mail_log mail_log_format;
    const char *spool;                  /* NULL: in $TMPDIR, or /var/tmp */
    unsigned stop_ms;                   /* for requests under way; 30,000 */
    struct ferry_config_memory *memory; /* all of the above lies in it */
};

/* -- from a file
 * -------------------------------------------------------------------------------------------------
 */

/* One thing wrong, or worth a word: a sentence without its place, which stands beside it. */
typedef void (*ferry_config_say)(void *arg, const struct ferry_config_place *, const char *text);

#define FERRY_CONFIG_FILE_MAX (1u << 20) /* bytes of one file */
#define FERRY_CONFIG_FILES_MAX 256u      /* with those that are included */
#define FERRY_CONFIG_INCLUDES_MAX 8u     /* deep, with the first */
#define FERRY_CONFIG_BLOCKS_MAX 8u       /* deep */
#define FERRY_CONFIG_THREADS_MAX 64u
#define FERRY_CONFIG_APPLICATIONS_MAX 256u
#define FERRY_CONFIG_SITES_MAX 1024u
#define FERRY_CONFIG_MAILS_MAX 64u
#define FERRY_CONFIG_LISTEN_MAX 64u    /* addresses, of all together */
#define FERRY_CONFIG_ROUTES_MAX 1024u  /* of one site */
#define FERRY_CONFIG_FILTERS_MAX 256u  /* of one route */
#define FERRY_CONFIG_MESSAGES_MAX 100u /* told; one more says how many were not */

/*
 * Reads a file ("-": standard input) and what it includes. 0 and *out; or FERRY_EUSAGE, and each
 * thing that is wrong was told, as many as can be found in one go, with what was meant instead of a
 * misspelt word; or -ENOMEM, -errno of the file itself (told too).
 */
FERRY_MUST_CHECK
int ferry_config_read(const char *file, struct ferry_config **out, ferry_config_say, void *arg);
/* The same of a text that is not in a file; relative paths in it start where `name` would lie. */
FERRY_MUST_CHECK
int ferry_config_parse(const char *name, struct ferry_slice text, struct ferry_config **out,
                       ferry_config_say, void *arg);
/*
 * The same of a configuration of go-guerrilla with its FastCGI processor (JSON). What is not
 * supported is told, by `notice` where it can be left out, and is else an error.
 */
FERRY_MUST_CHECK
int ferry_config_read_guerrilla(const char *file, struct ferry_config **out, ferry_config_say,
                                ferry_config_say notice, void *arg);
void ferry_config_free(struct ferry_config *); /* takes NULL */

/* An empty one to be filled by hand, and memory that goes with it (zeroed; NULL: none left). */
struct ferry_config *ferry_config_new(void);
void *ferry_config_alloc(struct ferry_config *, size_t n);
char *ferry_config_text(struct ferry_config *, const char *); /* a copy */

/* Everything at its default. */
void ferry_config_application_init(struct ferry_config_application *);
void ferry_config_site_init(struct ferry_config_site *);
void ferry_config_mail_init(struct ferry_config_mail *);

/* Would a mail service that listens here take mail for any domain from anybody, though nobody said
 * that it shall (accept_all)? Not on an address that only a machine or network of our own has. */
struct ferry_addr;
bool ferry_config_mail_is_open(const struct ferry_config_mail *, const struct ferry_addr *);

/*
 * Adds a filter of this kind to a route, whose filters are all added by this, with all arguments at
 * their fallbacks; it stays where it is until the next is added. NULL: no memory, or no such kind.
 * And sets one of its arguments by name, as it would be written in a file; each call for a list
 * adds one to it. 0, -ENOMEM, or FERRY_EUSAGE: no such argument, or no such value.
 */
struct ferry_config_filter *ferry_config_filter_add(struct ferry_config *,
                                                    struct ferry_config_route *, const char *kind);
int ferry_config_filter_set(struct ferry_config *, struct ferry_config_filter *, const char *arg,
                            const char *value);

/* Writes it as a file that reads the same; `all` with the defaults that were not said. */
void ferry_config_print(const struct ferry_config *, bool all, FILE *);

/* What can be said in a file: all settings and filters with their defaults and what they are for,
 * as text for people, or as JSON. 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_config_keys(bool json, FILE *);

/* Lays the text of a file out anew: indented, blanks in their places, comments kept. 0, or
 * FERRY_EUSAGE with `place` and `why` when its blocks or quotes do not close. */
FERRY_MUST_CHECK
int ferry_config_format(struct ferry_slice text, FILE *out, struct ferry_config_place *,
                        const char **why);

#endif
