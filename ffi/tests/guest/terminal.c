/* The interrupt key of a terminal is typed while a connection through a command is open. The program is
 * the terminal; its child is the guest. */
#define _GNU_SOURCE
#include "../c/check.h"

#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts;

static void interrupted(int signal)
{
    (void)signal;
    interrupts++;
}

static void guest(void)
{
    /* For a command that the key reaches, time to die. */
    struct timespec moment = {0, 300 * 1000 * 1000};
    mailport_options *options = mailport_options_new();
    char line[40] = "";
    int fd;

    CHECK(mailport_options_set_via(options, "command:sh -c 'echo 220 ready; cat'") == MAILPORT_OK);
    CHECK(mailport_connect("mail.example", 0, options, &fd) == MAILPORT_OK);
    mailport_options_free(options);
    CHECK(read(fd, line, sizeof line) == 10 && strcmp(line, "220 ready\n") == 0);
    CHECK(signal(SIGINT, interrupted) != SIG_ERR);
    puts("type the key");
    fflush(stdout);
    while (interrupts == 0)
        nanosleep(&moment, NULL);
    nanosleep(&moment, NULL);
    CHECK(write(fd, "NOOP\n", 5) == 5);
    CHECK(read(fd, line, sizeof line) == 5 && strncmp(line, "NOOP\n", 5) == 0);
    CHECK(close(fd) == 0);
    exit(0);
}

int main(void)
{
    char text[4000] = "";
    size_t length = 0;
    ssize_t got;
    int terminal, how, is_typed = 0;
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);

    CHECK(child >= 0);
    if (child == 0)
        guest();
    while ((got = read(terminal, text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)got;
        if (!is_typed && strstr(text, "type the key") != NULL)
            is_typed = write(terminal, "\003", 1) == 1;
    }
    CHECK(waitpid(child, &how, 0) == child && is_typed);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
        fputs(text, stderr);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 1;
}
