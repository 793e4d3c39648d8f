"""The report of a dial: attempts, the look-up, and the question at which a dial may stop."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from ._enums import End, Family, Greeting, Outcome, Stage
from ._plan import Service, service_of

if TYPE_CHECKING:
    from . import _native


@dataclasses.dataclass(frozen=True)
class ICMPError:
    """An ICMP error that ended an attempt.

    version : int
        4 for ICMP, 6 for ICMPv6.
    type : int
        The type (RFC 792 or RFC 4443).
    code : int
        The code.
    sender : str or None
        The address that sent it. ``None`` if the kernel does not report it.
    message : str
        Type and code in words.
    """

    version: int
    type: int
    code: int
    sender: str | None
    message: str

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One try of one service at one address. Times are in seconds from the start of the dial.

    service : Service
        The service.
    family : Family or None
        The family. ``None`` if a proxy or a command was given the name.
    address : str or None
        The address without its port, with its IPv6 zone. ``None`` if a proxy or a command was
        given the name.
    stage : Stage
        How far it came.
    started : float
        When it was started.
    connected : float or None
        When its connection could be used. ``None`` if it never was.
    ended : float
        When it ended. While it is open, when the report was made.
    outcome : Outcome or None
        How it ended. ``None`` while it is open.
    errno : int or None
        The system's error number, if there was one.
    icmp : ICMPError or None
        The ICMP error, if there was one.
    via_error : str or None
        What the proxy or the command did, if the outcome is ``Outcome.VIA``.
    note : str or None
        More text about the attempt, such as the last line that a command wrote to standard error.
    greeting : Greeting or None
        What the greeting wait saw. ``None`` without a greeting wait.
    syns : int or None
        How many SYNs were sent. ``None`` if the kernel does not report it.
    reason : str
        Why it was started, in words.
    """

    service: Service
    family: Family | None
    address: str | None
    stage: Stage
    started: float
    connected: float | None
    ended: float
    outcome: Outcome | None
    errno: int | None
    icmp: ICMPError | None
    via_error: str | None
    note: str | None
    greeting: Greeting | None
    syns: int | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Lookup:
    """The look-up of the host's name.

    hedged : bool
        Whether it was slow or failed temporarily, so that each family was looked up beside it.
    ended : float or None
        When it ended, in seconds from the start of the dial. ``None`` while it is pending.
    addresses : tuple of str
        The addresses of both families, in the order of the system. Empty if it failed.
    error : str or None
        Why it gave none, in words.
    """

    hedged: bool
    ended: float | None
    addresses: tuple[str, ...]
    error: str | None


@dataclasses.dataclass(frozen=True)
class Report:
    """What a dial did, from its call to its result. ``str(report)`` is its :meth:`summary`.

    host : str
        The host that was dialled, as the caller wrote it.
    via : str or None
        The proxy or the command that the dial went through, without its password.
    attempts : tuple of Attempt
        Every attempt, in the order in which they were started.
    lookup : Lookup or None
        The look-up of the name. ``None`` for an address, and through a proxy or a command.
    end : End or None
        How the dial ended. ``None`` while it has not.
    winner : Attempt or None
        The attempt that won.
    errno : int or None
        The system's error number of the attempt that explains a failure best. ``ETIMEDOUT`` if
        that attempt was silent. ``None`` if no number fits, and for a dial that connected.
    elapsed : float
        Seconds from the call to the result.

    It can be pickled; the copy draws its :meth:`timeline` 80 columns wide, for any *width*.
    """

    host: str
    via: str | None
    attempts: tuple[Attempt, ...]
    lookup: Lookup | None
    end: End | None
    winner: Attempt | None
    errno: int | None
    elapsed: float

    def summary(self) -> str:
        """Returns one sentence: what became of each service, and how the dial ended."""
        return _texts(self).summary()

    def timeline(self, width: int = 80) -> str:
        """Draws the dial as text: a scale, then a line for each attempt, at most *width* columns.

        The least width is 40.
        """
        return _texts(self).timeline(width)

    def to_svg(self) -> str:
        """Draws the dial as the text of an SVG file, which needs no other file."""
        return _texts(self).to_svg()

    def to_json(self) -> str:
        """Returns the report as one JSON object, as the command ``mailport --json`` prints it."""
        return _texts(self).to_json()

    def __str__(self) -> str:
        return self.summary()

    def __copy__(self) -> Report:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Report:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_texts": _Kept.of(_texts(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The texts of a report that was pickled."""

    texts: tuple[str, str, str, str]

    @classmethod
    def of(cls, native: _native.Report | _Kept) -> _Kept:
        texts = native.summary(), native.timeline(80), native.to_svg(), native.to_json()
        return cls(texts)

    def summary(self) -> str:
        return self.texts[0]

    def timeline(self, width: int) -> str:  # noqa: ARG002  # the native report's signature
        return self.texts[1]

    def to_svg(self) -> str:
        return self.texts[2]

    def to_json(self) -> str:
        return self.texts[3]


