/* A dial on a thread that may block, while the program does something else.
 *
 *     cc thread.c $(pkg-config --cflags --libs mailport) -pthread -o thread
 *     ./thread mail.example.com
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* What goes to the thread, and comes back. */
struct job {
    const char *host;
    mailport_options *options;
    mailport_status status;
    int fd;
};

static void *connect_it(void *argument)
{
    struct job *job = argument;

    /* A plan whose services differ in their TLS mode is refused: this call says no mode. */
    job->status = mailport_connect(job->host, 0, job->options, &job->fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct job job = {NULL, mailport_options_new(), MAILPORT_PENDING, -1};
    pthread_t thread;

    if (argc < 2) {
        fprintf(stderr, "usage: thread HOST [PLAN]\n");
        return 2;
    }
    job.host = argv[1];
    if (argc > 2 && mailport_options_set_plan(job.options, argv[2], MAILPORT_CLEARTEXT_REFUSE) < 0) {
        fprintf(stderr, "thread: %s\n", mailport_options_message(job.options));
        return 2;
    }
    if (pthread_create(&thread, NULL, connect_it, &job) != 0) {
        fprintf(stderr, "thread: no thread\n");
        return 1;
    }
    /* Here the program does what it likes. */
    pthread_join(thread, NULL);
    mailport_options_free(job.options);
    if (job.status != MAILPORT_OK) {
        fprintf(stderr, "%s: %s\n", job.host, mailport_status_message(job.status));
        return 1;
    }
    printf("connected to %s\n", job.host);
    close(job.fd);
    return 0;
}
