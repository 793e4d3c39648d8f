"""The exceptions of the package."""

from __future__ import annotations

import errno as numbers
import smtplib
import socket
from typing import TYPE_CHECKING

from ._enums import End

if TYPE_CHECKING:
    from . import _native
    from ._report import Attempt, Report


class MailportError(Exception):
    """The base class of this package's exceptions for errors that are not the caller's mistake.

    A mistake of the caller is a :exc:`ValueError` or a :exc:`TypeError`.
    """


class ConnectError(MailportError, OSError):
    """A dial failed. ``str(error)`` is one sentence: host, services, ICMP senders and reasons.

    Each cause that Python has an exception for is a subclass: :exc:`ConnectRefusedError`,
    :exc:`ConnectTimeoutError`, :exc:`ConnectLookupError`. Every other cause is this class, with
    its :attr:`errno`, such as ``EHOSTUNREACH``, ``EADDRNOTAVAIL`` or ``EMFILE``.

    errno : int or None
        The system's error number of the attempt that explains the failure best. That is the first
        in this order: ICMP hard error, reset, closed, via, ICMP soft error, silence, local error.
        ``None`` if no number fits.
    report : Report or None
        What the dial did. ``None`` if it could not start.
    attempts : tuple of Attempt
        The attempts of the report, in the order in which they were started. Empty if there were
        none.
    """

    attempts: tuple[Attempt, ...]
    report: Report | None

    def __init__(
        self, errno: int | None = None, sentence: str = "", report: Report | None = None
    ) -> None:
        super().__init__(errno, sentence)
        self.report = report
        self.attempts = report.attempts if report else ()

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errno, self.strerror, self.report)


class ConnectRefusedError(ConnectError, ConnectionRefusedError):
    """A server refused the connection, and no service could be reached otherwise."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """No service answered in time."""


class ConnectLookupError(ConnectError, socket.gaierror):
    """The host has no usable address, or its name could not be looked up.

    errno : int or None
        One of :mod:`socket`'s ``EAI_`` numbers, such as ``EAI_NONAME`` or ``EAI_AGAIN``.
    """


def connect_error(native: _native.Report) -> ConnectError:
    """The exception for the report of a dial that failed."""
    from ._report import report_of

    report = report_of(native)
    kind, number = ConnectError, report.errno
    if report.end is End.CANCELLED:
        number = numbers.ECANCELED
    elif report.end is End.UNRESOLVED:
        kind, number = ConnectLookupError, native.lookup_errno()
    elif number == numbers.ECONNREFUSED:
        kind = ConnectRefusedError
    elif number == numbers.ETIMEDOUT:
        kind = ConnectTimeoutError
    return kind(number, report.summary(), report)


class TLSRequiredError(MailportError, smtplib.SMTPException):
    """The plan demands TLS, which the session does not have, so the command was not sent.

    A password is never sent without TLS, even if the plan allows it.
    """
