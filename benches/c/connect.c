/* What one connect to a literal address on loopback costs in C, by mailport and by others, turn
 * about in one process; and what a pending dial holds.
 *
 * Usage: connect ROUNDS DIALS. Medians of the rounds; a ratio is taken round by round. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <mailport.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAYS 4
#define PENDING 500

static struct sockaddr_in address;

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "bench: %s\n", what);
        exit(1);
    }
}

static int listener(int backlog)
{
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_family = AF_INET;
    address.sin_port = 0;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, backlog) == 0 &&
             getsockname(fd, (struct sockaddr *)&address, &length) == 0, "no listener");
    return fd;
}

static void bare(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    struct pollfd watched = {fd, POLLOUT, 0};
    socklen_t length = sizeof error;

    (void)!connect(fd, (struct sockaddr *)&address, sizeof address);
    poll(&watched, 1, -1);
    must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0, "bare");
    close(fd);
}

static void by_mailport(void)
{
    int fd;

    must(mailport_connect("127.0.0.1", ntohs(address.sin_port), NULL, &fd) == MAILPORT_OK, "mailport");
    close(fd);
}

static void by_curl(void)
{
    CURL *curl = curl_easy_init();
    char url[80];

    /* libcurl would wait for the greeting of an smtp server. */
    snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    must(curl_easy_perform(curl) == CURLE_OK, "libcurl");
    curl_easy_cleanup(curl);
}

static void by_glib(void)
{
    GSocketClient *client = g_socket_client_new();
    GSocketConnection *connection = g_socket_client_connect_to_host(
        client, "127.0.0.1", ntohs(address.sin_port), NULL, NULL);

    must(connection != NULL, "GLib");
    g_io_stream_close(G_IO_STREAM(connection), NULL, NULL);
    g_object_unref(connection);
    g_object_unref(client);
}

static int ascending(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

static int descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void pending(void)
{
    static mailport_dial *dials[PENDING];
    struct mallinfo2 before, after;
    int silent = listener(0), i, open_before;
    mailport_options *options = mailport_options_new();
    char plan[40];

    for (i = 0; i < 4; i++) { /* its queue is full after the first ones, and it drops the rest */
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fd, (struct sockaddr *)&address, sizeof address);
    }
    snprintf(plan, sizeof plan, "%u:starttls", (unsigned)ntohs(address.sin_port));
    mailport_options_set_plan(options, plan, MAILPORT_CLEARTEXT_REFUSE);
    open_before = descriptors();
    before = mallinfo2();
    for (i = 0; i < PENDING; i++)
        must(mailport_dial_start("127.0.0.1", 0, options, &dials[i]) == MAILPORT_OK &&
                 mailport_dial_process(dials[i]) == MAILPORT_PENDING, "a dial is not pending");
    after = mallinfo2();
    printf("pending dial: %zu bytes of heap, %.1f descriptors\n",
           (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / PENDING,
           (double)(descriptors() - open_before) / PENDING);
    for (i = 0; i < PENDING; i++)
        mailport_dial_free(dials[i]);
    mailport_options_free(options);
    close(silent);
}

int main(int argc, char **argv)
{
    static const char *const names[WAYS] = {"bare connect", "mailport_connect", "libcurl, CONNECT_ONLY",
                                            "GSocketClient, blocking"};
    static void (*const ways[WAYS])(void) = {bare, by_mailport, by_curl, by_glib};
    static double took[WAYS][1000], ratio[WAYS][1000];
    int rounds = argc > 2 ? atoi(argv[1]) : 31, dials = argc > 2 ? atoi(argv[2]) : 100;
    int round, way, i, open_port;

    must(rounds > 0 && rounds <= 1000 && dials > 0, "ROUNDS and DIALS");
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl");
    open_port = listener(4096);
    fcntl(open_port, F_SETFL, O_NONBLOCK);
    for (round = -1; round < rounds; round++) /* one to warm up */
        for (way = 0; way < WAYS; way++) {
            struct timespec from, to;
            int fd;
            clock_gettime(CLOCK_MONOTONIC, &from);
            for (i = 0; i < dials; i++)
                ways[way]();
            clock_gettime(CLOCK_MONOTONIC, &to);
            while ((fd = accept(open_port, NULL, NULL)) >= 0)
                close(fd);
            if (round < 0)
                continue;
            took[way][round] = ((double)(to.tv_sec - from.tv_sec) * 1e6 +
                                (double)(to.tv_nsec - from.tv_nsec) / 1e3) / dials;
            ratio[way][round] = took[way][round] / took[0][round];
        }
    for (way = 0; way < WAYS; way++)
        printf("%-24s %8.1f us %8.2f to bare\n", names[way], median(took[way], rounds),
               median(ratio[way], rounds));
    close(open_port);
    pending();
    return 0;
}
