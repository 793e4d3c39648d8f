/* A program that has more rights than its user believes nothing of the user's environment; another
 * one does. Arguments: a plan of an open port, and "privileged" or "plain". In the environment,
 * MAILPORT_ONLY_PORTS, which leaves nothing of the plan, and a home. */
#include "check.h"

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache;
    mailport_dial *dial = NULL;
    mailport_status status;
    int privileged;

    CHECK(argc == 3);
    privileged = strcmp(argv[2], "privileged") == 0;
    if (privileged && getuid() == geteuid()) {
        fprintf(stderr, "%s: its set-user-ID bit is ignored: a file system that is mounted nosuid (try "
                        "another TMPDIR), or no_new_privs\n", argv[0]);
        return 1;
    }
    CHECK((getauxval(AT_SECURE) != 0) == privileged);
    CHECK(getenv("MAILPORT_ONLY_PORTS") != NULL && getenv("HOME") != NULL);
    CHECK(mailport_options_set_plan(options, argv[1], MAILPORT_CLEARTEXT_REFUSE) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    puts(mailport_dial_message(dial));
    CHECK(status == (privileged ? MAILPORT_OK : MAILPORT_ERR_INVALID));
    mailport_dial_free(dial);
    cache = mailport_cache_open(NULL); /* the user's own */
    CHECK((cache == NULL) == privileged);
    mailport_cache_free(cache);
    return 0;
}
