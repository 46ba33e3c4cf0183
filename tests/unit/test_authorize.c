/* SPDX-License-Identifier: MIT */
/* authorize and auth_prepare: what an authorizer is asked, and what its answers lead to. */
#include "session_site.h"

static struct ferry_client *client;
static struct ferry_filters *chain;
static struct fake f;

/* A chain that asks, and ends at an application. */
static void begin(const struct ferry_authorize *o)
{
    client = site_client();
    chain = ferry_filters_new();
    assert_int_equal(ferry_filters_authorize(chain, client, o), 0);
    assert_int_equal(ferry_filters_application(chain, client), 0);
    fake_open(&f, chain);
}

static void end(void)
{
    site_close(&f, chain, client);
}

#define HEAD_ "GET /page?q=1 HTTP/1.1\r\nHost: example.org\r\n"

static bool is_asking(void)
{
    return f.did == FAKE_CALLED && f.call.judge && f.call.role == FERRY_AUTHORIZER;
}

static bool is_through(void)
{
    return f.did == FAKE_CALLED && !f.call.judge && f.call.role == FERRY_RESPONDER;
}

static void it_is_asked_without_body_or_script(void **state)
{
    static const char *const absent[] = {
        "CONTENT_LENGTH", "CONTENT_TYPE",    "PATH_INFO",    "PATH_TRANSLATED",
        "SCRIPT_NAME",    "SCRIPT_FILENAME", "DOCUMENT_URI", NULL};

    (void)state;
    begin(&(struct ferry_authorize){0});
    fake_request(&f, chain,
                 "POST /page?q=1 HTTP/1.1\r\nHost: example.org\r\nContent-Type: text/plain\r\n"
                 "Authorization: Basic eA==\r\nContent-Length: 5\r\n\r\n");
    assert_true(is_asking());
    assert_true(f.call.no_body);
    for (unsigned i = 0; absent[i]; i++)
        if (fake_param(&f, absent[i]))
            fail_msg("%s", absent[i]);
    assert_string_equal(fake_param(&f, "REQUEST_METHOD"), "POST");
    assert_string_equal(fake_param(&f, "REQUEST_URI"), "/page?q=1");
    assert_string_equal(fake_param(&f, "QUERY_STRING"), "q=1");
    assert_string_equal(fake_param(&f, "REMOTE_ADDR"), "127.0.0.2");
    assert_string_equal(fake_param(&f, "HTTP_AUTHORIZATION"), "Basic eA==");

    assert_int_equal(fake_judge(&f, "Status: 200 OK\r\n\r\n"), FERRY_STEP_NEXT);
    assert_true(is_through());
    assert_false(f.call.no_body);
    assert_string_equal(fake_param(&f, "CONTENT_TYPE"), "text/plain");
    assert_string_equal(fake_param(&f, "PATH_INFO"), "/page");
    end();
}

static int set_some(struct ferry_session *s, void *arg)
{
    static const char *const names[] = {"SCRIPT_FILENAME",  "SCRIPT_NAME",  "APP_ENV",
                                        "FCGI_DATA_LENGTH", "CONTENT_TYPE", NULL};
    int err = 0;

    (void)arg;
    for (unsigned i = 0; names[i] && err == 0; i++)
        err = ferry_session_set_param(s, ferry_slice_z(names[i]), FERRY_SLICE("set"));
    return err;
}

/* What stands before it in the chain is told it too, but for what describes a script or a body. */
static void it_may_be_a_script(void **state)
{
    (void)state;
    client = site_client();
    chain = ferry_filters_new();
    assert_int_equal(ferry_filters_add(chain, set_some, NULL, NULL), 0);
    assert_int_equal(
        ferry_filters_authorize(chain, client, &(struct ferry_authorize){.script = "/srv/a.php"}),
        0);
    assert_int_equal(ferry_filters_application(chain, client), 0);
    fake_open(&f, chain);
    fake_request(&f, chain, HEAD_ "\r\n");
    assert_true(is_asking());
    assert_string_equal(fake_param(&f, "SCRIPT_FILENAME"), "/srv/a.php");
    assert_string_equal(fake_param(&f, "APP_ENV"), "set");
    assert_null(fake_param(&f, "SCRIPT_NAME"));
    assert_null(fake_param(&f, "FCGI_DATA_LENGTH"));
    assert_null(fake_param(&f, "CONTENT_TYPE"));
    fake_judge(&f, "Status: 200\r\n\r\n");
    assert_true(is_through());
    assert_string_equal(fake_param(&f, "SCRIPT_FILENAME"), "set");
    assert_string_equal(fake_param(&f, "SCRIPT_NAME"), "set");
    end();
}

