/*
 * mailport: connects a mail reader to its sending server, on the best port that the network and
 * the server allow: 587, and 25 where 587 is not available, over IPv6 and IPv4 at once.
 *
 * In one call, in place of getaddrinfo(3) and connect(2):
 *
 *     int fd;
 *     mailport_status status = mailport_connect(host, port, NULL, &fd);
 *
 * In any loop that can wait for a descriptor:
 *
 *     mailport_dial *dial;
 *     mailport_status status = mailport_dial_start(host, port, NULL, &dial);
 *     while (status >= 0 && (status = mailport_dial_process(dial)) == MAILPORT_PENDING)
 *         your_loop_waits_until_readable(mailport_dial_fd(dial));
 *     if (status == MAILPORT_OK) status = mailport_dial_take_fd(dial, &fd);
 *
 * Made by cbindgen from the Rust source. What holds for every call:
 *
 * Names. A function is mailport_NOUN_VERB, a constant MAILPORT_WORD. Numbers have a fixed size, and
 * 0 stands for nothing said. A number that is not known is refused, or has an empty name.
 *
 * Ownership. _new and _start give, _take_ moves a descriptor out once, _free ends: it takes NULL,
 * and never waits. Everything else borrows. A string stays until its dial is next processed, waited
 * for or freed, or its options are next changed or freed; it is UTF-8, and never NULL. Things can
 * be freed in any order.
 *
 * Outputs. They come last, are named out_, and are written only where the call gives MAILPORT_OK.
 *
 * Errors. A status is 0 for done, above 0 for not yet, below 0 for failed. A pointer that may be
 * NULL is said to; for any other one a call gives MAILPORT_NULL, and a getter 0 or an empty string.
 * What the network says comes from mailport_dial_process() or mailport_dial_wait(), and is for
 * ever. A bug in the library is MAILPORT_BUG, and no crash. Want of heap memory ends the process.
 *
 * Safety. Whoever can drop a packet chooses the port. So keep to mailport_dial_tls(), whichever
 * port was reached; verify the certificate against the host that was dialled; and let no failed
 * handshake, certificate or login be a reason to try another port.
 *
 * Threads. A dial, or options, may move between threads and are used by one at a time; options that
 * nobody changes may start dials on several. Nothing calls back. Names are looked up on threads of
 * the library, which block every signal and hold no descriptor of a dial.
 *
 * Fork. A dial belongs to the process that started it. In a forked child a call gives
 * MAILPORT_FORKED, and a getter what it gives for NULL. Free it there, which leaves the parent's
 * alone. Options may be used on both sides. A child that was forked while a name was looked up
 * can dial addresses; for names it must exec first, for the C library's look-up may hold a lock
 * that nobody there gives back.
 *
 * Signals. No handler is set and no mask is changed; only a dial through a command has a child
 * process, for which a handler of SIGCHLD is called once. A signal ends mailport_dial_wait() with
 * MAILPORT_PENDING; mailport_connect() goes on. There is never a SIGPIPE.
 *
 * errno is afterwards what it was before, always.
 *
 * Shared. The dials of a process share one resolver, which starts a thread when a name is to be
 * looked up, and none for an address. A cache that has a file starts one when it is to be saved.
 * The shared library is never unloaded, dlclose(3) or not: a dial that is open then goes on.
 *
 * Environment. MAILPORT_PORTS=587 leaves out every service of another port, MAILPORT_FAMILY=ipv4
 * every address of the other family: for a user who looks for the trouble. They add nothing, change
 * no TLS mode, and are ignored in a program with more rights than its user.
 *
 * Versions. Each function says since when it is there. Within one SONAME none goes, none changes
 * its meaning, and no number is used again.
 */


#ifndef MAILPORT_H
#define MAILPORT_H

#include <stdint.h>

#define MAILPORT_VERSION "0.1.0"

/**
 * In place of a time: the default, which for some times depends on the dial.
 */
#define MAILPORT_AUTOMATIC (-1)

/**
 * What dials have learned, for those that follow: a later dial in the same network does not wait
 * again for what an earlier one found silent. Options are told to use it
 * (mailport_options_set_cache). It may be used by several threads at once. A forked child goes on
 * with what its parent knew.
 */
typedef struct mailport_cache mailport_cache;

/**
 * A dial under way: one descriptor for its whole life, and one call when it is readable. Free it
 * with mailport_dial_free(), which cancels what is not done.
 */
typedef struct mailport_dial mailport_dial;

