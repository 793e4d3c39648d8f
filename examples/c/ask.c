/* A dial that asks its user before it falls back to another port. While the question waits for an
 * answer the descriptor is still watched: the port may answer after all, which withdraws it.
 *
 *     cc ask.c $(pkg-config --cflags --libs mailport) -o ask
 *     ./ask mail.example.com
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* Reads one line from the user and returns the answer in it. */
static mailport_answer read_answer(void)
{
    char line[80] = "";
    ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);

    if (got > 0 && (line[0] == 'y' || line[0] == 'Y'))
        return MAILPORT_ANSWER_FALL_BACK;
    if (got > 0 && (line[0] == 'w' || line[0] == 'W'))
        return MAILPORT_ANSWER_WAIT_ON;
    return MAILPORT_ANSWER_GIVE_UP;
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    uint32_t asked = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: ask HOST [PLAN]\n");
        return 2;
    }
    mailport_options_set_ask(options, 1);
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "ask: %s\n", mailport_options_message(options));
        return 2;
    }
    status = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    while (status >= 0 && (status = mailport_dial_process(dial)) > 0) {
        struct pollfd watched[2] = {{mailport_dial_fd(dial), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        uint32_t question = mailport_dial_question_id(dial);

        if (question != asked && question != 0)
            printf("%s (y)es, (w)ait, (n)o\n", mailport_dial_question_message(dial));
        asked = question;
        fflush(stdout);
        poll(watched, status == MAILPORT_ASK ? 2 : 1, -1);
        if (watched[1].revents != 0)
            /* MAILPORT_ERR_STALE means that the question was withdrawn meanwhile: go on. */
            mailport_dial_answer(dial, question, read_answer());
    }
    printf("%s\n", dial != NULL ? mailport_dial_message(dial) : mailport_last_error_message());
    mailport_dial_free(dial);
    return status == MAILPORT_OK ? 0 : 1;
}
