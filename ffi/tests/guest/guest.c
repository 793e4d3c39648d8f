/* A program with much thread-local data, whose look-ups need much stack and make a system call that a
 * sandbox handles in a signal handler. Argument: "sandbox" (with a plan), or "address-space". */
#define _GNU_SOURCE
#include "../c/check.h"

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_OF_A_MODULE (256 * 1024)

static __thread char thread_local_data[1 << 20];
static volatile sig_atomic_t handled;

static void handle(int signal)
{
    (void)signal;
    handled++;
}

/* In the place of the C library's, as a module of the name service might be. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    volatile char stack[STACK_OF_A_MODULE];
    size_t i;

    for (i = 0; i < sizeof stack; i += 4096)
        stack[i] = thread_local_data[i];
    syscall(SYS_getpriority, 0, 0);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, hints, list);
}

/* getpriority(2) raises SIGSYS in the thread that calls it. */
static void trap(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};

    CHECK(signal(SIGSYS, handle) != SIG_ERR);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

static mailport_status dial(mailport_dial **dial, mailport_options *options)
{
    mailport_status status;

    CHECK(mailport_dial_start("localhost", 0, options, dial) == MAILPORT_OK);
    while ((status = mailport_dial_wait(*dial, -1)) == MAILPORT_PENDING)
        continue;
    return status;
}

static void sandbox(const char *plan)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *one = NULL;

    trap();
    CHECK(mailport_options_set_plan(options, plan, 0) == MAILPORT_OK);
    CHECK(dial(&one, options) == MAILPORT_OK && handled > 0);
    mailport_dial_free(one);
    mailport_options_free(options);
}

/* Less is left than the stack of a thread needs. */
static void address_space(void)
{
    struct rlimit limit;
    mailport_dial *one = NULL;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    CHECK(file != NULL && fscanf(file, "%ld", &pages) == 1 && fclose(file) == 0);
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE)) + (1 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(dial(&one, NULL) == MAILPORT_ERR_UNRESOLVED);
    CHECK(strstr(mailport_dial_lookup_message(one, 0), "RLIMIT_AS") != NULL);
    CHECK(strstr(mailport_dial_message(one), "RLIMIT_AS") != NULL);
    CHECK(mailport_dial_errno(one) == EAGAIN);
    mailport_dial_free(one);
}

int main(int argc, char **argv)
{
    CHECK(argc > 1 && (*argv[1] == 's') == (argc == 3));
    if (argc == 3)
        sandbox(argv[2]);
    else
        address_space();
    return 0;
}
