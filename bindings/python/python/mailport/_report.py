"""What a dial did: attempts, look-ups, and the question that it may stop with."""

from __future__ import annotations

import dataclasses

from . import _native
from ._plan import Family, Service, Word, service_of


class Outcome(Word):
    """How an attempt ended. Members are strings: ``Outcome.RESET == "reset"``."""

    CONNECTED = "connected"
    """Case 1 of the fallback paper: the connection stands, and won."""
    RESET = "reset"
    """Case 2: the peer answered with a RST."""
    ICMP_HARD = "icmp-hard"
    """Case 3: an ICMP hard error, as from a firewall that says so."""
    ICMP_SOFT = "icmp-soft"
    """Case 4: an ICMP soft error: routing trouble, which speaks of the path."""
    TIMEOUT = "timeout"
    """Case 5: silence until given up."""
    LOCAL = "local"
    """This machine said no: no route, a local firewall, no descriptors."""
    CLOSED = "closed"
    """Accepted, then closed by the peer before the connection was used."""
    PROXY = "proxy"
    """A proxy's reply, or the trouble of a proxy or a command."""
    CANCELLED = "cancelled"
    """Still in time when another attempt won, or given up by the caller's wish."""


@dataclasses.dataclass(frozen=True)
class Icmp:
    """An ICMP error, as the kernel kept it."""

    version: int
    """4 or 6."""
    type: int
    """The type, as in RFC 792 or RFC 4443."""
    code: int
    """The code."""
    router: str | None
    """The address that sent it; ``None`` where the kernel does not say."""
    words: str
    """Type and code in words."""

    def __str__(self) -> str:
        return self.words


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One try of one service at one address. Times are in seconds from the dial's beginning."""

    service: Service
    """The service."""
    family: Family | None
    """``"ipv4"`` or ``"ipv6"``; ``None`` where a proxy or a command was given the name."""
    address: str | None
    """The address without its port, with its zone; ``None`` where the name was given on."""
    stage: str
    """How far it came: ``"connect"`` (the handshake) or ``"confirm"`` (a proxy's reply, the
    greeting)."""
    started: float
    """When it was started."""
    connected: float | None
    """When its connection could be used; ``None`` if it never came so far."""
    ended: float
    """When it ended."""
    outcome: Outcome
    """How it ended."""
    case: int | None
    """The case of the fallback paper, 1 to 5; ``None`` for what the paper does not have."""
    errno: int | None
    """The system's error, where there was one."""
    icmp: Icmp | None
    """The ICMP error, where there was one."""
    via: str | None
    """What the proxy or the command did, in words, where the outcome is :attr:`Outcome.PROXY`."""
    note: str | None
    """What else was heard, for people."""
    greeting: str | None
    """``"received"`` or ``"none"``; ``None`` where nobody waited for a greeting."""
    syns: int | None
    """SYNs sent; ``None`` where the kernel does not tell."""
    reason: str
    """Why it was started, in words."""


