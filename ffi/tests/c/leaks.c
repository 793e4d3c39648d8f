/* Leaks what its argument says, for those who look for leaks to show that they see them. */
#include "check.h"

#include <fcntl.h>

int main(int argc, char **argv)
{
    mailport_options *options = mailport_options_new();

    CHECK(argc == 2);
    if (*argv[1] == 'd')
        CHECK(open("/dev/null", O_RDONLY) >= 0);
    if (*argv[1] != 'm')
        mailport_options_free(options);
    options = NULL;
    return 0;
}
