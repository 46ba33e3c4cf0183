/* SPDX-License-Identifier: MIT */
/* What a session is told of its client, and by whom. */
#include "mail/internal.h"

#include "support.h"

static void xclient(struct ferry_mail_facts *f, const char *text)
{
    struct ferry_smtp_attrs attrs;
    struct ferry_slice detail;
    struct ferry_addr addr;

    assert_int_equal(ferry_smtp_attrs_parse(ferry_slice_z(text), false, &attrs, &detail),
                     FERRY_SMTP_NONE);
    (void)ferry__facts_xclient(f, &attrs, &addr);
}

/* XCLIENT makes it somebody else: a user whom the one before gave a password for is not this one.
 * What LOGIN said stands until another says otherwise. */
static void a_user_is_not_inherited(void **state)
{
    struct ferry_mail_facts f = {
        .auth_user = "proxy", .auth_mechanism = "PLAIN", .name_status = "off"};

    (void)state;
    xclient(&f, "ADDR=192.0.2.9");
    assert_string_equal(f.auth_user, "");
    assert_string_equal(f.auth_mechanism, "");
    xclient(&f, "LOGIN=jo");
    xclient(&f, "NAME=there.example");
    assert_string_equal(f.auth_user, "jo");
    assert_string_equal(f.auth_mechanism, "XCLIENT");
    xclient(&f, "LOGIN=[UNAVAILABLE]");
    assert_string_equal(f.auth_user, "");
    assert_string_equal(f.auth_mechanism, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_not_inherited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
