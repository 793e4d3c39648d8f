/* Everything that a program in C can do wrong, but for a pointer that points nowhere.
 * Arguments: a plan of a refused port and an open one, a plan of a silent port. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static int readable(const mailport_dial *dial)
{
    struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
    return poll(&watched, 1, 0);
}

static void a_host_that_is_none_is_a_verdict(void)
{
    const char *const hosts[] = {"", "mail example", "smtp://mail.example", "m\xff", "0.0.0.0"};
    size_t i;

    for (i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        mailport_dial *dial = NULL;
        CHECK(mailport_dial_start(hosts[i], 0, NULL, &dial) == MAILPORT_OK);
        CHECK(readable(dial) == 1 && mailport_dial_poll_timeout_ms(dial) == 0);
        CHECK(mailport_dial_process(dial) == MAILPORT_ERR_INVALID);
        CHECK(readable(dial) == 0 && mailport_dial_poll_timeout_ms(dial) == -1);
        CHECK(mailport_dial_process(dial) == MAILPORT_ERR_INVALID);
        CHECK(mailport_dial_message(dial)[0] != '\0' && mailport_dial_json(dial)[0] == '{');
        mailport_dial_free(dial);
    }
}

static void numbers_out_of_range_say_nothing(mailport_dial *dial)
{
    CHECK(mailport_dial_attempt_count(dial) == 2 && mailport_dial_winner(dial) == 1);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_RESET);
    CHECK(mailport_dial_attempt_reason(dial, 1) == MAILPORT_REASON_REFUSED);
    CHECK(mailport_dial_attempt_outcome(dial, 2) == 0);
    CHECK(strcmp(mailport_dial_attempt_address(dial, UINT32_MAX), "") == 0);
    CHECK(mailport_dial_attempt_started_us(dial, 2) == -1);
    CHECK(mailport_dial_answer(dial, 1, 99) == MAILPORT_ERR_INVALID);
    CHECK(mailport_dial_answer(dial, 1, MAILPORT_ANSWER_GIVE_UP) == MAILPORT_ERR_STALE);
    CHECK(mailport_status_message(4711)[0] != '\0' && mailport_tls_name(-1)[0] == '\0');
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL, *silent = NULL;
    mailport_status status;
    int fd = -77;

    CHECK(argc == 3);
    errno = 77;
    a_host_that_is_none_is_a_verdict();
    CHECK(mailport_options_set_plan(options, "25:cleartext", 0) == MAILPORT_ERR_INVALID);
    CHECK(mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    CHECK(mailport_options_set_plan(options, argv[2], 0) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &silent) == MAILPORT_OK);
    mailport_options_free(options);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_PENDING && fd == -77);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        CHECK(mailport_dial_process(silent) == MAILPORT_PENDING); /* two at once */
    CHECK(status == MAILPORT_OK && mailport_dial_take_fd(dial, &fd) == MAILPORT_OK && fd >= 0);
    CHECK(close(fd) == 0);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_ERR_ALREADY_TAKEN);
    CHECK(mailport_dial_process(dial) == MAILPORT_OK && mailport_dial_wait(dial, -1) == MAILPORT_OK);
    CHECK(readable(dial) == 0);
    numbers_out_of_range_say_nothing(dial);
    mailport_dial_free(dial);
    mailport_dial_free(silent); /* in the middle */
    CHECK(errno == 77);
    return 0;
}