def _texts(report: Report) -> _native.Report | _Kept:
    texts: _native.Report | _Kept = report.__dict__["_texts"]
    return texts


@dataclasses.dataclass(frozen=True)
class Question:
    """A dial has stopped because the next service would start. ``str(question)`` is its text.

    Until the answer no packet goes to the next service, and no time of the dial passes. Open
    attempts go on: one that connects withdraws the question.

    number : int
        The number of the question in this dial, from 1.
    unavailable : Service
        The service that is not available.
    next : Service
        The service that would start, with the TLS mode that would hold there.
    reason : str
        Why it would start, in words.
    attempts : tuple of Attempt
        Every attempt so far.
    asked : float
        When it was asked, in seconds from the start of the dial.
    text : str
        The question in one line, such as ``587 is silent. Fall back to 25 (STARTTLS)?``
    """

    number: int
    unavailable: Service
    next: Service
    reason: str
    attempts: tuple[Attempt, ...]
    asked: float
    text: str

    def __str__(self) -> str:
        return self.text


# The package gets them as its own when this module is imported.
for _class in (Attempt, ICMPError, Lookup, Question, Report):
    _class.__module__ = "mailport"
    setattr(sys.modules["mailport"], _class.__name__, _class)


def _attempt_of(raw: _native._Attempt) -> Attempt:
    facts: dict[str, Any] = {**raw}
    facts["service"] = service_of(raw["service"])
    facts["stage"] = Stage(raw["stage"])
    for name, kind in (("family", Family), ("outcome", Outcome), ("greeting", Greeting)):
        if facts[name] is not None:
            facts[name] = kind(facts[name])
    if raw["icmp"] is not None:
        facts["icmp"] = ICMPError(*raw["icmp"])
    return Attempt(**facts)


def _lookup_of(raw: _native._Lookup | None) -> Lookup | None:
    if raw is None:
        return None
    return Lookup(raw["hedged"], raw["ended"], tuple(raw["addresses"]), raw["error"])


def report_of(native: _native.Report) -> Report:
    """The report as a dataclass."""
    facts = native.facts()
    attempts = tuple(map(_attempt_of, facts["attempts"]))
    report = Report(
        host=facts["host"],
        via=facts["via"],
        attempts=attempts,
        lookup=_lookup_of(facts["lookup"]),
        end=None if facts["end"] is None else End(facts["end"]),
        winner=None if facts["winner"] is None else attempts[facts["winner"]],
        errno=facts["errno"],
        elapsed=facts["elapsed"],
    )
    report.__dict__["_texts"] = native
    return report


def question_of(raw: _native._Question) -> Question:
    """The question as a dataclass."""
    return Question(
        number=raw["number"],
        unavailable=service_of(raw["unavailable"]),
        next=service_of(raw["next"]),
        reason=raw["reason"],
        attempts=tuple(map(_attempt_of, raw["attempts"])),
        asked=raw["asked"],
        text=raw["text"],
    )
