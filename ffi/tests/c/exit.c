/* What a program remembers just before it returns from main is saved. Arguments: the file, a plan
 * with an open port. Two dials: the second one comes when the next save is not due for a second. */
#include "check.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache;
    int fd;

    CHECK(argc == 3);
    cache = mailport_cache_open(argv[1]);
    CHECK(mailport_options_set_cache(options, cache) == MAILPORT_OK);
    CHECK(mailport_options_set_plan(options, argv[2], 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    CHECK(mailport_cache_flush(cache, 20000) == MAILPORT_OK);
    CHECK(mailport_connect("localhost", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    mailport_options_free(options);
    mailport_cache_free(cache);
    return 0;
}
