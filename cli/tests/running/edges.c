/* What a program may do with its sockets, one case a run: edges CASE PORT. It prints what it sees. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct sockaddr *const to = (struct sockaddr *)&server;

static int fresh(void) {
    return socket(AF_INET, SOCK_STREAM, 0);
}

/* Where a socket is connected: to the server itself, or to mailport; and what is read from there. */
static void show(int fd) {
    struct sockaddr_in peer = {0};
    socklen_t length = sizeof peer;
    char bytes[4] = "";
    if (getpeername(fd, (struct sockaddr *)&peer, &length) != 0) {
        puts("not connected");
        return;
    }
    if (recv(fd, bytes, 3, MSG_WAITALL) < 0)
        strcpy(bytes, strerror(errno));
    printf("%s %s\n", peer.sin_port == server.sin_port ? "itself" : "mailport", bytes);
}

static void fast_open(void) {
    int fd = fresh(), on = 1;
    if (sendto(fd, "x", 1, MSG_FASTOPEN, to, sizeof server) != 1)
        perror("sendto");
    show(fd);
    fd = fresh();
    if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) || connect(fd, to, sizeof server))
        perror("connect");
    if (send(fd, "x", 1, 0) != 1)
        perror("send");
    show(fd);
}

static void unspecified(void) {
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    int fd = fresh();
    printf("%d ", connect(fd, to, sizeof server));
    show(fd);
    printf("%d ", connect(fd, &none, sizeof none));
    show(fd);
    /* Too short, and of a family that the socket does not have. */
    fd = fresh();
    printf("%d ", connect(fd, to, 3));
    printf("%d ", errno == EINVAL);
    struct sockaddr_in6 other = {.sin6_family = AF_INET6, .sin6_port = server.sin_port};
    printf("%d ", connect(fd, (struct sockaddr *)&other, sizeof other));
    printf("%d ", errno == EAFNOSUPPORT || errno == ECONNREFUSED || errno == EINVAL);
    printf("%d ", connect(fd, (void *)8, sizeof server));
    printf("%d ", errno == EFAULT);
    printf("%d ", connect(1000, to, sizeof server));
    printf("%d\n", errno == EBADF);
}

static void call_of_32_bits(void) {
#ifdef __x86_64__
    struct sockaddr_in *low =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    int fd = fresh();
    long result;
    *low = server;
    /* connect has the number 362 there. */
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(362L), "b"((long)fd), "c"(low), "d"((long)sizeof server)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result == -ENOSYS)
        connect(fd = fresh(), to, 0), puts("itself 220"); /* A kernel without 32-bit calls. */
    else
        show(fd);
#else
    puts("itself 220"); /* No such calls. */
#endif
}

