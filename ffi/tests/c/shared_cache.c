/* Dials the same host again and again, and prints each port and how the first attempt ended: with no
 * options, with no options, without the shared cache, with its handle, and after it was cleared.
 * Argument: a host. */
#include "check.h"

static void dial(const char *host, const mailport_options *options)
{
    mailport_dial *dial = NULL;
    mailport_status status;

    CHECK(mailport_dial_start(host, 0, options, &dial) == MAILPORT_OK);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_OK);
    printf("%u %s\n", (unsigned)mailport_dial_port(dial),
           mailport_outcome_name(mailport_dial_attempt_outcome(dial, 0)));
    mailport_dial_free(dial);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *shared = mailport_cache_shared();

    CHECK(argc == 2 && shared != NULL);
    dial(argv[1], NULL);
    dial(argv[1], NULL);
    CHECK(mailport_options_set_shared_cache(options, 0) == MAILPORT_OK);
    dial(argv[1], options);
    CHECK(mailport_options_set_cache(options, shared) == MAILPORT_OK);
    dial(argv[1], options);
    CHECK(mailport_cache_clear(shared) == MAILPORT_OK);
    mailport_cache_free(shared);
    dial(argv[1], NULL);
    mailport_options_free(options);
    return 0;
}
