/* A dial through a command, which says hello as a server would. Argument: a plan. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    char line[80] = "";
    int fd;

    CHECK(argc == 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_options_set_via(options, "command:sh -c 'echo 220 %h; cat'") == MAILPORT_OK);
    CHECK(mailport_dial_start("mail.example", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    puts(mailport_dial_message(dial));
    CHECK(status == MAILPORT_OK && mailport_dial_take_fd(dial, &fd) == MAILPORT_OK);
    CHECK(strcmp(mailport_dial_via(dial), "command:sh") == 0);
    CHECK(mailport_dial_attempt_greeting(dial, 0) == MAILPORT_GREETING_RECEIVED);
    CHECK(read(fd, line, sizeof line - 1) > 0 && strcmp(line, "220 mail.example\n") == 0);
    CHECK(close(fd) == 0);
    mailport_dial_free(dial);
    return 0;
}
