/* SPDX-License-Identifier: MIT */
/* Addresses; checks of docs/mail.md: M01-M16, M25, M30, M33, R07-R09, R13. */
#include "smtp/path.h"

#include <stdio.h>

#include "support.h"

enum { STRICT = FERRY_SMTP_PATH_STRICT, NIL = FERRY_SMTP_PATH_NULL };

static ssize_t parse(struct ferry_slice in, unsigned flags, struct ferry_smtp_path *out)
{
    return ferry_smtp_path_parse(ferry_slice(guard_copy(0, in.p, in.len), in.len), flags, out);
}

static void check_path(const struct ferry_smtp_path *p)
{
    assert_int_equal(strlen(p->text), p->len);
    assert_int_equal(strlen(p->raw), p->raw_len);
    assert_int_equal(p->null, p->len == 0);
    assert_true(p->local_len <= p->len);
    if (!p->null && !p->no_domain)
        assert_int_equal(p->text[p->local_len], '@');
}

static const struct {
    const char *in, *text;
    const char *raw; /* NULL: what stands in the brackets, or the whole */
    bool lenient;    /* only so */
} good[] = {
    {"<a@b.c>", "a@b.c", NULL, false}, /* M01 */
    {"<a@b>", "a@b", NULL, false},     /* M03 */
    {" <a@b>", "a@b", "a@b", true},    /* M04 */
    {"\t<a@b>", "a@b", "a@b", true},   /* M05 */
    {" \t <a@b>", "a@b", "a@b", true},
    {"a@b", "a@b", "a@b", true}, /* M06 */
    {"  a.b@c", "a.b@c", "a.b@c", true},
    {"\"a b\"@c", "\"a b\"@c", "\"a b\"@c", true},
    {"<A.b@EXAMPLE.Com>", "A.b@example.com", NULL, false},
    {"<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~@x", NULL, false},
    {"<a%b@ours>", "a%b@ours", NULL, false}, /* R13 */
    {"<a!b@ours>", "a!b@ours", NULL, false},
    {"<1@2.x3>", "1@2.x3", NULL, false},
    {"<a@x-y.z-1>", "a@x-y.z-1", NULL, false},
    {"<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example", NULL, false},
    {"<.a@b>", "\".a\"@b", NULL, true}, /* M12 */
    {"<a.@b>", "\"a.\"@b", NULL, true},
    {"<a..b@c>", "\"a..b\"@c", NULL, true},
    {"<.@c>", "\".\"@c", NULL, true},
    {".a@b", "\".a\"@b", ".a@b", true},
    {"<\"a b\"@c>", "\"a b\"@c", NULL, false}, /* M13 */
    {"<\"a@b\"@c>", "\"a@b\"@c", NULL, false},
    {"<\"a\\\"b\"@c>", "\"a\\\"b\"@c", NULL, false},
    {"<\"a\\\\b\"@c>", "\"a\\\\b\"@c", NULL, false},
    {"<\"user\"@d>", "user@d", NULL, false},
    {"<\"us\\er\"@d>", "user@d", NULL, false},
    {"<\"us\\ er\"@d>", "\"us er\"@d", NULL, false},
    {"<\"a.b\"@d>", "a.b@d", NULL, false},
    {"<\"a..b\"@d>", "\"a..b\"@d", NULL, false},
    {"<\".a\"@d>", "\".a\"@d", NULL, false},
    {"<\"a.\"@d>", "\"a.\"@d", NULL, false},
    {"<\"a\\.\"@d>", "\"a.\"@d", NULL, false},
    {"<\"<>,;:[]()\"@d>", "\"<>,;:[]()\"@d", NULL, false},
    {"<\" \"@d>", "\" \"@d", NULL, false},
    {"<@x,@y:a@b>", "a@b", NULL, false}, /* M14 */
    {"<@x:a@b>", "a@b", NULL, false},
    {"<@[192.0.2.1],@y:\"a\"@b>", "a@b", NULL, false},
    {"<a@[127.0.0.1]>", "a@[127.0.0.1]", NULL, false}, /* M15 */
    {"<a@[IPv6:::1]>", "a@[IPv6:::1]", NULL, false},
    {"<a@[ipV6:2001:DB8::1]>", "a@[IPv6:2001:DB8::1]", NULL, false},
    {"<a@[IPv6:::127.0.0.1]>", "a@[IPv6:::127.0.0.1]", NULL, false},
    {"<a@my_host.example>", "a@my_host.example", NULL, true},
    {"<a@_x_>", "a@_x_", NULL, true},
    /* M25; non-ASCII never folds */
    {"<\xc3\x84@b>", "\xc3\x84@b", NULL, false},
    {"<\"\xc3\xa4 b\"@c>", "\"\xc3\xa4 b\"@c", NULL, false},
    {"<\"\xc3\xa4\"@c>", "\xc3\xa4@c", NULL, false},
    {"<a@b\xc3\xbc"
     "cher.EXAMPLE>",
     "a@b\xc3\xbc"
     "cher.example",
     NULL, false},
    {"<\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90>",
     "\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90", NULL, false},
    {"<\xf0\x9f\x98\x80@b>", "\xf0\x9f\x98\x80@b", NULL, false},
};