/**
 * The settings of dials. Without any, everything has its default, which is right for nearly
 * everybody. A dial copies what it needs, so they can be changed, used again and freed at any time.
 *
 * What was set can be taken back: NULL in place of a text or a cache sets the default again,
 * MAILPORT_AUTOMATIC does in place of a time, and any other number is set to its default.
 */
typedef struct mailport_options mailport_options;

/**
 * How a call ended: 0 done, above 0 not yet, below 0 failed. A number never changes its meaning;
 * a later version may have more.
 */
typedef int32_t mailport_status;

/**
 * Done.
 */
#define MAILPORT_OK 0

/**
 * The dial has not ended: wait until its descriptor is readable, then process it again.
 */
#define MAILPORT_PENDING 1

/**
 * The dial has stopped with a question, as the option ask wants. Answer it.
 */
#define MAILPORT_ASK 2

/**
 * A pointer that must not be NULL is NULL. Nothing was done.
 */
#define MAILPORT_NULL (-1)

/**
 * A bug in mailport itself, told on standard error. A dial that met it is at its end.
 */
#define MAILPORT_BUG (-2)

/**
 * The host, the plan or a setting cannot be used. Nothing was sent.
 */
#define MAILPORT_INVALID (-3)

/**
 * This machine lacks something of its own: descriptors, cache, ports.
 */
#define MAILPORT_SYSTEM (-4)

/**
 * Called in a fork of the process that the dial belongs to. Only free it there.
 */
#define MAILPORT_FORKED (-5)

/**
 * The connection has been taken already.
 */
#define MAILPORT_TAKEN (-6)

/**
 * The question no longer stands: it was answered, or withdrawn because an attempt connected.
 * Nothing has changed.
 */
#define MAILPORT_STALE (-7)

/**
 * Every service was tried, and none is left.
 */
#define MAILPORT_EXHAUSTED (-16)

/**
 * The deadline passed with nothing connected.
 */
#define MAILPORT_ERR_TIMEOUT (-17)

/**
 * The name has no address that could be tried.
 */
#define MAILPORT_UNRESOLVED (-18)

/**
 * The proxy or the command itself failed, which says nothing of any service.
 */
#define MAILPORT_VIA (-19)

/**
 * The user was asked, now or earlier, and does not want the next service.
 */
#define MAILPORT_DECLINED (-20)

/**
 * How TLS is spoken on a connection. The library speaks none of it: the mode is a demand on
 * whoever uses the connection.
 */
typedef int32_t mailport_tls;

/**
 * Nothing is connected, so nothing is demanded yet.
 */
#define MAILPORT_TLS_UNDECIDED 0

/**
 * TLS from the first byte (RFC 8314 section 3.3), as on port 465.
 */
#define MAILPORT_TLS_IMPLICIT 1

/**
 * TLS after the STARTTLS command (RFC 3207). End the session if it is not offered, or fails.
 */
#define MAILPORT_TLS_STARTTLS 2

/**
 * Cleartext. Only from a plan that was given with MAILPORT_CLEARTEXT_ALLOW.
 */
#define MAILPORT_TLS_NONE 3

/**
 * Whether a plan may name a service without TLS.
 */
typedef int32_t mailport_cleartext;

/**
 * A plan with such a service is refused.
 */
#define MAILPORT_CLEARTEXT_REFUSE 0

/**
 * It is taken.
 */
#define MAILPORT_CLEARTEXT_ALLOW 1

/**
 * An address family.
 */
typedef int32_t mailport_family;

/**
 * None: of an attempt, a proxy or a command was given the name; of a service, it has both.
 */
#define MAILPORT_FAMILY_NONE 0

/**
 * IPv4.
 */
#define MAILPORT_FAMILY_IPV4 4

/**
 * IPv6.
 */
#define MAILPORT_FAMILY_IPV6 6

/**
 * Which address families are used, and which goes first.
 */
typedef int32_t mailport_families;

/**
 * Both, in the order of RFC 6724 section 6.
 */
#define MAILPORT_FAMILIES_ANY 0

/**
 * IPv4 only.
 */
#define MAILPORT_FAMILIES_ONLY_IPV4 1

/**
 * IPv6 only.
 */
#define MAILPORT_FAMILIES_ONLY_IPV6 2

/**
 * Both, IPv4 first.
 */
#define MAILPORT_FAMILIES_PREFER_IPV4 3

/**
 * Both, IPv6 first.
 */
#define MAILPORT_FAMILIES_PREFER_IPV6 4

/**
 * How an attempt ended. 1 to 5 are the cases of the fallback paper.
 */
