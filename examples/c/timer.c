/* A dial in a program that cannot watch descriptors and has timers only, such as one that redraws.
 * It calls mailport_dial_process() in every frame, and earlier where mailport_dial_poll_timeout_ms()
 * says so.
 *
 *     cc timer.c $(pkg-config --cflags --libs mailport) -o timer
 *     ./timer mail.example.com
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* How long a frame is, in milliseconds. */
#define FRAME 16

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;
    int fd;

    if (argc < 2) {
        fprintf(stderr, "usage: timer HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "timer: %s\n", mailport_options_message(options));
        return 2;
    }
    status = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (status < 0) {
        fprintf(stderr, "timer: %s\n", mailport_last_error_message());
        return 1;
    }
    while ((status = mailport_dial_process(dial)) == MAILPORT_PENDING) {
        int ms = mailport_dial_poll_timeout_ms(dial);
        struct timespec pause = {0, 0};

        pause.tv_nsec = (ms < 0 || ms > FRAME ? FRAME : ms) * 1000000L;
        nanosleep(&pause, NULL);
    }
    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK)
        close(fd); /* use TLS as mailport_dial_tls() says, then SMTP */
    mailport_dial_free(dial);
    return status == MAILPORT_OK ? 0 : 1;
}
