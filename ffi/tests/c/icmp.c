/* The ICMP error of the first attempt, field by field: version, type, code, router, words.
 * Argument: a host whose first port is filtered, and the next one is not. */
#include "check.h"

#include <string.h>

int main(int argc, char **argv)
{
    mailport_dial *dial = NULL;
    mailport_status status;

    CHECK(argc == 2 && mailport_dial_start(argv[1], 0, NULL, &dial) == MAILPORT_OK);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    /* Under valgrind a third one may begin before the second is seen to be connected. */
    CHECK(status == MAILPORT_OK && mailport_dial_attempt_count(dial) >= 2);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_ICMP_HARD);
    CHECK(mailport_dial_attempt_icmp_version(dial, 0) == mailport_dial_attempt_family(dial, 0));
    CHECK(mailport_dial_attempt_icmp_version(dial, 1) == 0);
    CHECK(mailport_dial_attempt_icmp_type(dial, 1) == -1);
    CHECK(strcmp(mailport_dial_attempt_icmp_sender(dial, 1), "") == 0);
    printf("%d %d %d %s %s\n", (int)mailport_dial_attempt_icmp_version(dial, 0),
           (int)mailport_dial_attempt_icmp_type(dial, 0), (int)mailport_dial_attempt_icmp_code(dial, 0),
           mailport_dial_attempt_icmp_sender(dial, 0), mailport_dial_attempt_icmp_message(dial, 0));
    mailport_dial_free(dial);
    return 0;
}
