/* SPDX-License-Identifier: MIT */
/* php-site LISTEN PHP DIR: a folder of PHP with its images and styles. */
#include <ferry/gateway.h>
#include <stdio.h>

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
    if (ferry_filters_files(chain, &(struct ferry_files){.root = argv[3]}) == 0 &&
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