typedef int32_t mailport_outcome;

/**
 * The connection stands, and won.
 */
#define MAILPORT_OUTCOME_CONNECTED 1

/**
 * The peer answered with a RST.
 */
#define MAILPORT_OUTCOME_RESET 2

/**
 * An ICMP hard error (RFC 1122 section 4.2.3.9), as from a firewall that says so.
 */
#define MAILPORT_OUTCOME_ICMP_HARD 3

/**
 * An ICMP soft error (the same section): routing trouble, which speaks of the path.
 */
#define MAILPORT_OUTCOME_ICMP_SOFT 4

/**
 * Silence until given up.
 */
#define MAILPORT_OUTCOME_TIMEOUT 5

/**
 * This machine said no: no route, a local firewall, no descriptors.
 */
#define MAILPORT_OUTCOME_LOCAL 6

/**
 * Accepted, then closed by the peer before the connection was used.
 */
#define MAILPORT_OUTCOME_CLOSED 7

/**
 * A proxy's reply.
 */
#define MAILPORT_OUTCOME_VIA 8

/**
 * Still in time when another attempt won, or given up by the caller's wish.
 */
#define MAILPORT_OUTCOME_CANCELLED 9

/**
 * How far an attempt came.
 */
typedef int32_t mailport_stage;

/**
 * The TCP handshake.
 */
#define MAILPORT_STAGE_CONNECT 1

/**
 * What follows it before the connection counts: a proxy's reply, the greeting.
 */
#define MAILPORT_STAGE_CONFIRM 2

/**
 * What the greeting wait saw.
 */
typedef int32_t mailport_greeting;

/**
 * Nobody waited for a greeting.
 */
#define MAILPORT_GREETING_NOT_AWAITED 0

/**
 * The first byte of one came, and is left in the socket.
 */
#define MAILPORT_GREETING_RECEIVED 1

/**
 * Nothing came in the greeting wait's time: a server that pauses or, behind a tunnel that accepts first, a
 * port that is filtered.
 */
#define MAILPORT_GREETING_ABSENT 2

/**
 * Why an attempt was started.
 */
typedef int32_t mailport_reason;

/**
 * The first address of the first service.
 */
#define MAILPORT_REASON_FIRST 1

/**
 * Another attempt of the service failed.
 */
#define MAILPORT_REASON_FAILED 2

/**
 * The attempt before it was silent for the attempt delay.
 */
#define MAILPORT_REASON_ATTEMPT_DELAY 3

/**
 * An address that arrived after the service had begun.
 */
#define MAILPORT_REASON_LATE_ADDRESS 4

/**
 * The next service: an attempt of the one before was refused.
 */
#define MAILPORT_REASON_REFUSED 5

/**
 * The next service: every attempt of the one before failed.
 */
#define MAILPORT_REASON_ALL_FAILED 6

/**
 * The next service: the one before was silent for the port delay.
 */
#define MAILPORT_REASON_PORT_DELAY 7

/**
 * The next service: every attempt of the one before had failed or was overdue (sequential).
 */
#define MAILPORT_REASON_OVERDUE 8

/**
 * The next service: the one before has no address of its family.
 */
#define MAILPORT_REASON_NO_ADDRESS 9

/**
 * The next service: the one before is remembered as bad.
 */
#define MAILPORT_REASON_REMEMBERED 10

/**
 * The same candidate again: it was closed for another one, and that failed.
 */
#define MAILPORT_REASON_AGAIN 11

/**
 * What a proxy or a command did instead of connecting.
 */
typedef int32_t mailport_proxy_error;

/**
 * The proxy tried to connect, and replied with a code (RFC 1928 section 6).
 */
#define MAILPORT_PROXY_ERROR_REPLY 1

/**
 * The proxy itself could not be reached.
 */
#define MAILPORT_PROXY_ERROR_UNREACHABLE 2

/**
 * The proxy refused the login, or wants one that it was not given (RFC 1929).
 */
#define MAILPORT_PROXY_ERROR_LOGIN 3

/**
 * The proxy does not speak SOCKS5, or ended in the middle of its reply.
 */
#define MAILPORT_PROXY_ERROR_PROTOCOL 4

/**
 * The command could not be started.
 */
#define MAILPORT_PROXY_ERROR_NOT_STARTED 5

/**
 * Why a look-up gave no address.
 */
typedef int32_t mailport_lookup_error;

/**
 * The name does not exist.
 */
#define MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME 1

/**
 * The name service failed temporarily or did not answer; trying again later may help.
 */
