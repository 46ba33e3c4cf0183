/* SPDX-License-Identifier: MIT */
/* Messages, sizes and times of all commands. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "config/config.h"
#include "ferry/err.h"

void ferry_cli_escape(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

static const char *name = "ferry";

const char *ferry_cli_name(void)
{
    return name;
}

void ferry_cli_set_name(const char *text)
{
    name = text;
}

void ferry_cli_say(const char *fmt, ...)
{
    char line[10240];
    size_t at = (size_t)snprintf(line, sizeof line, "%s: ", name);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line + at, sizeof line - at - 1, fmt, ap);
    va_end(ap);
    if (n > 0)
        at += (size_t)n < sizeof line - at - 1 ? (size_t)n : sizeof line - at - 2;
    ferry_cli_escape(line, at);
    line[at++] = '\n';
    fwrite(line, 1, at, stderr);
}

void ferry_cli_say_place(void *unused, const struct ferry_config_place *p, const char *text)
{
    (void)unused;
    if (p && p->file && p->line)
        ferry_cli_say("%s:%u: %s", p->file, p->line, text);
    else if (p && p->file)
        ferry_cli_say("%s: %s", p->file, text);
    else
        ferry_cli_say("%s", text);
}

int ferry_cli_size(const char *text, unsigned long long *out)
{
    unsigned long long n = 0, unit = 1;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (n > (1ull << 50))
            return FERRY_EUSAGE;
        n = n * 10 + (unsigned long long)(*at - '0');
    }
    if (at == text)
        return FERRY_EUSAGE;
    if (*at == 'k' || *at == 'K')
        unit = 1ull << 10;
    else if (*at == 'm' || *at == 'M')
        unit = 1ull << 20;
    else if (*at == 'g' || *at == 'G')
        unit = 1ull << 30;
    if (unit > 1)
        at++;
    if (*at || n > (1ull << 50) / unit)
        return FERRY_EUSAGE;
    *out = n * unit;
    return 0;
}

int ferry_cli_duration(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t n;

    if (ferry_slice_u64(ferry_slice(text, digits), 1u << 30, &n) < 0)
        return FERRY_EUSAGE;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text + digits, units[i].name) == 0) {
            *out = n * units[i].ms;
            return 0;
        }
    return FERRY_EUSAGE;
}

int ferry_cli_written(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return FERRY_EXIT_OK;
    ferry_cli_say("cannot write to standard output: %s", strerror(errno));
    return FERRY_EXIT_FAILED;
}

void ferry_cli_open_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}
