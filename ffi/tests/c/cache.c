/* A cache in a file: handles go in any order, what is learned is saved, and can be forgotten.
 * Arguments: a file that there is not yet, a plan with an open port. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache, *again;
    int fd;

    CHECK(argc == 3);
    cache = mailport_cache_open(argv[1]);
    CHECK(cache != NULL && access(argv[1], F_OK) != 0);
    errno = 77;
    CHECK(mailport_options_set_cache(options, cache) == MAILPORT_OK);
    mailport_cache_free(cache); /* the options have their own */
    CHECK(mailport_options_set_plan(options, argv[2], 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    again = mailport_cache_open(argv[1]);
    CHECK(mailport_cache_flush(again, -1) == MAILPORT_OK);
    CHECK(mailport_cache_forget(again, "not a host") == MAILPORT_ERR_INVALID);
    CHECK(mailport_cache_forget(again, "127.0.0.1") == MAILPORT_OK);
    CHECK(mailport_cache_clear(again) == MAILPORT_OK);
    CHECK(mailport_cache_flush(again, 20000) == MAILPORT_OK && access(argv[1], F_OK) == 0);
    mailport_cache_free(again);
    CHECK(mailport_options_set_via(options, "socks5://user:secret@[") == MAILPORT_ERR_INVALID);
    CHECK(strstr(mailport_options_message(options), "secret") == NULL);
    CHECK(mailport_options_set_via(options, "socks5://proxy.example") == MAILPORT_OK);
    mailport_options_free(options);
    mailport_cache_free(NULL);
    CHECK(errno == 77);
    return 0;
}