static void answers_lead_to(void **state)
{
    static const struct {
        const char *block;
        bool want_through;
        int want_step;
    } cases[] = {
        {"Status: 200 OK\r\n\r\n", true, FERRY_STEP_NEXT},
        {"Content-Type: text/plain\r\n\r\n", true, FERRY_STEP_NEXT}, /* 200 unless it is said */
        {"Status: 401 Who\r\nWWW-Authenticate: Basic\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 403 No\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 201 Made\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 204 None\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 299\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 302 There\r\nLocation: /login\r\n\r\n", false, FERRY_STEP_DONE},
        {"Location: /login\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 500 Bad\r\n\r\n", false, FERRY_STEP_DONE},
        {"Status: 503 Busy\r\n\r\n", false, FERRY_STEP_DONE},
    };

    (void)state;
    begin(&(struct ferry_authorize){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_request(&f, chain, HEAD_ "\r\n");
        assert_true(is_asking());
        assert_int_equal(fake_judge(&f, cases[i].block), cases[i].want_step);
        if (is_through() != cases[i].want_through)
            fail_msg("%s", cases[i].block);
    }
    end();
}

static void variables_become_params(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){0});
    fake_request(&f, chain, HEAD_ "\r\n");
    fake_judge(&f, "Status: 200\r\nVariable-AUTH_METHOD: basic\r\nvariable-REMOTE_USER: ann\r\n"
                   "Variable-My-Hello: hi\r\nVariable-G: a\r\nVariable-G: b\r\nVariable-Empty:\r\n"
                   "Set-Cookie: a=b\r\nX-Other: 1\r\n\r\n");
    assert_true(is_through());
    assert_string_equal(fake_param(&f, "AUTH_METHOD"), "basic");
    assert_string_equal(fake_param(&f, "REMOTE_USER"), "ann");
    assert_slice_equal(f.session.rq.remote_user, "ann");
    assert_string_equal(fake_param(&f, "My-Hello"), "hi");
    assert_string_equal(fake_param(&f, "G"), "a, b");
    assert_string_equal(fake_param(&f, "Empty"), "");
    assert_null(fake_param(&f, "HTTP_MY_HELLO"));
    assert_null(fake_param(&f, "HTTP_X_OTHER"));
    assert_null(fake_param(&f, "X-Other"));
    ferry_session_answer(&f.session, 200, NULL, 0, FERRY_SLICE(""));
    assert_null(strstr(f.fields, "Cookie"));
    end();

    begin(&(struct ferry_authorize){.as_fields = true});
    fake_request(&f, chain, HEAD_ "\r\n");
    fake_judge(&f, "Status: 200\r\nVariable-My-Hello: hi\r\nVariable-HTTP_X: y\r\n"
                   "Variable-Proxy: evil\r\n\r\n");
    assert_string_equal(fake_param(&f, "My-Hello"), "hi");
    assert_string_equal(fake_param(&f, "HTTP_MY_HELLO"), "hi");
    assert_string_equal(fake_param(&f, "HTTP_X"), "y");
    assert_null(fake_param(&f, "HTTP_HTTP_X"));
    assert_null(fake_param(&f, "HTTP_PROXY"));
    end();
}

