/* A caller without sense: valid calls and invalid ones in any order, on many handles.
 * Arguments: the steps at most, a seed (0 for a random one, which it prints), plans. In place of the
 * seed, a file: its bytes decide, as long as there are some, so that a fuzzer can choose the calls. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "alone.h"
#include "getters.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define DIALS 24
#define FEW 4

static uint64_t state;
static FILE *bytes;
static char **plans;
static unsigned n_plans;
static mailport_dial *dials[DIALS];
static mailport_options *options[FEW];
static mailport_cache *caches[FEW];

/* splitmix64 */
static unsigned below(unsigned limit)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;

    if (bytes != NULL) {
        int high = getc(bytes), low = getc(bytes);
        return low == EOF ? 0 : (unsigned)(high << 8 | low) % limit;
    }
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) >> 32) % limit;
}

#define ANY(list) ((list)[below(sizeof(list) / sizeof *(list))])

static int32_t number(void)
{
    static const int32_t odd[] = {0, 1, 2, -1, 3, 9, 10, 20, 250, 1000, 86400000, INT32_MIN, INT32_MAX};
    return ANY(odd);
}

static const char *text(void)
{
    static const char *const odd[] = {"",          "127.0.0.1",    "::1",      "localhost", "m\xff",
                                      "25:cleartext",   "587:starttls", "mew",      "a b",       NULL,
                                      "0.0.0.0",   "name.invalid", "%h%h%p",   "lo",        "\n",
                                      "socks5://", "command:true", "command:", "[::1]",     "1,2,3"};
    return ANY(odd);
}

static void set(mailport_options *to)
{
    switch (below(20)) {
    case 0: mailport_options_set_plan(to, text(), number()); break;
    case 1: mailport_options_set_timeout_ms(to, number()); break;
    case 2: mailport_options_set_attempt_delay_ms(to, number()); break;
    case 3: mailport_options_set_port_delay_ms(to, number()); break;
    case 4: mailport_options_set_patience_ms(to, number()); break;
    case 6: mailport_options_set_greeting_wait_ms(to, number()); break;
    case 5: mailport_options_set_prefer_submission(to, number()); break;
    case 7: mailport_options_set_sequential(to, number()); break;
    case 8: mailport_options_set_ask(to, number()); break;
    case 9: mailport_options_set_try_failed_last(to, number()); break;
    case 10: mailport_options_set_families(to, number()); break;
    case 11: mailport_options_set_source(to, text()); break;
    case 17: mailport_options_set_source_port(to, (uint16_t)number()); break;
    case 18: mailport_options_set_shared_cache(to, number()); break;
    case 12: mailport_options_set_device(to, text()); break;
    case 13: mailport_options_set_via(to, text()); break;
    case 14: mailport_options_set_cache(to, ANY(caches)); break;
    case 16: mailport_options_set_addresses(to, text()); break;
    case 15: mailport_options_set_mark(to, (uint32_t)number()); break;
    default: mailport_options_set_plan(to, plans[below(n_plans)], 0);
    }
    CHECK(mailport_options_message(to) != NULL);
}

/* The size of a text, which must be one. */
static size_t words(const char *text)
{
    CHECK(text != NULL);
    return strlen(text);
}

static void read_all(const mailport_dial *dial)
{
    uint32_t n = below(4) == 0 ? (uint32_t)number() : below(4);
    size_t i, all = words(mailport_dial_message(dial));

    EACH(i, texts) all += words(texts[i].get(dial));
    EACH(i, texts_of_one) all += words(texts_of_one[i].get(dial, n));
    EACH(i, numbers) CHECK(numbers[i].get(dial) >= -1);
    EACH(i, numbers_of_one) CHECK(numbers_of_one[i].get(dial, n) >= -1);
    EACH(i, counts) CHECK(counts[i].get(dial) < 1000);
    EACH(i, ports) (void)ports[i].get(dial);
    EACH(i, times_of_one) CHECK(times_of_one[i].get(dial, n) >= -1);
    (void)mailport_dial_attempt_port(dial, n);
    CHECK(mailport_dial_elapsed_us(dial) >= 0);
    all += words(mailport_status_message(number())) + words(mailport_version());
    all += words(mailport_outcome_name(mailport_dial_attempt_outcome(dial, n)));
    all += words(mailport_tls_name(mailport_dial_attempt_tls(dial, n)));
    all += words(mailport_stage_name(mailport_dial_attempt_stage(dial, n)));
    all += words(mailport_reason_name(mailport_dial_attempt_reason(dial, n)));
    all += words(mailport_via_error_name(number())) + words(mailport_lookup_error_name(number()));
    all += words(mailport_last_error_message());
    CHECK(mailport_last_error_errno() >= 0);
    CHECK(mailport_dial_user_data(dial) == NULL || mailport_dial_user_data(dial) == &plans);
    CHECK(all < 1000000);
}