static void paths_in_their_normal_form(void **state)
{
    static const char *const behind[] = {"", " ", "\tSIZE=1", "  "}; /* M30 */
    struct ferry_smtp_path p;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (size_t j = 0; j < sizeof behind / sizeof *behind; j++) {
            size_t n = strlen(good[i].in);
            char in[600];
            int len = snprintf(in, sizeof in, "%s%s", good[i].in, behind[j]);
            struct ferry_slice s = ferry_slice(in, (size_t)len);
            bool utf8 = false;

            for (size_t k = 0; k < n; k++)
                utf8 |= (unsigned char)in[k] > 0x7f;
            assert_int_equal(parse(s, 0, &p), n);
            check_path(&p);
            assert_string_equal(p.text, good[i].text);
            assert_int_equal(p.raw_len, good[i].raw ? strlen(good[i].raw) : n - 2);
            assert_memory_equal(p.raw, good[i].raw ? good[i].raw : in + 1, p.raw_len);
            assert_int_equal(p.utf8, utf8);
            assert_int_equal(p.literal, strstr(good[i].text, "@[") != NULL);
            assert_false(p.no_domain);
            assert_int_equal(parse(s, STRICT, &p), good[i].lenient ? FERRY_EUSAGE : (ssize_t)n);
        }
}

/* What a path has become is a path that becomes itself. */
static void the_normal_form_is_its_own(void **state)
{
    struct ferry_smtp_path p;
    char in[600];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int n = snprintf(in, sizeof in, "<%s>", good[i].text);

        assert_int_equal(parse(ferry_slice(in, (size_t)n), 0, &p), n);
        assert_string_equal(p.text, good[i].text);
    }
}

