/* SPDX-License-Identifier: MIT */
/* Configurations of go-guerrilla; tests/e2e/test_mail_config.py has more of what they mean. */
#include <errno.h>

#include "config_files.h"

#define FCGI                                                                                       \
    "\"fcgi_script_filename_save\": \"/s.php\", \"fcgi_script_filename_validate\": \"/v.php\", "   \
    "\"fcgi_connection_type\": \"tcp\", \"fcgi_connection_address\": \"127.0.0.1:9000\""
#define FILE_OF(top, backend)                                                                      \
    "{\"allowed_hosts\": [\"example.com\"]" top ", \"backend_config\": {" backend "}}"
#define SERVER "\"is_enabled\": true, \"listen_interface\": \"127.0.0.1:2525\""

static unsigned notices;

static void notice(void *arg, const struct ferry_config_place *place, const char *text)
{
    (void)arg;
    assert_string_equal(place->file, at("f"));
    assert_true(*text);
    notices++;
}

static int read_guerrilla(const char *text, struct ferry_config **out)
{
    put("f", text);
    told[0] = 0;
    notices = 0;
    return ferry_config_read_guerrilla(at("f"), out, tell, notice, NULL);
}

static void values(void **state)
{
    static const struct {
        const char *given;
        unsigned save_ms;
    } durations[] = {{"30s", 30000},  {"1m", 60000},    {"1m30s", 90000}, {"500ms", 500},
                     {"1.5s", 1500},  {"0.25m", 15000}, {"2m0s", 120000}, {"90s", 90000},
                     {"1s5ms", 1005}, {"1500us", 1},    {"9ns", 1},       {"1h", 120000}};

    (void)state;
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        struct ferry_config *c;
        char text[1024];

        snprintf(text, sizeof text,
                 FILE_OF("", FCGI ", \"save_process\": \"FastCGI\", \"gw_save_timeout\": \"%s\""),
                 durations[i].given);
        if (read_guerrilla(text, &c) != 0)
            fail_msg("%s: %s", durations[i].given, told);
        assert_int_equal(c->mails[0].service.save.timeout_ms, durations[i].save_ms);
        assert_int_equal(notices, durations[i].save_ms == 120000 && durations[i].given[1] == 'h');
        assert_null(c->mails[0].service.validate.path);
        assert_string_equal(c->mails[0].service.save.path, "/s.php");
        assert_string_equal(c->applications[0].client.addresses[0].text, "127.0.0.1:9000");
        ferry_config_free(c);
    }
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"[]", "0: this is no configuration: an object is expected\n"},
        {"3", "1: '[' or '{' expected near '3'\n"},
        {"{}", "0: 'save_process' stores nothing: FastCGI or MailDir must be in it, or mail would "
               "be lost\n"},
        {"{\"backend_config\": 3}", "0: 'backend_config' must be an object\n"},
        {"{\"log_file\": 3}", "0: 'log_file' must be a string\n"
                              "0: 'save_process' stores nothing: FastCGI or MailDir must be in it, "
                              "or mail would be lost\n"},
        {FILE_OF(", \"servers\": 3", FCGI ", \"save_process\": \"FastCGI\""),
         "0: 'servers' must be a list of servers\n"},
        {FILE_OF(", \"servers\": [3]", FCGI ", \"save_process\": \"FastCGI\""),
         "0: 'servers' must be a list of servers\n"},
        {FILE_OF(", \"servers\": []", FCGI ", \"save_process\": \"FastCGI\""),
         "0: no server is enabled\n"},
        {FILE_OF(", \"servers\": [{" SERVER ", \"is_enabled\": 1}]",
                 FCGI ", \"save_process\": \"FastCGI\""),
         "0: 'is_enabled' must be true or false\n"},
        {FILE_OF(", \"servers\": [{" SERVER ", \"tls\": 3}]",
                 FCGI ", \"save_process\": \"FastCGI\""),
         "0: 'tls' of 127.0.0.1:2525 must be an object\n"},
        {FILE_OF("", FCGI ", \"save_process\": \"FastCGI\", \"gw_save_timeout\": \"5\""),
         "0: 'gw_save_timeout' is no duration: 5\n"},
        {FILE_OF("", FCGI ", \"save_process\": \"FastCGI\", \"gw_save_timeout\": \"\""),
         "0: 'gw_save_timeout' is no duration: \n"},
        {FILE_OF("", FCGI ", \"save_process\": \"FastCGI\", \"gw_save_timeout\": \"1s.\""),
         "0: 'gw_save_timeout' is no duration: 1s.\n"},
        {"{\"allowed_hosts\": [3], \"backend_config\": {" FCGI ", \"save_process\": \"FastCGI\"}}",
         "0: 'allowed_hosts' must be a list of hosts\n"},
        {"{\"allowed_hosts\": [], \"backend_config\": {" FCGI ", \"save_process\": \"FastCGI\"}}",
         "0: 'allowed_hosts' must be a list of hosts\n"},
        /* Of the text that is written, too. */
        {FILE_OF(", \"servers\": [{" SERVER ", \"host_name\": \"a..b\"}]",
                 FCGI ", \"save_process\": \"FastCGI\""),
         "0: 'a..b' in 'hostname': that is no name of a host\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_config *c = (struct ferry_config *)folder;

        if (read_guerrilla(cases[i].text, &c) != FERRY_EUSAGE)
            fail_msg("%s\nwas taken", cases[i].text);
        assert_null(c);
        assert_string_equal(told, cases[i].want);
    }
}

static void failing_scenario(void *arg)
{
    struct ferry_config *c = NULL;
    int err = ferry_config_read_guerrilla(at("f"), &c, NULL, NULL, NULL);

    (void)arg;
    if (err != 0 && err != -ENOMEM && err != FERRY_EUSAGE)
        abort();
    if ((err == 0) != (c != NULL))
        abort();
    ferry_config_free(c);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    put("f",
        FILE_OF(", \"servers\": [{" SERVER "}]", FCGI ", \"save_process\": \"Header|FastCGI\""));
    each_alloc_fails(failing_scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
