/* SPDX-License-Identifier: MIT */
/* `ferry config`: configuration files, checked, printed and laid out, with nothing started. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/slice.h"
#include "cli/cli.h"
#include "cli/paths.h"

static const char help_text[] =
    "usage: ferry config check FILE...\n"
    "       ferry config dump [--all] [--guerrilla] FILE\n"
    "       ferry config fmt [--write] FILE...\n"
    "       ferry config keys [--json]\n"
    "\n"
    "Looks at configuration files of `ferry run` and `ferry mail`; nothing is started. FILE - is\n"
    "standard input. See ferry.conf(5).\n"
    "\n"
    "  check    say all that is wrong, each with its file and line\n"
    "  dump     print it as one file, with what it includes\n"
    "  fmt      print it laid out: indented, blanks in their places, comments kept\n"
    "  keys     list all settings and filters, and what they are for\n"
    "\n"
    "  -a, --all        dump the defaults too\n"
    "  -g, --guerrilla  FILE is a configuration of go-guerrilla, in JSON\n"
    "  -w, --write      write the files themselves\n"
    "  -q, --quiet      say nothing of files that are good\n"
    "      --json       the list as JSON\n"
    "  -h, --help       this text\n"
    "\n"
    "Exits with 0, with 78 when a file is wrong, or with 1 when it cannot be read or written.\n";

enum { OPT_JSON = 256 };

static const struct option long_options[] = {
    {"all", no_argument, NULL, 'a'},
    {"guerrilla", no_argument, NULL, 'g'},
    {"write", no_argument, NULL, 'w'},
    {"quiet", no_argument, NULL, 'q'},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct options {
    bool all, write, quiet, json, guerrilla;
};

static const char *name_of(const char *file)
{
    return strcmp(file, "-") == 0 ? "standard input" : file;
}

static struct ferry_config *read_config(const char *file, bool guerrilla, int *code)
{
    struct ferry_config *c;
    int err = guerrilla ? ferry_config_read_guerrilla(file, &c, ferry_cli_say_place,
                                                      ferry_cli_say_place, NULL)
                        : ferry_config_read(file, &c, ferry_cli_say_place, NULL);

    *code = err == 0 ? FERRY_EXIT_OK : err == FERRY_EUSAGE ? FERRY_EXIT_CONFIG : FERRY_EXIT_FAILED;
    if (err == -ENOMEM)
        ferry_cli_say("%s: there is not enough memory", name_of(file));
    return c;
}

/* -- check and dump --------------------------------------------------------------------------- */

static const char *many(unsigned n)
{
    return n == 1 ? "" : "s";
}

static int check(const struct options *o, const char *file)
{
    unsigned routes = 0;
    int code;
    struct ferry_config *c = read_config(file, false, &code);

    if (!c)
        return code;
    ferry_programs_look(c, ferry_cli_say_place, NULL);
    if (ferry_paths_look(c, ferry_cli_say_place, NULL) < 0) {
        ferry_config_free(c);
        return FERRY_EXIT_CONFIG;
    }
    for (unsigned i = 0; i < c->nsites; i++)
        routes += c->sites[i].nroutes;
    if (!o->quiet) {
        printf("%s is good: ", name_of(file));
        if (c->nsites || !c->nmails)
            printf("%u site%s with %u route%s, ", c->nsites, many(c->nsites), routes, many(routes));
        if (c->nmails)
            printf("%u mail service%s, ", c->nmails, many(c->nmails));
        printf("%u application%s\n", c->napplications, many(c->napplications));
    }
    ferry_config_free(c);
    return code;
}

static int dump(const struct options *o, const char *file)
{
    int code;
    struct ferry_config *c = read_config(file, o->guerrilla, &code);

    if (c)
        ferry_config_print(c, o->all, stdout);
    ferry_config_free(c);
    return code;
}

/* -- fmt -------------------------------------------------------------------------------------- */

static int cannot(const char *what, const char *file, int err)
{
    ferry_cli_say("%s cannot be %s: %s", name_of(file), what, strerror(err));
    return FERRY_EXIT_FAILED;
}

/* All of a file: its bytes, of the heap, or NULL and errno. */
static char *read_bytes(const char *file, size_t *n)
{
    FILE *in = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    char *bytes = malloc(FERRY_CONFIG_FILE_MAX + 1);
    int err = in && bytes ? 0 : errno;

    if (!err) {
        *n = fread(bytes, 1, FERRY_CONFIG_FILE_MAX + 1, in);
        err = ferror(in) ? errno : *n > FERRY_CONFIG_FILE_MAX ? EFBIG : 0;
    }
    if (in && in != stdin)
        fclose(in);
    if (!err)
        return bytes;
    free(bytes);
    errno = err;
    return NULL;
}

