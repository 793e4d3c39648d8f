/* A program with 1 MiB of thread-local data. Arguments: a host and a plan; or nothing, and then its user
 * may have no other thread. */
#define _GNU_SOURCE
#include "../c/check.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define USER 65534

static __thread char thread_local_data[1 << 20] = "used";

static mailport_status dial(const char *host, mailport_options *options, mailport_dial **one)
{
    mailport_status status;

    CHECK(mailport_dial_start(host, 0, options, one) == MAILPORT_OK);
    while ((status = mailport_dial_wait(*one, -1)) == MAILPORT_PENDING)
        continue;
    return status;
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *one = NULL;

    CHECK(strcmp(thread_local_data, "used") == 0);
    if (argc == 3) {
        CHECK(mailport_options_set_plan(options, argv[2], 0) == MAILPORT_OK);
        CHECK(dial(argv[1], options, &one) == MAILPORT_OK);
    } else {
        struct rlimit limit = {1, 1};
        CHECK(setgid(USER) == 0 && setuid(USER) == 0 && setrlimit(RLIMIT_NPROC, &limit) == 0);
        CHECK(dial("localhost", NULL, &one) == MAILPORT_ERR_UNRESOLVED);
        CHECK(strstr(mailport_dial_message(one), "RLIMIT_NPROC: 1") != NULL);
        CHECK(mailport_dial_errno(one) == EAGAIN);
    }
    mailport_dial_free(one);
    mailport_options_free(options);
    return 0;
}