static void some_params_are_not_its_to_set(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){.as_fields = true});
    fake_request(&f, chain, HEAD_ "\r\n");
    fake_judge(&f, "Status: 200\r\nVariable-CONTENT_LENGTH: 7\r\nVariable-Content-Length: 8\r\n"
                   "Variable-HTTP_PROXY: x\r\nVariable-http_proxy: x\r\n"
                   "Variable-FCGI_DATA_LENGTH: 1\r\nVariable-: 1\r\nVariable-OK: 1\r\n\r\n");
    assert_true(is_through());
    assert_null(strstr(f.params, "CONTENT_LENGTH"));
    assert_null(strstr(f.params, "Content-Length"));
    assert_null(strstr(f.params, "PROXY"));
    assert_null(strstr(f.params, "proxy"));
    assert_null(strstr(f.params, "FCGI_"));
    assert_string_equal(fake_param(&f, "OK"), "1");
    end();
}

/* Whatever a client sends under the name of a variable, nobody behind the authorizer sees. */
static void what_the_client_made_up_never_passes(void **state)
{
    static const char *const fields[] = {"X-User: evil",
                                         "x-user: evil",
                                         "X_User: evil",
                                         "X_USER: evil",
                                         "X.User: evil",
                                         "X-USER: evil",
                                         "x_user: evil",
                                         "X-User: evil\r\nx-user: evil2",
                                         "X-User:evil\r\nX_User: evil\r\nX-user: evil",
                                         NULL};
    static const char *const names[] = {"X_USER", "X-User", "HTTP_X_USER", "HTTP_X-User", NULL};
    static const char *const blocks[] = {"Status: 200\r\nVariable-%s: ann\r\n\r\n",
                                         "Status: 200\r\n\r\n"};

    (void)state;
    for (unsigned n = 0; names[n]; n++)
        for (unsigned as_fields = 0; as_fields < 2; as_fields++)
            for (unsigned b = 0; b < 2; b++) {
                begin(&(struct ferry_authorize){
                    .variables = b ? &names[n] : NULL, .nvariables = b, .as_fields = as_fields});
                for (unsigned i = 0; fields[i]; i++) {
                    char head[512], block[256];

                    snprintf(head, sizeof head, HEAD_ "%s\r\nX-Users: fine\r\n\r\n", fields[i]);
                    snprintf(block, sizeof block, blocks[b], names[n]);
                    fake_request(&f, chain, head);
                    /* Names that are known beforehand the authorizer is not shown either. */
                    if (b)
                        assert_null(strstr(f.params, "evil"));
                    fake_judge(&f, block);
                    assert_true(is_through());
                    assert_null(strstr(f.params, "evil"));
                    assert_string_equal(fake_param(&f, "HTTP_X_USERS"), "fine");
                    assert_null(ferry_session_field(&f.session, "X-User").p);
                    assert_null(ferry_session_field(&f.session, "X_User").p);
                    if (!b)
                        assert_string_equal(fake_param(&f, names[n]), "ann");
                    if (!b && as_fields)
                        assert_string_equal(fake_param(&f, "HTTP_X_USER"), "ann");
                    if (b)
                        assert_null(strstr(f.params, "X_USER="));
                }
                end();
            }
}

/* A param that the operator set stays, though a client's field of its name goes. */
static int set_own(struct ferry_session *s, void *arg)
{
    (void)arg;
    return ferry_session_set_param(s, FERRY_SLICE("HTTP_X_USER"), FERRY_SLICE("mine"));
}

static void what_the_operator_set_stays(void **state)
{
    static const char *const names[] = {"X_USER"};

    (void)state;
    client = site_client();
    chain = ferry_filters_new();
    assert_int_equal(ferry_filters_add(chain, set_own, NULL, NULL), 0);
    assert_int_equal(
        ferry_filters_authorize(chain, client,
                                &(struct ferry_authorize){.variables = names, .nvariables = 1}),
        0);
    assert_int_equal(ferry_filters_application(chain, client), 0);
    fake_open(&f, chain);
    fake_request(&f, chain, HEAD_ "X-User: evil\r\n\r\n");
    fake_judge(&f, "Status: 200\r\n\r\n");
    assert_string_equal(fake_param(&f, "HTTP_X_USER"), "mine");
    assert_null(strstr(f.params, "evil"));
    end();
}

