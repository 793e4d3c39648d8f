/* A command that its user may not start, for lack of processes, names the limit. */
#include "../c/check.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define USER 65534

int main(void)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    struct rlimit limit = {1, 1};
    mailport_status status;

    CHECK(mailport_options_set_plan(options, "587:starttls", 0) == MAILPORT_OK);
    CHECK(mailport_options_set_via(options, "command:cat") == MAILPORT_OK);
    CHECK(setgid(USER) == 0 && setuid(USER) == 0 && setrlimit(RLIMIT_NPROC, &limit) == 0);
    CHECK(mailport_dial_start("mail.example", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_ERR_VIA);
    CHECK(mailport_dial_errno(dial) == EAGAIN);
    CHECK(strstr(mailport_dial_message(dial), "cannot start a process") != NULL);
    CHECK(strstr(mailport_dial_message(dial), "RLIMIT_NPROC: 1,") != NULL);
    mailport_dial_free(dial);
    return 0;
}
