/* A dial with a cache in a file, which prints the port and how long it took, in microseconds.
 * Arguments: a host, the file, and a plan for another than the default one. */
#include "check.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache;
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd;

    CHECK(argc == 3 || argc == 4);
    CHECK(mailport_options_set_plan(options, argv[3], 0) == MAILPORT_OK); /* perhaps NULL */
    cache = mailport_cache_open(argv[2]);
    CHECK(mailport_options_set_cache(options, cache) == MAILPORT_OK);
    CHECK(mailport_dial_start(argv[1], 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(status == MAILPORT_OK && mailport_dial_take_fd(dial, &fd) == MAILPORT_OK);
    printf("%u %lld\n", (unsigned)mailport_dial_port(dial), (long long)mailport_dial_elapsed_us(dial));
    CHECK(mailport_cache_flush(cache, 20000) == MAILPORT_OK && close(fd) == 0);
    mailport_dial_free(dial);
    mailport_cache_free(cache);
    return 0;
}
