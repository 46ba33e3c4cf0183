/* SPDX-License-Identifier: MIT */
/*
 * The built-in filters by name. Each kind stands in one place: its arguments, what adds it to a
 * chain, and, at the end, its row. An argument's place in its table is its place in the values.
 */
#include "session/kind.h"

#include <limits.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* name, type, required, fallback, help */
#define ROOT                                                                                       \
    {                                                                                              \
        "root", FERRY_ARG_TEXT, false, NULL, "the folder; the site's root when it is not said"     \
    }

#define PROJECT_ROOT                                                                               \
    {                                                                                              \
        "project_root", FERRY_ARG_BOOL, false, "off",                                              \
            "the folder is the project itself: hide what such folders hold"                        \
    }

static const char *root_of(const struct ferry_arg_value *v, const char *root)
{
    return v->set ? v->text : root;
}

/* -- what is told ------------------------------------------------------------------------------ */

static int add_basic_params(struct ferry_filters *f, const struct ferry_arg_value *v,
                            const char *root)
{
    (void)v;
    (void)root;
    return ferry_filters_basic_params(f);
}

static int add_map_header(struct ferry_filters *f, const struct ferry_arg_value *v,
                          const char *root)
{
    (void)v;
    (void)root;
    return ferry_filters_map_header(f);
}

static const struct ferry_filter_arg remote_host_args[] = {
    {"timeout", FERRY_ARG_DURATION, false, "1s", "how long a request waits for the name"},
    {"keep", FERRY_ARG_DURATION, false, "300s", "how long a name is remembered"},
    {"unconfirmed", FERRY_ARG_BOOL, false, "off", "take the name without looking it up in turn"},
    {"servers", FERRY_ARG_TEXT, false, NULL, "name servers, \"127.0.0.1:5353, ...\"; the system's"},
};

static int add_remote_host(struct ferry_filters *f, const struct ferry_arg_value *v,
                           const char *root)
{
    (void)root;
    if (v[0].number > INT_MAX || v[1].number > INT_MAX)
        return ferry_filters_refuse(f, "remote_host: a time of more than 24 days");
    return ferry_filters_remote_host(f, &(struct ferry_remote_host){
                                            .timeout_ms = (unsigned)v[0].number,
                                            .keep_ms = (unsigned)v[1].number,
                                            .unconfirmed = v[2].number,
                                            .servers = v[3].set ? v[3].text : NULL,
                                        });
}

static const struct ferry_filter_arg set_param_args[] = {
    {"name", FERRY_ARG_TEXT, true, NULL, "the param"},
    {"value", FERRY_ARG_TEXT, true, NULL, "its value; may hold variables"},
};

static int add_set_param(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    return ferry_filters_set_param(f, v[0].text, v[1].text);
}

static const struct ferry_filter_arg remove_param_args[] = {
    {"name", FERRY_ARG_TEXT, true, NULL, "the param"},
};

static int add_remove_param(struct ferry_filters *f, const struct ferry_arg_value *v,
                            const char *root)
{
    (void)root;
    return ferry_filters_remove_param(f, v[0].text);
}

static const struct ferry_filter_arg header_args[] = {
    {"name", FERRY_ARG_TEXT, true, NULL, "the field of the answer"},
    {"value", FERRY_ARG_TEXT, false, NULL, "its value, may hold variables; without one: removed"},
};

static int add_header(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    return ferry_filters_header(f, v[0].text, v[1].set ? v[1].text : NULL);
}

/* -- what a path means ------------------------------------------------------------------------- */

static const struct ferry_filter_arg split_path_info_args[] = {
    {"suffixes", FERRY_ARG_LIST, false, ".php", "how the names of scripts end"},
};

static int add_split_path_info(struct ferry_filters *f, const struct ferry_arg_value *v,
                               const char *root)
{
    (void)root;
    return ferry_filters_split_path_info(f, v[0].list, v[0].nlist);
}

static const struct ferry_filter_arg file_endpoint_args[] = {
    {"file", FERRY_ARG_TEXT, true, NULL, "the script that answers every request"},
};

static int add_file_endpoint(struct ferry_filters *f, const struct ferry_arg_value *v,
                             const char *root)
{
    (void)root;
    return ferry_filters_file_endpoint(f, v[0].text);
}

static const struct ferry_filter_arg strip_prefix_args[] = {
    {"prefix", FERRY_ARG_TEXT, true, NULL, "the front of the path, such as /shop"},
};

static int add_strip_prefix(struct ferry_filters *f, const struct ferry_arg_value *v,
                            const char *root)
{
    (void)root;
    return ferry_filters_strip_prefix(f, v[0].text);
}

static const struct ferry_filter_arg try_files_args[] = {
    {"paths", FERRY_ARG_LIST, true, NULL, "tried in turn, may hold variables; last a path or =404"},
    ROOT,
};