@dataclasses.dataclass(frozen=True)
class Lookup:
    """The look-up of the host's name."""

    hedged: bool
    """Whether it was slow or failed temporarily, so that each family was looked up beside it."""
    ended: float | None
    """When it ended, in seconds from the beginning of the dial; ``None`` while still pending."""
    addresses: tuple[str, ...]
    """The addresses of both families, best first; empty where it failed."""
    error: str | None
    """Why it gave none, in words."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a dial did, from its call to its result. ``str(report)`` is its :meth:`summary`."""

    host: str
    """The host that was dialled, as the caller wrote it: the name that TLS verifies."""
    via: str | None
    """The proxy or the command that the dial went through, without its password."""
    attempts: tuple[Attempt, ...]
    """Every attempt, in the order in which they were started."""
    lookup: Lookup | None
    """The look-up of the name; ``None`` for an address and through a proxy or a command."""
    end: str
    """How the dial ended: ``"connected"``, ``"exhausted"``, ``"deadline"``, ``"unresolved"``,
    ``"local-resource-error"``, ``"via"``, ``"declined"``, or ``"cancelled"``, which it also is before the
    end."""
    winner: Attempt | None
    """The attempt that won."""
    errno: int | None
    """The system's error of the attempt that says most, where the dial has failed; ``ETIMEDOUT``
    where that was silent."""
    elapsed: float
    """From the call to the result, in seconds."""
    _native: _native.Report = dataclasses.field(repr=False, compare=False)

    def summary(self) -> str:
        """Gives one sentence for people: what became of each service, and how the dial ended."""
        return self._native.summary()

    def timeline(self, width: int = 80) -> str:
        """Draws the dial: the scale, then a line an attempt, none wider than *width* columns.

        The least width is 40. Empty where there was no attempt and no slow look-up.
        """
        return self._native.timeline(max(0, width))

    def to_svg(self) -> str:
        """Draws the dial as an SVG picture, which ``mailport connect --svg FILE`` writes."""
        return self._native.to_svg()

    def to_json(self) -> str:
        """Gives the one-line JSON object that ``mailport connect --json`` prints."""
        return self._native.to_json()

    def __str__(self) -> str:
        return self.summary()


class Answer(Word):
    """What the user says to a :class:`Question`. Members are strings: ``"fall-back"`` and so on."""

    FALL_BACK = "fall-back"
    """Begin the next service."""
    WAIT_ON = "wait-on"
    """Begin no other service, and wait on for the attempts that are open; with none open, the
    same as to give up."""
    GIVE_UP = "give-up"
    """End the dial."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A dial has stopped, for the next service would begin: the facts that a user needs.

    Until the answer no packet goes to the next service, and no time passes. Open attempts live on:
    one that connects withdraws the question. ``str(question)`` is the facts and the question, such
    as ``587 is silent. Fall back to 25 (STARTTLS)?``
    """

    number: int
    """Its number in this dial, from 1 on."""
    unavailable: Service
    """The service that is not available."""
    next: Service
    """The service that would come next, with the TLS mode that would hold there."""
    reason: str
    """Why it would, in words."""
    attempts: tuple[Attempt, ...]
    """Every attempt so far; one that is still open is shown as a timeout that ended now."""
    asked: float
    """When it was asked, in seconds from the beginning of the dial."""
    text: str
    """The facts and the question, in one line."""

    def __str__(self) -> str:
        return self.text


def _attempt_of(raw: _native._Attempt) -> Attempt:
    return Attempt(
        **{
            **raw,
            "service": service_of(raw["service"]),
            "outcome": Outcome(raw["outcome"]),
            "icmp": Icmp(*raw["icmp"]) if raw["icmp"] else None,
        }  # type: ignore[arg-type]  # the same keys
    )


def _lookup_of(raw: _native._Lookup | None) -> Lookup | None:
    if raw is None:
        return None
    return Lookup(raw["hedged"], raw["ended"], tuple(raw["addresses"]), raw["error"])


def report_of(native: _native.Report) -> Report:
    """The report with its facts spread out."""
    facts = native.facts()
    attempts = tuple(map(_attempt_of, facts["attempts"]))
    return Report(
        host=facts["host"],
        via=facts["via"],
        attempts=attempts,
        lookup=_lookup_of(facts["lookup"]),
        end=facts["end"],
        winner=None if facts["winner"] is None else attempts[facts["winner"]],
        errno=facts["errno"],
        elapsed=facts["elapsed"],
        _native=native,
    )


def question_of(raw: _native._Question) -> Question:
    """The question with its facts spread out."""
    return Question(
        number=raw["number"],
        unavailable=service_of(raw["unavailable"]),
        next=service_of(raw["next"]),
        reason=raw["reason"],
        attempts=tuple(map(_attempt_of, raw["attempts"])),
        asked=raw["asked"],
        text=raw["text"],
    )
