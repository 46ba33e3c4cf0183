/* SPDX-License-Identifier: MIT */
#include "call/draft.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "support.h"

/* What is asked for, one word each: the letter of an option, and its text. */
struct scene {
    const char *name;
    struct ferry_draft draft; /* what the owner sets */
    const char *words[8];
    int err;
    const char *why;        /* a part of it */
    const char *params[12]; /* "NAME=VALUE", or "-NAME" for none */
    const char *body;       /* NULL: not looked at; "*" in it stands for the boundary */
};

static int add(struct ferry_draft *d, const char *word)
{
    const char *text = word + 2;

    switch (word[0]) {
    case 'H':
        return ferry_draft_header(d, text);
    case 'b':
        return ferry_draft_cookie(d, text);
    case 'e':
        return ferry_draft_param(d, text);
    case 'd':
        return ferry_draft_data(d, FERRY_DRAFT_FORM, text);
    case 'r':
        return ferry_draft_data(d, FERRY_DRAFT_RAW, text);
    case 'B':
        return ferry_draft_data(d, FERRY_DRAFT_BINARY, text);
    case 'u':
        return ferry_draft_data(d, FERRY_DRAFT_URLENCODE, text);
    case 'j':
        return ferry_draft_data(d, FERRY_DRAFT_JSON, text);
    case 'F':
        return ferry_draft_part(d, text, false);
    case 'S':
        return ferry_draft_part(d, text, true);
    default:
        return ferry_draft_upload(d, text);
    }
}

static int build(struct ferry_draft *d, const struct scene *s)
{
    int err = 0;

    *d = s->draft;
    d->cwd = "/home/ada";
    for (size_t i = 0; err == 0 && i < 8 && s->words[i]; i++)
        err = add(d, s->words[i]);
    return err < 0 ? err : ferry_draft_seal(d);
}

#define X "/srv/x.php"
#define FORM "CONTENT_TYPE=application/x-www-form-urlencoded"

