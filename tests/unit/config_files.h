/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_CONFIG_FILES_H
#define FERRY_TESTS_CONFIG_FILES_H

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config_kinds.h"
#include "support.h"

/* A folder with configuration files, and what is said when they are read. */

static char folder[64], told[65536];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ferry-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"f", "a", "b", "c", "conf.d/1.conf", "conf.d/2.conf"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(at(names[i]));
    rmdir(at("conf.d"));
    return rmdir(folder);
}

__attribute__((unused)) static void put_bytes(const char *name, const char *text, size_t n)
{
    FILE *f = fopen(at(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* "LINE: TEXT" for the first file, "NAME:LINE: TEXT" for others. */
static void tell(void *arg, const struct ferry_config_place *place, const char *text)
{
    size_t n = strlen(told);
    const char *slash = place->file ? strrchr(place->file, '/') : NULL;
    bool first = slash && strcmp(slash, "/f") == 0;

    (void)arg;
    snprintf(told + n, sizeof told - n, "%s%s%u: %s\n",
             first   ? ""
             : slash ? slash + 1
                     : "?",
             first ? "" : ":", place->line, text);
}

static int read_file(const char *name, struct ferry_config **out)
{
    told[0] = 0;
    return ferry_config_read(at(name), out, tell, NULL);
}

__attribute__((unused)) static struct ferry_config *good(const char *text)
{
    struct ferry_config *c;

    put("f", text);
    if (read_file("f", &c) != 0)
        fail_msg("%s\nwas refused: %s", text, told);
    assert_string_equal(told, "");
    return c;
}

__attribute__((unused)) static char *printed(const struct ferry_config *c, bool all)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_non_null(f);
    ferry_config_print(c, all, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

/* What stands in every file of these tests that are about something else. */
#define SITE "site { listen = :80 route \"*\" { basic_params {} } }\n"
#define APP(settings) "application a { connect = /a " settings " }\n" SITE

#endif
