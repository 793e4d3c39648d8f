"""Every enumeration of the package. Members are strings: ``Outcome.RESET == "reset"``."""

from __future__ import annotations

import enum
import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum
else:

    class StrEnum(str, enum.Enum):
        """The class of this name in CPython 3.11 and later."""

        def __str__(self) -> str:
            return str.__str__(self)

        def __format__(self, specification: str) -> str:
            return str.__format__(self, specification)


class TLSMode(StrEnum):
    """How TLS is used on a service. The dial itself does no TLS: its caller must.

    IMPLICIT
        TLS from the first byte (RFC 8314 section 3.3), as on port 465.
    STARTTLS
        TLS after the STARTTLS command (RFC 3207). The caller must end the session without it.
    CLEARTEXT
        No TLS. Only in a plan that was made with ``allow_cleartext=True``.
    """

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    CLEARTEXT = "cleartext"


class Family(StrEnum):
    """An address family.

    IPV4
        IP version 4.
    IPV6
        IP version 6.
    """

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Families(StrEnum):
    """Which address families a dial uses, and which goes first.

    ANY
        Both, in the order of the name look-up. The default.
    IPV4, IPV6
        That family alone.
    PREFER_IPV4, PREFER_IPV6
        Both, that one first.
    """

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    PREFER_IPV4 = "prefer-ipv4"
    PREFER_IPV6 = "prefer-ipv6"


class Status(StrEnum):
    """The status of a :class:`Dial`.

    PENDING
        Not ended. Watch the descriptor and call :meth:`Dial.process` again.
    ASKING
        Stopped at :attr:`Dial.question`, which :meth:`Dial.answer` answers.
    CONNECTED
        Connected: :meth:`Dial.result` returns the connection. Final.
    FAILED
        Not connected: :meth:`Dial.result` raises the error. Final.
    """

    PENDING = "pending"
    ASKING = "asking"
    CONNECTED = "connected"
    FAILED = "failed"


class Outcome(StrEnum):
    """How an attempt ended.

    CONNECTED
        The connection won.
    RESET
        The peer answered with a RST: the port is closed.
    ICMP_HARD
        An ICMP hard error, as a firewall sends it.
    ICMP_SOFT
        An ICMP soft error: a routing problem, which says nothing about the port.
    TIMEOUT
        No answer until the attempt was given up.
    LOCAL
        An error of this machine: no route, a local firewall, no descriptors.
    CLOSED
        The peer accepted the connection and closed it before it was used.
    VIA
        An error of the proxy or the command, or a failure that it reports.
    CANCELLED
        Another attempt won first, or the caller cancelled.
    """

    CONNECTED = "connected"
    RESET = "reset"
    ICMP_HARD = "icmp-hard"
    ICMP_SOFT = "icmp-soft"
    TIMEOUT = "timeout"
    LOCAL = "local"
    CLOSED = "closed"
    VIA = "via"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """How far an attempt came.

    CONNECT
        The TCP handshake, or the start of the command.
    CONFIRM
        What follows it before the connection counts: a proxy's reply, the server's greeting.
    """

    CONNECT = "connect"
    CONFIRM = "confirm"


class Greeting(StrEnum):
    """What the greeting wait saw.

    RECEIVED
        The first byte of a greeting.
    ABSENT
        Nothing within the greeting wait. The connection counts all the same.
    """

    RECEIVED = "received"
    ABSENT = "absent"


class End(StrEnum):
    """How a dial ended.

    CONNECTED
        With a connection.
    EXHAUSTED
        Every service was tried.
    TIMEOUT
        The timeout of the dial passed.
    UNRESOLVED
        The host has no usable address, or its name could not be looked up.
    LOCAL_RESOURCE_ERROR
        This machine has no descriptor, memory or port left.
    VIA
        The proxy or the command itself failed.
    DECLINED
        The user answered a question with no.
    CANCELLED
        The caller cancelled.
    """

    CONNECTED = "connected"
    EXHAUSTED = "exhausted"
    TIMEOUT = "timeout"
    UNRESOLVED = "unresolved"
    LOCAL_RESOURCE_ERROR = "local-resource-error"
    VIA = "via"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class Answer(StrEnum):
    """The answer to a :class:`Question`.

    FALL_BACK
        Try the next service.
    WAIT_ON
        Try no other service, and wait for the attempts that are open. If none is open, this is
        the same as GIVE_UP.
    GIVE_UP
        End the dial.
    """

    FALL_BACK = "fall-back"
    WAIT_ON = "wait-on"
    GIVE_UP = "give-up"
