/* A plugin that goes away in the middle: its code stays, for the thread that looks a name up, and
 * for a dial that is open. Arguments: the library's file, a silent port and an open one. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "alone.h"

#include <dlfcn.h>
#include <poll.h>
#include <unistd.h>

static void *library;
static mailport_status (*dial_start)(const char *, uint16_t, const mailport_options *, mailport_dial **);
static mailport_status (*dial_process)(mailport_dial *);
static mailport_status (*dial_take_fd)(mailport_dial *, int *);
static int (*dial_fd)(const mailport_dial *);
static void (*dial_free)(mailport_dial *);

/* The claims of C that a pointer to data is none to code, dlsym's result aside. */
#define FIND(name) CHECK((*(void **)&name = dlsym(library, "mailport_" #name)) != NULL)

static void load(const char *file)
{
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    FIND(dial_start);
    FIND(dial_process);
    FIND(dial_take_fd);
    FIND(dial_fd);
    FIND(dial_free);
}

/* A dial that has begun when the library is closed. */
static mailport_dial *left_open(const char *file, const char *host, uint16_t port)
{
    mailport_dial *dial = NULL;

    load(file);
    CHECK(dial_start(host, port, NULL, &dial) == MAILPORT_OK);
    CHECK(dial_process(dial) >= 0);
    CHECK(dlclose(library) == 0);
    return dial;
}

static void goes_on(mailport_dial *dial)
{
    struct pollfd watched = {dial_fd(dial), POLLIN, 0};
    mailport_status status;
    int fd;

    while ((status = dial_process(dial)) == MAILPORT_PENDING)
        CHECK(poll(&watched, 1, 20000) == 1);
    CHECK(status == MAILPORT_OK && dial_take_fd(dial, &fd) == MAILPORT_OK && close(fd) == 0);
    dial_free(dial);
}

int main(int argc, char **argv)
{
    mailport_dial *silent, *dial = NULL;
    int round;

    ask_name_servers_once();
    CHECK(argc == 4);
    for (round = 0; round < 3; round++) {
        /* Freed before: only the thread that looks the name up is left. */
        load(argv[1]);
        CHECK(dial_start("name.invalid", 0, NULL, &dial) == MAILPORT_OK);
        CHECK(dial_process(dial) == MAILPORT_PENDING); /* the look-up has begun */
        dial_free(dial);
        CHECK(dlclose(library) == 0);
        /* Kept: it goes on where it was, a look-up or a connect. */
        silent = left_open(argv[1], "127.0.0.1", (uint16_t)atoi(argv[2]));
        goes_on(left_open(argv[1], "localhost", (uint16_t)atoi(argv[3])));
        CHECK(dial_process(silent) == MAILPORT_PENDING);
        dial_free(silent);
    }
    wait_until_alone(); /* a thread that died of it would have taken the program with it */
    return 0;
}
