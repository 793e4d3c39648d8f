/* GLib's GSocketClient: each port in turn, with a timer of 10 seconds. Its asynchronous call has
 * Happy Eyeballs; its blocking call tries one address after the other.
 *
 * Usage: gsocketclient async|blocking HOST PORT... Of each number on standard input it makes that
 * many dials, and prints the milliseconds that they took and the port that the last one reached
 * (0: none). */
#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep(GObject *client, GAsyncResult *result, gpointer kept)
{
    (void)client;
    *(GAsyncResult **)kept = g_object_ref(result);
}

static GSocketConnection *attempt(GSocketClient *client, gboolean async, char *host, guint16 port)
{
    GAsyncResult *result = NULL;
    if (!async)
        return g_socket_client_connect_to_host(client, host, port, NULL, NULL);
    g_socket_client_connect_to_host_async(client, host, port, NULL, keep, &result);
    while (!result)
        g_main_context_iteration(NULL, TRUE);
    GSocketConnection *connection = g_socket_client_connect_to_host_finish(client, result, NULL);
    g_object_unref(result);
    return connection;
}

static int dial(gboolean async, char *host, char **ports)
{
    GSocketClient *client = g_socket_client_new();
    GSocketConnection *connection = NULL;
    g_socket_client_set_timeout(client, 10);
    for (; *ports && !connection; ports++)
        connection = attempt(client, async, host, (guint16)atoi(*ports));
    g_object_unref(client);
    if (!connection)
        return 0;
    g_io_stream_close(G_IO_STREAM(connection), NULL, NULL);
    g_object_unref(connection);
    return atoi(ports[-1]);
}

int main(int argc, char **argv)
{
    for (int times; argc > 3 && scanf("%d", &times) == 1; fflush(stdout)) {
        gint64 start = g_get_monotonic_time();
        int port = 0;
        while (times-- > 0)
            port = dial(!strcmp(argv[1], "async"), argv[2], argv + 3);
        printf("%.3f %d\n", (double)(g_get_monotonic_time() - start) / 1e3, port);
    }
    return 0;
}
