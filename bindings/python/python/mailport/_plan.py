"""What a caller says about a dial: services, plans and settings."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from . import _native

if TYPE_CHECKING:
    from typing_extensions import Self

Family = Literal["ipv4", "ipv6"]
Families = Literal["any", "ipv4", "ipv6", "prefer-ipv4", "prefer-ipv6"]


class Word(str, enum.Enum):
    """A word that is its own string, in every Python version."""

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, specification: str) -> str:
        return str.__format__(self, specification)


class Tls(Word):
    """How TLS is spoken on a service. A dial speaks none of it: the mode is a demand on the caller.

    Members are strings: ``Tls.STARTTLS == "starttls"``.
    """

    IMPLICIT = "implicit"
    """TLS from the first byte (RFC 8314 section 3.3), as on port 465."""
    STARTTLS = "starttls"
    """TLS after the STARTTLS command (RFC 3207), which the caller must insist on."""
    NONE = "none"
    """Cleartext. Only in a plan that was made with ``allow_cleartext=True``."""


@dataclasses.dataclass(frozen=True)
class Service:
    """A port, the TLS mode that must be spoken there and, if one is named, the only family.

    >>> str(Service(587, Tls.STARTTLS))
    '587:starttls'
    >>> str(Service(25, Tls.STARTTLS, "ipv4"))
    '25/ipv4:starttls'
    """

    port: int
    """The TCP port, never 0."""
    tls: Tls
    """The TLS mode that whoever uses the connection must keep to."""
    family: Family | None = None
    """``"ipv4"`` or ``"ipv6"`` where the service is offered over one family only."""

    def __str__(self) -> str:
        family = f"/{self.family}" if self.family else ""
        return f"{self.port}{family}:{self.tls}"


def service_of(raw: tuple[int, str, str | None]) -> Service:
    port, tls, family = raw
    return Service(port, Tls(tls), family)  # type: ignore[arg-type]  # one of the two


class Plan:
    """Services in order of preference, parsed once. Immutable, hashable, comparable.

    *services* is the name of a plan, text, or an iterable of :class:`Service`. Text is a list of
    services separated by commas, each ``PORT:TLS`` or ``PORT/FAMILY:TLS``.

    *allow_cleartext* takes services without TLS, which are refused otherwise. *sequential* holds each
    service back until every attempt of the one before has failed or is overdue.

    Raises :exc:`ValueError` for what is no plan, and names the part that is wrong.

    >>> plan = Plan("587:starttls,25:starttls")
    >>> plan == Plan("submission") == Plan.for_port(587)
    True
    >>> [service.port for service in plan.services]
    [587, 25]
    >>> Plan("587:cleartext")
    Traceback (most recent call last):
    ...
    ValueError: `587:cleartext` is cleartext, which must be allowed explicitly
    """

    __slots__ = ("_allow_cleartext", "_parsed")
    _parsed: _native.Plan
    _allow_cleartext: bool

    NAMES: ClassVar[tuple[str, ...]] = tuple(_native.Plan.names())
    """The names that stand for plans: ``submission`` (587:starttls,25:starttls, the default),
    ``submissions`` (465:implicit), ``rfc8314`` (465:implicit,587:starttls), ``mew``
    (587/ipv4:starttls,25:starttls, sequential) and ``symmetric`` (587 over IPv6, over IPv4, then 25
    likewise, sequential)."""

    def __new__(
        cls,
        services: str | Iterable[Service] = "submission",
        *,
        allow_cleartext: bool = False,
        sequential: bool = False,
    ) -> Self:
        text = services if isinstance(services, str) else ",".join(map(str, services))
        return cls._of(_native.Plan(text, allow_cleartext, sequential), allow_cleartext)

    @classmethod
    def _of(cls, native: _native.Plan, allow_cleartext: bool = False) -> Self:
        plan = super().__new__(cls)
        object.__setattr__(plan, "_parsed", native)
        object.__setattr__(plan, "_allow_cleartext", allow_cleartext)
        return plan

    @classmethod
    def for_port(cls, port: int | None) -> Self:
        """Gives the plan for code that used to connect to one port.

        587, 25 and ``None`` are ``submission``; 465 is ``submissions`` and never falls back; any
        other is that port alone, with STARTTLS.

        >>> Plan.for_port(465)
        Plan('465:implicit')
        """
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"{port} is not a port number from 1 to 65535")
        return cls._of(_native.Plan.for_port(port))

    @property
    def services(self) -> tuple[Service, ...]:
        """The services, in order of preference; never empty."""
        return tuple(map(service_of, self._parsed.services))

    @property
    def sequential(self) -> bool:
        """Whether this plan is sequential by itself; :attr:`Config.sequential` can make any plan so."""
        return self._parsed.sequential

    def __str__(self) -> str:
        return str(self._parsed)

    def __repr__(self) -> str:
        options = ", allow_cleartext=True" if self._allow_cleartext else ""
        options += ", sequential=True" if self.sequential else ""
        return f"{type(self).__name__}({str(self)!r}{options})"

    def __eq__(self, other: object) -> bool:
        return self._parsed == other._parsed if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parsed)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a plan cannot be changed: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return _plan, (str(self), self._allow_cleartext, self.sequential)


def _plan(text: str, allow_cleartext: bool, sequential: bool) -> Plan:
    return Plan(text, allow_cleartext=allow_cleartext, sequential=sequential)


_DEFAULTS = _native.defaults()

DEFAULT_TIMEOUT: float = _DEFAULTS["deadline"]
"""How long a dial may take where nothing else is said: 30 seconds."""
LONGEST: float = 24 * 60 * 60.0


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that are right for nearly everybody; change single ones. Times are in seconds.

    Raises :exc:`ValueError` for settings that no dial can work with.

    >>> Config(families="prefer-ipv4", sequential=True).port_delay
    1.0
    >>> Config(port_delay=0)
    Traceback (most recent call last):
    ...
    ValueError: the port delay of 0ns is too short: at least 10ms
    """

    _: dataclasses.KW_ONLY
    attempt_delay: float | None = None
    """How long an attempt may be silent before the next address of its service is tried besides:
    the Connection Attempt Delay of RFC 8305 section 5. At least 0.01. Default 0.25, or the timeout
    of the dial where that is shorter."""
    port_delay: float = _DEFAULTS["port_delay"]
    """How long every live attempt of a service may be silent before the next service is tried
    besides. Default 1, TCP's first retransmission timeout; at least 0.01. Shorter sends packets to
    a later port that was not needed."""
    patience: float | None = _DEFAULTS["patience"]
    """How long a silent attempt may hold back the connection of a later service. Default ``None``:
    1.3, or 1 and two round trips of that connection where this is longer. Below 1, one lost packet
    is enough to end up on the later port."""
    sequential: bool = _DEFAULTS["sequential"]
    """Whether the next service waits until every attempt of the one before has failed or is
    overdue. Default ``False``."""
    greeting_wait: float | None = _DEFAULTS["greeting_wait"]
    """How long a connection is waited upon for the server's first byte, which is left in the
    socket, before it counts. With it services are tried one after the other. Default ``None``: 10
    through a proxy or a command, and not at all for a direct dial; 0 is never."""
    try_failed_last: bool = _DEFAULTS["skip"]
    """Whether a service that is remembered as bad is tried last instead of first, though never
    after one of weaker TLS. Default ``False``."""
    families: Families = "any"
    """Which address families are used and which goes first: ``"any"`` (both, in the order of RFC
    6724, the default), ``"ipv4"``, ``"ipv6"``, ``"prefer-ipv4"``, ``"prefer-ipv6"``."""
    source: str | None = _DEFAULTS["source"]
    """The address of this machine to connect from; the other family is then left out. Default
    ``None``: the kernel chooses."""
    device: str | None = _DEFAULTS["device"]
    """The network interface to connect through (``SO_BINDTODEVICE``). Default ``None``."""
    mark: int | None = _DEFAULTS["mark"]
    """The firewall mark of every packet (``SO_MARK``, which needs ``CAP_NET_ADMIN``). Default
    ``None``."""

    def __post_init__(self) -> None:
        _native.check(self._settings(LONGEST, ask=False))

    def _settings(self, deadline: float, *, ask: bool) -> _native._Settings:
        attempt_delay = self.attempt_delay
        if attempt_delay is None:
            attempt_delay = min(_DEFAULTS["attempt_delay"], max(deadline, 0.01))
        return {
            "attempt_delay": attempt_delay,
            "port_delay": self.port_delay,
            "patience": self.patience,
            "deadline": deadline,
            "sequential": self.sequential,
            "greeting_wait": self.greeting_wait,
            "ask": ask,
            "skip": self.try_failed_last,
            "families": self.families,
            "source": self.source,
            "device": self.device,
            "mark": self.mark,
        }


def settings_of(config: Config, deadline: float, *, ask: bool) -> _native._Settings:
    """The settings as the native module takes them."""
    return config._settings(deadline, ask=ask)
