/* What a command prints to its standard error before it ends is in the report. */
#include "../c/check.h"

#include <string.h>

int main(void)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;

    CHECK(mailport_options_set_plan(options, "587:starttls", 0) == MAILPORT_OK);
    CHECK(mailport_options_set_via(options, "command:sh -c 'echo why >&2; exit 1'") == MAILPORT_OK);
    CHECK(mailport_dial_start("mail.example", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_ERR_EXHAUSTED);
    CHECK(strcmp(mailport_dial_attempt_note(dial, 0), "why") == 0);
    mailport_dial_free(dial);
    return 0;
}