#define MAILPORT_LOOKUP_ERROR_TRY_AGAIN 2

/**
 * Only addresses that no host can have, such as 0.0.0.0, which a filtering name service gives.
 */
#define MAILPORT_LOOKUP_ERROR_UNUSABLE 3

/**
 * Not answered yet, or by the end of the dial.
 */
#define MAILPORT_LOOKUP_ERROR_UNANSWERED 4

/**
 * Any other failure.
 */
#define MAILPORT_LOOKUP_ERROR_FAILED 5

/**
 * The name exists and has no address, or none of the families that the dial uses.
 */
#define MAILPORT_LOOKUP_ERROR_NO_ADDRESS 6

/**
 * This machine lacked memory, threads or descriptors for the look-up.
 */
#define MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR 7

/**
 * Too many look-ups of this process were unanswered for this one to begin.
 */
#define MAILPORT_LOOKUP_ERROR_BUSY 8

/**
 * What the user says to a question.
 */
typedef int32_t mailport_answer;

/**
 * Begin the next service.
 */
#define MAILPORT_ANSWER_FALL_BACK 1

/**
 * Begin no other service, and wait on for the attempts that are open; with none open, the same as
 * to give up.
 */
#define MAILPORT_ANSWER_WAIT_ON 2

/**
 * End the dial.
 */
#define MAILPORT_ANSWER_GIVE_UP 3

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The sentence of a status; never NULL, and there for ever. What a dial says of itself
 * (mailport_dial_message) tells more.
 *
 * Since 0.1.
 */
const char *mailport_status_message(mailport_status status);

/**
 * The version of the library that runs, such as "0.1.0"; MAILPORT_VERSION is that of the header.
 *
 * Since 0.1.
 */
const char *mailport_version(void);

/**
 * The word of a TLS mode in plans and in JSON: "implicit", "starttls" or "none"; empty for any
 * other number. It is there for ever.
 *
 * Since 0.1.
 */
const char *mailport_tls_name(mailport_tls tls);

/**
 * The word of an outcome in JSON, such as "icmp-hard"; empty for a number that is none. It is
 * there for ever.
 *
 * Since 0.1.
 */
const char *mailport_outcome_name(mailport_outcome outcome);

/**
 * Options that all have their defaults. Free them with mailport_options_free().
 *
 * Since 0.1.
 */
mailport_options *mailport_options_new(void);

/**
 * Frees options. Dials that were started with them go on.
 *
 * Since 0.1.
 */
void mailport_options_free(mailport_options *options);

/**
 * Why the last setter failed; empty if it did not, and until the next one is called.
 *
 * Since 0.1.
 */
const char *mailport_options_message(const mailport_options *options);