/* The head lives in memory that the thread's next request uses, and so does the verdict's. */
static void the_request_outlives_the_question(void **state)
{
    char block[] = "Status: 200\r\nVariable-USER: ann\r\n\r\n";
    struct ferry_cgi_response r;
    const char *why;
    size_t scanned = 0;

    (void)state;
    begin(&(struct ferry_authorize){.variables = (const char *const[]){"Gone"}, .nvariables = 1});
    fake_request(&f, chain, HEAD_ "Gone: 1\r\nX-Kept: 2\r\n\r\n");
    memset(&f.event, 'x', sizeof f.event);
    memset(f.path_mem, 'x', sizeof f.path_mem);
    assert_true(ferry_cgi_response_parse(block, strlen(block), 65536, &scanned, &r, &why) > 0);
    assert_int_equal(f.call.judge(&f.session, &r, f.call.judge_arg), FERRY_STEP_NEXT);
    memset(block, 'x', sizeof block);
    memset(&r, 'x', sizeof r);
    ferry_session_resume(&f.session);
    assert_true(is_through());
    assert_string_equal(fake_param(&f, "PATH_INFO"), "/page");
    assert_string_equal(fake_param(&f, "REQUEST_URI"), "/page?q=1");
    assert_string_equal(fake_param(&f, "HTTP_X_KEPT"), "2");
    assert_null(fake_param(&f, "HTTP_GONE"));
    assert_string_equal(fake_param(&f, "USER"), "ann");
    end();
}

static void variables_are_not_shown_to_the_client(void **state)
{
    const struct ferry_http_field fields[] = {
        {FERRY_SLICE_INIT("Variable-USER"), FERRY_SLICE_INIT("secret")},
        {FERRY_SLICE_INIT("variable-other"), FERRY_SLICE_INIT("secret")},
        {FERRY_SLICE_INIT("WWW-Authenticate"), FERRY_SLICE_INIT("Basic")},
    };
    const struct ferry_http_field *to = fields;
    unsigned n = 3;

    (void)state;
    begin(&(struct ferry_authorize){0});
    fake_request(&f, chain, HEAD_ "\r\n");
    assert_int_equal(fake_judge(&f, "Status: 401\r\nVariable-USER: secret\r\n"
                                    "variable-other: secret\r\nWWW-Authenticate: Basic\r\n\r\n"),
                     FERRY_STEP_DONE);
    assert_int_equal(ferry_session_edit_answer(&f.session, 401, &to, &n), 401);
    assert_int_equal(n, 1);
    assert_slice_equal(to[0].name, "WWW-Authenticate");
    end();
}

static void cookies_pass_where_they_may(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){.pass_cookies = true, .cache_key = "$http_authorization"});
    for (unsigned turn = 0; turn < 2; turn++) {
        fake_request(&f, chain, HEAD_ "Authorization: a\r\n\r\n");
        assert_true(is_asking()); /* also the second time: cookies are this client's alone */
        fake_judge(&f, "Status: 200\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n");
        assert_true(is_through());
        ferry_session_answer(&f.session, 200, NULL, 0, FERRY_SLICE(""));
        assert_non_null(strstr(f.fields, "Set-Cookie: a=1\nSet-Cookie: b=2\n"));
    }
    end();
}

/* -- verdicts that are remembered -------------------------------------------------------------- */

static bool asks(const char *fields)
{
    char head[512];

    snprintf(head, sizeof head, HEAD_ "%s\r\n", fields);
    fake_request(&f, chain, head);
    assert_true(is_asking() || is_through());
    return is_asking();
}

static void verdicts_are_remembered_by_key(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){.cache_key = "$http_authorization|$path",
                                    .cache_refused_ms = UINT_MAX});
    assert_true(asks("Authorization: a\r\n"));
    fake_judge(&f, "Status: 200\r\nVariable-REMOTE_USER: ann\r\n\r\n");
    assert_string_equal(fake_param(&f, "REMOTE_USER"), "ann");
    assert_false(asks("Authorization: a\r\nRemote-User: evil\r\n"));
    assert_string_equal(fake_param(&f, "REMOTE_USER"), "ann");
    assert_null(strstr(f.params, "evil"));
    assert_true(asks("Authorization: b\r\n"));
    assert_int_equal(fake_judge(&f, "Status: 403\r\n\r\n"), FERRY_STEP_DONE);
    assert_true(asks("Authorization: b\r\n")); /* a refusal is not, when it shall not be */
    assert_true(asks(""));
    assert_false(asks("Authorization: a\r\n"));
    fake_request(&f, chain, "GET /other HTTP/1.1\r\nHost: h\r\nAuthorization: a\r\n\r\n");
    assert_true(is_asking());
    end();
}

