/* How long mailport_dial_process() takes where it starts a command, in a process with 2 GB of memory, and
 * how long a fork() takes there. Usage: process DIALS */
#define _GNU_SOURCE
#include <mailport.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY ((size_t)2 << 30)
#define MOST 200000
#define FORKS 20

static double took[MOST];

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "bench: %s\n", what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int ascending(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void print(const char *what, int count)
{
    qsort(took, (size_t)count, sizeof *took, ascending);
    printf("%s in a process of 2 GB: %d calls, median %.3f ms, 99.9 %% within %.3f ms, most %.3f ms\n", what,
           count, took[count / 2], took[(count * 999LL + 999) / 1000 - 1], took[count - 1]);
}

int main(int argc, char **argv)
{
    int dials = argc > 1 ? atoi(argv[1]) : 2000, i, count = 0;
    mailport_options *options = mailport_options_new();
    void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(memory != MAP_FAILED, "no memory");
    memset(memory, 1, MEMORY);
    mailport_options_set_via(options, "command:sh -c 'echo 220; cat'");
    for (i = 0; i < dials; i++) {
        mailport_dial *dial;
        mailport_status status;

        must(mailport_dial_start("mail.example", 0, options, &dial) == MAILPORT_OK, "no dial");
        do {
            struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
            double start;

            poll(&watched, 1, -1);
            start = now();
            status = mailport_dial_process(dial);
            must(count < MOST, "too many calls");
            took[count++] = now() - start;
        } while (status == MAILPORT_PENDING);
        must(status == MAILPORT_OK, mailport_dial_message(dial));
        mailport_dial_free(dial);
    }
    print("mailport_dial_process, through a command", count);
    for (i = 0; i < FORKS; i++) {
        double start = now();
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        took[i] = now() - start;
        waitpid(child, NULL, 0);
    }
    print("fork", FORKS);
    mailport_options_free(options);
    return 0;
}
