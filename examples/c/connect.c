/* Code that had a loop over getaddrinfo and connect needs one call, and no options.
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
    /* The whole change. Port 0 is none given: 587, and 25 where that is not available. */
    status = mailport_connect(argv[1], (uint16_t)(argc > 2 ? atoi(argv[2]) : 0), NULL, &fd);
    if (status != MAILPORT_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], mailport_status_message(status));
        return 1;
    }
    /* fd blocks, as from connect(2). Speak SMTP on it, and insist on STARTTLS before a login
     * (465: TLS from the first byte). */
    printf("connected to %s\n", argv[1]);
    close(fd);
    return 0;
}