static const char *const bad[] = {
    "",
    " ",
    "\t", /* M07 */
    " BODY=7BIT",
    "BODY=7BIT", /* M08 */
    "<",
    "x",
    "<<>>",
    "<justatest>",
    "<a@b",
    "a@b>",
    "<a@b>x", /* M10 */
    "<a b@c>",
    "<a @b>",
    "<@b>",
    "<a@>",
    "<a@b@c>",
    "><",
    "<a@b>>",
    "<a@b><c@d>",
    "<a@b >",
    "< a@b>",
    "<a@b\t>",
    "<a@ b>",
    "a@b,c@d",
    "a@b;",
    "a@",
    "@b",
    "<a@b..c>",
    "<a@-b>",
    "<a@.b>",
    "<a@b.>",
    "<a@b->",
    "<a@b-.c>", /* M11 */
    "<a@b.-c>",
    "<a@.>",
    "<a@b!c>",
    "<a@b/c>",
    "<a@(b)>",
    "<a@b,c>",
    "<a@xn--->",
    "<\"\">",
    "<\"a@b>",
    "<\"\"@b>",
    "<\"a\"b@c>",
    "<a\"b\"@c>", /* M13 */
    "<\"a\".b@c>",
    "<\"a\"\"b\"@c>",
    "<\"a\\\"@c>",
    "<\"a\nb\"@c>",
    "<\"a\tb\"@c>",
    "<\"a\\\tb\"@c>",
    "<\"a\\",
    "<\"",
    "<\"a\"",
    "<a\\b@c>",
    "<\"a\\\xc3\xa4\"@c>",
    "<a,b@c>",
    "<a:b@c>",
    "<(x)a@c>",
    "<@x:@y:a@b>",
    "<@x,a@b>",
    "<@x,@y>",
    "<@x,@y:>",
    "<@x a@b>", /* M14 */
    "<@:a@b>",
    "<@x,:a@b>",
    "<@x:a>",
    "@x:a@b",
    "<@-x:a@b>",
    "<@x,@:a@b>",
    "<:a@b>",
    "<a@[1.2.3]>",
    "<a@[IPv6:zz]>",
    "<a@127.0.0.1>",
    "<a@[]>", /* M15 */
    "<a@[256.1.1.1]>",
    "<a@[1.2.3.4>",
    "<a@[1.2.3.4]x>",
    "<a@[1.2.3.4].x>",
    "<a@[::1]>",
    "<a@x.1>",
    "<a@1>",
    "<a@[IPv6:]>",
    "<a@[IPv6:1.2.3.4]>",
    "<a@[ 1.2.3.4]>",
    "<a@[x:y]>",
    "<a@[",
    "<a@[01.2.3.4]>",
    "<a@[IPv6:::1%eth0]>",
    "<>",
    "<postmaster>",
    "postmaster", /* not asked for */
    /* M25, M33 */
    "<\xc3(@b>",
    "<\xc3@b>",
    "<\xc0\x80@b>",
    "<\xed\xa0\x80@b>",
    "<\xff@b>",
    "<a@\xc3(>",
    "<a@\xe4\xb8>",
    "<a\xe4\xb8",
    "a@b\xc3",
    "<a\x01@b>",
    "<a\x7f@b>",
    "<a@b\x01>",
    "<\xe2\x80\x8b"
    "a@b>",
    "<a@b\xe2\x80\x8d>",
    "<\xe2\x80\xae"
    "a@b>",
    "<a\xc2\x80@b>",
    "<\"\xe2\x80\x8b\"@b>",
    "<a@b\xe3\x80\x82"
    "c>", /* what IDNA takes for a dot */
    "<a@b\xef\xbc\x8e"
    "c>",
    "<a@b\xef\xbd\xa1"
    "c>",
    "<a@\xef\xbb\xbf"
    "b>",
    "<a\r@b>",
    "<a@b>\r",
    "<a@b>\xc3\xa4",
    "<@\xe2\x80\x8b:a@b>",
};

static void what_is_no_path(void **state)
{
    struct ferry_smtp_path p;

    (void)state;
    memset(&p, 0x77, sizeof p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (unsigned strict = 0; strict < 2; strict++) {
            assert_int_equal(parse(ferry_slice_z(bad[i]), strict * STRICT, &p), FERRY_EUSAGE);
            assert_int_equal(p.len, 0x7777); /* untouched */
        }
    assert_int_equal(parse(ferry_slice("<a\0b@c>", 7), 0, &p), FERRY_EUSAGE);
    assert_int_equal(parse(ferry_slice("<\"a\0\"@c>", 8), 0, &p), FERRY_EUSAGE);
    assert_int_equal(parse(ferry_slice("<\"a\\\0\"@c>", 9), 0, &p), FERRY_EUSAGE);
    assert_int_equal(parse(ferry_slice("<a@b\0>", 6), 0, &p), FERRY_EUSAGE);
    assert_int_equal(parse(ferry_slice("<a@b>\0", 6), 0, &p), FERRY_EUSAGE);
}

/* No prefix of a path in brackets is one, and nothing behind the cut is read. */
static void a_cut_path_is_none(void **state)
{
    struct ferry_smtp_path p;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ferry_slice s = ferry_slice_trim(ferry_slice_z(good[i].in));

        for (size_t n = 0; s.p[0] == '<' && n < s.len; n++)
            assert_int_equal(parse(ferry_slice_first(s, n), 0, &p), FERRY_EUSAGE);
    }
}

/* M02, R08. */
static void the_null_path(void **state)
{
    struct ferry_smtp_path p;

    (void)state;
    assert_int_equal(parse(FERRY_SLICE("<>"), NIL, &p), 2);
    check_path(&p);
    assert_true(p.null);
    assert_false(p.no_domain);
    assert_int_equal(parse(FERRY_SLICE("<> SIZE=1"), NIL | STRICT, &p), 2);
    assert_int_equal(parse(FERRY_SLICE("  <>"), NIL, &p), 4);
    assert_int_equal(parse(FERRY_SLICE("<>"), FERRY_SMTP_PATH_POSTMASTER, &p), FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE("<>x"), NIL, &p), FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE(">"), NIL, &p), FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE(""), NIL, &p), FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE("< >"), NIL, &p), FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE("<a@b>"), NIL, &p), 5);
    assert_false(p.null);
}