/**
 * The services to try, in order of preference: "587:starttls,25:starttls", each PORT:TLS or
 * PORT/FAMILY:TLS, or the name of a plan: submission, submissions, rfc8314, mew, symmetric. A port
 * that is given to a dial then counts for nothing. Default NULL: the port makes the plan.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_plan(mailport_options *options,
                                          const char *plan,
                                          mailport_cleartext cleartext);

/**
 * How long the whole dial may take, name look-ups included. Default 30,000 ms; at least the
 * attempt delay, at most 24 h, as every time.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_timeout_ms(mailport_options *options, int32_t ms);

/**
 * How long an attempt may be silent before the next address of its service is tried besides (the
 * Connection Attempt Delay of RFC 8305). Default 250 ms, at least 10 ms.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_attempt_delay_ms(mailport_options *options, int32_t ms);

/**
 * How long every live attempt of a service may be silent before the next service is tried besides.
 * Default 1,000 ms, at least 10 ms. Shorter sends SYNs to a later port that was not needed.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_port_delay_ms(mailport_options *options, int32_t ms);

/**
 * How long a silent attempt may hold back the connection of a later service: at least 10 ms, or
 * MAILPORT_AUTOMATIC, the default: 1,300 ms, or a second and two round trips if that is longer.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_patience_ms(mailport_options *options, int32_t ms);

/**
 * How long a connection is waited upon for the server's first byte before it counts: at least
 * 10 ms, 0 for not at all, or MAILPORT_AUTOMATIC, the default: not at all in a direct dial, 10 s
 * through a proxy or a command. With a greeting wait services are tried one after the other.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_greeting_wait_ms(mailport_options *options, int32_t ms);

/**
 * Whether the next service waits until every attempt of the one before has failed or is overdue,
 * so that no SYN goes to a later port any sooner: 0 for no, the default, any other number for yes.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_sequential(mailport_options *options, int32_t sequential);

/**
 * Whether the dial stops with a question before it begins another service: 0 for no, the default,
 * any other number for yes. Such a dial is sequential. mailport_connect() refuses it, for nobody could
 * answer.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_ask(mailport_options *options,
                                         int32_t ask);

/**
 * Whether a service that is remembered as bad is tried last instead of first, though never after
 * one of weaker TLS: 0 for no, the default, any other number for yes.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_try_failed_last(mailport_options *options, int32_t skip);

/**
 * Which address families are used, and which goes first. Default MAILPORT_FAMILIES_ANY.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_families(mailport_options *options,
                                              mailport_families families);

/**
 * The address of this machine to connect from, such as "192.0.2.1"; the other family is then left
 * out. Default NULL: the kernel chooses.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_source(mailport_options *options, const char *address);

/**
 * The network interface that every attempt is bound to (SO_BINDTODEVICE). Default NULL: the
 * kernel chooses.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_device(mailport_options *options, const char *device);

/**
 * The firewall mark of every packet (SO_MARK, needs CAP_NET_ADMIN). Default 0: none.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_mark(mailport_options *options, uint32_t mark);

/**
 * Goes through a SOCKS5 proxy, "socks5://[USER:PASSWORD@]HOST[:PORT]", or a command whose standard
 * input and output are the connection, "command:ssh -W [%h]:%p gateway.example". No shell reads it;
 * %h is the host, %p the port, %% a percent sign. Such a dial tries services one after the other,
 * and waits for a greeting. No message ever has the password, or the words after the program.
 * Default NULL: the dial connects by itself.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_via(mailport_options *options, const char *via);

/**
 * Uses a cache, of which the options and their dials keep a handle of their own; NULL is none,
 * the default.
 *
 * Since 0.1.
 */
mailport_status mailport_options_set_cache(mailport_options *options, const mailport_cache *cache);

/**
 * Connects to a host and blocks until that is done, or cannot be: in place of a loop over
 * getaddrinfo(3) and connect(2). The descriptor blocks, as one from connect(2) does, and is closed
 * on exec; close it with close(2).
 *
 * The port makes the plan: 587, 25 and 0 (none given) try 587 and fall back to 25, both with
 * STARTTLS; 465 is tried alone, with TLS from the first byte; any other is tried alone, with
 * STARTTLS. Options may be NULL. This call does not say which service was reached, so the TLS mode
 * must be the same whichever it is: a plan whose services differ in it is refused, and so is ask.
 * For a sentence on what happened, use mailport_dial_start() and mailport_dial_wait().
 *
 * Since 0.1.
 */
mailport_status mailport_connect(const char *host,
                                 uint16_t port,
                                 const mailport_options *options,
                                 int *out_fd);

/**
 * Starts a dial and returns at once; nothing is sent before it is processed. The host is a name or
 * an address without brackets. The port makes the plan, as for mailport_connect(), unless the
 * options have one; the options may be NULL.
 *
 * Host and options are copied. It fails only for NULL and where this machine has no descriptors
 * for it. A host that cannot be one, or settings that contradict each other, are what
 * mailport_dial_process() then says, like everything that the network has to say.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_start(const char *host,
                                    uint16_t port,
                                    const mailport_options *options,
                                    mailport_dial **out_dial);

/**
 * Ends a dial: cancels what is not done and closes whatever it has open, at once, but for a
 * descriptor that was taken. It never waits. In a forked child it closes the child's copies and
 * leaves the parent's dial alone.
 *
 * Since 0.1.
 */
void mailport_dial_free(mailport_dial *dial);

/**
 * The descriptor to watch for reading, and for nothing else; -1 in a forked child. It is the same
 * until the dial is freed, may be watched level-triggered or edge-triggered, and is silent once
 * the dial has ended. Neither read from it nor close it.
 *
 * Since 0.1.
 */
int mailport_dial_fd(const mailport_dial *dial);

/**
 * In how many milliseconds the dial must be processed at the latest, if the descriptor is not
 * readable before; -1 for never. It may be ignored: the time is in the descriptor, too.
 *
 * Since 0.1.
 */
int mailport_dial_timeout_ms(const mailport_dial *dial);

