/* A dial that another thread cancels while it is waited for, and one whose thread is cancelled by
 * pthread_cancel(3). A second thread in a call is reported so. Argument: a plan of a silent port. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static mailport_options *options;
static mailport_dial *dial;
static mailport_status waited;

static void start(void)
{
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
}

static void *wait_for_it(void *nothing)
{
    /* Busy: the other thread is in a call to find out whether this one is. */
    do {
        waited = mailport_dial_wait(dial, -1);
    } while (waited == MAILPORT_PENDING || waited == MAILPORT_ERR_BUSY);
    return nothing;
}

static void *connect_and_go_on(void *called)
{
    int fd;

    waited = mailport_connect("127.0.0.1", 0, options, &fd);
    *(int *)called = 1; /* pthread_testcancel() in usleep() ends the thread */
    while (usleep(1000) == 0)
        continue;
    return NULL;
}

/* Until the other thread is in mailport_dial_wait(). */
static void wait_until_busy(void)
{
    int tries;

    for (tries = 0; mailport_dial_process(dial) != MAILPORT_ERR_BUSY; tries++) {
        CHECK(tries < 20000);
        usleep(1000);
    }
}

static void another_thread_cancels(void)
{
    pthread_t thread;
    int fd = -77;

    start();
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING); /* an attempt is open */
    CHECK(pthread_create(&thread, NULL, wait_for_it, NULL) == 0);
    wait_until_busy();
    CHECK(mailport_dial_wait(dial, 0) == MAILPORT_ERR_BUSY);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_ERR_BUSY && fd == -77);
    CHECK(mailport_dial_attempt_count(dial) == 0 && mailport_dial_json(dial)[0] == '\0');
    CHECK(strstr(mailport_dial_message(dial), "another thread") != NULL);
    CHECK(mailport_dial_cancel(dial) == MAILPORT_OK && pthread_join(thread, NULL) == 0);
    CHECK(waited == MAILPORT_ERR_CANCELLED);
    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_CANCELLED);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_CANCELLED);
    CHECK(strstr(mailport_dial_message(dial), "cancelled") != NULL);
    mailport_dial_free(dial);
}

static void a_loop_sees_it(void)
{
    struct pollfd watched;

    start();
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_NONE);
    CHECK(strcmp(mailport_dial_message(dial), "not ended yet") == 0);
    CHECK(strstr(mailport_dial_json(dial), "127.0.0.1: not ended yet, after ") != NULL);
    CHECK(mailport_dial_cancel(dial) == MAILPORT_OK);
    watched.fd = mailport_dial_fd(dial), watched.events = POLLIN;
    CHECK(poll(&watched, 1, 20000) == 1);
    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_CANCELLED);
    CHECK(poll(&watched, 1, 0) == 0 && mailport_dial_cancel(dial) == MAILPORT_OK);
    mailport_dial_free(dial);
}

/* Freed by one thread while another waits: a mistake, but no crash. */
static void freed_too_early(void)
{
    pthread_t thread;

    start();
    CHECK(pthread_create(&thread, NULL, wait_for_it, NULL) == 0);
    wait_until_busy();
    mailport_dial_free(dial);
    CHECK(pthread_join(thread, NULL) == 0 && waited == MAILPORT_ERR_CANCELLED);
}

static void a_cancelled_thread_leaves_the_call_first(void)
{
    pthread_t thread;
    void *ended;
    int called = 0;

    CHECK(mailport_options_set_timeout_ms(options, 300) == MAILPORT_OK);
    CHECK(pthread_create(&thread, NULL, connect_and_go_on, &called) == 0);
    usleep(50000);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &ended) == 0);
    CHECK(ended == PTHREAD_CANCELED && called && waited == MAILPORT_ERR_TIMEOUT);
}

int main(int argc, char **argv)
{
    options = mailport_options_new();
    CHECK(argc == 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    another_thread_cancels();
    a_loop_sees_it();
    freed_too_early();
    a_cancelled_thread_leaves_the_call_first();
    mailport_options_free(options);
    return 0;
}