static const struct scene scenes[] = {
    /* scripts and their places */
    {"a file",
     {.script = X},
     {0},
     0,
     0,
     {"SCRIPT_FILENAME=/srv/x.php", "SCRIPT_NAME=/x.php", "DOCUMENT_ROOT=/srv",
      "REQUEST_METHOD=GET", "REQUEST_URI=/x.php", "QUERY_STRING=", "SERVER_NAME=localhost",
      "SERVER_PORT=80", "-CONTENT_LENGTH", "-CONTENT_TYPE", "GATEWAY_INTERFACE=CGI/1.1",
      "REDIRECT_STATUS=200"},
     ""},
    {"a relative file with a query and path info",
     {.script = "../bob//site/./x.php/a b?q=1?2"},
     {0},
     0,
     0,
     {"SCRIPT_FILENAME=/home/bob/site/x.php", "SCRIPT_NAME=/x.php", "PATH_INFO=/a b",
      "REQUEST_URI=/x.php/a%20b?q=1?2", "QUERY_STRING=q=1?2", "DOCUMENT_ROOT=/home/bob/site"},
     ""},
    {"a file in the root",
     {.script = "/x.php"},
     {0},
     0,
     0,
     {"DOCUMENT_ROOT=/", "SCRIPT_NAME=/x.php"},
     ""},
    {"above the root", {.script = "/../../x"}, {0}, 0, 0, {"SCRIPT_FILENAME=/x"}, ""},
    {"below a root",
     {.script = "/a%20b/x.php/info?q", .root = "site"},
     {0},
     0,
     0,
     {"SCRIPT_FILENAME=/home/ada/site/a b/x.php", "SCRIPT_NAME=/a b/x.php", "PATH_INFO=/info",
      "REQUEST_URI=/a%20b/x.php/info?q", "QUERY_STRING=q", "DOCUMENT_ROOT=/home/ada/site",
      "PATH_TRANSLATED=/home/ada/site/info"},
     ""},
    {"a folder below a root",
     {.script = "sub/", .root = "/"},
     {0},
     0,
     0,
     {"SCRIPT_FILENAME=/sub/index.php", "REQUEST_URI=/sub/"},
     ""},
    {"out of a root",
     {.script = "/../x.php", .root = "/srv"},
     {0},
     FERRY_EUSAGE,
     "/../x.php",
     {0},
     NULL},
    {"a uri",
     {.script = X "?a=1", .uri = "/orders/17?b=2"},
     {0},
     0,
     0,
     {"REQUEST_URI=/orders/17?b=2", "QUERY_STRING=b=2", "SCRIPT_NAME=/x.php"},
     ""},
    {"a uri without a query",
     {.script = X "?a=1", .uri = "/orders"},
     {0},
     0,
     0,
     {"REQUEST_URI=/orders?a=1", "QUERY_STRING=a=1"},
     ""},
    {"no uri", {.script = X, .uri = "orders"}, {0}, FERRY_EUSAGE, "begin with '/'", {0}, NULL},
    {"no script", {.script = "?a=1"}, {0}, FERRY_EUSAGE, "no script", {0}, NULL},

    /* headers and params */
    {"headers",
     {.script = X, .agent = "me"},
     {"H X-A: 1", "H x-a:2", "H Script-Filename: /etc/passwd", "H Proxy: x",
      "H Accept:", "H X-Empty;", "b a=1", "b b=2"},
     0,
     0,
     {"HTTP_X_A=1, 2", "HTTP_SCRIPT_FILENAME=/etc/passwd", "SCRIPT_FILENAME=/srv/x.php",
      "-HTTP_PROXY", "-HTTP_ACCEPT", "HTTP_X_EMPTY=", "HTTP_COOKIE=a=1; b=2", "HTTP_USER_AGENT=me"},
     ""},
    {"a host with a port",
     {.script = X},
     {"H Host: [::1]:8080"},
     0,
     0,
     {"SERVER_NAME=[::1]", "SERVER_PORT=8080", "HTTP_HOST=[::1]:8080"},
     ""},
    {"a host without one",
     {.script = X},
     {"H Host: shop9"},
     0,
     0,
     {"SERVER_NAME=shop9", "SERVER_PORT=80"},
     ""},
    {"no agent", {.script = X, .agent = ""}, {0}, 0, 0, {"-HTTP_USER_AGENT"}, ""},
    {"a user",
     {.script = X, .user = "Aladdin:open sesame"},
     {0},
     0,
     0,
     {"HTTP_AUTHORIZATION=Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
     ""},
    {"a shorter user",
     {.script = X, .user = "a:b"},
     {0},
     0,
     0,
     {"HTTP_AUTHORIZATION=Basic YTpi"},
     ""},
    {"params",
     {.script = X},
     {"e SCRIPT_FILENAME=/y", "e NEW=a=b", "e QUERY_STRING=", "e -REMOTE_PORT", "e NEW=2",
      "e -NONE", "e EMPTY="},
     0,
     0,
     {"SCRIPT_FILENAME=/y", "NEW=2", "QUERY_STRING=", "-REMOTE_PORT", "-NONE", "EMPTY="},
     ""},
    {"a false length",
     {.script = X},
     {"d abc", "e CONTENT_LENGTH=99"},
     0,
     0,
     {"CONTENT_LENGTH=99"},
     "abc"},
    {"a header of two lines",
     {.script = X},
     {"H A: b\r\nC: d"},
     FERRY_EUSAGE,
     "control characters",
     {0},
     NULL},
    {"a header with an underline", {.script = X}, {"H A_B: c"}, FERRY_EUSAGE, "-e sets", {0}, NULL},
    {"no header", {.script = X}, {"H abc"}, FERRY_EUSAGE, "'Name: value'", {0}, NULL},
    {"a header without a name", {.script = X}, {"H : b"}, FERRY_EUSAGE, "empty", {0}, NULL},
    {"no param", {.script = X}, {"e abc"}, FERRY_EUSAGE, "NAME=VALUE", {0}, NULL},
    {"no name", {.script = X}, {"e =abc"}, FERRY_EUSAGE, "NAME=VALUE", {0}, NULL},
    {"no cookie", {.script = X}, {"b abc"}, FERRY_EUSAGE, "name=value", {0}, NULL},
    {"no method", {.script = X, .method = "A B"}, {0}, FERRY_EUSAGE, "no method", {0}, NULL},

    /* bodies */
    {"data",
     {.script = X},
     {"d a=b", "r @c", "u d=e f&ä", "u =@", "u x y"},
     0,
     0,
     {"REQUEST_METHOD=POST", FORM, "CONTENT_LENGTH=33"},
     "a=b&@c&d=e%20f%26%C3%A4&%40&x%20y"},
    {"empty data", {.script = X}, {"d "}, 0, 0, {"REQUEST_METHOD=POST", "CONTENT_LENGTH=0"}, ""},
    {"a method with data",
     {.script = X, .method = "PATCH"},
     {"d a"},
     0,
     0,
     {"REQUEST_METHOD=PATCH", "CONTENT_LENGTH=1"},
     "a"},
    {"a type of one's own",
     {.script = X},
     {"d a", "H content-type: text/x"},
     0,
     0,
     {"CONTENT_TYPE=text/x"},
     "a"},
    {"no type", {.script = X}, {"d a", "H Content-Type:"}, 0, 0, {"-CONTENT_TYPE"}, "a"},
    {"json",
     {.script = X},
     {"j {\"a\":", "j 1}"},
     0,
     0,
     {"REQUEST_METHOD=POST", "CONTENT_TYPE=application/json", "HTTP_ACCEPT=application/json",
      "CONTENT_LENGTH=7"},
     "{\"a\":1}"},
    {"data in the query",
     {.script = X "?z=1", .get = true},
     {"d a=b", "u c=d e"},
     0,
     0,
     {"REQUEST_METHOD=GET", "QUERY_STRING=z=1&a=b&c=d%20e", "REQUEST_URI=/x.php?z=1&a=b&c=d%20e",
      "-CONTENT_LENGTH", "-CONTENT_TYPE"},
     ""},
    {"head", {.script = X, .head = true}, {0}, 0, 0, {"REQUEST_METHOD=HEAD"}, ""},
    {"a form",
     {.script = X},
     {"F a=b;c", "F t=x;type=text/x; q=1", "F n=v;filename=f\".txt", "S l=@x;type=y"},
     0,
     0,
     {"REQUEST_METHOD=POST"},
     "--*\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb;c\r\n"
     "--*\r\nContent-Disposition: form-data; name=\"t\"\r\nContent-Type: text/x; q=1\r\n\r\nx\r\n"
     "--*\r\nContent-Disposition: form-data; name=\"n\"; filename=\"f%22.txt\"\r\n"
     "Content-Type: text/plain\r\n\r\nv\r\n"
     "--*\r\nContent-Disposition: form-data; name=\"l\"\r\n\r\n@x;type=y\r\n"
     "--*--\r\n"},
    {"two bodies", {.script = X}, {"d a", "F a=b"}, FERRY_EUSAGE, "--data and --form", {0}, NULL},
    {"an upload and another",
     {.script = X},
     {"d a", "T /dev/null"},
     FERRY_EUSAGE,
     "together",
     {0},
     NULL},
    {"a form in the query", {.script = X, .get = true}, {"F a=b"}, FERRY_EUSAGE, "-G", {0}, NULL},
    {"no part", {.script = X}, {"F abc"}, FERRY_EUSAGE, "NAME=VALUE", {0}, NULL},
    {"an open quote", {.script = X}, {"F a=@\"b"}, FERRY_EUSAGE, "quote", {0}, NULL},
    {"an odd parameter", {.script = X}, {"F a=@b;x=y"}, FERRY_EUSAGE, ";x=y", {0}, NULL},
    {"a file that is not there",
     {.script = X},
     {"F a=@/nonexistent"},
     -ENOENT,
     "cannot read /nonexistent",
     {0},
     NULL},
    {"data that are not there",
     {.script = X},
     {"d @/nonexistent"},
     -ENOENT,
     "cannot read /nonexistent",
     {0},
     NULL},

    /* roles */
    {"an authorizer",
     {.script = X "/info", .role = FERRY_AUTHORIZER},
     {0},
     0,
     0,
     {"SCRIPT_FILENAME=/srv/x.php", "-SCRIPT_NAME", "-PATH_INFO", "-PATH_TRANSLATED",
      "-CONTENT_LENGTH"},
     ""},
    {"an authorizer with a body",
     {.script = X, .role = FERRY_AUTHORIZER},
     {"d a"},
     FERRY_EUSAGE,
     "no body",
     {0},
     NULL},
    {"a filter without data",
     {.script = X, .role = FERRY_FILTER},
     {0},
     FERRY_EUSAGE,
     "--data FILE",
     {0},
     NULL},
    {"data without a filter",
     {.script = X, .data_file = "/dev/null"},
     {0},
     FERRY_EUSAGE,
     "filters",
     {0},
     NULL},
};

static void check_param(const struct ferry_draft *d, const char *want)
{
    char name[64];
    size_t len = strcspn(want, "=");
    struct ferry_slice value;

    memcpy(name, want, len);
    name[len] = 0;
    if (*want == '-') {
        assert_null(ferry_draft_value(d, name + 1).p);
        return;
    }
    value = ferry_draft_value(d, name);
    assert_non_null(value.p);
    if (!ferry_slice_eq(value, ferry_slice_z(want + len + 1)))
        fail_msg("%s, but it is %.*s", want, (int)value.len, value.p);
}

static void check_body(const struct ferry_draft *d, const char *want)
{
    static char body[4096];
    ssize_t n = ferry_payload_read(&d->body, 0, body, sizeof body - 1);
    size_t at = 0;

    assert_int_equal(n, d->body.len);
    for (; *want; want++) {
        struct ferry_slice piece =
            *want == '*' && d->boundary.len ? d->boundary : ferry_slice(want, 1);

        assert_true(at + piece.len <= (size_t)n);
        if (memcmp(body + at, piece.p, piece.len) != 0)
            fail_msg("%.*s, where there should be %s", (int)(n - (ssize_t)at), body + at, want);
        at += piece.len;
    }
    assert_int_equal(at, n);
}

/* The image is the params again, as records; and it ends STDIN where there is no body. */
static void check_image(const struct ferry_draft *d)
{
    const char *p = d->image.p, *end = p + d->image.len;
    unsigned ended = 0, role = 0, stdin_ended = 0;
    struct ferry_record r;
    size_t pairs = 0;

    while (p < end) {
        assert_int_equal(ferry_record_decode(p, (size_t)(end - p), &r), 8);
        p += 8;
        if (r.type == FERRY_BEGIN_REQUEST)
            role = (unsigned)p[1];
        else if (r.type == FERRY_STDIN)
            stdin_ended++;
        else if (r.content_len == 0)
            ended++;
        else
            for (size_t at = 0; at < r.content_len; pairs++) {
                struct ferry_param pair;
                ssize_t took = ferry_param_decode(p + at, r.content_len - at, 65535, &pair);

                assert_true(took > 0);
                assert_true(ferry_slice_eq(pair.name, d->params[pairs].name));
                assert_true(ferry_slice_eq(pair.value, d->params[pairs].value));
                at += (size_t)took;
            }
        p += r.content_len + r.padding_len;
    }
    assert_int_equal(pairs, d->nparams);
    assert_int_equal(role, d->role);
    assert_int_equal(ended, 1);
    assert_int_equal(stdin_ended, d->body.len == 0);
}

static void test_scenes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        const struct scene *s = &scenes[i];
        struct ferry_draft d;
        int err = build(&d, s);

        print_message("# %s\n", s->name);
        if (err != s->err)
            fail_msg("%s: %d (%s)", s->name, err, d.why);
        if (s->why && !strstr(d.why, s->why))
            fail_msg("%s: %s", s->name, d.why);
        for (size_t p = 0; err == 0 && p < 12 && s->params[p]; p++)
            check_param(&d, s->params[p]);
        if (err == 0) {
            check_image(&d);
            check_body(&d, s->body);
        }
        ferry_draft_fini(&d);
        ferry_draft_fini(&d);
    }
}

