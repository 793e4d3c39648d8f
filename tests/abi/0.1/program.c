/* A program as it was written for version 0.1. It is compiled against the header of then, and runs
 * on the library of now. Arguments: a plan of a refused port and an open one. */
#include <mailport.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK(claim)                                                                               \
    if (!(claim))                                                                                  \
    return fprintf(stderr, "no longer true: %s\n", #claim), 1

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_cache *cache = mailport_cache_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd = -1;

    CHECK(argc == 2 && strncmp(mailport_version(), "0.", 2) == 0);
    CHECK(mailport_options_set_plan(options, "25:cleartext", MAILPORT_CLEARTEXT_REFUSE) == -3);
    CHECK(mailport_options_message(options)[0] != '\0');
    CHECK(mailport_options_set_plan(options, argv[1], MAILPORT_CLEARTEXT_REFUSE) == 0);
    CHECK(mailport_options_set_cache(options, cache) == 0);
    CHECK(mailport_options_set_timeout_ms(options, 20000) == 0);
    CHECK(mailport_options_set_port_delay_ms(options, 20000) == 0);
    CHECK(mailport_options_set_port_delay_ms(options, MAILPORT_AUTOMATIC) == 0);
    CHECK(mailport_options_set_source(options, "192.0.2.1") == 0);
    CHECK(mailport_options_set_source(options, NULL) == 0);
    CHECK(mailport_options_set_source_port(options, 4000) == 0);
    CHECK(mailport_options_set_source_port(options, 0) == 0);
    CHECK(mailport_options_set_shared_cache(options, 1) == 0);
    CHECK(mailport_options_set_shared_cache(options, 0) == 0);
    CHECK(mailport_options_set_families(options, MAILPORT_FAMILIES_ONLY_IPV4) == 0);
    CHECK(mailport_options_set_ask(options, 1) == 0);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == 0 && mailport_dial_fd(dial) >= 0);
    while ((status = mailport_dial_wait(dial, -1)) == 1)
        CHECK(mailport_dial_port(dial) == 0 && mailport_dial_tls(dial) == 0);
    CHECK(status == 2 && mailport_dial_question_id(dial) == 1);
    CHECK(mailport_dial_question_next_tls(dial) == 2);
    CHECK(mailport_dial_answer(dial, 1, MAILPORT_ANSWER_FALL_BACK) == 0);
    CHECK(mailport_dial_answer(dial, 1, MAILPORT_ANSWER_FALL_BACK) == -7);
    while ((status = mailport_dial_wait(dial, -1)) == 1)
        continue;
    CHECK(status == 0 && mailport_dial_tls(dial) == 2 && mailport_dial_winner(dial) == 1);
    CHECK(mailport_dial_attempt_count(dial) == 2 && mailport_dial_attempt_outcome(dial, 0) == 2);
    CHECK(mailport_dial_attempt_reason(dial, 1) == 5 && mailport_dial_attempt_family(dial, 1) == 4);
    CHECK(strncmp(mailport_dial_attempt_reason_service(dial, 1), argv[1], 5) == 0);
    CHECK(mailport_dial_attempt_service_family(dial, 1) == MAILPORT_FAMILY_NONE);
    CHECK(mailport_dial_lookup_count(dial) == 0 && mailport_dial_lookup_error(dial, 0) == 0);
    CHECK(strcmp(mailport_tls_name(2), "starttls") == 0);
    CHECK(strcmp(mailport_outcome_name(2), "reset") == 0);
    CHECK(mailport_dial_json(dial)[0] == '{' && mailport_dial_message(dial)[0] != '\0');
    CHECK(mailport_dial_take_fd(dial, &fd) == 0 && close(fd) == 0);
    CHECK(mailport_dial_take_fd(dial, &fd) == -6);
    mailport_dial_free(dial);
    mailport_cache_free(cache);
    CHECK((cache = mailport_cache_shared()) != NULL);
    mailport_cache_free(cache);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == -3); /* this call cannot ask */
    mailport_options_free(options);
    CHECK(mailport_connect(NULL, 0, NULL, &fd) == -1);
    return 0;
}
