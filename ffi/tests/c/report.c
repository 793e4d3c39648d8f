/* The report, field by field, of a dial that falls back, and of a name that there is not.
 * Arguments: a refused port and an open one. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "alone.h"

#include <string.h>

static mailport_status ended(mailport_dial *dial)
{
    mailport_status status;

    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    return status;
}

static void falls_back(uint16_t refused, uint16_t open, mailport_options *options)
{
    mailport_dial *dial = NULL;
    char plan[80], first[40];

    snprintf(first, sizeof first, "%d/ipv4:starttls", refused);
    snprintf(plan, sizeof plan, "%s,%d:implicit", first, open);
    CHECK(mailport_options_set_plan(options, plan, MAILPORT_CLEARTEXT_REFUSE) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", 0, options, &dial) == MAILPORT_OK);
    CHECK(ended(dial) == MAILPORT_ASK && mailport_dial_question_id(dial) == 1);
    CHECK(mailport_dial_question_current_port(dial) == refused);
    CHECK(mailport_dial_question_current_family(dial) == MAILPORT_FAMILY_IPV4);
    CHECK(mailport_dial_question_next_port(dial) == open);
    CHECK(mailport_dial_question_next_family(dial) == MAILPORT_FAMILY_NONE);
    CHECK(mailport_dial_question_next_tls(dial) == MAILPORT_TLS_IMPLICIT);
    CHECK(strstr(mailport_dial_question_message(dial), "is refused. Fall back to ") != NULL);
    CHECK(mailport_dial_answer(dial, 1, MAILPORT_ANSWER_FALL_BACK) == MAILPORT_OK);
    CHECK(ended(dial) == MAILPORT_OK && mailport_dial_winner(dial) == 1);
    CHECK(strcmp(mailport_dial_host(dial), "127.0.0.1") == 0);
    CHECK(mailport_dial_port(dial) == open && mailport_dial_tls(dial) == MAILPORT_TLS_IMPLICIT);
    CHECK(mailport_dial_attempt_count(dial) == 2 && mailport_dial_lookup_count(dial) == 0);
    CHECK(mailport_dial_attempt_port(dial, 0) == refused);
    CHECK(mailport_dial_attempt_tls(dial, 0) == MAILPORT_TLS_STARTTLS);
    CHECK(mailport_dial_attempt_service_family(dial, 0) == MAILPORT_FAMILY_IPV4);
    CHECK(mailport_dial_attempt_service_family(dial, 1) == MAILPORT_FAMILY_NONE);
    CHECK(mailport_dial_attempt_family(dial, 1) == MAILPORT_FAMILY_IPV4);
    CHECK(strcmp(mailport_dial_attempt_address(dial, 1), "127.0.0.1") == 0);
    CHECK(mailport_dial_attempt_stage(dial, 0) == MAILPORT_STAGE_CONNECT);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_RESET);
    CHECK(mailport_dial_attempt_errno(dial, 0) == ECONNREFUSED);
    CHECK(mailport_dial_attempt_errno(dial, 1) == 0);
    CHECK(mailport_dial_attempt_icmp_version(dial, 0) == 0);
    CHECK(mailport_dial_attempt_via_error(dial, 0) == 0);
    CHECK(mailport_dial_attempt_greeting(dial, 1) == MAILPORT_GREETING_NOT_AWAITED);
    CHECK(mailport_dial_attempt_syns(dial, 1) >= 1);
    CHECK(mailport_dial_attempt_reason(dial, 0) == MAILPORT_REASON_FIRST);
    CHECK(strcmp(mailport_dial_attempt_reason_service(dial, 0), "") == 0);
    CHECK(mailport_dial_attempt_reason(dial, 1) == MAILPORT_REASON_REFUSED);
    CHECK(strcmp(mailport_dial_attempt_reason_service(dial, 1), first) == 0);
    CHECK(strstr(mailport_dial_attempt_reason_message(dial, 1), "was refused") != NULL);
    CHECK(mailport_dial_attempt_started_us(dial, 0) <= mailport_dial_attempt_ended_us(dial, 0));
    CHECK(mailport_dial_attempt_ended_us(dial, 0) <= mailport_dial_attempt_started_us(dial, 1));
    CHECK(mailport_dial_attempt_connected_us(dial, 0) == -1);
    CHECK(mailport_dial_attempt_connected_us(dial, 1) > 0);
    CHECK(mailport_dial_attempt_ended_us(dial, 1) <= mailport_dial_elapsed_us(dial));
    mailport_dial_free(dial);
}

/* Whether a name service can be asked or not, this name has no address. */
static void a_name_that_there_is_not(void)
{
    mailport_dial *dial = NULL;

    CHECK(mailport_dial_start("name.invalid", 0, NULL, &dial) == MAILPORT_OK);
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING && mailport_dial_lookup_count(dial) == 1);
    CHECK(mailport_dial_lookup_error(dial, 0) == MAILPORT_LOOKUP_ERROR_UNANSWERED);
    CHECK(mailport_dial_lookup_ended_us(dial, 0) == -1);
    CHECK(ended(dial) == MAILPORT_ERR_UNRESOLVED && mailport_dial_attempt_count(dial) == 0);
    CHECK(mailport_dial_lookup_addresses(dial, 0) == -1);
    CHECK(mailport_dial_lookup_error(dial, 0) > 0 && mailport_dial_lookup_message(dial, 0)[0]);
    CHECK(mailport_dial_lookup_error(dial, 0) != MAILPORT_LOOKUP_ERROR_UNANSWERED);
    CHECK(mailport_dial_lookup_ended_us(dial, 0) >= 0);
    mailport_dial_free(dial);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();

    ask_name_servers_once();
    CHECK(argc == 3 && mailport_options_set_ask(options, 1) == MAILPORT_OK);
    falls_back((uint16_t)atoi(argv[1]), (uint16_t)atoi(argv[2]), options);
    a_name_that_there_is_not();
    mailport_options_free(options);
    wait_until_alone();
    return 0;
}