/* R09. */
static void postmaster_needs_no_domain(void **state)
{
    static const char *const in[] = {"<postmaster>", "<PostMaster>", "<\"postmaster\">"};
    struct ferry_smtp_path p;

    (void)state;
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        assert_int_equal(parse(ferry_slice_z(in[i]), FERRY_SMTP_PATH_POSTMASTER | STRICT, &p),
                         strlen(in[i]));
        check_path(&p);
        assert_true(p.no_domain);
        assert_string_equal(p.text, "postmaster");
        assert_slice_equal(ferry_smtp_path_local(&p), "postmaster");
        assert_slice_equal(ferry_smtp_path_domain(&p), "");
    }
    assert_int_equal(parse(FERRY_SLICE("postmaster x"), FERRY_SMTP_PATH_POSTMASTER, &p), 10);
    assert_int_equal(parse(FERRY_SLICE("<PostMaster@B>"), FERRY_SMTP_PATH_POSTMASTER, &p), 14);
    assert_false(p.no_domain);
    assert_string_equal(p.text, "PostMaster@b");
    assert_int_equal(parse(FERRY_SLICE("<postmaster@>"), FERRY_SMTP_PATH_POSTMASTER, &p),
                     FERRY_EUSAGE);
    assert_int_equal(parse(FERRY_SLICE("<postmasters>"), FERRY_SMTP_PATH_POSTMASTER, &p),
                     FERRY_EUSAGE);
}

static void local_part_and_domain_are_found(void **state)
{
    struct ferry_smtp_path p;

    (void)state;
    assert_true(parse(FERRY_SLICE("<\"a@b\"@[192.0.2.1]>"), 0, &p) > 0);
    assert_slice_equal(ferry_smtp_path_local(&p), "\"a@b\"");
    assert_slice_equal(ferry_smtp_path_domain(&p), "[192.0.2.1]");
}

/* M16: `local` and `label` bytes, and then as many bytes in all, brackets included. */
static ssize_t sized(const char *local_byte, size_t local, bool quoted, size_t label, size_t all,
                     struct ferry_smtp_path *out)
{
    char in[2000], *to = in;

    *to++ = '<';
    if (quoted)
        *to++ = '"';
    for (size_t i = 0; i < local; i++)
        to += snprintf(to, 3, "%s", local_byte);
    if (quoted)
        *to++ = '"';
    *to++ = '@';
    memset(to, 'b', label);
    to += label;
    while ((size_t)(to - in) + 1 < all) {
        *to++ = '.';
        for (unsigned i = 0; i < 9 && (size_t)(to - in) + 1 < all; i++)
            *to++ = 'c';
    }
    if (to[-1] == '.')
        to[-1] = 'c';
    *to++ = '>';
    return parse(ferry_slice(in, (size_t)(to - in)), 0, out);
}

static void sizes_at_the_limit_and_one_past_it(void **state)
{
    struct ferry_smtp_path p;

    (void)state;
    assert_int_equal(sized("a", 64, false, 5, 0, &p), 72);
    assert_int_equal(sized("a", 65, false, 5, 0, &p), FERRY_ELIMIT);
    assert_int_equal(sized("a", 64, true, 5, 0, &p), 74);
    assert_int_equal(sized("a", 65, true, 5, 0, &p), FERRY_ELIMIT);
    /* as it is meant, not as it is written */
    assert_int_equal(sized("\\\"", 64, true, 5, 0, &p), 138);
    assert_int_equal(p.local_len, 130);
    assert_int_equal(sized("\\\"", 65, true, 5, 0, &p), FERRY_ELIMIT);
    assert_int_equal(sized("\\a", 64, true, 5, 0, &p), 138);
    assert_int_equal(p.local_len, 64);
    assert_int_equal(sized("\\\"", 64, true, 63, 256, &p), 256);
    check_path(&p);
    assert_int_equal(sized("\xc3\xa4", 32, false, 5, 0, &p), 72);
    assert_int_equal(sized("\xc3\xa4", 33, false, 5, 0, &p), FERRY_ELIMIT);
    assert_int_equal(sized("a", 1, false, 63, 0, &p), 67);
    assert_int_equal(sized("a", 1, false, 64, 0, &p), FERRY_ELIMIT);
    assert_int_equal(sized("a", 10, false, 10, 256, &p), 256);
    check_path(&p);
    assert_int_equal(sized("a", 10, false, 10, 257, &p), FERRY_ELIMIT);
    assert_int_equal(sized("a", 10, false, 10, 1900, &p), FERRY_ELIMIT);
}

