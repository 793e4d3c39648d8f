/* A dial in a loop over poll(2), beside everything else that the program waits for.
 *
 *     cc poll.c $(pkg-config --cflags --libs mailport) -o poll
 *     ./poll mail.example.com
 *     ./poll mail.example.com 465:implicit,587:starttls
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd;

    if (argc < 2) {
        fprintf(stderr, "usage: poll HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "poll: %s\n", mailport_options_message(options));
        return 2;
    }
    status = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options); /* the dial has its own copy */
    if (status < 0) {
        fprintf(stderr, "poll: %s\n", mailport_last_error_message());
        return 1;
    }
    while ((status = mailport_dial_process(dial)) == MAILPORT_PENDING) {
        struct pollfd watched = {mailport_dial_fd(dial), POLLIN, 0};
        /* The descriptor has a timer inside: no timeout is needed. */
        poll(&watched, 1, -1);
    }
    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK) {
        /* fd is non-blocking. Use TLS as the plan requires, whichever port it is. */
        printf("port %u, TLS %s\n", (unsigned)mailport_dial_port(dial),
               mailport_tls_name(mailport_dial_tls(dial)));
        close(fd);
    }
    mailport_dial_free(dial);
    return status == MAILPORT_OK ? 0 : 1;
}
