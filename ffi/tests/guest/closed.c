/* A program that closes every descriptor while a dial is under way, as a daemon does that detaches.
 * Prints the message of the dial. Arguments: a host, a plan of a silent port, "wait" or "process". */
#define _GNU_SOURCE
#include "../c/check.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int i, fd;

    CHECK(argc == 4 && mailport_options_set_plan(options, argv[2], 0) == MAILPORT_OK);
    CHECK(mailport_options_set_timeout_ms(options, 5000) == MAILPORT_OK);
    CHECK(mailport_dial_start(argv[1], 0, options, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING);
    for (i = 0; i < 5 && mailport_dial_attempt_count(dial) == 0; i++) {
        struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
        CHECK(poll(&watched, 1, 20000) == 1 && mailport_dial_process(dial) == MAILPORT_PENDING);
    }
    for (fd = 3; fd < 1024; fd++)
        close(fd);
    if (strcmp(argv[3], "wait") == 0)
        while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
            continue;
    else
        status = mailport_dial_process(dial);
    CHECK(status == MAILPORT_ERR_LOCAL_RESOURCE);
    puts(mailport_dial_message(dial));
    CHECK(mailport_dial_errno(dial) == EBADF);
    mailport_dial_free(dial);
    /* The next one has its own. */
    CHECK(mailport_dial_start(argv[1], 0, options, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING);
    mailport_dial_free(dial);
    mailport_options_free(options);
    return 0;
}
