/* A dial that another thread carries on at every turn. Argument: a plan with an open port. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static mailport_status status;

static void *one_turn(void *dial)
{
    struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
    CHECK(poll(&watched, 1, 20000) == 1);
    status = mailport_dial_process(dial);
    return NULL;
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    int fd, turns = 0;

    CHECK(argc == 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_dial_start("localhost", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    do {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, one_turn, dial) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        turns++;
    } while (status == MAILPORT_PENDING);
    CHECK(status == MAILPORT_OK && turns > 1);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_OK && close(fd) == 0);
    mailport_dial_free(dial);
    return 0;
}
