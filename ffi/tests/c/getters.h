/* Every getter of a dial by its type, with what it gives where there is nothing to tell. */
#include <mailport.h>

static const struct {
    const char *(*get)(const mailport_dial *);
} texts[] = {
    {mailport_dial_address}, {mailport_dial_json}, {mailport_dial_host},
    {mailport_dial_via},     {mailport_dial_question_message},
};

static const struct {
    const char *(*get)(const mailport_dial *, uint32_t);
} texts_of_one[] = {
    {mailport_dial_attempt_address},       {mailport_dial_attempt_icmp_message},
    {mailport_dial_attempt_icmp_sender},     {mailport_dial_attempt_via_error_message},
    {mailport_dial_attempt_note},          {mailport_dial_attempt_reason_message},
    {mailport_dial_attempt_reason_service}, {mailport_dial_lookup_message},
};

static const struct {
    int32_t (*get)(const mailport_dial *);
    int32_t nothing;
} numbers[] = {
    {mailport_dial_fd, -1},
    {mailport_dial_poll_timeout_ms, -1},
    {mailport_dial_tls, MAILPORT_TLS_UNDECIDED},
    {mailport_dial_errno, 0},
    {mailport_dial_winner, -1},
    {mailport_dial_question_current_family, MAILPORT_FAMILY_NONE},
    {mailport_dial_question_next_family, MAILPORT_FAMILY_NONE},
    {mailport_dial_question_next_tls, MAILPORT_TLS_UNDECIDED},
};

static const struct {
    int32_t (*get)(const mailport_dial *, uint32_t);
    int32_t nothing;
} numbers_of_one[] = {
    {mailport_dial_attempt_tls, MAILPORT_TLS_UNDECIDED},
    {mailport_dial_attempt_service_family, MAILPORT_FAMILY_NONE},
    {mailport_dial_attempt_family, MAILPORT_FAMILY_NONE},
    {mailport_dial_attempt_stage, 0},
    {mailport_dial_attempt_outcome, 0},
    {mailport_dial_attempt_errno, 0},
    {mailport_dial_attempt_icmp_version, 0},
    {mailport_dial_attempt_icmp_type, -1},
    {mailport_dial_attempt_icmp_code, -1},
    {mailport_dial_attempt_via_error, 0},
    {mailport_dial_attempt_via_error_code, -1},
    {mailport_dial_attempt_greeting, MAILPORT_GREETING_NOT_AWAITED},
    {mailport_dial_attempt_syns, -1},
    {mailport_dial_attempt_reason, 0},
    {mailport_dial_lookup_hedged, 0},
    {mailport_dial_lookup_addresses, -1},
    {mailport_dial_lookup_error, 0},
};

static const struct {
    uint32_t (*get)(const mailport_dial *);
} counts[] = {{mailport_dial_attempt_count}, {mailport_dial_lookup_count}, {mailport_dial_question_id}};

static const struct {
    uint16_t (*get)(const mailport_dial *);
} ports[] = {
    {mailport_dial_port},
    {mailport_dial_question_current_port},
    {mailport_dial_question_next_port},
};

static const struct {
    int64_t (*get)(const mailport_dial *, uint32_t);
} times_of_one[] = {
    {mailport_dial_attempt_started_us},
    {mailport_dial_attempt_connected_us},
    {mailport_dial_attempt_ended_us},
    {mailport_dial_lookup_ended_us},
};

/* Runs for each place of a list. */
#define EACH(place, list) for (place = 0; place < sizeof(list) / sizeof *(list); place++)
