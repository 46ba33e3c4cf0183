/* SPDX-License-Identifier: MIT */
/* custom-auth LISTEN PHP DIR: a filter of one's own lets nobody in without the word, and tells the
 * application who it is. */
#include <ferry/gateway.h>
#include <stdio.h>
#include <string.h>

static int know_the_word(struct ferry_session *s, void *arg)
{
    static const struct ferry_param how[] = {FERRY_PARAM("WWW-Authenticate", "Bearer")};
    struct ferry_slice sent = ferry_session_field(s, "Authorization");
    const char *wanted = arg;

    if (sent.len != strlen(wanted) || memcmp(sent.p, wanted, sent.len) != 0)
        return ferry_session_answer(s, 401, how, 1, (struct ferry_slice){"who are you?\n", 13});
    return ferry_session_set_remote_user(s, (struct ferry_slice){"ann", 3});
}

static char word[] = "Bearer sesame";

int main(int argc, char **argv)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_client *php;
    int status = 1;

    if (argc != 4 || !chain) {
        fprintf(stderr, "usage: %s LISTEN PHP DIR\n", argv[0]);
        ferry_filters_free(chain);
        return 64;
    }
    if (ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE, .address = argv[2]},
                         &php) < 0) {
        fprintf(stderr, "%s: %s\n", argv[2], ferry_client_why());
        return 64;
    }
    if (ferry_filters_add(chain, know_the_word, word, NULL) == 0 &&
        ferry_filters_files(chain, &(struct ferry_files){.root = argv[3]}) == 0 &&
        ferry_filters_php(chain, php, &(struct ferry_php_fs){.root = argv[3]}) == 0)
        status = ferry_gateway_main(&(struct ferry_gateway_opts){
            FERRY_GATEWAY_OPTS_SIZE, .listen = (const char *[]){argv[1]}, .nlisten = 1,
            .filters = chain});
    else
        fprintf(stderr, "%s: %s\n", argv[0], ferry_filters_why(chain));
    ferry_client_free(php);
    ferry_filters_free(chain);
    return status;
}
