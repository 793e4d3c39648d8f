/* A dial of given addresses looks nothing up and tries them in order; a dial carries a pointer of
 * the caller. Argument: a plan with an open port of 127.0.0.1. */
#include "check.h"

#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd, mine;

    CHECK(argc == 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_options_set_addresses(options, "127.0.0.1,") == MAILPORT_ERR_INVALID);
    CHECK(mailport_options_set_addresses(options, "127.0.0.1:25") == MAILPORT_ERR_INVALID);
    CHECK(mailport_options_set_addresses(options, "") == MAILPORT_ERR_INVALID);
    CHECK(strstr(mailport_options_message(options), "separated by commas") != NULL);
    CHECK(mailport_options_set_addresses(options, "127.0.0.2, ::1,127.0.0.1") == MAILPORT_OK);
    CHECK(mailport_dial_start("mail.invalid", 0, options, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_user_data(dial) == NULL);
    CHECK(mailport_dial_set_user_data(dial, &mine) == MAILPORT_OK);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_OK && mailport_dial_user_data(dial) == &mine);
    CHECK(mailport_dial_attempt_count(dial) == 3);
    CHECK(strcmp(mailport_dial_address(dial), "127.0.0.1") == 0);
    CHECK(strcmp(mailport_dial_host(dial), "mail.invalid") == 0);
    mailport_dial_free(dial);
    CHECK(mailport_connect("mail.invalid", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    mailport_options_free(options);
    return 0;
}
