/* A blocking dial on its own thread, while the program does something else.
 *
 *     cc thread.c $(pkg-config --cflags --libs mailport) -pthread -o thread
 *     ./thread mail.example.com
 */
#define _POSIX_C_SOURCE 200809L
#include <mailport.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* The arguments and the results of the thread. */
struct job {
    const char *host;
    mailport_options *options;
    mailport_status status;
    int fd;
    char message[400];
};

static void *connect_it(void *argument)
{
    struct job *job = argument;

    /* This call does not return the TLS mode, so it refuses a plan with more than one. */
    job->status = mailport_connect(job->host, 0, job->options, &job->fd);
    if (job->status != MAILPORT_OK) /* each thread has its own last message */
        snprintf(job->message, sizeof job->message, "%s", mailport_last_error_message());
    return NULL;
}

int main(int argc, char **argv)
{
    struct job job = {NULL, mailport_options_new(), MAILPORT_PENDING, -1, ""};
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
        fprintf(stderr, "thread: cannot create a thread\n");
        return 1;
    }
    /* Here the program does something else. */
    pthread_join(thread, NULL);
    mailport_options_free(job.options);
    if (job.status != MAILPORT_OK) {
        fprintf(stderr, "thread: %s\n", job.message);
        return 1;
    }
    printf("connected to %s\n", job.host);
    close(job.fd);
    return 0;
}
