/* SPDX-License-Identifier: MIT */
/*
 * http_load PORT CLIENTS REQUESTS TARGET EXPECTED FORM [FIELD]: asks a web server on this machine
 * for the same thing again and again, over CLIENTS connections at once, which are kept as long as
 * it keeps them. It posts the FORM, unless that is empty; FIELD is one more header line. Every
 * answer has to be 200 with exactly the EXPECTED content. Prints what went wrong, each kind once,
 * and how many requests were answered; exits 0 when it was all of them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 65536
#define SILENCE_MS 20000

struct client {
    int fd;
    bool waits;            /* for an answer */
    unsigned long answers; /* on this connection */
    size_t len;
    char answer[ANSWER_MAX + 1]; /* so far, and a NUL */
};

static struct sockaddr_in to = {.sin_family = AF_INET};
static char request[8192];
static size_t request_len;
static const char *expected;
static unsigned long asked, answered, errors, connections, wanted;
static int poller;

static void complain(const char *what, const char *more)
{
    static const char *said[8];

    errors++;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        if (said[i] == what)
            return;
        if (!said[i]) {
            said[i] = what;
            printf("%s%s%s\n", what, *more ? ": " : "", more);
            return;
        }
    }
}

static void ask(struct client *c)
{
    c->len = 0;
    c->waits = asked < wanted;
    if (!c->waits)
        return;
    asked++;
    if (send(c->fd, request, request_len, MSG_NOSIGNAL) < (ssize_t)request_len && errno != EPIPE &&
        errno != ECONNRESET) /* those say so when it is read, too */
        complain("a request could not be sent", strerror(errno));
}

static void connect_and_ask(struct client *c)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    c->fd = -1;
    c->answers = 0;
    if (asked >= wanted)
        return;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
        perror("http_load");
        exit(1);
    }
    connections++;
    ask(c);
}

/* The value of a header field of the head that ends at `end`, or NULL. */
static const char *field(const char *head, const char *end, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = head; p < end; p = strchr(p, '\n') + 1)
        if (strncasecmp(p, name, n) == 0 && p[n] == ':')
            return p + n + 1 + strspn(p + n + 1, " ");
    return NULL;
}

/* Takes the chunks away, in place: the content's length, -1 when not all of it is there, or -2 when
 * it is none. */
static long dechunk(char *p, size_t n)
{
    char *from = p, *out = p, *end = p + n, *digits;

    for (;;) {
        char *line = memchr(from, '\n', (size_t)(end - from));
        unsigned long size;

        if (!line)
            return -1;
        size = strtoul(from, &digits, 16);
        if (digits == from)
            return -2;
        from = line + 1;
        if ((size_t)(end - from) < size + 2)
            return -1;
        if (size == 0)
            return out - p;
        memmove(out, from, size);
        out += size;
        from += size + 2;
    }
}

/* Is it whole, or as whole as it gets now that the connection is `over`? */
static bool look(struct client *c, bool over, bool *closes)
{
    char *end = strstr(c->answer, "\r\n\r\n"), *content = end + 4;
    const char *length, *coding, *connection;
    size_t n;
    long is;

    if (!end)
        return false;
    n = c->len - (size_t)(content - c->answer);
    length = field(c->answer, end, "Content-Length");
    coding = field(c->answer, end, "Transfer-Encoding");
    connection = field(c->answer, end, "Connection");
    *closes = over || (connection && strncasecmp(connection, "close", 5) == 0);
    if (coding) {
        char copy[ANSWER_MAX];

        memcpy(copy, content, n);
        is = dechunk(copy, n);
        if (is == -1)
            return false;
        if (is >= 0)
            memcpy(content, copy, (size_t)is);
    } else if (length) {
        is = strtol(length, NULL, 10);
        if ((size_t)is > n)
            return false;
    } else if (over) {
        is = (long)n;
    } else {
        return false;
    }
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0 && strncmp(c->answer, "HTTP/1.0 200", 12) != 0)
        complain("the status is not 200", c->answer);
    else if (is < 0 || (size_t)is != strlen(expected) || memcmp(content, expected, (size_t)is) != 0)
        complain("the content is another", c->answer);
    else
        answered++;
    return true;
}

static void readable(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - c->len, 0);
    bool over = n <= 0, closes = false;

    if (n > 0)
        c->len += (size_t)n;
    c->answer[c->len] = 0;
    if (look(c, over, &closes)) {
        c->answers++;
        if (!closes) {
            ask(c);
            return;
        }
    } else if (over && c->waits && c->len == 0 && c->answers > 0) {
        asked--; /* nobody looked at it: RFC 9112 section 9.3.1 */
    } else if (over && c->waits) {
        complain("the connection closed before the answer was whole", c->answer);
    } else if (!over) {
        if (c->len == ANSWER_MAX)
            complain("the answer is too long", "");
        return;
    }
    close(c->fd);
    connect_and_ask(c);
}

static void make_request(const char *port, const char *target, const char *form, const char *field)
{
    char length[100] = "";

    if (*form)
        snprintf(length, sizeof length,
                 "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n",
                 strlen(form));
    request_len = (size_t)snprintf(
        request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost:%s\r\n%s%s%s\r\n%s",
        *form ? "POST" : "GET", target, port, field, *field ? "\r\n" : "", length, form);
}

int main(int argc, char **argv)
{
    unsigned long n = argc > 6 ? strtoul(argv[2], NULL, 10) : 0;
    struct client *clients = calloc(n ? n : 1, sizeof *clients);

    if (n == 0 || !clients) {
        fprintf(stderr, "usage: http_load PORT CLIENTS REQUESTS TARGET EXPECTED FORM [FIELD]\n");
        return 64;
    }
    to.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    wanted = strtoul(argv[3], NULL, 10);
    expected = argv[5];
    make_request(argv[1], argv[4], argv[6], argc > 7 ? argv[7] : "");
    poller = epoll_create1(0);
    for (unsigned long i = 0; i < n; i++)
        connect_and_ask(&clients[i]);
    while (answered + errors < wanted) {
        struct epoll_event ev[64];
        int got = epoll_wait(poller, ev, 64, SILENCE_MS);

        if (got <= 0) {
            complain("no more answers come", "");
            break;
        }
        for (int i = 0; i < got; i++)
            readable(ev[i].data.ptr);
    }
    printf("%lu answered, %lu errors, %lu connections\n", answered, errors, connections);
    free(clients);
    return answered != wanted;
}
