/* A module of the name service that wants 256 KiB of stack. Every name is 127.0.0.1. */
#include <arpa/inet.h>
#include <netdb.h>
#include <nss.h>

#define STACK (256 * 1024)

enum nss_status _nss_guest_gethostbyname4_r(const char *name, struct gaih_addrtuple **list,
                                            char *buffer, size_t length, int *error, int *h_error,
                                            int32_t *ttl)
{
    volatile char stack[STACK];
    struct gaih_addrtuple *tuple = *list != NULL ? *list : (void *)buffer;
    size_t i;

    (void)length, (void)error, (void)h_error, (void)ttl;
    for (i = 0; i < sizeof stack; i += 4096)
        stack[i] = 1;
    tuple->next = NULL;
    tuple->name = (char *)name;
    tuple->family = AF_INET;
    tuple->addr[0] = htonl(INADDR_LOOPBACK);
    tuple->scopeid = 0;
    *list = tuple;
    return NSS_STATUS_SUCCESS;
}
