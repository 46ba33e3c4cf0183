/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SESSION_SITE_H
#define TESTS_SESSION_SITE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session_fake.h"

/* A folder of the test's own, TOP/root, with things beside it; a chain; and a client that is never
 * called over a socket. */

static char site_top[64], site_real[PATH_MAX];

static inline const char *site_at(const char *below)
{
    static char path[4][PATH_MAX];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], PATH_MAX, "%s/%s", site_top, below);
    return path[turn];
}

static inline void site_file(const char *below, const char *text)
{
    int fd = open(site_at(below), O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void site_make(void)
{
    static const char *const folders[] = {"root",        "root-secret",  "outside",
                                          "root/dir",    "root/docs",    "root/empty",
                                          "root/upload", "root/.git",    "root/.well-known",
                                          "root/vendor", "root/old.php", NULL};
    static const char *const files[] = {"root/index.php",
                                        "root/a.php",
                                        "root/a.php.bak",
                                        "root/note.txt",
                                        "root/.env",
                                        "root/.git/config",
                                        "root/.well-known/acme",
                                        "root/dir/index.php",
                                        "root/docs/index.html",
                                        "root/upload/a.jpg",
                                        "root/vendor/x.php",
                                        "root/vendor/x.js",
                                        "root/dump.sql",
                                        "root/run.cgi",
                                        "root/secret.key",
                                        "root/old.php/i.txt",
                                        "root-secret/s.php",
                                        "outside/c.php",
                                        "outside/o.txt",
                                        NULL};

    snprintf(site_top, sizeof site_top, "/tmp/ferry-session-XXXXXX");
    assert_non_null(mkdtemp(site_top));
    for (unsigned i = 0; folders[i]; i++)
        assert_int_equal(mkdir(site_at(folders[i]), 0755), 0);
    for (unsigned i = 0; files[i]; i++)
        site_file(files[i], "hello world");
    assert_int_equal(symlink("../outside/c.php", site_at("root/link.php")), 0);
    assert_int_equal(symlink("../outside/o.txt", site_at("root/link.txt")), 0);
    assert_int_equal(symlink("a.php", site_at("root/same.php")), 0);
    assert_int_equal(mkfifo(site_at("root/pipe.txt"), 0644), 0);
    assert_non_null(realpath(site_at("root"), site_real));
}

static inline int site_remove(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", site_top, (char *)NULL);
        _exit(1);
    }
    return pid < 0 || waitpid(pid, NULL, 0) != pid;
}

static inline struct ferry_client *site_client(void)
{
    struct ferry_client *c = NULL;

    assert_int_equal(
        ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE,
                                                     .multiplex = FERRY_MULTIPLEX_OFF,
                                                     .address = "unix:/nonexistent/ferry.sock"},
                         &c),
        0);
    return c;
}

/* As fake_close, and then also the chain and its client. */
static inline void site_close(struct fake *f, struct ferry_filters *chain, struct ferry_client *c)
{
    fake_close(f);
    ferry_client_free(c);
    ferry_filters_free(chain);
}

/* What became of a request, in few words: "run NAME INFO", "file PATH", "301 LOCATION", "404",
 * "end". */
static inline const char *site_tell(const struct fake *f)
{
    static char text[16384];
    const char *at;

    switch (f->did) {
    case FAKE_CALLED:
        snprintf(text, sizeof text, "run");
        for (unsigned i = 0; i < 2; i++) {
            const char *value = fake_param(f, i ? "PATH_INFO" : "SCRIPT_NAME");

            if (value)
                snprintf(text + strlen(text), sizeof text - strlen(text), " %s", value);
        }
        break;
    case FAKE_FILE:
        snprintf(text, sizeof text, "file %s", f->file);
        break;
    case FAKE_REFUSED:
    case FAKE_ANSWERED:
        at = strstr(f->fields, "Location: ");
        snprintf(text, sizeof text, "%d%s%.*s", f->status, at ? " " : "",
                 at ? (int)strcspn(at + 10, "\n") : 0, at ? at + 10 : "");
        break;
    default:
        snprintf(text, sizeof text, "nothing");
    }
    return text;
}

#endif
