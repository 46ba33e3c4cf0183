/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "proc/manager.h"
#include "support.h"

static struct ferry_manager_process_status processes[] = {
    {.state = FERRY_MANAGER_PROCESS_READY,
     .pid = 101,
     .generation = 1,
     .age_ms = 61234,
     .cpu_ms = 1520,
     .rss = 3 << 20,
     .requests = 12345,
     .active = 2,
     .said = "all \"well\"\\"},
    {.state = FERRY_MANAGER_PROCESS_STARTING,
     .pid = 102,
     .slot = 1,
     .generation = 2,
     .requests = -1,
     .active = -1,
     .said = "\x1b[31m\xff\xc3\xa4\xe2\x82"},
};

static struct ferry_manager_status sample(void)
{
    return (struct ferry_manager_status){
        .name = "shop",
        .state = FERRY_MANAGER_READY,
        .reloading = true,
        .generation = 1,
        .processes_min = 1,
        .processes_max = 8,
        .up_ms = 3 * 3600000 + 5 * 60000,
        .started = 5,
        .crashed = 1,
        .exited = 2,
        .queued = 3,
        .backlog = 4096,
        .last_end = "process 99 was ended by signal 11 (Segmentation fault)",
        .last_end_ms = 90500,
        .nprocesses = 2,
        .processes = processes,
    };
}

static char *written(void (*write)(const struct ferry_manager_status *, FILE *),
                     const struct ferry_manager_status *s)
{
    static char text[8192];
    FILE *f = fmemopen(text, sizeof text, "w");

    write(s, f);
    fclose(f);
    return text;
}

static void as_json(void **state)
{
    struct ferry_manager_status s = sample();

    (void)state;
    assert_string_equal(
        written(ferry_manager_status_json, &s),
        "{\"pool\":\"shop\",\"state\":\"ready\",\"reloading\":true,\"generation\":1,"
        "\"processes_min\":1,\"processes_max\":8,\"up_ms\":11100000,\"queued\":3,\"backlog\":4096,"
        "\"started\":5,\"crashed\":1,\"exited\":2,\"recycled\":0,\"idled\":0,\"unhealthy\":0,"
        "\"unstartable\":0,\"reloads\":0,\"reloads_failed\":0,\"lines_dropped\":0,"
        "\"last_end\":\"process 99 was ended by signal 11 (Segmentation fault)\","
        "\"last_end_ms\":90500,\"processes\":["
        "{\"pid\":101,\"state\":\"ready\",\"slot\":0,\"generation\":1,\"age_ms\":61234,"
        "\"cpu_ms\":1520,\"rss\":3145728,\"requests\":12345,\"active\":2,"
        "\"status\":\"all \\u0022well\\u0022\\u005c\"},"
        "{\"pid\":102,\"state\":\"starting\",\"slot\":1,\"generation\":2,\"age_ms\":0,"
        "\"cpu_ms\":0,\"rss\":0,\"requests\":null,\"active\":null,"
        "\"status\":\"\\u001b[31m\\ufffd\xc3\xa4\\ufffd\\ufffd\"}]}\n");
}

static void json_of_an_empty_pool(void **state)
{
    struct ferry_manager_status s = sample();

    (void)state;
    s.nprocesses = 0;
    s.queued = s.backlog = -1;
    s.last_end[0] = '\0';
    s.reloading = false;
    s.state = FERRY_MANAGER_FATAL;
    assert_non_null(
        strstr(written(ferry_manager_status_json, &s), "\"state\":\"fatal\",\"reloading\":false"));
    assert_non_null(
        strstr(written(ferry_manager_status_json, &s), "\"queued\":null,\"backlog\":null,"));
    assert_non_null(strstr(written(ferry_manager_status_json, &s),
                           "\"last_end\":null,\"last_end_ms\":null,\"processes\":[]}\n"));
}

static void as_text(void **state)
{
    struct ferry_manager_status s = sample();

    (void)state;
    assert_string_equal(
        written(ferry_manager_status_text, &s),
        "shop: ready (reloading), generation 1, 2 of 1 to 8 processes, up 3h05m\n"
        "queue: 3 waiting, 4096 may wait\n"
        "processes: 5 started, 1 crashed, 2 ended by themselves, 0 replaced, 0 idle, 0 silent, "
        "0 could not be started\n"
        "reloads: 0 done, 0 failed\n"
        "last end: process 99 was ended by signal 11 (Segmentation fault), 1m30s ago\n"
        "\n"
        "    pid slot  gen  state        age s     cpu s  mem MiB  requests active\n"
        "    101    0    1  ready           61      1.52      3.0     12345      2  "
        "all \"well\"\\x5C\n"
        "    102    1    2  starting         0      0.00      0.0         -      -  "
        "\\x1B[31m\\xFF\xc3\xa4\\xE2\\x82\n");
}

static void durations(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "up 0.0s\n"},         {59999, "up 59.9s\n"},         {60000, "up 1m00s\n"},
                 {3599999, "up 59m59s\n"}, {86400000 - 1, "up 23h59m\n"}, {86400000, "up 1d00h\n"}};
    struct ferry_manager_status s = sample();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s.up_ms = cases[i].ms;
        assert_non_null(strstr(written(ferry_manager_status_text, &s), cases[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_json),
        cmocka_unit_test(json_of_an_empty_pool),
        cmocka_unit_test(as_text),
        cmocka_unit_test(durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
