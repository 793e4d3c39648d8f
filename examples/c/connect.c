/* One call instead of a loop over getaddrinfo and connect, without options.
 *
 *     cc connect.c $(pkg-config --cflags --libs mailport) -o connect
 *     ./connect mail.example.com 587
 */
#include <mailport.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd;
    mailport_status status;

    if (argc < 2) {
        fprintf(stderr, "usage: connect HOST [PORT]\n");
        return 2;
    }
    /* This is all. Port 0 means none given: 587, or 25 where 587 is not available. */
    status = mailport_connect(argv[1], (uint16_t)(argc > 2 ? atoi(argv[2]) : 0), NULL, &fd);
    if (status != MAILPORT_OK) {
        fprintf(stderr, "connect: %s\n", mailport_last_error_message());
        return 1;
    }
    /* fd is blocking, as from connect(2). Speak SMTP on it, and require STARTTLS before a login
     * (465: TLS from the first byte). */
    printf("connected to %s\n", argv[1]);
    close(fd);
    return 0;
}