/**
 * Does what can be done now, without ever blocking: MAILPORT_PENDING (wait for the descriptor),
 * MAILPORT_ASK (a question stands), MAILPORT_OK (connected: mailport_dial_take_fd()), or why there
 * is no connection. The last two are for ever.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_process(mailport_dial *dial);

/**
 * Waits for at most timeout_ms (-1: for ever) until something can be done, and does it, as
 * mailport_dial_process() would. It gives MAILPORT_PENDING when the time is over, after a signal,
 * and whenever there is more to do: call it until it gives something else. While a question stands
 * it waits until that is withdrawn, so answer first.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_wait(mailport_dial *dial, int timeout_ms);

/**
 * Gives the connection of a dial that has ended with MAILPORT_OK, once; close it with close(2). It
 * does not block, is closed on exec, and nothing was sent on it. Otherwise the status of the dial,
 * or MAILPORT_TAKEN.
 *
 * Ask mailport_dial_tls() which TLS mode must be spoken, and verify the certificate against the
 * host that was dialled.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_take_fd(mailport_dial *dial, int *out_fd);

/**
 * The port that was reached; 0 until the dial has ended with MAILPORT_OK.
 *
 * Since 0.1.
 */
uint16_t mailport_dial_port(const mailport_dial *dial);

/**
 * The TLS mode that must be spoken on the connection; MAILPORT_TLS_UNDECIDED until the dial has
 * ended with MAILPORT_OK. Ask this, never the port.
 *
 * Since 0.1.
 */
mailport_tls mailport_dial_tls(const mailport_dial *dial);

/**
 * The address that was reached, without its port; empty until the dial has ended with
 * MAILPORT_OK, and where a proxy or a command was given the name.
 *
 * Since 0.1.
 */
const char *mailport_dial_address(const mailport_dial *dial);

/**
 * One sentence for people: what the dial did and how it ended, in success and failure alike.
 *
 * Since 0.1.
 */
const char *mailport_dial_message(const mailport_dial *dial);

/**
 * The error number that stands for a dial that failed, as in errno(3): the system's of the attempt
 * that says most, or ETIMEDOUT where that was silent; 0 where none fits. For programs that show
 * one; mailport_dial_message() says more.
 *
 * Since 0.1.
 */
int mailport_dial_errno(const mailport_dial *dial);

/**
 * The report as one JSON object on one line, as `mailport connect --json` prints it; complete once
 * the dial has ended.
 *
 * Since 0.1.
 */
const char *mailport_dial_json(const mailport_dial *dial);

/**
 * The host that was dialled, as it was given; empty where it could not be one.
 *
 * Since 0.1.
 */
const char *mailport_dial_host(const mailport_dial *dial);

/**
 * The proxy or the command that the dial went through, without its password; empty for none.
 *
 * Since 0.1.
 */
const char *mailport_dial_via(const mailport_dial *dial);

/**
 * From the start of the dial to its end, in microseconds; while it has not ended, to when it was
 * last processed.
 *
 * Since 0.1.
 */
int64_t mailport_dial_elapsed_us(const mailport_dial *dial);

/**
 * The number of the question that stands, from 1 on, never used twice in a dial; 0 for none. Its
 * attempts so far are those of the dial.
 *
 * Since 0.1.
 */
uint32_t mailport_dial_question(const mailport_dial *dial);

/**
 * The question in words: "587 is silent. Fall back to 25 (STARTTLS)?" Empty for none.
 *
 * Since 0.1.
 */
const char *mailport_dial_question_message(const mailport_dial *dial);

/**
 * The port of the service that is not available; 0 while no question stands.
 *
 * Since 0.1.
 */
uint16_t mailport_dial_question_unavailable_port(const mailport_dial *dial);

/**
 * The only family of that service; MAILPORT_FAMILY_NONE where it has both, and while no question
 * stands.
 *
 * Since 0.1.
 */
mailport_family mailport_dial_question_unavailable_family(const mailport_dial *dial);

/**
 * The port of the service that would come next; 0 while no question stands.
 *
 * Since 0.1.
 */
uint16_t mailport_dial_question_next_port(const mailport_dial *dial);

/**
 * The TLS mode that would hold there; MAILPORT_TLS_UNDECIDED while no question stands.
 *
 * Since 0.1.
 */
mailport_tls mailport_dial_question_next_tls(const mailport_dial *dial);

/**
 * The only family of that next service; MAILPORT_FAMILY_NONE where it has both, and while no
 * question stands.
 *
 * Since 0.1.
 */
mailport_family mailport_dial_question_next_family(const mailport_dial *dial);

