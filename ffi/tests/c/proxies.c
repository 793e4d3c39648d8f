/* What a proxy or a command does instead of connecting, field by field. Argument: a refused port. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static mailport_dial *started(const char *via)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;

    CHECK(mailport_options_set_plan(options, "587:starttls", 0) == MAILPORT_OK);
    CHECK(mailport_options_set_via(options, via) == MAILPORT_OK);
    CHECK(mailport_dial_start("mail.example", 0, options, &dial) == MAILPORT_OK);
    mailport_options_free(options);
    return dial;
}

static mailport_status ended(mailport_dial *dial)
{
    mailport_status status;

    while ((status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    CHECK(mailport_dial_attempt_count(dial) == 1 && mailport_dial_winner(dial) == -1);
    CHECK(mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_VIA ||
          mailport_dial_attempt_outcome(dial, 0) == MAILPORT_OUTCOME_CLOSED);
    CHECK(mailport_dial_attempt_family(dial, 0) == MAILPORT_FAMILY_NONE);
    CHECK(strcmp(mailport_dial_attempt_address(dial, 0), "") == 0);
    return status;
}

/* A proxy that says "connection refused" (RFC 1928 section 6), before it is asked anything. */
static void a_reply(void)
{
    static const char says[] = "\5\0\5\5\0\1\0\0\0\0\0\0";
    struct sockaddr_in server = {.sin_family = AF_INET};
    socklen_t length = sizeof server;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    mailport_dial *dial;
    char via[80];

    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&server, length) == 0 && listen(listener, 9) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&server, &length) == 0);
    snprintf(via, sizeof via, "socks5://reader:secret@127.0.0.1:%d", ntohs(server.sin_port));
    dial = started(via);
    CHECK(mailport_dial_process(dial) == MAILPORT_PENDING);
    fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0 && write(fd, says, sizeof says - 1) == (ssize_t)sizeof says - 1);
    CHECK(ended(dial) == MAILPORT_ERR_EXHAUSTED);
    CHECK(mailport_dial_attempt_stage(dial, 0) == MAILPORT_STAGE_CONFIRM);
    CHECK(mailport_dial_attempt_via_error(dial, 0) == MAILPORT_VIA_ERROR_REPLY);
    CHECK(mailport_dial_attempt_via_error_code(dial, 0) == 5);
    CHECK(strstr(mailport_dial_attempt_via_error_message(dial, 0), "connection refused") != NULL);
    CHECK(strncmp(mailport_dial_via(dial), "socks5://", 9) == 0);
    CHECK(strstr(mailport_dial_via(dial), "secret") == NULL);
    CHECK(strstr(mailport_dial_json(dial), "secret") == NULL);
    mailport_dial_free(dial);
    CHECK(close(fd) == 0 && close(listener) == 0);
}

static void no_proxy(const char *refused)
{
    char via[80];
    mailport_dial *dial;

    snprintf(via, sizeof via, "socks5://127.0.0.1:%s", refused);
    dial = started(via);
    CHECK(ended(dial) == MAILPORT_ERR_VIA);
    CHECK(mailport_dial_attempt_via_error(dial, 0) == MAILPORT_VIA_ERROR_UNREACHABLE);
    CHECK(mailport_dial_attempt_via_error_code(dial, 0) == -1);
    CHECK(mailport_dial_attempt_via_error_message(dial, 0)[0] != '\0');
    mailport_dial_free(dial);
}

static void last_words(void)
{
    mailport_dial *dial = started("command:sh -c 'echo no way to %h >&2; exit 1'");

    CHECK(ended(dial) == MAILPORT_ERR_EXHAUSTED);
    CHECK(strcmp(mailport_dial_attempt_note(dial, 0), "no way to mail.example") == 0);
    mailport_dial_free(dial);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    a_reply();
    no_proxy(argv[1]);
    last_words();
    return 0;
}
