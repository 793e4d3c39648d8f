/* A small mail client: submits the message on its standard input. It requires TLS.
 *
 *     cc submit.c $(pkg-config --cflags --libs mailport openssl) -o submit
 *     SUBMIT_USER=me SUBMIT_PASSWORD=secret ./submit mail.example.com me@example.com \
 *         you@example.net <message
 *
 * The connection is mailport's, in dial() and in the first lines of main(); the rest is what a mail
 * client has already. SUBMIT_PORT=465 is a user's port setting. Certificates are trusted as OpenSSL
 * does by default (SSL_CERT_FILE).
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <fcntl.h>
#include <mailport.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* A session: a socket, TLS on it once it is established, and what was read and not yet used. */
struct session {
    int fd;
    SSL *tls;
    char in[1024], out[4096];
    size_t in_from, in_to, out_to;
};

static void fail(const char *why, const char *what)
{
    fprintf(stderr, "submit: %s%s%s\n", why, *what != '\0' ? ": " : "", what);
    exit(1);
}

static void flush_out(struct session *session)
{
    size_t done = 0;

    while (done < session->out_to) {
        size_t left = session->out_to - done;
        ssize_t sent = session->tls != NULL ? SSL_write(session->tls, session->out + done, (int)left)
                                            : write(session->fd, session->out + done, left);
        if (sent <= 0)
            fail("the connection broke while sending", "");
        done += (size_t)sent;
    }
    session->out_to = 0;
}

static void put(struct session *session, char byte)
{
    if (session->out_to == sizeof session->out)
        flush_out(session);
    session->out[session->out_to++] = byte;
}

static void say(struct session *session, const char *format, ...)
{
    char line[1024];
    va_list words;
    const char *next;
    int length;

    va_start(words, format);
    length = vsnprintf(line, sizeof line - 2, format, words);
    va_end(words);
    if (length < 0 || (size_t)length >= sizeof line - 2)
        fail("an address or a password is too long", "");
    for (next = line; *next != '\0'; next++)
        put(session, *next);
    put(session, '\r'), put(session, '\n');
    flush_out(session);
    OPENSSL_cleanse(line, sizeof line);
    OPENSSL_cleanse(session->out, sizeof session->out); /* it may have been the password */
}

static int get(struct session *session)
{
    if (session->in_from == session->in_to) {
        ssize_t got = session->tls != NULL ? SSL_read(session->tls, session->in, sizeof session->in)
                                           : read(session->fd, session->in, sizeof session->in);
        if (got <= 0)
            fail("the server ended the connection, or said nothing for minutes", "");
        session->in_from = 0, session->in_to = (size_t)got;
    }
    return (unsigned char)session->in[session->in_from++];
}

/* Reads a reply (RFC 5321 section 4.2), which must begin with this digit. The rest of each line goes
 * to extensions, lines apart, where that is not NULL. */
static void expect(struct session *session, char digit, const char *after, char extensions[4096])
{
    char line[1024] = "";
    size_t used = 0, lines;

    for (lines = 0; lines == 0 || line[3] == '-'; lines++) {
        size_t length = 0;
        int byte;
        while ((byte = get(session)) != '\n')
            if (byte != '\r' && byte != '\0' && length < sizeof line - 1)
                line[length++] = (char)byte;
        line[length] = '\0';
        if (length < 3 || lines > 200)
            fail("this is not an SMTP server", "");
        if (extensions != NULL && lines > 0 && length > 4 && used + length < 4096)
            used += (size_t)sprintf(extensions + used, "%s\n", line + 4);
    }
    if (line[0] != digit)
        fail(after, line);
}

/* Whether the server offers an extension, with a word where that is not NULL. */
static int offers(const char *extensions, const char *name, const char *word)
{
    char line[1024], *next, *state;
    int length;

    for (; sscanf(extensions, "%1023[^\n]%n", line, &length) == 1; extensions += length + 1) {
        next = strtok_r(line, " ", &state);
        if (next == NULL || strcasecmp(next, name) != 0)
            continue;
        while (word != NULL && (next = strtok_r(NULL, " ", &state)) != NULL)
            if (strcasecmp(next, word) == 0)
                return 1;
        return word == NULL;
    }
    return 0;
}

static void hello(struct session *session, char extensions[4096])
{
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    char address[64] = "127.0.0.1";

    if (getsockname(session->fd, (struct sockaddr *)&own, &length) == 0)
        getnameinfo((struct sockaddr *)&own, length, address, sizeof address, NULL, 0,
                    NI_NUMERICHOST);
    address[strcspn(address, "%")] = '\0';
    extensions[0] = '\0';
    say(session, "EHLO [%s%s]", strchr(address, ':') != NULL ? "IPv6:" : "", address);
    expect(session, '2', "the server refuses EHLO", extensions);
}

/* The certificate must be for the host that the user configured, whichever port was reached. */
static void start_tls(struct session *session, SSL_CTX *context, const char *host)
{
    unsigned char literal[16];

    session->tls = SSL_new(context);
    if (session->tls == NULL || SSL_set1_host(session->tls, host) != 1 ||
        SSL_set_fd(session->tls, session->fd) != 1)
        fail("TLS cannot be set up", "");
    if (inet_pton(AF_INET, host, literal) != 1 && inet_pton(AF_INET6, host, literal) != 1)
        SSL_set_tlsext_host_name(session->tls, host);
    if (SSL_connect(session->tls) != 1) {
        long verdict = SSL_get_verify_result(session->tls);
        fail("TLS failed, so nothing is sent",
             verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                                  : ERR_error_string(ERR_get_error(), NULL));
    }
}

