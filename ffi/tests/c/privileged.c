/* A program that has more rights than its user believes nothing of the user's environment; another
 * one does. Arguments: a plan of an open port, and "privileged" or "plain". In the environment,
 * MAILPORT_PORTS=1 and a home. */
#include "check.h"

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_memory *memory;
    mailport_dial *dial = NULL;
    int privileged;

    CHECK(argc == 3);
    privileged = strcmp(argv[2], "privileged") == 0;
    CHECK((getauxval(AT_SECURE) != 0) == privileged);
    CHECK((getuid() != geteuid()) == privileged);
    CHECK(getenv("MAILPORT_PORTS") != NULL && getenv("HOME") != NULL);
    CHECK(mailport_options_set_plan(options, argv[1], MAILPORT_CLEARTEXT_REFUSE) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while (mailport_dial_wait(dial, -1) == MAILPORT_PENDING)
        continue;
    puts(mailport_dial_message(dial));
    mailport_dial_free(dial);
    memory = mailport_memory_open(NULL);
    CHECK((memory == NULL) == privileged);
    mailport_memory_free(memory);
    return 0;
}
