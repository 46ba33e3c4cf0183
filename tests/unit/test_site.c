/* SPDX-License-Identifier: MIT */
#include "gate/site.h"

#include <stdio.h>

#include "support.h"

#define NAMES(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static const struct ferry_gate_site sites[] = {
    {.names = NAMES("shop.example.org", "a.example.org"), .nnames = 2, .listeners = 1},
    {.names = NAMES("*.example.org"), .nnames = 1, .listeners = 3},
    {.names = NAMES("*.b.example.org", "b.example.org"), .nnames = 2, .listeners = 1},
    {.listeners = 1},
    {.listeners = 1},
    {.names = NAMES("shop.example.org"), .nnames = 1, .listeners = 4},
};
#define SITES (sizeof sites / sizeof *sites)

static void a_site_is_found_by_listener_and_name(void **state)
{
    static const struct {
        unsigned listener;
        const char *host;
        int site; /* -1: none */
    } cases[] = {
        {0, "shop.example.org", 0},
        {0, "SHOP.Example.ORG:8080", 0},
        {0, "shop.example.org.", 0},
        {0, "shop.example.org.:80", 0},
        {0, "x.example.org", 1},
        {0, "x.y.example.org", 1},
        {0, "x.b.example.org", 2},
        {0, "b.example.org", 2},
        {0, "example.org", 3},  /* the first without names */
        {0, ".example.org", 3}, /* no names at all, so no wildcard is for them */
        {0, "..example.org", 3},
        {0, "a..example.org", 3},
        {0, "x.example.org..", 3},
        {0, ".shop.example.org", 3},
        {0, ".", 3},
        {0, "..", 3},
        {0, "", 3},
        {0, "other", 3},
        {0, "[::1]:80", 3},
        {1, "shop.example.org", 1},
        {1, "other", -1},
        {2, "shop.example.org", 5},
        {2, "a.example.org", -1},
        {3, "shop.example.org", -1},
        {63, "x", -1},
    };
    char long_name[600];
    struct ferry_gate_sites *t;

    (void)state;
    assert_int_equal(ferry_gate_sites_new(sites, SITES, &t), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct ferry_gate_site *found =
            ferry_gate_site_find(t, cases[i].listener, ferry_slice_z(cases[i].host));

        if ((found ? found - sites : -1) != cases[i].site)
            fail_msg("%s on %u: %td", cases[i].host, cases[i].listener, found ? found - sites : -1);
    }
    memset(long_name, 'a', sizeof long_name);
    memcpy(long_name + sizeof long_name - 12, ".example.org", 12);
    assert_ptr_equal(ferry_gate_site_find(t, 0, ferry_slice(long_name, sizeof long_name)),
                     &sites[3]);
    assert_ptr_equal(
        ferry_gate_site_find(t, 0, ferry_slice(long_name + sizeof long_name - 253, 253)),
        &sites[1]);
    ferry_gate_sites_free(t);
}

static void many_names_are_found(void **state)
{
    enum { N = 2000 };
    static char text[N][32];
    static const char *names[N];
    struct ferry_gate_site site = {.names = names, .nnames = N, .listeners = 1};
    struct ferry_gate_sites *t;

    (void)state;
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "host%d.example", i);
        names[i] = text[i];
    }
    assert_int_equal(ferry_gate_sites_new(&site, 1, &t), 0);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(ferry_gate_site_find(t, 0, ferry_slice_z(names[i])), &site);
    assert_null(ferry_gate_site_find(t, 0, FERRY_SLICE("host2000.example")));
    ferry_gate_sites_free(t);
}

static void the_first_route_that_fits_is_taken(void **state)
{
    static const struct ferry_gate_route routes[] = {
        {.pattern = "/exact"}, {.pattern = "/below/*"}, {.pattern = "*.php"}, {.pattern = "/*"}};
    static const struct {
        const char *path;
        int route;
    } cases[] = {{"/exact", 0}, {"/exact/", 3},     {"/below/", 1},  {"/below/x.php", 1},
                 {"/below", 1}, {"/x/y.php", 2},    {"/x/Y.PHP", 2}, {"/.php", 2},
                 {"/", 3},      {"/x.php/info", 3}, {"/exactly", 3}, {"/Exact", 3}};
    const struct ferry_gate_site site = {.routes = routes, .nroutes = 4},
                                 few = {.routes = routes, .nroutes = 1};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ferry_gate_route_find(&site, ferry_slice_z(cases[i].path)) - routes,
                         cases[i].route);
    assert_null(ferry_gate_route_find(&few, FERRY_SLICE("/other")));
    assert_null(ferry_gate_route_find(&few, FERRY_SLICE("")));
}

static void make(void *arg)
{
    struct ferry_gate_sites *t = NULL;

    (void)arg;
    if (ferry_gate_sites_new(sites, SITES, &t) == 0)
        ferry_gate_sites_free(t);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(make, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_site_is_found_by_listener_and_name),
        cmocka_unit_test(many_names_are_found),
        cmocka_unit_test(the_first_route_that_fits_is_taken),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