static int add_try_files(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    return ferry_filters_try_files(f, root_of(&v[1], root), v[0].list, v[0].nlist);
}

static const struct ferry_filter_arg rewrite_args[] = {
    {"pattern", FERRY_ARG_TEXT, true, NULL, "an extended regular expression for the path"},
    {"to", FERRY_ARG_TEXT, true, NULL, "the new path; may hold variables, and $1 to $9"},
};

static int add_rewrite(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    return ferry_filters_rewrite(f, v[0].text, v[1].text);
}

static const struct ferry_filter_arg php_fs_args[] = {
    ROOT,
    {"index", FERRY_ARG_LIST, false, "index.php index.html", "what a folder's address leads to"},
    {"suffixes", FERRY_ARG_LIST, false, ".php", "how the names of scripts end"},
    {"front", FERRY_ARG_TEXT, false, NULL, "runs for what is not there, such as /index.php"},
    PROJECT_ROOT,
};

/* php_fs_args are here from v on. */
static struct ferry_php_fs php_fs_of(const struct ferry_arg_value *v, const char *root)
{
    return (struct ferry_php_fs){
        .root = root_of(&v[0], root),
        .index = v[1].list,
        .nindex = v[1].nlist,
        .suffixes = v[2].list,
        .nsuffixes = v[2].nlist,
        .front = v[3].set ? v[3].text : NULL,
        .project_root = v[4].number,
    };
}

static int add_php_fs(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    struct ferry_php_fs o = php_fs_of(v, root);

    return ferry_filters_php_fs(f, &o);
}

static const struct ferry_filter_arg files_args[] = {
    ROOT,
    {"index", FERRY_ARG_LIST, false, "index.html", "what a folder's address leads to"},
    {"hide", FERRY_ARG_LIST, false, NULL, "more suffixes of files that are never sent"},
    PROJECT_ROOT,
};

static int add_files(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    return ferry_filters_files(f, &(struct ferry_files){
                                      .root = root_of(&v[0], root),
                                      .index = v[1].list,
                                      .nindex = v[1].nlist,
                                      .suffixes_hidden = v[2].list,
                                      .nsuffixes_hidden = v[2].nlist,
                                      .project_root = v[3].number,
                                  });
}

static const struct ferry_filter_arg filter_files_args[] = {
    ROOT,
};

static int add_filter_files(struct ferry_filters *f, const struct ferry_arg_value *v,
                            const char *root)
{
    return ferry_filters_filter_files(f, root_of(&v[0], root));
}

/* -- what decides ------------------------------------------------------------------------------ */

static const struct ferry_filter_arg authorize_args[] = {
    {"application", FERRY_ARG_CLIENT, true, NULL, "the authorizer"},
    {"script", FERRY_ARG_TEXT, false, NULL, "SCRIPT_FILENAME of it, where it is a script"},
    {"variables", FERRY_ARG_LIST, false, NULL, "names that only the authorizer may set"},
    {"as_fields", FERRY_ARG_BOOL, false, "off", "variables become header fields too"},
    {"cache_key", FERRY_ARG_TEXT, false, NULL,
     "remember verdicts by this, \"$http_authorization\""},
    {"cache", FERRY_ARG_DURATION, false, "10s", "how long a verdict is remembered"},
    {"cache_max", FERRY_ARG_INT, false, "1024", "how many verdicts are remembered by one thread"},
    {"pass_cookies", FERRY_ARG_BOOL, false, "off", "its Set-Cookie goes to the client"},
    {"cache_refused", FERRY_ARG_DURATION, false, "1s",
     "how long a 401 or 403 is given again without asking; 0: not at all"},
};

static int add_authorize(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    if (v[5].number < 0 || v[5].number > UINT32_MAX || v[6].number < 0 ||
        v[6].number > UINT32_MAX || v[8].number < 0 || v[8].number > UINT32_MAX)
        return ferry_filters_refuse(f, "authorize: cache and cache_max are too large");
    return ferry_filters_authorize(
        f, v[0].client,
        &(struct ferry_authorize){
            .script = v[1].set ? v[1].text : NULL,
            .variables = v[2].list,
            .nvariables = v[2].nlist,
            .as_fields = v[3].number,
            .cache_key = v[4].set ? v[4].text : NULL,
            .cache_ms = (unsigned)v[5].number,
            .cache_max = (unsigned)v[6].number,
            .pass_cookies = v[7].number,
            .cache_refused_ms = v[8].number ? (unsigned)v[8].number : UINT_MAX,
        });
}

static int add_auth_prepare(struct ferry_filters *f, const struct ferry_arg_value *v,
                            const char *root)
{
    (void)v;
    (void)root;
    return ferry_filters_auth_prepare(f);
}

