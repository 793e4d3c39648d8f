/* What every program here begins with. */
#include <errno.h>
#include <mailport.h>
#include <stdio.h>
#include <stdlib.h>

/* A claim that ends the program where it does not hold. */
#define CHECK(claim)                                                                               \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim);                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