static void test_files(void **state)
{
    char path[] = "/tmp/test_draft.XXXXXX", word[3][80];
    int fd = mkstemp(path);
    struct ferry_draft d;
    struct scene s = {"", {.script = X}, {word[0], word[1], word[2]}, 0, 0, {0}, NULL};

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\r\nb\n", 5), 5);
    close(fd);
    snprintf(word[0], 80, "d @%s", path);
    snprintf(word[1], 80, "B @%s", path);
    snprintf(word[2], 80, "u n@%s", path);
    assert_int_equal(build(&d, &s), 0);
    check_body(&d, "ab&a\r\nb\n&n=a%0D%0Ab%0A");
    ferry_draft_fini(&d);

    snprintf(word[0], 80, "F f=@\"%s\";filename=x.png", path);
    snprintf(word[1], 80, "F t=<%s", path);
    snprintf(word[2], 80, "F g=@%s;type=a/b", path);
    assert_int_equal(build(&d, &s), 0);
    snprintf(word[0], 80, "%s", path + 5); /* the name of the file alone */
    {
        char want[512];

        snprintf(want, sizeof want,
                 "--*\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.png\"\r\n"
                 "Content-Type: image/png\r\n\r\na\r\nb\n\r\n"
                 "--*\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\na\r\nb\n\r\n"
                 "--*\r\nContent-Disposition: form-data; name=\"g\"; filename=\"%s\"\r\n"
                 "Content-Type: a/b\r\n\r\na\r\nb\n\r\n--*--\r\n",
                 word[0]);
        check_body(&d, want);
    }
    ferry_draft_fini(&d);

    s.draft.role = FERRY_FILTER;
    s.draft.data_file = path;
    s.words[0] = NULL;
    assert_int_equal(build(&d, &s), 0);
    check_param(&d, "FCGI_DATA_LENGTH=5");
    assert_true(ferry_draft_value(&d, "FCGI_DATA_LAST_MOD").len >= 10);
    assert_int_equal(d.data.len, 5);
    ferry_draft_fini(&d);
    unlink(path);
}