/* Whole or not at all, with the mode and owner it has: 0 or -errno. */
static int write_bytes(const char *file, const char *bytes, size_t n)
{
    char path[PATH_MAX], temporary[PATH_MAX + 8];
    struct stat st;
    int fd, err = 0;

    if (!realpath(file, path) || stat(path, &st) < 0)
        return -errno;
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, st.st_mode & 07777) < 0 ||
        (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM))
        err = -errno;
    for (ssize_t done; !err && n; bytes += done, n -= (size_t)done) {
        done = write(fd, bytes, n);
        if (done < 0)
            err = -errno;
        if (done < 0)
            break;
    }
    if (!err && fsync(fd) < 0)
        err = -errno;
    close(fd);
    if (!err && rename(temporary, path) < 0)
        err = -errno;
    if (err)
        unlink(temporary);
    return err;
}

static int put(const struct options *o, const char *file, struct ferry_slice before,
               struct ferry_slice after)
{
    int err;

    if (!o->write) {
        fwrite(after.p, 1, after.len, stdout);
        return FERRY_EXIT_OK;
    }
    if (ferry_slice_eq(before, after))
        return FERRY_EXIT_OK;
    err = write_bytes(file, after.p, after.len);
    if (err < 0)
        return cannot("written", file, -err);
    if (!o->quiet)
        printf("%s is laid out\n", file);
    return FERRY_EXIT_OK;
}

static int fmt(const struct options *o, const char *file)
{
    struct ferry_config_place place = {.file = name_of(file)};
    char *bytes, *text = NULL;
    size_t n, len = 0;
    const char *why;
    FILE *out;
    int code;

    bytes = read_bytes(file, &n);
    if (!bytes)
        return cannot("read", file, errno);
    out = open_memstream(&text, &len);
    if (!out) {
        free(bytes);
        return cannot("read", file, ENOMEM);
    }
    if (ferry_config_format(ferry_slice(bytes, n), out, &place, &why) < 0) {
        ferry_cli_say_place(NULL, &place, why);
        code = FERRY_EXIT_CONFIG;
        fclose(out);
    } else {
        code = fclose(out) == 0 ? put(o, file, ferry_slice(bytes, n), ferry_slice(text, len))
                                : cannot("read", file, ENOMEM);
    }
    free(text);
    free(bytes);
    return code;
}

/* -- the command ------------------------------------------------------------------------------ */

static int keys(const struct options *o)
{
    if (ferry_config_keys(o->json, stdout) == 0)
        return ferry_cli_written();
    ferry_cli_say("there is not enough memory");
    return FERRY_EXIT_FAILED;
}

static const struct {
    const char *name, *options; /* the letters of those it takes; j: --json */
    unsigned files_min, files_max;
    int (*run)(const struct options *, const char *file);
} verbs[] = {
    {"check", "q", 1, INT_MAX, check},
    {"dump", "ag", 1, 1, dump},
    {"fmt", "wq", 1, INT_MAX, fmt},
    {"keys", "j", 0, 0, NULL},
};

static int usage_error(const char *fmt, const char *what, const char *verb)
{
    ferry_cli_say(fmt, what, verb);
    ferry_cli_say("ferry config --help lists what there is");
    return FERRY_EXIT_USAGE;
}

static int parse(struct options *o, int argc, char **argv, const char *allowed)
{
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "agwqh", long_options, NULL)) != -1) {
        const char *given = argv[optind - 1];

        if (c == 'h')
            return 'h';
        if (c == '?')
            return usage_error("there is no option %s of ferry config %s", given, argv[0]);
        if (!strchr(allowed, c == OPT_JSON ? 'j' : c))
            return usage_error("%s is no option of ferry config %s", given, argv[0]);
        o->all |= c == 'a';
        o->guerrilla |= c == 'g';
        o->write |= c == 'w';
        o->quiet |= c == 'q';
        o->json |= c == OPT_JSON;
    }
    return 0;
}

static int help(void)
{
    fputs(help_text, stdout);
    return ferry_cli_written();
}

static int run(size_t v, int argc, char **argv)
{
    struct options o = {0};
    int code = parse(&o, argc, argv, verbs[v].options), worst = FERRY_EXIT_OK;
    unsigned n;

    if (code)
        return code == 'h' ? help() : code;
    n = (unsigned)(argc - optind);
    if (n < verbs[v].files_min || n > verbs[v].files_max)
        return usage_error(n ? "%s too many: ferry config %s"
                             : "%s is missing: ferry config %s FILE",
                           n ? argv[optind + (int)verbs[v].files_max] : "a file", argv[0]);
    if (!verbs[v].run)
        return keys(&o);
    for (int i = optind; i < argc; i++) {
        if (o.write && strcmp(argv[i], "-") == 0)
            return usage_error("%s cannot be written: ferry config %s", "standard input", argv[0]);
        code = verbs[v].run(&o, argv[i]);
        worst = code > worst ? code : worst;
    }
    code = ferry_cli_written();
    return worst ? worst : code;
}

int ferry_cli_config(int argc, char **argv)
{
    if (argc < 2) {
        fputs(help_text, stderr);
        return FERRY_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help();
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++)
        if (strcmp(argv[1], verbs[v].name) == 0)
            return run(v, argc - 1, argv + 1);
    return usage_error("there is no 'ferry config %s'%s", argv[1], "");
}
