/* A program to which a sandbox refuses system calls that a dial makes. Prints the message of the dial.
 * Arguments: a plan of a silent port, then the numbers of the calls. */
#define _GNU_SOURCE
#include "../c/check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>

static void refuse(unsigned int call)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int i;

    CHECK(argc > 2 && mailport_options_set_plan(options, argv[1], 0) == MAILPORT_OK);
    for (i = 2; i < argc; i++)
        refuse((unsigned int)atoi(argv[i]));
    status = mailport_dial_start("127.0.0.1", 0, options, &dial);
    mailport_options_free(options);
    if (status != MAILPORT_OK) {
        CHECK(status == MAILPORT_ERR_LOCAL_RESOURCE && mailport_last_error_errno() == EPERM);
        puts(mailport_last_error_message());
        return 0;
    }
    while ((status = mailport_dial_process(dial)) == MAILPORT_PENDING) {
        struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
        CHECK(poll(&watched, 1, 20000) == 1);
    }
    CHECK(status == MAILPORT_ERR_LOCAL_RESOURCE && mailport_dial_errno(dial) == EPERM);
    puts(mailport_dial_message(dial));
    mailport_dial_free(dial);
    return 0;
}
