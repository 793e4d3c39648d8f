/* Several threads in the calls of one dial: misuse, for which all but one get MAILPORT_ERR_BUSY. It
 * breaks nothing. Argument: a plan of a silent port. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <pthread.h>

#define THREADS 4
#define CALLS 300

static mailport_dial *dial;

static void *call(void *nothing)
{
    int i, fd = -77;

    for (i = 0; i < CALLS; i++) {
        mailport_status status = i % 2 ? mailport_dial_process(dial) : mailport_dial_wait(dial, 0);

        CHECK(status == MAILPORT_PENDING || status == MAILPORT_ERR_BUSY);
        status = mailport_dial_take_fd(dial, &fd);
        CHECK(status != MAILPORT_OK && fd == -77);
        (void)mailport_dial_fd(dial), (void)mailport_dial_poll_timeout_ms(dial);
        (void)mailport_dial_message(dial), (void)mailport_dial_json(dial);
        (void)mailport_dial_attempt_address(dial, 0), (void)mailport_dial_errno(dial);
    }
    return nothing;
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    pthread_t threads[THREADS];
    int i;

    CHECK(argc == 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_options_set_timeout_ms(options, 3600000) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, call, NULL) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(mailport_dial_cancel(dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_CANCELLED);
    mailport_dial_free(dial);
    return 0;
}