static void a_label_above_ascii_is_measured_by_what_it_becomes(void **state)
{
    struct ferry_smtp_path p;
    char in[300] = "<a@";

    (void)state;
    for (unsigned n = 1; n <= 61; n++) {
        snprintf(in + 3 + 3 * (n - 1), 5, "\xe4\xb8\xad>");
        assert_int_equal(parse(ferry_slice_z(in), 0, &p),
                         n > 59 ? FERRY_ELIMIT : (ssize_t)strlen(in));
    }
}

/* A source route counts as a part of the path, and is checked as one; brackets count where there
 * are none. */
static void what_is_not_kept_counts_too(void **state)
{
    struct ferry_smtp_path p;
    char name[300], in[600];

    (void)state;
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 50 == 30 ? '.' : 'a';
    for (int all = 251; all <= 260; all++) {
        int n = snprintf(in, sizeof in, "<@%.*s:a@b>", all - 7, name);

        assert_int_equal(n, all);
        assert_int_equal(parse(ferry_slice(in, (size_t)n), 0, &p), n > 256 ? FERRY_ELIMIT : n);
        n = snprintf(in, sizeof in, "a@%.*s", all - 4, name);
        assert_int_equal(n, all - 2);
        assert_int_equal(parse(ferry_slice(in, (size_t)n), 0, &p), all > 256 ? FERRY_ELIMIT : n);
    }
    assert_int_equal(parse(FERRY_SLICE("<@\xc3\xa4:a@b>"), 0, &p), 9);
    assert_true(p.utf8); /* it came, so it had to be declared */
}

static void domains_and_literals(void **state)
{
    static const struct {
        const char *in;
        bool is;
    } cases[] = {
        {"a", true},
        {"localhost", true},
        {"mail.example.com", true},
        {"A-1.b2", true},
        {"3com.com", true},
        {"[192.0.2.1]", true},
        {"[IPv6:::1]", true},
        {"", false},
        {".", false},
        {"a.", false},
        {".a", false},
        {"a..b", false},
        {"-a", false},
        {"a-", false},
        {"192.0.2.1", false},
        {"1", false},
        {"a_b", false},
        {"a b", false},
        {"a ", false},
        {"b\xc3\xbc"
         "cher",
         false},
        {"[::1]", false},
        {"[1.2.3.4", false},
        {"[1.2.3.4]x", false},
        {"a@b", false},
        {"xn--bcher-kva.example", true},
    };
    char name[257];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);

        assert_int_equal(ferry_smtp_is_domain(ferry_slice(guard_copy(0, cases[i].in, n), n)),
                         cases[i].is);
    }
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 2 ? '.' : 'a';
    assert_true(ferry_smtp_is_domain(ferry_slice(name, 255)));
    name[255] = 'a';
    assert_false(ferry_smtp_is_domain(ferry_slice(name, 256)));
    memset(name, 'a', 64);
    assert_true(ferry_smtp_is_domain(ferry_slice(name, 63)));
    assert_false(ferry_smtp_is_domain(ferry_slice(name, 64)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_in_their_normal_form),
        cmocka_unit_test(the_normal_form_is_its_own),
        cmocka_unit_test(what_is_no_path),
        cmocka_unit_test(a_cut_path_is_none),
        cmocka_unit_test(the_null_path),
        cmocka_unit_test(postmaster_needs_no_domain),
        cmocka_unit_test(local_part_and_domain_are_found),
        cmocka_unit_test(sizes_at_the_limit_and_one_past_it),
        cmocka_unit_test(a_label_above_ascii_is_measured_by_what_it_becomes),
        cmocka_unit_test(what_is_not_kept_counts_too),
        cmocka_unit_test(domains_and_literals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
