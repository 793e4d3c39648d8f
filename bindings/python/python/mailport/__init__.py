"""Connects to a mail submission server on its best port: 587, else 25, over IPv6 and IPv4.

:func:`connect` and :func:`dial` block. :func:`aconnect`, :func:`adial`, :func:`open_connection` and
:func:`open_submission` are for asyncio. :class:`SMTP` and :class:`SMTP_SSL` are smtplib's clients
with a plan. :class:`Dial` is for every other event loop.

>>> with mailport.connect("127.0.0.1", plan=f"{server.port}:starttls") as sock:
...     sock.recv(4)
b'220 '

A result states the TLS mode that its plan demands. Insist on that mode, verify the name that was
dialled, and send no credentials before. A failure after the connection is never a reason to try
another port.

The functions that ask take an ``Ask``, a function of a :class:`Question` that returns an
:class:`Answer`, or an ``AsyncAsk``, which may also be a coroutine function.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._asyncio import aconnect, adial
from ._cache import Cache
from ._config import Config, DialOptions
from ._connect import connect, dial
from ._dial import Ask, AsyncAsk, Connected, Dial
from ._enums import Answer, End, Families, Family, Greeting, Outcome, Stage, Status, TLSMode
from ._errors import (
    ConnectError,
    ConnectLookupError,
    ConnectRefusedError,
    ConnectTimeoutError,
    MailportError,
    TLSRequiredError,
)
from ._native import __version__
from ._plan import Plan, Service
from ._smtplib import SMTP, SMTP_SSL
from ._streams import StreamWriter, open_connection, open_submission

if _TYPE_CHECKING:
    from ._report import Attempt, ICMPError, Lookup, Question, Report

__all__ = [
    "SMTP",
    "SMTP_SSL",
    "Answer",
    "Ask",
    "AsyncAsk",
    "Attempt",
    "Cache",
    "Config",
    "ConnectError",
    "ConnectLookupError",
    "ConnectRefusedError",
    "ConnectTimeoutError",
    "Connected",
    "Dial",
    "DialOptions",
    "End",
    "Families",
    "Family",
    "Greeting",
    "ICMPError",
    "Lookup",
    "MailportError",
    "Outcome",
    "Plan",
    "Question",
    "Report",
    "Service",
    "Stage",
    "Status",
    "StreamWriter",
    "TLSMode",
    "TLSRequiredError",
    "__version__",
    "aconnect",
    "adial",
    "connect",
    "dial",
    "open_connection",
    "open_submission",
]

# These classes are made at their first use: many programs never read a report, and making them
# takes as long as half of the import.
_OF_REPORTS = ("Attempt", "ICMPError", "Lookup", "Question", "Report")

if not _TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _OF_REPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _report  # noqa: F401  # it adds them to this module

        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *_OF_REPORTS})


# Tracebacks and pickles name the public module.
for _name in __all__:
    _value = globals().get(_name)
    if getattr(_value, "__module__", "").startswith("mailport."):
        _value.__module__ = __name__
del _name, _value