static const struct ferry_filter_arg deny_args[] = {
    {"status", FERRY_ARG_INT, false, "403", "400 to 599"},
    {"why", FERRY_ARG_TEXT, false, NULL, "one sentence for the page"},
};

static int add_deny(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    if (v[0].number < 0 || v[0].number > 999)
        return ferry_filters_refuse(f, "deny: that is no status from 400 to 599");
    return ferry_filters_deny(f, (int)v[0].number, v[1].set ? v[1].text : NULL);
}

static const struct ferry_filter_arg redirect_args[] = {
    {"to", FERRY_ARG_TEXT, true, NULL, "where to; may hold variables"},
    {"status", FERRY_ARG_INT, false, "302", "301, 302, 303, 307 or 308"},
};

static int add_redirect(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    if (v[1].number < 0 || v[1].number > 999)
        return ferry_filters_refuse(f, "redirect: that is none of 301, 302, 303, 307 and 308");
    return ferry_filters_redirect(f, (int)v[1].number, v[0].text);
}

/* -- applications ------------------------------------------------------------------------------ */

static const struct ferry_filter_arg call_args[] = {
    {"application", FERRY_ARG_CLIENT, true, NULL, "which one"},
};

static int add_call(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    return ferry_filters_call(f, v[0].client);
}

static const struct ferry_filter_arg php_args[] = {
    {"application", FERRY_ARG_CLIENT, true, NULL, "which one"},
    ROOT,
    {"index", FERRY_ARG_LIST, false, "index.php index.html", "what a folder's address leads to"},
    {"suffixes", FERRY_ARG_LIST, false, ".php", "how the names of scripts end"},
    {"front", FERRY_ARG_TEXT, false, "/index.php", "runs for what is not there; \"\" for none"},
    PROJECT_ROOT,
};

static int add_php(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    struct ferry_php_fs o = php_fs_of(v + 1, root);

    return ferry_filters_php(f, v[0].client, &o);
}

static const struct ferry_filter_arg application_args[] = {
    {"application", FERRY_ARG_CLIENT, true, NULL, "which one"},
};

static int add_application(struct ferry_filters *f, const struct ferry_arg_value *v,
                           const char *root)
{
    (void)root;
    return ferry_filters_application(f, v[0].client);
}

/* -- the table --------------------------------------------------------------------------------- */

#define KIND(name, title, help, add)                                                               \
    {                                                                                              \
#name, title, help, name##_args, COUNT(name##_args), add, false                            \
    }
#define BARE(name, help, add)                                                                      \
    {                                                                                              \
#name, NULL, help, NULL, 0, add, false                                                     \
    }
#define LAST(name, title, help, add)                                                               \
    {                                                                                              \
#name, title, help, name##_args, COUNT(name##_args), add, true                             \
    }

static const struct ferry_filter_kind kinds[] = {
    BARE(basic_params, "params of the request and its connection", add_basic_params),
    BARE(map_header, "header fields as HTTP_ params", add_map_header),
    KIND(remote_host, NULL, "the name of the client's address as REMOTE_HOST", add_remote_host),
    KIND(split_path_info, NULL, "SCRIPT_NAME and PATH_INFO from the path", add_split_path_info),
    KIND(file_endpoint, "file", "one script for every path", add_file_endpoint),
    KIND(strip_prefix, "prefix", "take a prefix off the path", add_strip_prefix),
    KIND(php_fs, "root", "scripts below a folder", add_php_fs),
    KIND(files, "root", "files below a folder", add_files),
    KIND(filter_files, "root", "files as the DATA of a filter", add_filter_files),
    KIND(try_files, NULL, "the first of several paths that is there", add_try_files),
    KIND(rewrite, "pattern", "another path for those that match", add_rewrite),
    BARE(auth_prepare, "make it a request to an authorizer", add_auth_prepare),
    KIND(authorize, "application", "ask an authorizer", add_authorize),
    KIND(set_param, "name", "one more param, whatever the client sent", add_set_param),
    KIND(remove_param, "name", "one param less", add_remove_param),
    KIND(header, "name", "a header field of the answer", add_header),
    LAST(deny, "status", "refuse the request", add_deny),
    LAST(redirect, "to", "send the client elsewhere", add_redirect),
    LAST(call, "application", "send it to an application as it stands", add_call),
    KIND(php, "application", "PHP with all that it wants to be told", add_php),
    LAST(application, "application", "an application that gets the whole path as PATH_INFO",
         add_application),
};

const struct ferry_filter_kind *ferry_filter_kind(unsigned i)
{
    return i < COUNT(kinds) ? &kinds[i] : NULL;
}

const struct ferry_filter_kind *ferry_filter_kind_find(const char *name)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}
