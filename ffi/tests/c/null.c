/* NULL, wherever a pointer is taken: a status, or nothing, and never a crash. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "getters.h"

#include <string.h>

static void no_dial(void)
{
    size_t i;

    EACH(i, texts) CHECK(strcmp(texts[i].get(NULL), "") == 0);
    EACH(i, texts_of_one) CHECK(strcmp(texts_of_one[i].get(NULL, 0), "") == 0);
    EACH(i, numbers) CHECK(numbers[i].get(NULL) == numbers[i].nothing);
    EACH(i, numbers_of_one) CHECK(numbers_of_one[i].get(NULL, 0) == numbers_of_one[i].nothing);
    EACH(i, counts) CHECK(counts[i].get(NULL) == 0);
    EACH(i, ports) CHECK(ports[i].get(NULL) == 0);
    EACH(i, times_of_one) CHECK(times_of_one[i].get(NULL, 0) == -1);
    CHECK(mailport_dial_attempt_port(NULL, 0) == 0 && mailport_dial_elapsed_us(NULL) == 0);
    CHECK(strstr(mailport_dial_message(NULL), "NULL") != NULL);
    CHECK(mailport_dial_process(NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_wait(NULL, -1) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_answer(NULL, 1, 1) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_answer_and_remember(NULL, 1, 1) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_cancel(NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_set_user_data(NULL, &i) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_user_data(NULL) == NULL);
    mailport_dial_free(NULL);
}

static void no_output(mailport_dial *dial)
{
    mailport_dial *other = dial;
    int fd = -77;

    CHECK(mailport_connect(NULL, 0, NULL, &fd) == MAILPORT_ERR_NULL_POINTER && fd == -77);
    CHECK(mailport_connect("localhost", 0, NULL, NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_dial_start(NULL, 0, NULL, &other) == MAILPORT_ERR_NULL_POINTER && other == dial);
    CHECK(mailport_dial_start("localhost", 0, NULL, NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(strcmp(mailport_last_error_message(), "the argument `out_dial` is NULL") == 0);
    CHECK(mailport_last_error_errno() == EINVAL);
    CHECK(mailport_dial_take_fd(NULL, &fd) == MAILPORT_ERR_NULL_POINTER && fd == -77);
    CHECK(mailport_dial_take_fd(dial, NULL) == MAILPORT_ERR_NULL_POINTER);
}

static void no_options(void)
{
    mailport_status (*const set[])(mailport_options *, int32_t) = {
        mailport_options_set_timeout_ms,         mailport_options_set_attempt_delay_ms,
        mailport_options_set_port_delay_ms,       mailport_options_set_patience_ms,
        mailport_options_set_greeting_wait_ms,
        mailport_options_set_prefer_submission,       mailport_options_set_shared_cache,
        mailport_options_set_sequential,              mailport_options_set_ask,
        mailport_options_set_try_failed_last,                mailport_options_set_families,
    };
    size_t i;

    EACH(i, set) CHECK(set[i](NULL, 1) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_plan(NULL, "587:starttls", 0) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_source(NULL, "127.0.0.1") == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_source_port(NULL, 2525) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_addresses(NULL, "::1") == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_device(NULL, "lo") == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_mark(NULL, 1) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_via(NULL, "command:true") == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_options_set_cache(NULL, NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(strcmp(mailport_options_message(NULL), "") == 0);
    mailport_options_free(NULL);
}

static void no_cache(void)
{
    mailport_cache *cache = mailport_cache_new();

    unsetenv("HOME"), unsetenv("XDG_CACHE_HOME");
    CHECK(mailport_cache_open(NULL) == NULL); /* no user's own is known */
    CHECK(strstr(mailport_last_error_message(), "XDG_CACHE_HOME") != NULL);
    CHECK(mailport_cache_flush(NULL, 0) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_cache_forget(NULL, "localhost") == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_cache_forget(cache, NULL) == MAILPORT_ERR_NULL_POINTER);
    CHECK(mailport_cache_clear(NULL) == MAILPORT_ERR_NULL_POINTER);
    mailport_cache_free(cache);
    mailport_cache_free(NULL);
}

int main(void)
{
    mailport_dial *dial = NULL;

    errno = 77;
    CHECK(mailport_dial_start("127.0.0.1", 0, NULL, &dial) == MAILPORT_OK);
    no_dial();
    no_output(dial);
    no_options();
    no_cache();
    mailport_dial_free(dial);
    CHECK(errno == 77);
    return 0;
}
