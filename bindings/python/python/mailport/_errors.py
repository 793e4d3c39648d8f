"""The errors of the package."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._report import Attempt, Report


class MailportError(Exception):
    """The root of every error that this package raises for what the world did.

    The caller's own mistakes are :exc:`ValueError` and :exc:`TypeError`.
    """


class ConnectError(MailportError, OSError):
    """A dial gave no connection. ``str(error)`` is one sentence: host, services, routers, reasons.

    :attr:`errno` is the system's error of the attempt that says most of the dial: the first by
    outcome, in this order: ICMP hard error, reset, closed, proxy, ICMP soft error, silence, local.
    It is ``ETIMEDOUT`` after silence, and ``None`` where no number fits.
    """

    attempts: tuple[Attempt, ...]
    """One for each attempt, in the order in which they were started; none where it never came so
    far."""
    report: Report | None
    """What the dial did; ``None`` where it could not begin, for want of descriptors."""

    def __init__(
        self, errno: int | None = None, sentence: str = "", report: Report | None = None
    ) -> None:
        super().__init__(errno, sentence)
        self.report = report
        self.attempts = report.attempts if report else ()

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        # The drawing stays behind; everything else is plain data.
        return _pickled, (type(self), self.errno, self.strerror, self.attempts)


def _pickled(
    kind: type[ConnectError], errno: int | None, sentence: str, attempts: tuple[Attempt, ...]
) -> ConnectError:
    error = kind(errno, sentence)
    error.attempts = attempts
    return error


class TLSRequiredError(MailportError, smtplib.SMTPException):
    """The plan demands TLS that the session does not have, so the command was not sent.

    A password is never sent without TLS, whatever the plan says.
    """