/* AUTH PLAIN (RFC 4616). */
static void log_in(struct session *session, const char *user, const char *password)
{
    unsigned char plain[512], coded[sizeof plain * 2];
    size_t name = strlen(user), word = strlen(password);

    if (name + word + 2 > sizeof plain)
        fail("the user or the password is too long", "");
    plain[0] = '\0';
    memcpy(plain + 1, user, name + 1);
    memcpy(plain + name + 2, password, word);
    EVP_EncodeBlock(coded, plain, (int)(name + word + 2));
    say(session, "AUTH PLAIN %s", coded);
    OPENSSL_cleanse(plain, sizeof plain);
    OPENSSL_cleanse(coded, sizeof coded);
    expect(session, '2', "the login is refused", NULL);
}

/* Ends each line with CRLF and puts a dot before a leading dot (RFC 5321 section 4.5.2). */
static void send_message(struct session *session)
{
    int byte, starts = 1, was_cr = 0;

    for (; (byte = getchar()) != EOF; was_cr = byte == '\r') {
        if (byte == '\n' && was_cr)
            continue;
        if (byte == '\r' || byte == '\n') {
            put(session, '\r'), put(session, '\n');
            starts = 1;
            continue;
        }
        if (starts && byte == '.')
            put(session, '.');
        put(session, (char)byte);
        starts = 0;
    }
    if (ferror(stdin))
        fail("the message cannot be read", ""); /* without its final dot, nothing is delivered */
    if (!starts)
        put(session, '\r'), put(session, '\n');
    say(session, ".");
}

/* Everything that concerns mailport: returns a connection and its TLS mode. */
static int dial(const char *host, int port, mailport_tls *tls)
{
    mailport_dial *dial = NULL;
    int fd = -1;
    mailport_status status = mailport_dial_start(host, (uint16_t)port, NULL, &dial);

    while (status >= 0 && (status = mailport_dial_wait(dial, -1)) == MAILPORT_PENDING)
        continue;
    fprintf(stderr, "submit: %s\n",
            dial != NULL ? mailport_dial_message(dial) : mailport_last_error_message());
    if (status != MAILPORT_OK || mailport_dial_take_fd(dial, &fd) != MAILPORT_OK)
        exit(1);
    *tls = mailport_dial_tls(dial);
    mailport_dial_free(dial);
    return fd;
}

int main(int argc, char **argv)
{
    const char *user = getenv("SUBMIT_USER"), *password = getenv("SUBMIT_PASSWORD");
    const char *port = getenv("SUBMIT_PORT");
    struct timeval patience = {300, 0}; /* RFC 5321 section 4.5.3.2 */
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct session session = {0};
    char extensions[4096];
    mailport_tls tls;
    int i;

    if (argc < 4)
        fail("usage", "submit HOST FROM TO...");
    for (i = 2; i < argc; i++)
        if (strpbrk(argv[i], "\r\n<> ") != NULL)
            fail("this is not an address", argv[i]);
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_default_verify_paths(context) != 1)
        fail("OpenSSL cannot be set up", "");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    signal(SIGPIPE, SIG_IGN);

    session.fd = dial(argv[1], port != NULL ? atoi(port) : 0, &tls);
    fcntl(session.fd, F_SETFL, fcntl(session.fd, F_GETFL) & ~O_NONBLOCK);
    setsockopt(session.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(session.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (tls == MAILPORT_TLS_IMPLICIT)
        start_tls(&session, context, argv[1]);
    expect(&session, '2', "the server refuses the session", NULL);
    hello(&session, extensions);
    if (tls != MAILPORT_TLS_IMPLICIT) {
        if (!offers(extensions, "STARTTLS", NULL))
            fail("the server does not offer STARTTLS, so nothing is sent", "");
        say(&session, "STARTTLS");
        expect(&session, '2', "STARTTLS is refused, so nothing is sent", NULL);
        if (session.in_from != session.in_to)
            fail("there is cleartext after the reply to STARTTLS", ""); /* an injection */
        start_tls(&session, context, argv[1]);
        hello(&session, extensions); /* what it said before TLS is discarded */
    }
    if (user != NULL && password != NULL) {
        if (!offers(extensions, "AUTH", "PLAIN"))
            fail("the server does not offer AUTH PLAIN", "");
        log_in(&session, user, password);
    }
    say(&session, "MAIL FROM:<%s>%s", argv[2],
        offers(extensions, "8BITMIME", NULL) ? " BODY=8BITMIME" : "");
    expect(&session, '2', "the sender is refused", NULL);
    for (i = 3; i < argc; i++) {
        say(&session, "RCPT TO:<%s>", argv[i]);
        expect(&session, '2', "a recipient is refused", NULL);
    }
    say(&session, "DATA");
    expect(&session, '3', "the message is refused", NULL);
    send_message(&session);
    expect(&session, '2', "the message is refused", NULL);
    puts("submitted");
    say(&session, "QUIT"); /* the reply changes nothing */
    SSL_shutdown(session.tls);
    SSL_free(session.tls);
    SSL_CTX_free(context);
    close(session.fd);
    return 0;
}
