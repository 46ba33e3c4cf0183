/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CONFIG_GUERRILLA_H
#define FERRY_CONFIG_GUERRILLA_H

#include <jansson.h>
#include <stdio.h>

#include "config/config.h"

/* What the files that read go-guerrilla's configuration share: the text of ferry's that is being
 * written, and what is said of the one that is read. */

struct ferry__guerrilla {
    const char *file;
    FILE *out;
    ferry_config_say say, notice;
    void *arg;
    unsigned nerrors;
};

void ferry__guerrilla_error(struct ferry__guerrilla *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void ferry__guerrilla_notice(struct ferry__guerrilla *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* `name = value` with what quotes it needs; of lists the words between, with _word. */
void ferry__guerrilla_put(struct ferry__guerrilla *, const char *name, const char *value);
void ferry__guerrilla_word(struct ferry__guerrilla *, const char *value);

/* A member of an object, NULL when it is not there; of another type it is an error, too. */
const char *ferry__guerrilla_text(struct ferry__guerrilla *, const json_t *object, const char *key);
bool ferry__guerrilla_flag(struct ferry__guerrilla *, const json_t *object, const char *key);
/* Names what is in an object and not in `known`, up to a NULL. */
void ferry__guerrilla_unknown(struct ferry__guerrilla *, const json_t *object, const char *where,
                              const char *const *known);

/* The settings for servers[].tls. */
void ferry__guerrilla_tls(struct ferry__guerrilla *, const json_t *server, const char *interface);
/* Keys of a server that belong to `tls` since go-guerrilla 1.6. */
extern const char *const ferry__guerrilla_tls_of_old[];
/* The settings for backend_config: of an application, to be written before services; and those of
 * each service. false: no mail would be stored, and said. */
bool ferry__guerrilla_backend(struct ferry__guerrilla *, const json_t *backend);
void ferry__guerrilla_scripts(struct ferry__guerrilla *, const json_t *backend);

#endif
