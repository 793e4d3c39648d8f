/* Waiting for the threads that look names up. One ends soon after its look-up, wanted or not. */
#include <dirent.h>
#include <time.h>

/* How many threads this process has. */
static int threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    int count = -2; /* . and .. */

    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    CHECK(closedir(folder) == 0);
    return count;
}

static void wait_until_alone(void)
{
    struct timespec moment = {0, 1000000};
    int patience = 20000;

    while (threads() > 1 && patience-- > 0)
        nanosleep(&moment, NULL);
    CHECK(threads() == 1);
}
