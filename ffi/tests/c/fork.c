/* A fork at every turn of a dial: the child can only free it, and dials for itself; the parent's
 * goes on. Arguments: a plan with an open port, and "busy" or "alone".
 *
 * Busy, a fork comes at any moment of the look-up threads. Alone, it waits until they
 * have ended: the allocator of GCC's sanitizer (12) does not let go of its locks in a child, where a
 * thread of the parent's may have held one, and what such a thread held is lost in a child. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "alone.h"

#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void in_child(mailport_dial *dial, mailport_options *options)
{
    int fd = -1;

    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_FORKED);
    CHECK(mailport_dial_wait(dial, -1) == MAILPORT_ERR_FORKED);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_ERR_FORKED);
    CHECK(mailport_dial_answer(dial, 1, MAILPORT_ANSWER_GIVE_UP) == MAILPORT_ERR_FORKED);
    CHECK(mailport_dial_fd(dial) == -1 && mailport_dial_poll_timeout_ms(dial) == -1);
    CHECK(strstr(mailport_dial_message(dial), "fork") != NULL);
    mailport_dial_free(dial);
    /* By address: a look-up of the parent's may have held a lock of the C library's. */
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    mailport_options_free(options);
    exit(0);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd, how, forks = 0;

    CHECK(argc == 3 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    CHECK(mailport_dial_start("localhost", 0, options, &dial) == MAILPORT_OK);
    do {
        struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
        pid_t child;

        if (strcmp(argv[2], "alone") == 0)
            wait_until_alone();
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            in_child(dial, options);
        CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
        forks++;
        CHECK(poll(&watched, 1, 20000) == 1);
    } while ((status = mailport_dial_process(dial)) == MAILPORT_PENDING);
    CHECK(status == MAILPORT_OK && forks > 1);
    CHECK(mailport_dial_take_fd(dial, &fd) == MAILPORT_OK && close(fd) == 0);
    mailport_dial_free(dial);
    mailport_options_free(options);
    return 0;
}