static void some_verdicts_are_not_remembered(void **state)
{
    static const char *const blocks[] = {"Status: 200\r\nCache-Control: no-store\r\n\r\n",
                                         "Status: 200\r\ncache-control: private, No-Cache\r\n\r\n",
                                         NULL};

    (void)state;
    begin(&(struct ferry_authorize){.cache_key = "$http_authorization"});
    for (unsigned i = 0; blocks[i]; i++) {
        assert_true(asks("Authorization: a\r\n"));
        fake_judge(&f, blocks[i]);
        assert_true(is_through());
        assert_true(asks("Authorization: a\r\n"));
    }
    /* An answer that broke off behind its head: nothing goes on, and nothing is remembered. */
    {
        struct ferry_cgi_response r = {.status = 200};

        assert_int_equal(f.call.judge(&f.session, &r, f.call.judge_arg), FERRY_STEP_NEXT);
        assert_true(asks("Authorization: a\r\n"));
    }
    end();
}

/* The status, without a question. */
static int refused_at_once(const char *user)
{
    char text[256];

    snprintf(text, sizeof text, HEAD_ "Authorization: %s\r\n\r\n", user);
    fake_request(&f, chain, text);
    assert_false(is_asking() || is_through());
    return f.status;
}

static void refusals_are_remembered_too(void **state)
{
    static const char *const others[] = {
        "Status: 302\r\nLocation: /login\r\n\r\n", "Status: 404\r\n\r\n", "Status: 500\r\n\r\n",
        "Status: 401\r\nSet-Cookie: a=b\r\n\r\n", "Status: 403\r\nCache-Control: No-Store\r\n\r\n"};

    (void)state;
    begin(&(struct ferry_authorize){.cache_key = "$http_authorization",
                                    .cache_max = 2,
                                    .cache_refused_ms = 600000,
                                    .cache_ms = 600000});
    assert_true(asks("Authorization: good\r\n"));
    fake_judge(&f, "Status: 200\r\nVariable-REMOTE_USER: ann\r\n\r\n");
    assert_true(asks("Authorization: a\r\n"));
    fake_judge(&f, "Status: 401\r\nWWW-Authenticate: Basic realm=\"x\"\r\nX-Other: y\r\n"
                   "Variable-SECRET: z\r\n\r\n");
    assert_int_equal(refused_at_once("a"), 401);
    assert_int_equal(f.session.nedits, 1);
    assert_slice_equal(f.session.edits[0].name, "WWW-Authenticate");
    assert_slice_equal(f.session.edits[0].value, "Basic realm=\"x\"");
    assert_true(asks("Authorization: b\r\n"));
    fake_judge(&f, "Status: 403\r\n\r\n");
    assert_int_equal(refused_at_once("b"), 403);

    /* As many of them as one likes: they take no room from those that may pass. */
    assert_true(asks("Authorization: c\r\n"));
    fake_judge(&f, "Status: 403\r\n\r\n");
    assert_true(asks("Authorization: a\r\n"));
    fake_judge(&f, "Status: 403\r\n\r\n");
    assert_false(asks("Authorization: good\r\n"));
    assert_string_equal(fake_param(&f, "REMOTE_USER"), "ann");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(asks("Authorization: d\r\n"));
        fake_judge(&f, others[i]);
    }
    assert_true(asks("Authorization: d\r\n"));
    end();
}

