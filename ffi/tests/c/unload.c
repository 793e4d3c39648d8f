/* A plugin that goes away while a name is looked up: the thread that does it has its code still.
 * Argument: the library's file. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dlfcn.h>
#include <time.h>

/* The claims of C that a pointer to data is none to code, dlsym's result aside. */
#define FIND(library, name) *(void **)&name = dlsym(library, "mailport_" #name)

int main(int argc, char **argv)
{
    mailport_status (*dial_start)(const char *, uint16_t, const mailport_options *, mailport_dial **);
    mailport_status (*dial_process)(mailport_dial *);
    void (*dial_free)(mailport_dial *);
    struct timespec moment = {0, 200000000};
    int round;

    CHECK(argc == 2);
    for (round = 0; round < 3; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        mailport_dial *dial = NULL;
        CHECK(library != NULL);
        FIND(library, dial_start);
        FIND(library, dial_process);
        FIND(library, dial_free);
        CHECK(dial_start("name.invalid", 0, NULL, &dial) == MAILPORT_OK);
        CHECK(dial_process(dial) == MAILPORT_PENDING); /* the look-up has begun */
        dial_free(dial);
        CHECK(dlclose(library) == 0);
    }
    nanosleep(&moment, NULL);
    return 0;
}