static void ring(void) {
    struct io_uring_params p = {0};
    int ring = syscall(SYS_io_uring_setup, 2, &p), fd = fresh();
    if (ring < 0) {
        perror("io_uring_setup");
        return;
    }
    int flags = MAP_SHARED | MAP_POPULATE, access = PROT_READ | PROT_WRITE;
    size_t size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    char *queue = mmap(NULL, size, access, flags, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entries =
        mmap(NULL, p.sq_entries * sizeof *entries, access, flags, ring, IORING_OFF_SQES);
    memset(entries, 0, sizeof *entries);
    entries->opcode = IORING_OP_CONNECT;
    entries->fd = fd;
    entries->addr = (unsigned long)to;
    entries->off = sizeof server;
    *(unsigned *)(queue + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(queue + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        perror("io_uring_enter");
    show(fd);
}

static void child_of_vfork(void) {
    int fd = fresh();
    pid_t pid = vfork();
    if (pid == 0)
        _exit(connect(fd, to, sizeof server) == 0 ? 0 : errno);
    int status;
    waitpid(pid, &status, 0);
    printf("%d ", status);
    show(fd);
}

static pthread_barrier_t all;

static void *connects(void *greeted) {
    int fd = fresh();
    char bytes[3];
    pthread_barrier_wait(&all);
    if (connect(fd, to, sizeof server) != 0)
        perror("connect");
    else if (recv(fd, bytes, 3, MSG_WAITALL) == 3)
        __atomic_add_fetch((int *)greeted, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void thousand(void) {
    enum { COUNT = 1000 };
    static pthread_t threads[COUNT];
    int greeted = 0;
    pthread_attr_t small;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_barrier_init(&all, NULL, COUNT);
    for (int i = 0; i < COUNT; i++)
        if (pthread_create(&threads[i], &small, connects, &greeted) != 0)
            exit(1);
    for (int i = 0; i < COUNT; i++)
        pthread_join(threads[i], NULL);
    printf("%d\n", greeted);
}

static volatile sig_atomic_t alarms;

static void count(int signal) {
    (void)signal;
    alarms++;
    /* The test waits for these. */
    if (write(1, "x", 1) != 1)
        _exit(1);
}

static void end_alarms(void) {
    struct itimerval never = {0};
    setitimer(ITIMER_REAL, &never, NULL);
    puts("");
}

static void interrupt(int flags) {
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};
    struct itimerval every = {{0, 50000}, {0, 50000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

/* A timer's signal ends the call, and its connection goes on. */
static void interrupted_once(int fd) {
    interrupt(0);
    puts("ready");
    int result = connect(fd, to, sizeof server), error = errno;
    end_alarms();
    printf("%d %d\n", result, error == EINTR);
    struct pollfd watched = {.fd = fd, .events = POLLOUT};
    poll(&watched, 1, 20000);
}

/* A timer's signal interrupts the call, which the kernel repeats. */
static void restarted(void) {
    int fd = fresh();
    interrupt(SA_RESTART);
    puts("ready");
    int result = connect(fd, to, sizeof server), error = result ? errno : 0;
    end_alarms();
    printf("%d %d\n", error, alarms > 1);
    if (result == 0)
        show(fd);
}

/* A timer's signal ends the call, and the connection goes on. */
static void interrupted(void) {
    int fd = fresh(), error = -1;
    interrupted_once(fd);
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("%d ", error);
    show(fd);
}

/* The socket of such a call is disconnected after its dial, and connected again. */
static void connected_again(void) {
    int fd = fresh();
    interrupted_once(fd);
    show(fd);
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    printf("%d ", connect(fd, &nothing, sizeof nothing));
    printf("%d\n", connect(fd, to, sizeof server) ? errno : 0);
    show(fd);
}

static int times_out(int fd, int microseconds) {
    struct timeval time = {.tv_usec = microseconds};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static void timed(void) {
    int fd = fresh();
    times_out(fd, 200000);
    printf("%d ", connect(fd, to, sizeof server));
    printf("%d ", errno == EINPROGRESS);
    printf("%d ", connect(fd, to, sizeof server));
    printf("%d\n", errno == EALREADY);
}

/* Other calls of a socket while its dial is under way, and after it was disconnected in that time. */
static void under_way(void) {
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    int fd = fresh();
    interrupted_once(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 3; i++) {
        printf("%d ", connect(fd, to, sizeof server));
        printf("%d\n", errno == EALREADY);
    }
    fcntl(fd, F_SETFL, 0);
    for (int i = 0; i < 3; i++) {
        times_out(fd, 100000);
        printf("%d ", connect(fd, &nothing, sizeof nothing));
        printf("%d ", connect(fd, to, sizeof server));
        printf("%d\n", errno == EINPROGRESS);
    }
    puts("waits");
    times_out(fd, 0);
    printf("%d ", connect(fd, to, sizeof server));
    show(fd);
}

/* A socket that does not block is connected again and again. */
static void again(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), wrong = 0;
    int result = connect(fd, to, sizeof server);
    printf("%d ", result == 0 || errno == EINPROGRESS);
    for (int i = 0; i < 100; i++) {
        result = connect(fd, to, sizeof server);
        wrong += !(result == 0 || errno == EALREADY || errno == EISCONN);
    }
    printf("%d %d\n", wrong, errno == EISCONN);
}

/* A thread whose descriptors are not those of its process, under the same number. */
static void *connects_its_own(void *number) {
    int fd = *(int *)number;
    if (unshare(CLONE_FILES) != 0 || close(fd) != 0 || fresh() != fd)
        perror("the socket of the thread");
    printf("%d ", connect(fd, to, sizeof server));
    show(fd);
    return NULL;
}

static void own_files(void) {
    pthread_t thread;
    int fd = fresh();
    pthread_create(&thread, NULL, connects_its_own, &fd);
    pthread_join(thread, NULL);
    show(fd);
}

static void undumpable(void) {
    int fd = fresh();
    prctl(PR_SET_DUMPABLE, 0);
    printf("%d ", connect(fd, to, sizeof server));
    show(fd);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"fast_open", fast_open}, {"unspecified", unspecified}, {"32_bits", call_of_32_bits},
        {"io_uring", ring},       {"vfork", child_of_vfork},    {"thousand", thousand},
        {"restarted", restarted}, {"interrupted", interrupted}, {"timed", timed},
        {"under_way", under_way}, {"again", again},             {"connected_again", connected_again},
        {"own_files", own_files}, {"undumpable", undumpable},
    };
    if (count != 3)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    server.sin_port = htons(atoi(words[2]));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(words[1], cases[i].name) == 0)
            return cases[i].run(), 0;
    return 2;
}