static void remembered_verdicts_have_a_limit(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){.cache_key = "$http_authorization", .cache_max = 2});
    for (unsigned i = 0; i < 3; i++) {
        char field[64];

        snprintf(field, sizeof field, "Authorization: %u\r\n", i);
        assert_true(asks(field));
        fake_judge(&f, "Status: 200\r\n\r\n");
    }
    assert_false(asks("Authorization: 1\r\n"));
    assert_false(asks("Authorization: 2\r\n"));
    assert_true(asks("Authorization: 0\r\n"));
    end();
}

/* -- two of them, wrong hosts, wrong options --------------------------------------------------- */

static void two_may_stand_in_a_row(void **state)
{
    (void)state;
    client = site_client();
    chain = ferry_filters_new();
    assert_int_equal(ferry_filters_authorize(chain, client, NULL), 0);
    assert_int_equal(ferry_filters_authorize(chain, client, NULL), 0);
    assert_int_equal(ferry_filters_application(chain, client), 0);
    fake_open(&f, chain);
    fake_request(&f, chain, HEAD_ "\r\n");
    fake_judge(&f, "Status: 200\r\nVariable-A: 1\r\n\r\n");
    assert_true(is_asking());
    assert_string_equal(fake_param(&f, "A"), "1");
    fake_judge(&f, "Status: 200\r\nVariable-B: 2\r\n\r\n");
    assert_true(is_through());
    assert_string_equal(fake_param(&f, "A"), "1");
    assert_string_equal(fake_param(&f, "B"), "2");
    end();
}

/* A host that goes on without a verdict does not get through. */
static void nothing_passes_without_a_verdict(void **state)
{
    (void)state;
    begin(&(struct ferry_authorize){0});
    fake_request(&f, chain, HEAD_ "\r\n");
    assert_true(is_asking());
    f.did = FAKE_NOTHING;
    ferry_session_resume(&f.session);
    assert_int_equal(f.did, FAKE_REFUSED);
    assert_int_equal(f.status, 500);
    end();
}

static void options_that_make_no_sense_are_refused(void **state)
{
    static const char *const none[] = {""};
    static const struct {
        struct ferry_authorize o;
        bool client;
        const char *want;
    } cases[] = {
        {{0}, false, "needs an application"},
        {{.variables = none, .nvariables = 1}, true, "empty"},
        {{.cache_max = 1000001}, true, "at most 1000000"},
        {{.cache_key = "$nothing"}, true, "nothing"},
    };

    (void)state;
    client = site_client();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_filters *some = ferry_filters_new();

        assert_int_equal(
            ferry_filters_authorize(some, cases[i].client ? client : NULL, &cases[i].o),
            FERRY_EUSAGE);
        if (!strstr(ferry_filters_why(some), cases[i].want))
            fail_msg("%zu: %s", i, ferry_filters_why(some));
        ferry_filters_free(some);
    }
    ferry_client_free(client);
}

static void a_chain_may_be_made_an_authorizers(void **state)
{
    (void)state;
    client = site_client();
    chain = ferry_filters_new();
    assert_int_equal(ferry_filters_basic_params(chain), 0);
    assert_int_equal(ferry_filters_map_header(chain), 0);
    assert_int_equal(ferry_filters_auth_prepare(chain), 0);
    assert_int_equal(ferry_filters_file_endpoint(chain, "/srv/auth.php"), 0);
    assert_int_equal(ferry_filters_call(chain, client), 0);
    fake_open(&f, chain);
    fake_request(&f, chain,
                 "POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\n"
                 "Content-Length: 3\r\n\r\n");
    assert_int_equal(f.did, FAKE_CALLED);
    assert_int_equal(f.call.role, FERRY_AUTHORIZER);
    assert_true(f.call.no_body);
    assert_null(fake_param(&f, "SCRIPT_NAME"));
    assert_null(fake_param(&f, "PATH_INFO"));
    assert_null(fake_param(&f, "CONTENT_TYPE"));
    assert_string_equal(fake_param(&f, "SCRIPT_FILENAME"), "/srv/auth.php");
    assert_string_equal(fake_param(&f, "HTTP_HOST"), "h");
    end();
}

/* -- without memory ---------------------------------------------------------------------------- */

