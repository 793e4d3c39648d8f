/* A dial in a loop of sd-event, as in a service of systemd.
 *
 *     cc sd_event.c $(pkg-config --cflags --libs mailport libsystemd) -o sd_event
 *     ./sd_event mail.example.com
 */
#include <mailport.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <unistd.h>

static mailport_status result;

static void ended(mailport_dial *dial, mailport_status status)
{
    int fd;

    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK)
        close(fd); /* use TLS as mailport_dial_tls() says, then SMTP */
    mailport_dial_free(dial);
    result = status;
}

static int readable(sd_event_source *source, int fd, uint32_t events, void *dial)
{
    mailport_status status = mailport_dial_process(dial);

    (void)fd, (void)events;
    if (status > 0)
        return 0;
    sd_event_source_set_enabled(source, SD_EVENT_OFF); /* before the dial is freed */
    ended(dial, status);
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    sd_event *event = NULL;
    sd_event_source *source = NULL;

    if (argc < 2) {
        fprintf(stderr, "usage: sd_event HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "sd_event: %s\n", mailport_options_message(options));
        return 2;
    }
    result = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (result < 0) {
        fprintf(stderr, "sd_event: %s\n", mailport_last_error_message());
        return 1;
    }
    sd_event_default(&event);
    sd_event_add_io(event, &source, mailport_dial_fd(dial), EPOLLIN, readable, dial);
    sd_event_loop(event);
    sd_event_source_unref(source);
    sd_event_unref(event);
    return result == MAILPORT_OK ? 0 : 1;
}