/* A pair larger than a record comes through whole. */
static void test_long_params(void **state)
{
    char *word = malloc(200003), *value = word + 4;
    struct scene s = {"", {.script = X}, {word}, 0, 0, {0}, NULL};
    struct ferry_draft d;

    (void)state;
    memset(value, 'v', 199998);
    memcpy(word, "e L=", 4);
    value[199998] = 0;
    assert_int_equal(build(&d, &s), 0);
    assert_int_equal(ferry_draft_value(&d, "L").len, 199998);
    ferry_draft_fini(&d);
    memcpy(word, "H L:", 4);
    assert_int_equal(build(&d, &s), 0);
    assert_int_equal(ferry_draft_value(&d, "HTTP_L").len, 199998);
    ferry_draft_fini(&d);
    free(word);
}

static void test_many_headers(void **state)
{
    struct ferry_draft d = {.script = X};

    (void)state;
    for (int i = 0; i < FERRY_DRAFT_FIELDS_MAX; i++)
        assert_int_equal(ferry_draft_header(&d, "A: b"), 0);
    assert_int_equal(ferry_draft_header(&d, "A: b"), FERRY_ELIMIT);
    assert_int_equal(ferry_draft_seal(&d), 0);
    assert_int_equal(ferry_draft_value(&d, "HTTP_A").len, FERRY_DRAFT_FIELDS_MAX * 3 - 2);
    ferry_draft_fini(&d);
}

static void scenario(void *arg)
{
    struct ferry_draft d;

    if (build(&d, arg) < 0)
        assert_true(d.why[0]);
    ferry_draft_fini(&d);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        if (scenes[i].err == 0)
            each_alloc_fails(scenario, (void *)&scenes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenes),      cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_params), cmocka_unit_test(test_many_headers),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
