/* Every call that fails has a message and an errno, and no message has all of a long text.
 * Argument: a plan of a refused port. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* 100,000 bytes, with what a terminal would obey. */
static const char *long_text(void)
{
    static char text[100001];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "\033[2J", 4);
    return text;
}

static int is_fit_to_print(const char *message)
{
    return message[0] != '\0' && strlen(message) < 1500 && strpbrk(message, "\033\n") == NULL;
}

static void connect_says_why(mailport_options *options, const char *plan)
{
    int fd = -77;

    CHECK(mailport_last_error_message()[0] == '\0' && mailport_last_error_errno() == 0);
    CHECK(mailport_connect("m x", 0, NULL, &fd) == MAILPORT_ERR_INVALID);
    CHECK(strstr(mailport_last_error_message(), "m x") != NULL);
    CHECK(mailport_last_error_errno() == EINVAL);
    CHECK(mailport_options_set_plan(options, plan, 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_ERR_EXHAUSTED);
    CHECK(strstr(mailport_last_error_message(), " is refused") != NULL);
    CHECK(mailport_last_error_errno() == ECONNREFUSED);
    CHECK(mailport_options_set_plan(options, "465:implicit,587:starttls", 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_ERR_INVALID);
    CHECK(strstr(mailport_last_error_message(), "TLS mode") != NULL && fd == -77);
    CHECK(mailport_options_set_plan(options, NULL, 0) == MAILPORT_OK);
}

/* With no descriptor left, which is not a bug of the library. */
static void start_says_why(void)
{
    struct rlimit before, none;
    mailport_dial *dial = NULL;
    int fd = -77;

    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before, none.rlim_cur = 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(mailport_dial_start("127.0.0.1", 0, NULL, &dial) == MAILPORT_ERR_LOCAL_RESOURCE);
    CHECK(dial == NULL && mailport_last_error_errno() == EMFILE);
    CHECK(strstr(mailport_last_error_message(), strerror(EMFILE)) != NULL);
    CHECK(mailport_connect("127.0.0.1", 0, NULL, &fd) == MAILPORT_ERR_LOCAL_RESOURCE);
    CHECK(mailport_last_error_errno() == EMFILE && mailport_last_error_message()[0] != '\0');
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

static void text_is_bounded(mailport_options *options)
{
    mailport_dial *dial = NULL;

    CHECK(mailport_options_set_plan(options, long_text(), 0) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_options_message(options)));
    CHECK(mailport_options_set_source(options, long_text()) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_options_message(options)));
    CHECK(mailport_options_set_via(options, long_text()) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_options_message(options)));
    CHECK(mailport_options_set_device(options, long_text()) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_options_message(options)));
    CHECK(mailport_dial_start(long_text(), 0, options, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_dial_message(dial)) && is_fit_to_print(mailport_dial_json(dial)));
    CHECK(mailport_dial_errno(dial) == EINVAL);
    mailport_dial_free(dial);
    CHECK(setenv("MAILPORT_ONLY_PORTS", long_text(), 1) == 0);
    CHECK(mailport_dial_start("127.0.0.1", 0, NULL, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_ERR_INVALID);
    CHECK(is_fit_to_print(mailport_dial_message(dial)) && is_fit_to_print(mailport_dial_json(dial)));
    mailport_dial_free(dial);
    CHECK(unsetenv("MAILPORT_ONLY_PORTS") == 0);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();

    CHECK(argc == 2);
    connect_says_why(options, argv[1]);
    start_says_why();
    text_is_bounded(options);
    mailport_options_free(options);
    return 0;
}
