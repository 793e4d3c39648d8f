/* How long dlopen takes, in microseconds. Usage: load LIBRARY */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
    struct timespec from, to;

    clock_gettime(CLOCK_MONOTONIC, &from);
    if (argc < 2 || dlopen(argv[1], RTLD_NOW) == NULL)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.1f\n", (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3);
    return 0;
}
