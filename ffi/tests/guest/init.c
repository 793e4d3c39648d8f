/* A program that is process 1 of its PID namespace, as in a container: it keeps no zombie of a command,
 * and knows its child in another PID namespace, which is process 1 there. Argument: a plan of an open
 * port. */
#define _GNU_SOURCE
#include "../c/check.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void no_zombie(void)
{
    mailport_options *options = mailport_options_new();
    int i, fd;

    CHECK(mailport_options_set_via(options, "command:sh -c 'echo 220; cat'") == MAILPORT_OK);
    for (i = 0; i < 20; i++) {
        CHECK(mailport_connect("mail.example", 0, options, &fd) == MAILPORT_OK);
        CHECK(close(fd) == 0);
    }
    mailport_options_free(options);
    for (i = 0; i < 20000; i++) {
        siginfo_t child;
        if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT | __WALL) == -1) {
            CHECK(errno == ECHILD);
            return;
        }
        usleep(1000);
    }
    CHECK(!"there is still a child");
}

static void a_child_with_the_same_number(const char *plan)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int how;
    long child;

    CHECK(mailport_options_set_plan(options, plan, 0) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    /* The C library takes no part in it. */
    child = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    CHECK(child >= 0);
    if (child == 0) {
        int is_recognised = getpid() == 1 && mailport_dial_process(dial) == MAILPORT_ERR_FORKED;
        mailport_dial_free(dial);
        _exit(!is_recognised);
    }
    CHECK(waitpid((pid_t)child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_OK);
    mailport_dial_free(dial);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && getpid() == 1);
    a_child_with_the_same_number(argv[1]);
    no_zombie();
    return 0;
}
