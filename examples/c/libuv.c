/* A dial in a loop of libuv.
 *
 *     cc libuv.c $(pkg-config --cflags --libs mailport libuv) -o libuv
 *     ./libuv mail.example.com
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

static mailport_status result;

/* libuv may use the descriptor until here, so the dial is freed now. */
static void closed(uv_handle_t *watch)
{
    mailport_dial_free(watch->data);
}

static void ended(mailport_dial *dial, mailport_status status)
{
    int fd;

    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK)
        close(fd); /* uv_tcp_open(), then TLS as mailport_dial_tls() says */
    result = status;
}

static void readable(uv_poll_t *watch, int uv_status, int events)
{
    mailport_status status = mailport_dial_process(watch->data);

    (void)uv_status, (void)events;
    if (status <= 0) {
        ended(watch->data, status);
        uv_close((uv_handle_t *)watch, closed);
    }
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t watch;

    if (argc < 2) {
        fprintf(stderr, "usage: libuv HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "libuv: %s\n", mailport_options_message(options));
        return 2;
    }
    result = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (result < 0) {
        fprintf(stderr, "libuv: %s\n", mailport_last_error_message());
        return 1;
    }
    uv_poll_init(loop, &watch, mailport_dial_fd(dial));
    watch.data = dial;
    uv_poll_start(&watch, UV_READABLE, readable);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    uv_library_shutdown();
    return result == MAILPORT_OK ? 0 : 1;
}