static void chain_without_memory(void *arg)
{
    struct ferry_filters *some = ferry_filters_new();
    int err = -ENOMEM;

    (void)arg;
    if (some)
        err = ferry_filters_authorize(some, client,
                                      &(struct ferry_authorize){
                                          .script = "/a",
                                          .variables = (const char *const[]){"A", "B"},
                                          .nvariables = 2,
                                          .cache_key = "$http_authorization",
                                      });
    assert_true(err == 0 || err == -ENOMEM);
    ferry_filters_free(some);
}

static void memory_may_be_out(void **state)
{
    (void)state;
    client = site_client();
    each_alloc_fails(chain_without_memory, NULL);
    ferry_client_free(client);
}

static long fail_at;

static int start_failing(struct ferry_session *s, void *arg)
{
    (void)s;
    (void)arg;
    fail_alloc_after(fail_at);
    return FERRY_STEP_NEXT;
}

/* Wherever memory runs out, a request is asked about or refused, and never let through. */
static void nothing_passes_for_want_of_memory(void **state)
{
    static char large[4000];
    bool refused = false, failed = false;

    (void)state;
    memset(large, 'x', sizeof large - 1);
    for (long nth = 0; nth < 12; nth++) {
        char head[8000], block[8000];
        struct ferry_cgi_response r;
        const char *why;
        size_t scanned = 0;
        int step;

        client = site_client();
        chain = ferry_filters_new();
        assert_int_equal(ferry_filters_add(chain, start_failing, NULL, NULL), 0);
        assert_int_equal(ferry_filters_authorize(
                             chain, client,
                             &(struct ferry_authorize){.as_fields = true, .cache_key = "$http_x"}),
                         0);
        assert_int_equal(ferry_filters_application(chain, client), 0);
        fake_open(&f, chain);
        snprintf(head, sizeof head, HEAD_ "X: %s\r\n\r\n", large);
        snprintf(block, sizeof block, "Status: 200\r\nVariable-X: %s\r\n\r\n", large);
        fail_at = nth < 6 ? nth : -1;
        fake_request(&f, chain, head);
        fail_alloc_after(-1);
        if (!is_asking()) {
            assert_int_equal(f.did, FAKE_REFUSED);
            assert_int_equal(f.status, 500);
            refused = true;
            end();
            continue;
        }
        assert_true(ferry_cgi_response_parse(block, strlen(block), 65536, &scanned, &r, &why) > 0);
        fail_alloc_after(nth >= 6 ? nth - 6 : -1);
        step = f.call.judge(&f.session, &r, f.call.judge_arg);
        f.did = FAKE_NOTHING;
        if (step == FERRY_STEP_NEXT)
            ferry_session_resume(&f.session);
        fail_alloc_after(-1);
        if (is_through()) {
            assert_string_equal(fake_param(&f, "X"), large);
            assert_string_equal(fake_param(&f, "HTTP_X"), large);
        } else {
            assert_true(step == -ENOMEM || f.did == FAKE_REFUSED);
            failed = true;
        }
        end();
    }
    assert_true(refused && failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_asked_without_body_or_script),
        cmocka_unit_test(it_may_be_a_script),
        cmocka_unit_test(answers_lead_to),
        cmocka_unit_test(variables_become_params),
        cmocka_unit_test(some_params_are_not_its_to_set),
        cmocka_unit_test(what_the_client_made_up_never_passes),
        cmocka_unit_test(what_the_operator_set_stays),
        cmocka_unit_test(the_request_outlives_the_question),
        cmocka_unit_test(variables_are_not_shown_to_the_client),
        cmocka_unit_test(cookies_pass_where_they_may),
        cmocka_unit_test(verdicts_are_remembered_by_key),
        cmocka_unit_test(some_verdicts_are_not_remembered),
        cmocka_unit_test(refusals_are_remembered_too),
        cmocka_unit_test(remembered_verdicts_have_a_limit),
        cmocka_unit_test(two_may_stand_in_a_row),
        cmocka_unit_test(nothing_passes_without_a_verdict),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(a_chain_may_be_made_an_authorizers),
        cmocka_unit_test(memory_may_be_out),
        cmocka_unit_test(nothing_passes_for_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