/**
 * Answers a question, by its number. The dial then goes on when it is processed, for which its
 * descriptor is readable at once. MAILPORT_STALE where that question no longer stands.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_answer(mailport_dial *dial,
                                     uint32_t question,
                                     mailport_answer answer);

/**
 * Answers as mailport_dial_answer(), and remembers the answer for this network, host and next
 * service, for 30 days: later dials with the same cache do not ask. Without a cache, or where the
 * network is not known, it counts for this dial only.
 *
 * Since 0.1.
 */
mailport_status mailport_dial_answer_and_remember(mailport_dial *dial,
                                                  uint32_t question,
                                                  mailport_answer answer);

/**
 * How many attempts the dial has made, one for each address of each service that it came to. They
 * are counted from 0, in the order in which they were started. The getters below give 0 or an empty
 * string for one that there is not, and -1 where 0 would say something. What they say of a dial that
 * has not ended is as of when it was last processed.
 *
 * Since 0.1.
 */
uint32_t mailport_dial_attempts(const mailport_dial *dial);

/**
 * Which attempt won; -1 until the dial has ended with MAILPORT_OK.
 *
 * Since 0.1.
 */
int32_t mailport_dial_winner(const mailport_dial *dial);

/**
 * The port of an attempt.
 *
 * Since 0.1.
 */
uint16_t mailport_dial_attempt_port(const mailport_dial *dial, uint32_t attempt);

/**
 * The TLS mode that its service demands.
 *
 * Since 0.1.
 */
mailport_tls mailport_dial_attempt_tls(const mailport_dial *dial, uint32_t attempt);

/**
 * The only family of its service, as in "587/ipv4:starttls"; MAILPORT_FAMILY_NONE where the service
 * has both.
 *
 * Since 0.1.
 */
mailport_family mailport_dial_attempt_service_family(const mailport_dial *dial, uint32_t attempt);

/**
 * The family of its address.
 *
 * Since 0.1.
 */
mailport_family mailport_dial_attempt_family(const mailport_dial *dial, uint32_t attempt);

/**
 * Its address, without the port; empty where a proxy or a command was given the name.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_address(const mailport_dial *dial, uint32_t attempt);

/**
 * How far it came.
 *
 * Since 0.1.
 */
mailport_stage mailport_dial_attempt_stage(const mailport_dial *dial, uint32_t attempt);

/**
 * When it was started, in microseconds from the start of the dial, as every time of an attempt;
 * -1 where there is no such attempt.
 *
 * Since 0.1.
 */
int64_t mailport_dial_attempt_started_us(const mailport_dial *dial, uint32_t attempt);

/**
 * When its connection could be used; -1 if it never came so far.
 *
 * Since 0.1.
 */
int64_t mailport_dial_attempt_connected_us(const mailport_dial *dial, uint32_t attempt);

/**
 * When it ended; while it is open, when the dial was last processed.
 *
 * Since 0.1.
 */
int64_t mailport_dial_attempt_ended_us(const mailport_dial *dial, uint32_t attempt);

/**
 * How it ended.
 *
 * Since 0.1.
 */
mailport_outcome mailport_dial_attempt_outcome(const mailport_dial *dial, uint32_t attempt);

/**
 * The system's error, an errno(3) number; 0 where there was none.
 *
 * Since 0.1.
 */
int mailport_dial_attempt_errno(const mailport_dial *dial, uint32_t attempt);

/**
 * 4 for an ICMP error (RFC 792), 6 for an ICMPv6 error (RFC 4443), 0 where there was none.
 *
 * Since 0.1.
 */
int32_t mailport_dial_attempt_icmp_version(const mailport_dial *dial, uint32_t attempt);

/**
 * The type of that ICMP error; -1 where there was none.
 *
 * Since 0.1.
 */
int32_t mailport_dial_attempt_icmp_type(const mailport_dial *dial, uint32_t attempt);

/**
 * The code of that ICMP error; -1 where there was none.
 *
 * Since 0.1.
 */
int32_t mailport_dial_attempt_icmp_code(const mailport_dial *dial, uint32_t attempt);

/**
 * What that ICMP error says, in words; empty where there was none.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_icmp_message(const mailport_dial *dial, uint32_t attempt);

/**
 * The address of the router that sent it; empty where it is not known.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_icmp_from(const mailport_dial *dial, uint32_t attempt);

/**
 * What the proxy or the command did, where the outcome is MAILPORT_OUTCOME_VIA; otherwise 0.
 *
 * Since 0.1.
 */
mailport_proxy_error mailport_dial_attempt_proxy_error(const mailport_dial *dial, uint32_t attempt);

