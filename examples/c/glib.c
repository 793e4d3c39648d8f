/* A dial in a GLib main loop, as in a program with GTK.
 *
 *     cc glib.c $(pkg-config --cflags --libs mailport glib-2.0) -o glib
 *     ./glib mail.example.com
 */
#include <glib-unix.h>
#include <mailport.h>
#include <stdio.h>
#include <unistd.h>

static GMainLoop *loop;
static mailport_status result;
static guint watch;

static void ended(mailport_dial *dial, mailport_status status)
{
    int fd;

    fprintf(status < 0 ? stderr : stdout, "%s\n", mailport_dial_message(dial));
    if (status == MAILPORT_OK && (status = mailport_dial_take_fd(dial, &fd)) == MAILPORT_OK)
        close(fd); /* g_socket_new_from_fd(), then TLS as mailport_dial_tls() says */
    mailport_dial_free(dial);
    result = status;
    g_main_loop_quit(loop);
}

static gboolean readable(gint fd, GIOCondition condition, gpointer dial)
{
    mailport_status status = mailport_dial_process(dial);

    (void)fd, (void)condition;
    if (status > 0)
        return G_SOURCE_CONTINUE;
    g_source_remove(watch); /* before the dial is freed */
    ended(dial, status);
    return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();
    mailport_dial *dial = NULL;

    if (argc < 2) {
        fprintf(stderr, "usage: glib HOST [PLAN]\n");
        return 2;
    }
    if (argc > 2 && mailport_options_set_plan(options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "glib: %s\n", mailport_options_message(options));
        return 2;
    }
    result = mailport_dial_start(argv[1], 0, options, &dial);
    mailport_options_free(options);
    if (result < 0) {
        fprintf(stderr, "glib: %s\n", mailport_last_error_message());
        return 1;
    }
    loop = g_main_loop_new(NULL, FALSE);
    watch = g_unix_fd_add(mailport_dial_fd(dial), G_IO_IN, readable, dial);
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return result == MAILPORT_OK ? 0 : 1;
}
