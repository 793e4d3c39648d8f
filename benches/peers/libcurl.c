/* libcurl with CURLOPT_CONNECT_ONLY: each port in turn, with a timer of 10 seconds.
 * The URL says http, because libcurl would wait for the greeting of an smtp server.
 *
 * Usage: libcurl HOST PORT... Of each number on standard input it makes that many dials, and
 * prints the milliseconds that they took and the port that the last one reached (0: none). */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int dial(const char *host, char **ports)
{
    for (; *ports; ports++) {
        char url[512];
        CURL *curl = curl_easy_init();
        if (!curl)
            abort();
        snprintf(url, sizeof url, "http://%s:%s", host, *ports);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
        CURLcode code = curl_easy_perform(curl);
        curl_easy_cleanup(curl);
        if (code == CURLE_OK)
            return atoi(*ports);
    }
    return 0;
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    int times;
    if (argc < 3 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return 2;
    while (scanf("%d", &times) == 1) {
        double start = milliseconds();
        int port = 0;
        while (times-- > 0)
            port = dial(argv[1], argv + 2);
        printf("%.3f %d\n", milliseconds() - start, port);
        fflush(stdout);
    }
    return 0;
}
