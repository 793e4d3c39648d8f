/* What is set about the way out is seen on the connection, and can be taken back: the server sees
 * the source address and port, the socket has its device and its mark. Says whether it may set a mark. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in server = {.sin_family = AF_INET};
static int listener;
static mailport_options *options;

/* What a connection looks like from either end. */
struct seen {
    char source[INET_ADDRSTRLEN], device[16];
    unsigned port;
    unsigned mark;
};

static struct seen connect_once(void)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    struct seen seen = {"", "", 0, 0};
    int fd, accepted;

    CHECK(mailport_connect("127.0.0.1", ntohs(server.sin_port), options, &fd) == MAILPORT_OK);
    accepted = accept(listener, (struct sockaddr *)&peer, &length);
    CHECK(accepted >= 0 && inet_ntop(AF_INET, &peer.sin_addr, seen.source, sizeof seen.source));
    seen.port = ntohs(peer.sin_port);
    length = sizeof seen.device;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, seen.device, &length) == 0);
    length = sizeof seen.mark;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_MARK, &seen.mark, &length) == 0);
    CHECK(close(fd) == 0 && close(accepted) == 0);
    return seen;
}

static void is_as_the_kernel_chooses(void)
{
    struct seen seen = connect_once();
    CHECK(strcmp(seen.source, "127.0.0.1") == 0 && seen.device[0] == '\0' && seen.mark == 0);
}

/* A port that is free: the kernel has just chosen it. */
static void source_port_is_used(void)
{
    uint16_t port = (uint16_t)connect_once().port;
    int i;

    CHECK(mailport_options_set_source_port(options, port) == MAILPORT_OK);
    /* The connection that had it may still be waiting to be forgotten: another end is needed. */
    CHECK(mailport_options_set_source(options, "127.0.0.3") == MAILPORT_OK);
    CHECK(connect_once().port == port);
    CHECK(mailport_options_set_source_port(options, 0) == MAILPORT_OK);
    for (i = 0; connect_once().port == port; i++)
        CHECK(i < 9);
    CHECK(mailport_options_set_source(options, NULL) == MAILPORT_OK);
}

/* Not every program may set a mark. One that may not is reported by the dial, before it sends. */
static void mark_is_set(void)
{
    unsigned mark = 42;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int may = setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
    mailport_dial *dial = NULL;

    CHECK(close(fd) == 0);
    CHECK(mailport_options_set_mark(options, mark) == MAILPORT_OK);
    CHECK(mailport_dial_start("127.0.0.1", ntohs(server.sin_port), options, &dial) == MAILPORT_OK);
    CHECK((mailport_dial_process(dial) == MAILPORT_ERR_INVALID) == !may);
    CHECK(may || strstr(mailport_dial_message(dial), "the mark `42` cannot be used") != NULL);
    mailport_dial_free(dial);
    if (may) {
        fd = accept(listener, NULL, NULL); /* the dial's own */
        CHECK(fd >= 0 && close(fd) == 0 && connect_once().mark == 42);
        puts("the mark is set");
    }
    CHECK(mailport_options_set_mark(options, 0) == MAILPORT_OK);
}

int main(void)
{
    socklen_t length = sizeof server;
    int fd;

    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0), options = mailport_options_new();
    CHECK(bind(listener, (struct sockaddr *)&server, length) == 0 && listen(listener, 9) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&server, &length) == 0);
    is_as_the_kernel_chooses();
    CHECK(mailport_options_set_source(options, "127.0.0.2") == MAILPORT_OK);
    CHECK(strcmp(connect_once().source, "127.0.0.2") == 0);
    CHECK(mailport_options_set_source(options, "127.0.0.2:25") == MAILPORT_ERR_INVALID);
    CHECK(strcmp(connect_once().source, "127.0.0.2") == 0); /* as before */
    CHECK(mailport_options_set_source(options, NULL) == MAILPORT_OK);
    source_port_is_used();
    CHECK(mailport_options_set_device(options, "lo") == MAILPORT_OK);
    CHECK(strcmp(connect_once().device, "lo") == 0);
    CHECK(mailport_options_set_device(options, "nowhere0") == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_ERR_INVALID);
    CHECK(mailport_options_set_device(options, NULL) == MAILPORT_OK);
    mark_is_set();
    CHECK(mailport_options_set_via(options, "command:false") == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_ERR_EXHAUSTED);
    CHECK(mailport_options_set_via(options, NULL) == MAILPORT_OK);
    CHECK(mailport_options_set_plan(options, "465:implicit,587:starttls", 0) == MAILPORT_OK);
    CHECK(mailport_connect("127.0.0.1", 0, options, &fd) == MAILPORT_ERR_INVALID); /* two TLS modes */
    CHECK(mailport_options_set_plan(options, NULL, 0) == MAILPORT_OK);
    is_as_the_kernel_chooses();
    mailport_options_free(options);
    return close(listener) == 0 ? 0 : 1;
}
