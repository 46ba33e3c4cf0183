/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over files and folders of inputs, so that the corpus is an ordinary test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned ran;

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    static uint8_t data[1 << 20];
    size_t n;
    uint8_t *exact;

    if (!f) {
        perror(path);
        return -1;
    }
    n = fread(data, 1, sizeof data, f);
    fclose(f);
    /* A copy of exactly n bytes, so that sanitizers see one byte too far. */
    exact = malloc(n ? n : 1);
    if (!exact)
        return -1;
    for (size_t i = 0; i < n; i++)
        exact[i] = data[i];
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    ran++;
    return 0;
}

static int run_path(const char *path)
{
    struct stat st;
    struct dirent *e;
    char below[4096];
    int err = 0;
    DIR *d;

    if (stat(path, &st) < 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    d = opendir(path);
    if (!d)
        return -1;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, e->d_name);
        err |= run_path(below);
    }
    closedir(d);
    return err;
}

int main(int argc, char **argv)
{
    int err = 0;

    for (int i = 1; i < argc; i++)
        err |= run_path(argv[i]);
    printf("%u inputs\n", ran);
    return err || ran == 0;
}
