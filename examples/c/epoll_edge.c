/* A dial in a loop over epoll(7), edge-triggered: one call for each edge is enough, because
 * everything that mailport_dial_process() has left to do makes another edge.
 *
 *     cc epoll_edge.c $(pkg-config --cflags --libs mailport) -o epoll_edge
 *     ./epoll_edge mail.example.com
 */
#include <mailport.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static int loop;

static void ended(mailport_dial *dial, mailport_status status)
{
    int fd;

    epoll_ctl(loop, EPOLL_CTL_DEL, mailport_dial_fd(dial), NULL);
    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && mailport_dial_take_fd(dial, &fd) == MAILPORT_OK)
        close(fd); /* use TLS as mailport_dial_tls() says, then SMTP */
    mailport_dial_free(dial);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    mailport_status status;

    if (argc < 2) {
        fprintf(stderr, "usage: epoll_edge HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "epoll_edge: %s\n", mailport_options_message(options));
        return 2;
    }
    status = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (status < 0) {
        fprintf(stderr, "epoll_edge: %s\n", mailport_last_error_message());
        return 1;
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    status = MAILPORT_PENDING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = dial};
    epoll_ctl(loop, EPOLL_CTL_ADD, mailport_dial_fd(dial), &event);
    while (status > 0) {
        if (epoll_wait(loop, &event, 1, -1) < 1)
            continue; /* a signal */
        status = mailport_dial_process(event.data.ptr);
        if (status <= 0)
            ended(dial, status);
    }
    close(loop);
    return status == MAILPORT_OK ? 0 : 1;
}
