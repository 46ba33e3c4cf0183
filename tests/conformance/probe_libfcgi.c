/* SPDX-License-Identifier: MIT */
/*
 * Answers ferry-check with libfcgi, in its usual style: fcgi_stdio.h, which makes printf and
 * environ those of the request. Words that its API has nothing for are left out: nothing tells a
 * program of an abort.
 */
#include <fcgi_stdio.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static const char pattern[] = "abcdefghijklmnopqrstuvwxyz";

/* The text behind NAME= in the query string, up to the next '&'; "" without. */
static const char *argument(const char *name)
{
    static char value[256];
    const char *query = getenv("QUERY_STRING");
    size_t n = strlen(name);

    while (query && *query) {
        if (strncmp(query, name, n) == 0 && query[n] == '=') {
            size_t len = strcspn(query + n + 1, "&");

            if (len >= sizeof value)
                len = sizeof value - 1;
            memcpy(value, query + n + 1, len);
            value[len] = 0;
            return value;
        }
        query = strchr(query, '&');
        query += query != NULL;
    }
    return "";
}

static void text(void)
{
    printf("Content-Type: text/plain\r\n\r\n");
}

static void about(void)
{
    text();
    printf("ferry-check 1\necho length params get environ status stderr mixed size sleep slow tiny "
           "empties none unread stray variable deny data cache\nlibfcgi\n");
}

static void echo(void)
{
    int c;

    text();
    while ((c = getchar()) != EOF)
        putchar(c);
}

static unsigned long count_input(void)
{
    char buf[8192];
    unsigned long n = 0;
    size_t got;

    while ((got = fread(buf, 1, sizeof buf, stdin)) > 0)
        n += got;
    return n;
}

static void params(void)
{
    text();
    for (char **e = environ; *e; e++) {
        size_t name = strcspn(*e, "=");
        const char *value = (*e)[name] ? *e + name + 1 : "";

        printf("%lu %lu\n%.*s%s\n", (unsigned long)name, (unsigned long)strlen(value), (int)name,
               *e, value);
    }
}

static void get(void)
{
    const char *value = getenv(argument("name"));

    text();
    if (value)
        printf("is %s\n", value);
    else
        printf("none\n");
}

static void stderr_bytes(unsigned long n)
{
    while (n--)
        fputc('e', stderr);
    text();
    printf("stderr\n");
}

static void mixed(unsigned long n)
{
    text();
    for (unsigned long i = 0; i < n; i++) {
        printf("o%lu\n", i);
        fprintf(stderr, "e%lu\n", i);
    }
}

static void size(unsigned long n)
{
    char *p = malloc(n + 1);

    for (unsigned long i = 0; p && i < n; i++)
        p[i] = pattern[i % 26];
    text();
    if (p)
        fwrite(p, 1, n, stdout);
    free(p);
}

static void slow(unsigned long n, unsigned long ms)
{
    text();
    for (unsigned long i = 0; i < n; i++) {
        printf("%lu\n", i);
        if (fflush(stdout) < 0) /* the web server is gone */
            return;
        usleep((useconds_t)ms * 1000);
    }
}

static void empties(void)
{
    text();
    fflush(stdout);
    fwrite("", 1, 0, stdout);
    fflush(stdout);
    printf("a");
    fflush(stdout);
    fflush(stdout);
    printf("%s", "");
    printf("bc\n");
}

static void stray(void)
{
    static const char junk[] = "this is no FastCGI\n";

    if (write(1, junk, sizeof junk - 1) < 0 || write(2, junk, sizeof junk - 1) < 0)
        fprintf(stderr, "stray: a descriptor is closed\n");
    text();
    printf("stray\n");
}

static void variable(void)
{
    printf("Variable-%s: ", argument("name"));
    printf("%s\r\n", argument("value"));
    text();
}

static void data(void)
{
    const char *length = getenv("FCGI_DATA_LENGTH"), *modified = getenv("FCGI_DATA_LAST_MOD");
    unsigned long body = count_input(), n = 0;

    if (FCGI_StartFilterData() >= 0)
        n = count_input();
    text();
    printf("stdin %lu data %lu length %lld modified %lld\n", body, n,
           length ? strtoll(length, NULL, 10) : -1, modified ? strtoll(modified, NULL, 10) : -1);
}

static void answer(const char *word)
{
    unsigned long n = strtoul(argument("n"), NULL, 10), ms = strtoul(argument("ms"), NULL, 10);

    if (strcmp(word, "about") == 0)
        about();
    else if (strcmp(word, "echo") == 0)
        echo();
    else if (strcmp(word, "length") == 0)
        n = count_input(), text(), printf("%lu\n", n);
    else if (strcmp(word, "params") == 0)
        params();
    else if (strcmp(word, "get") == 0 || strcmp(word, "environ") == 0)
        get();
    else if (strcmp(word, "status") == 0)
        text(), printf("status\n"), FCGI_SetExitStatus((int)strtol(argument("n"), NULL, 10));
    else if (strcmp(word, "stderr") == 0)
        stderr_bytes(n);
    else if (strcmp(word, "mixed") == 0)
        mixed(n);
    else if (strcmp(word, "size") == 0)
        size(n);
    else if (strcmp(word, "sleep") == 0)
        usleep((useconds_t)ms * 1000), text(), printf("slept\n");
    else if (strcmp(word, "slow") == 0)
        slow(n, ms);
    else if (strcmp(word, "tiny") == 0)
        for (text(); n; n--)
            putchar('.');
    else if (strcmp(word, "empties") == 0)
        empties();
    else if (strcmp(word, "stray") == 0)
        stray();
    else if (strcmp(word, "variable") == 0)
        variable();
    else if (strcmp(word, "deny") == 0)
        printf("Status: 403\r\n"), text(), printf("You may not.\n");
    else if (strcmp(word, "data") == 0)
        data();
    else if (strcmp(word, "cache") == 0)
        count_input(), text(), printf("cached\n");
    else if (strcmp(word, "none") != 0)
        text(), printf("hello\n");
}

int main(void)
{
    while (FCGI_Accept() >= 0) {
        const char *role = getenv("FCGI_ROLE");
        char word[64];

        FCGI_SetExitStatus(0);
        snprintf(word, sizeof word, "%s", argument("ferry-check"));
        /* A filter says nothing before its body is over (section 6.4). */
        if (!*word && role && strcmp(role, "FILTER") == 0)
            count_input();
        answer(word);
    }
    return 0;
}
