/* A dial in a loop of libevent.
 *
 *     cc libevent.c $(pkg-config --cflags --libs mailport libevent_core) -o libevent
 *     ./libevent mail.example.com
 */
#include <event2/event.h>
#include <mailport.h>
#include <stdio.h>
#include <unistd.h>

static struct event_base *base;
static mailport_status result;
static struct event *watch;

static void ended(mailport_dial *dial, mailport_status status)
{
    int fd;

    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK)
        close(fd); /* bufferevent_openssl_socket_new(), as mailport_dial_tls() says */
    mailport_dial_free(dial);
    result = status;
    event_base_loopbreak(base);
}

static void readable(evutil_socket_t fd, short what, void *dial)
{
    mailport_status status = mailport_dial_process(dial);

    (void)fd, (void)what;
    if (status <= 0) {
        event_free(watch); /* before the dial is freed */
        ended(dial, status);
    }
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;

    if (argc < 2) {
        fprintf(stderr, "usage: libevent HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "libevent: %s\n", mailport_options_message(options));
        return 2;
    }
    result = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (result < 0) {
        fprintf(stderr, "libevent: %s\n", mailport_last_error_message());
        return 1;
    }
    base = event_base_new();
    watch = event_new(base, mailport_dial_fd(dial), EV_READ | EV_PERSIST, readable, dial);
    event_add(watch, NULL);
    event_base_dispatch(base);
    event_base_free(base);
    return result == MAILPORT_OK ? 0 : 1;
}
