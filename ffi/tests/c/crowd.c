/* Thousands of dials by name at once, in one thread and one loop of libevent: each ends right.
 * Arguments: how many dials; a port where a host is refused, and one that is open.
 *
 * Every third dial has both ports and falls back, every third the open one alone, every third the
 * refused one alone. The names, mail-0.example and so on, are in /etc/hosts for the test. Where the
 * limit of descriptors is too low for all at once, one begins when another has ended. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "alone.h"

#include <event2/event.h>
#include <sys/resource.h>
#include <unistd.h>

/* A dial has its own three (epoll, timer, wake-up). It has a socket only when its name is known,
 * and at most 16 names are looked up at once: so few have one that some are enough for all. */
#define DESCRIPTORS 3
#define SOCKETS 2000

struct one {
    struct event *watch;
    mailport_dial *dial;
    unsigned kind;
};

static struct event_base *base;
static mailport_options *options[3];
static struct one *all;
static unsigned dials, started, ended_right;
static uint16_t refused, open_port;

static void start_another(void);

static void ended(struct one *one, mailport_status status)
{
    int fd = -1;

    event_free(one->watch);
    if (one->kind == 2) {
        CHECK(status == MAILPORT_ERR_EXHAUSTED && mailport_dial_port(one->dial) == 0);
    } else {
        if (status != MAILPORT_OK)
            fprintf(stderr, "%s\n", mailport_dial_message(one->dial));
        CHECK(status == MAILPORT_OK && mailport_dial_port(one->dial) == open_port);
        CHECK(mailport_dial_take_fd(one->dial, &fd) == MAILPORT_OK && close(fd) == 0);
    }
    mailport_dial_free(one->dial);
    ended_right++;
    start_another();
}

static void readable(evutil_socket_t fd, short what, void *one)
{
    mailport_status status = mailport_dial_process(((struct one *)one)->dial);

    (void)fd, (void)what;
    if (status <= 0)
        ended(one, status);
}

static void start_another(void)
{
    struct one *one = &all[started];
    char host[80];

    if (started == dials)
        return;
    one->kind = started % 3;
    snprintf(host, sizeof host, "mail-%u.example", started++);
    CHECK(mailport_dial_start(host, 0, options[one->kind], &one->dial) == MAILPORT_OK);
    one->watch = event_new(base, mailport_dial_fd(one->dial), EV_READ | EV_PERSIST, readable, one);
    CHECK(one->watch != NULL && event_add(one->watch, NULL) == 0);
}

int main(int argc, char **argv)
{
    unsigned i, at_once;
    struct rlimit limit;
    char plan[80];

    CHECK(argc == 4);
    dials = (unsigned)atoi(argv[1]);
    refused = (uint16_t)atoi(argv[2]), open_port = (uint16_t)atoi(argv[3]);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (i = 0; i < 3; i++) {
        options[i] = mailport_options_new();
        CHECK(mailport_options_set_timeout_ms(options[i], 300000) == MAILPORT_OK);
        snprintf(plan, sizeof plan, i == 0 ? "%d:starttls,%d:starttls" : "%d:starttls",
                 i == 1 ? open_port : refused, open_port);
        CHECK(mailport_options_set_plan(options[i], plan, MAILPORT_CLEARTEXT_REFUSE) == 0);
    }
    base = event_base_new();
    all = calloc(dials, sizeof *all);
    CHECK(base != NULL && all != NULL);
    while (started < dials && (started + 1) * DESCRIPTORS + SOCKETS < limit.rlim_cur)
        start_another();
    at_once = started;
    CHECK(event_base_dispatch(base) == 1); /* nothing is watched any more */
    CHECK(started == dials && ended_right == dials);
    for (i = 0; i < 3; i++)
        mailport_options_free(options[i]);
    free(all);
    event_base_free(base);
    wait_until_alone();
    printf("%u dials, %u at once\n", dials, at_once);
    return 0;
}
