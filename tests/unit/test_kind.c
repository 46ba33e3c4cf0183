/* SPDX-License-Identifier: MIT */
/* The table of filters: each of ferry/session.h is in it, and can be added from its values. */
#include "session/kind.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

static void is_word(const char *text)
{
    assert_true(*text >= 'a' && *text <= 'z');
    assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyz_"), strlen(text));
}

static void is_line(const char *text)
{
    assert_non_null(text);
    assert_true(*text && strlen(text) <= 70);
    assert_null(strpbrk(text, "\r\n\t"));
}

static void kinds_are_found_by_name(void **state)
{
    const struct ferry_filter_kind *kind;
    unsigned n = 0;

    (void)state;
    for (; (kind = ferry_filter_kind(n)); n++) {
        assert_ptr_equal(ferry_filter_kind_find(kind->name), kind);
        is_word(kind->name);
        is_line(kind->help);
        assert_non_null(kind->add);
    }
    assert_true(n > 0);
    assert_null(ferry_filter_kind(n + 1));
    assert_null(ferry_filter_kind_find("nothing"));
    assert_null(ferry_filter_kind_find(""));
}

static void some_let_nothing_through(void **state)
{
    static const char *const ends[] = {"deny", "redirect", "call", "application"};
    unsigned n = 0;

    (void)state;
    for (unsigned i = 0; ferry_filter_kind(i); i++)
        n += ferry_filter_kind(i)->ends;
    assert_int_equal(n, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_true(ferry_filter_kind_find(ends[i])->ends);
}

static const struct ferry_filter_arg *arg_of(const struct ferry_filter_kind *kind, const char *name)
{
    for (unsigned i = 0; i < kind->nargs; i++)
        if (strcmp(kind->args[i].name, name) == 0)
            return &kind->args[i];
    return NULL;
}

static void arguments_are_described(void **state)
{
    (void)state;
    for (unsigned i = 0; ferry_filter_kind(i); i++) {
        const struct ferry_filter_kind *kind = ferry_filter_kind(i);

        for (unsigned j = 0; j < kind->nargs; j++) {
            const struct ferry_filter_arg *arg = &kind->args[j];

            is_word(arg->name);
            is_line(arg->help);
            assert_ptr_equal(arg_of(kind, arg->name), arg); /* and none twice */
            assert_false(arg->required && arg->fallback);
            if (arg->type == FERRY_ARG_BOOL || arg->type == FERRY_ARG_INT ||
                arg->type == FERRY_ARG_DURATION || arg->type == FERRY_ARG_SIZE)
                assert_true(arg->required || arg->fallback);
        }
        if (kind->title)
            assert_non_null(arg_of(kind, kind->title));
    }
}

/* What a configuration would have said for these arguments. */
struct said {
    const char *kind, *root;
    struct ferry_arg_value values[12];
    int err;
    const char *why; /* part of it */
};

#define TEXT(t)                                                                                    \
    {                                                                                              \
        .set = true, .text = (t)                                                                   \
    }
#define NUMBER(n)                                                                                  \
    {                                                                                              \
        .set = true, .number = (n)                                                                 \
    }
#define LIST(...)                                                                                  \
    {                                                                                              \
        .set = true, .list = (const char *const[]){__VA_ARGS__},                                   \
        .nlist = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)                       \
    }
#define UNSET                                                                                      \
    {                                                                                              \
        .set = false                                                                               \
    }