/* A new dial in a place, or none; the earlier dial there is freed in any state. */
static void start(mailport_dial **place)
{
    const char *const hosts[] = {"127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "localhost", text()};
    mailport_dial *dial = NULL;
    mailport_status status;

    mailport_dial_free(*place);
    status = mailport_dial_start(ANY(hosts), (uint16_t)number(), ANY(options), &dial);
    CHECK((status == MAILPORT_OK) == (dial != NULL));
    *place = dial;
}

static void step(void)
{
    mailport_dial **dial = &ANY(dials);
    mailport_options **option = &ANY(options);
    mailport_cache **cache = &ANY(caches);
    int fd = -77;

    switch (below(16)) {
    case 0: case 1: start(dial); break;
    case 2: case 3: case 4: case 5: mailport_dial_process(*dial); break;
    case 6:
        mailport_dial_wait(*dial, 0);
        mailport_dial_set_user_data(*dial, below(2) ? &plans : NULL);
        if (below(9) == 0)
            mailport_dial_cancel(*dial);
        break;
    case 7: mailport_dial_answer(*dial, mailport_dial_question_id(*dial), number()); break;
    case 8: mailport_dial_answer_and_remember(*dial, below(3), 1 + (int32_t)below(3)); break;
    case 9: case 10:
        if (mailport_dial_take_fd(*dial, &fd) == MAILPORT_OK)
            CHECK(fd >= 0 && close(fd) == 0);
        else
            CHECK(fd == -77);
        break;
    case 11: read_all(*dial); break;
    case 12: case 13: set(*option); break;
    case 14:
        mailport_options_free(*option);
        *option = below(5) == 0 ? NULL : mailport_options_new();
        break;
    default:
        mailport_cache_clear(below(9) == 0 ? *cache : NULL);
        mailport_cache_forget(*cache, text());
        mailport_cache_flush(*cache, 0);
        if (below(3) == 0) {
            mailport_cache_free(*cache);
            *cache = below(5) == 0 ? NULL : below(2) ? mailport_cache_new() : mailport_cache_shared();
        } else if (below(3) == 0) {
            mailport_cache_free(*cache);
            *cache = mailport_cache_open("/dev/null/cannot/be"); /* ends with the process */
            CHECK(*cache != NULL);
        }
    }
    CHECK(errno == 77);
}

/* How many descriptors there are. */
static int descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = -3; /* itself, . and .. */

    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    unsigned long steps, i;
    int before;

    ask_name_servers_once();
    CHECK(argc > 3);
    plans = argv + 3, n_plans = (unsigned)argc - 3;
    steps = strtoul(argv[1], NULL, 10);
    state = strtoul(argv[2], NULL, 10);
    if (argv[2][0] < '0' || argv[2][0] > '9')
        CHECK((bytes = fopen(argv[2], "rb")) != NULL && ungetc(getc(bytes), bytes) != EOF);
    if (state == 0)
        state = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
    fprintf(stderr, "seed %llu\n", (unsigned long long)state);
    before = descriptors();
    errno = 77;
    for (i = 0; i < steps && (bytes == NULL || !feof(bytes)); i++)
        step();
    for (i = 0; i < DIALS; i++)
        mailport_dial_free(dials[i]);
    for (i = 0; i < FEW; i++)
        mailport_options_free(options[i]), mailport_cache_free(caches[i]);
    /* The C library's look-up has its own socket until it ends, wanted or not. */
    wait_until_alone();
    CHECK(descriptors() == before && (bytes == NULL || fclose(bytes) == 0));
    return 0;
}
