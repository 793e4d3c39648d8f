/* A file that is not a cache is left alone, and the caller is reported; a relative path stays where it
 * was opened. Arguments: a directory of this program, a plan with an open port. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *plan;

/* Dials with this cache, and flushes it. */
static mailport_status learn(const char *path)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache = mailport_cache_open(path);
    mailport_status status;
    int fd;

    CHECK(cache != NULL && mailport_options_set_cache(options, cache) == MAILPORT_OK);
    CHECK(chdir("/") == 0);
    CHECK(mailport_options_set_plan(options, plan, 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_OK && close(fd) == 0);
    status = mailport_cache_flush(cache, 20000);
    mailport_options_free(options);
    mailport_cache_free(cache);
    return status;
}

static void is_left_alone(const char *path, const char *word)
{
    CHECK(learn(path) == MAILPORT_ERR_NOT_SAVED);
    CHECK(strstr(mailport_last_error_message(), word) != NULL);
    CHECK(strstr(mailport_last_error_message(), path) != NULL);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

int main(int argc, char **argv)
{
    char letter[400], link[400], made[400];
    struct stat found;

    CHECK(argc == 3);
    plan = argv[2];
    snprintf(letter, sizeof letter, "%s/letter", argv[1]);
    snprintf(link, sizeof link, "%s/link", argv[1]);
    snprintf(made, sizeof made, "%s/made/cache.json", argv[1]);
    write_file(letter, "Dear Sir,\n");
    is_left_alone(letter, "is not a cache");
    CHECK(stat(letter, &found) == 0 && found.st_size == 10);
    CHECK(truncate(letter, 48000000) == 0); /* the rest is zeros */
    is_left_alone(letter, "is not a cache");
    CHECK(stat(letter, &found) == 0 && found.st_size == 48000000);
    CHECK(symlink(made, link) == 0);
    is_left_alone(link, "symbolic link");
    is_left_alone(argv[1], "not a regular file");
    is_left_alone("/proc/cache.json", "No such file");
    CHECK(stat(made, &found) != 0);
    CHECK(chdir(argv[1]) == 0 && learn("made/cache.json") == MAILPORT_OK);
    CHECK(stat(made, &found) == 0 && found.st_size > 10 && (found.st_mode & 0777) == 0600);
    return 0;
}