static const struct said said[] = {
    {"basic_params", NULL, {UNSET}, 0, NULL},
    {"map_header", NULL, {UNSET}, 0, NULL},
    {"remote_host", NULL, {NUMBER(1000), NUMBER(300000), NUMBER(0), UNSET}, 0, NULL},
    {"remote_host", NULL, {NUMBER(1000), NUMBER(1), NUMBER(0), TEXT("x y")}, FERRY_EUSAGE, "x y"},
    {"remote_host", NULL, {NUMBER(1ll << 40), NUMBER(1), NUMBER(0)}, FERRY_EUSAGE, "24 days"},
    {"split_path_info", NULL, {LIST(".php", ".py")}, 0, NULL},
    {"split_path_info", NULL, {LIST("a/b")}, FERRY_EUSAGE, "a/b"},
    {"file_endpoint", NULL, {TEXT("/srv/app.php")}, 0, NULL},
    {"strip_prefix", NULL, {TEXT("/shop")}, 0, NULL},
    {"strip_prefix", NULL, {TEXT("shop")}, FERRY_EUSAGE, "shop"},
    {"php_fs", "/tmp", {UNSET, LIST("index.php"), LIST(".php"), UNSET, NUMBER(0)}, 0, NULL},
    {"php_fs",
     NULL,
     {UNSET, LIST("index.php"), LIST(".php"), UNSET, NUMBER(0)},
     FERRY_EUSAGE,
     "root"},
    {"files", "/tmp", {UNSET, LIST("index.html"), UNSET, NUMBER(0)}, 0, NULL},
    {"files", NULL, {TEXT("/tmp"), LIST("index.html"), LIST(".bak"), NUMBER(1)}, 0, NULL},
    {"files", NULL, {UNSET, LIST("index.html"), UNSET, NUMBER(0)}, FERRY_EUSAGE, "root"},
    {"filter_files", "/tmp", {UNSET}, 0, NULL},
    {"filter_files", NULL, {UNSET}, FERRY_EUSAGE, "root"},
    {"try_files", "/tmp", {LIST("$path", "=404"), UNSET}, 0, NULL},
    {"try_files", NULL, {LIST("$path", "=404"), UNSET}, FERRY_EUSAGE, "root"},
    {"rewrite", NULL, {TEXT("^/a(.*)$"), TEXT("/b$1")}, 0, NULL},
    {"rewrite", NULL, {TEXT("^/a$"), TEXT("/b$1")}, FERRY_EUSAGE, "$1"},
    {"auth_prepare", NULL, {UNSET}, 0, NULL},
    {"authorize", NULL, {UNSET}, FERRY_EUSAGE, "application"},
    {"set_param", NULL, {TEXT("A"), TEXT("$host")}, 0, NULL},
    {"set_param", NULL, {TEXT("A"), TEXT("$hst")}, FERRY_EUSAGE, "$hst"},
    {"remove_param", NULL, {TEXT("A")}, 0, NULL},
    {"header", NULL, {TEXT("X-A"), TEXT("b")}, 0, NULL},
    {"header", NULL, {TEXT("X-A"), UNSET}, 0, NULL},
    {"header", NULL, {TEXT("Connection"), TEXT("b")}, FERRY_EUSAGE, "Connection"},
    {"deny", NULL, {NUMBER(403), UNSET}, 0, NULL},
    {"deny", NULL, {NUMBER(200), UNSET}, FERRY_EUSAGE, "status"},
    {"deny", NULL, {NUMBER((1ll << 32) + 403), UNSET}, FERRY_EUSAGE, "status"},
    {"redirect", NULL, {TEXT("/x"), NUMBER(302)}, 0, NULL},
    {"redirect", NULL, {TEXT("/x"), NUMBER((1ll << 32) + 302)}, FERRY_EUSAGE, "302"},
    {"redirect", NULL, {TEXT("$http_x"), NUMBER(302)}, FERRY_EUSAGE, "$http_x"},
    {"call", NULL, {UNSET}, FERRY_EUSAGE, "application"},
    {"application", NULL, {UNSET}, FERRY_EUSAGE, "application"},
    {"php",
     "/tmp",
     {UNSET, UNSET, LIST("index.php"), LIST(".php"), TEXT("/index.php"), NUMBER(0)},
     0,
     NULL},
    {"php",
     "/tmp",
     {UNSET, UNSET, LIST("index.php"), LIST(".php"), TEXT("/index.html"), NUMBER(0)},
     FERRY_EUSAGE,
     "/index.html"},
};

static void filters_are_added_by_their_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        const struct ferry_filter_kind *kind = ferry_filter_kind_find(said[i].kind);
        struct ferry_filters *f = ferry_filters_new();
        int err;

        assert_non_null(kind);
        assert_non_null(f);
        err = kind->add(f, said[i].values, said[i].root);
        if (err != said[i].err)
            print_error("%s: %s\n", kind->name, ferry_filters_why(f));
        assert_int_equal(err, said[i].err);
        if (said[i].why && !strstr(ferry_filters_why(f), said[i].why))
            fail_msg("%s: %s", kind->name, ferry_filters_why(f));
        ferry_filters_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_found_by_name),
        cmocka_unit_test(some_let_nothing_through),
        cmocka_unit_test(arguments_are_described),
        cmocka_unit_test(filters_are_added_by_their_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
