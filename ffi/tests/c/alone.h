/* Waiting for the threads that look names up. One ends after its look-up, wanted or not. */
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

/* Said before the first look-up: a name service that is silent is not waited for any longer. */
static inline void ask_name_servers_once(void)
{
    CHECK(setenv("RES_OPTIONS", "timeout:1 attempts:1", 1) == 0);
}

static void wait_until_alone(void)
{
    struct timespec moment = {0, 1000000};
    int patience = 60000;

    while (threads() > 1 && patience-- > 0)
        nanosleep(&moment, NULL);
    CHECK(threads() == 1);
}
