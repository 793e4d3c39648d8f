/* NULL, wherever a pointer is taken. */
#include "check.h"

#include <string.h>

int main(void)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = (mailport_dial *)&options;
    int fd = -77;

    errno = 77;
    CHECK(mailport_connect(NULL, 0, NULL, &fd) == MAILPORT_NULL && fd == -77);
    CHECK(mailport_connect("localhost", 0, NULL, NULL) == MAILPORT_NULL);
    CHECK(mailport_dial_start(NULL, 0, NULL, &dial) == MAILPORT_NULL);
    CHECK(dial == (mailport_dial *)&options);
    CHECK(mailport_dial_start("localhost", 0, NULL, NULL) == MAILPORT_NULL);
    CHECK(mailport_dial_process(NULL) == MAILPORT_NULL);
    CHECK(mailport_dial_wait(NULL, -1) == MAILPORT_NULL);
    CHECK(mailport_dial_take_fd(NULL, &fd) == MAILPORT_NULL && fd == -77);
    CHECK(mailport_dial_answer(NULL, 1, 1) == MAILPORT_NULL);
    CHECK(mailport_dial_fd(NULL) == -1 && mailport_dial_timeout_ms(NULL) == -1);
    CHECK(mailport_dial_port(NULL) == 0 && mailport_dial_tls(NULL) == MAILPORT_TLS_UNDECIDED);
    CHECK(strcmp(mailport_dial_json(NULL), "") == 0 && mailport_dial_attempts(NULL) == 0);
    CHECK(strcmp(mailport_dial_attempt_note(NULL, 0), "") == 0);
    CHECK(mailport_options_set_plan(options, NULL, 0) == MAILPORT_NULL);
    CHECK(strstr(mailport_options_message(options), "NULL") != NULL);
    CHECK(mailport_options_set_plan(NULL, "587:starttls", 0) == MAILPORT_NULL);
    mailport_options_free(options);
    mailport_options_free(NULL);
    mailport_dial_free(NULL);
    CHECK(errno == 77);
    return 0;
}
