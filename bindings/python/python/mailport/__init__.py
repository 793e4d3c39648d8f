"""Connects to a mail server's best port: 587, else 25, over IPv6 and IPv4 at once.

:func:`connect` and :func:`dial` block; :func:`start_connection`, :func:`start_dial`,
:func:`open_connection` and :func:`open_submission` are for asyncio; :class:`SMTP` and
:class:`SMTP_SSL` are smtplib's with a plan; :class:`Dial` is for every other event loop.

>>> with mailport.connect("127.0.0.1", plan=f"{server.port}:starttls") as connection:
...     connection.recv(4)
b'220 '

A result states the TLS mode that its plan demands. Whoever uses the connection keeps to it,
verifies the name that was dialled, and sends no credentials before. What goes wrong after the
connection stands is never a reason to try another port.
"""

from ._aio import (
    StreamWriter,
    open_connection,
    open_submission,
    start_connection,
    start_dial,
)
from ._dial import Connected, Dial, connect, dial
from ._errors import ConnectError, MailportError, TLSRequiredError
from ._cache import Cache
from ._native import __version__
from ._plan import Config, Plan, Service, Tls
from ._report import Answer, Attempt, Icmp, Lookup, Outcome, Question, Report
from ._smtp import SMTP, SMTP_SSL

__all__ = [
    "SMTP",
    "SMTP_SSL",
    "Answer",
    "Attempt",
    "Config",
    "ConnectError",
    "Connected",
    "Dial",
    "Icmp",
    "Lookup",
    "MailportError",
    "Cache",
    "Outcome",
    "Plan",
    "Question",
    "Report",
    "Service",
    "StreamWriter",
    "TLSRequiredError",
    "Tls",
    "__version__",
    "connect",
    "dial",
    "open_connection",
    "open_submission",
    "start_connection",
    "start_dial",
]

# What is raised and printed names the public module.
for _name in __all__:
    _value = globals()[_name]
    if getattr(_value, "__module__", "").startswith("mailport."):
        _value.__module__ = __name__
del _name, _value
