/* SPDX-License-Identifier: MIT */
/* with-authorizer LISTEN AUTHORIZER PHP DIR: an application says who may come in, another answers.
 */
#include <ferry/gateway.h>
#include <stdio.h>

static struct ferry_client *client(const char *address)
{
    struct ferry_client *made;

    if (ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE, .address = address},
                         &made) == 0)
        return made;
    fprintf(stderr, "%s: %s\n", address, ferry_client_why());
    return NULL;
}

int main(int argc, char **argv)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_client *authorizer, *php;
    int status = 1;

    if (argc != 5 || !chain) {
        fprintf(stderr, "usage: %s LISTEN AUTHORIZER PHP DIR\n", argv[0]);
        ferry_filters_free(chain);
        return 64;
    }
    authorizer = client(argv[2]);
    php = client(argv[3]);
    if (!authorizer || !php)
        return 64;
    if (ferry_filters_authorize(chain, authorizer, &(struct ferry_authorize){0}) == 0 &&
        ferry_filters_files(chain, &(struct ferry_files){.root = argv[4]}) == 0 &&
        ferry_filters_php(chain, php, &(struct ferry_php_fs){.root = argv[4]}) == 0)
        status = ferry_gateway_main(&(struct ferry_gateway_opts){
            FERRY_GATEWAY_OPTS_SIZE, .listen = (const char *[]){argv[1]}, .nlisten = 1,
            .filters = chain});
    else
        fprintf(stderr, "%s: %s\n", argv[0], ferry_filters_why(chain));
    ferry_client_free(authorizer);
    ferry_client_free(php);
    ferry_filters_free(chain);
    return status;
}