/**
 * The code of the proxy's reply (RFC 1928 section 6); -1 where there was none.
 *
 * Since 0.1.
 */
int32_t mailport_dial_attempt_proxy_code(const mailport_dial *dial, uint32_t attempt);

/**
 * The same in words, such as "says connection refused (reply 5)"; empty where there was none.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_proxy_message(const mailport_dial *dial, uint32_t attempt);

/**
 * What else was heard, such as a command's standard error; empty for nothing.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_note(const mailport_dial *dial, uint32_t attempt);

/**
 * What the greeting wait saw.
 *
 * Since 0.1.
 */
mailport_greeting mailport_dial_attempt_greeting(const mailport_dial *dial, uint32_t attempt);

/**
 * How many SYNs were sent; -1 where the kernel does not tell.
 *
 * Since 0.1.
 */
int32_t mailport_dial_attempt_syns(const mailport_dial *dial, uint32_t attempt);

/**
 * Why it was started.
 *
 * Since 0.1.
 */
mailport_reason mailport_dial_attempt_reason(const mailport_dial *dial, uint32_t attempt);

/**
 * The same in words, such as "587 was refused".
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_reason_message(const mailport_dial *dial, uint32_t attempt);

/**
 * The service that the reason speaks of, as it stands in a plan: "587:starttls". Empty for a reason
 * that speaks of none.
 *
 * Since 0.1.
 */
const char *mailport_dial_attempt_reason_service(const mailport_dial *dial, uint32_t attempt);

/**
 * How many name look-ups there were: 1, and 0 for an address or through a proxy or a command.
 *
 * Since 0.1.
 */
uint32_t mailport_dial_lookups(const mailport_dial *dial);

/**
 * Returns 1 if the look-up was slow or failed temporarily, so that one look-up of each family was
 * started beside it, and 0 otherwise.
 *
 * Since 0.1.
 */
int32_t mailport_dial_lookup_hedged(const mailport_dial *dial, uint32_t lookup);

/**
 * When it ended, in microseconds from the start of the dial; -1 if it had not by the end of that.
 *
 * Since 0.1.
 */
int64_t mailport_dial_lookup_ended_us(const mailport_dial *dial, uint32_t lookup);

/**
 * How many addresses there are, of both families; -1 where it failed.
 *
 * Since 0.1.
 */
int32_t mailport_dial_lookup_addresses(const mailport_dial *dial, uint32_t lookup);

/**
 * Why it failed; 0 where it did not.
 *
 * Since 0.1.
 */
mailport_lookup_error mailport_dial_lookup_error(const mailport_dial *dial, uint32_t lookup);

/**
 * The same in words; empty where it did not.
 *
 * Since 0.1.
 */
const char *mailport_dial_lookup_message(const mailport_dial *dial, uint32_t lookup);

/**
 * A cache that ends with the process. Free it with mailport_cache_free().
 *
 * Since 0.1.
 */
mailport_cache *mailport_cache_new(void);

/**
 * A cache that is kept in a file, with what is in it; NULL is the user's own, which the command
 * mailport has, too: mailport/cache.json in $XDG_CACHE_HOME or else in ~/.cache. This reads the
 * file, which may block. Without one, or with one that is not understood, it begins empty; one that
 * cannot be written is a cache that ends with the process. It gives NULL only where the user's own
 * is wanted and not known, or the program has more rights than its user. Free it with
 * mailport_cache_free().
 *
 * Since 0.1.
 */
mailport_cache *mailport_cache_open(const char *path);

/**
 * Waits for at most timeout_ms (-1: for ever) until everything is saved: MAILPORT_OK, or
 * MAILPORT_PENDING where it is not. For a program that ends after a dial; 50 ms are plenty. What
 * dials learn is otherwise saved behind them, and mailport_connect() waits for it by itself.
 *
 * Since 0.1.
 */
mailport_status mailport_cache_flush(const mailport_cache *cache, int timeout_ms);

/**
 * Forgets a host in every network, answers for good included. MAILPORT_INVALID for what cannot be
 * a host.
 *
 * Since 0.1.
 */
mailport_status mailport_cache_forget(const mailport_cache *cache, const char *host);

/**
 * Forgets everything.
 *
 * Since 0.1.
 */
mailport_status mailport_cache_clear(const mailport_cache *cache);

/**
 * Frees a handle. Options and dials that use the cache go on with it. It does not wait for what
 * is not saved yet: that goes on behind it.
 *
 * Since 0.1.
 */
void mailport_cache_free(mailport_cache *cache);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MAILPORT_H */
