"""Services, and plans of services in order of preference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from . import _native
from ._enums import Family, TLSMode

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclasses.dataclass(frozen=True)
class Service:
    """A port, the TLS mode that must be spoken there and, if one is named, the only family.

    port : int
        The TCP port, from 1 to 65535.
    tls : TLSMode
        The TLS mode that the user of the connection must insist on.
    family : Family or None
        The only family over which the service is tried. Default ``None``: both.

    >>> str(Service(587, TLSMode.STARTTLS))
    '587:starttls'
    >>> str(Service(25, "starttls", "ipv4"))
    '25/ipv4:starttls'
    """

    port: int
    tls: TLSMode
    family: Family | None = None

    def __post_init__(self) -> None:
        # A string is as good as the member.
        object.__setattr__(self, "tls", TLSMode(self.tls))
        if self.family is not None:
            object.__setattr__(self, "family", Family(self.family))

    def __str__(self) -> str:
        family = f"/{self.family}" if self.family else ""
        return f"{self.port}{family}:{self.tls}"


def service_of(raw: tuple[int, str, str | None]) -> Service:
    """The service that the native module gives as a tuple."""
    return Service(*raw)  # type: ignore[arg-type]  # converted there


class Plan:
    """Services in order of preference. Immutable, hashable, comparable, picklable.

    services
        The name of a plan (:attr:`NAMES`), text, or an iterable of :class:`Service`. Text is a
        list of services separated by commas, each ``PORT:TLS`` or ``PORT/FAMILY:TLS``.
    allow_cleartext
        Accept services without TLS. Default ``False``: they are a :exc:`ValueError`.
    sequential
        Start a service only after every attempt of the one before has failed or is overdue.
        Default ``False``.

    Raises :exc:`ValueError` for text that is not a plan, and names the wrong part.

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
    """The names of plans: ``submission`` (587:starttls,25:starttls, the default), ``submissions``
    (465:implicit), ``rfc8314`` (465:implicit,587:starttls), ``mew`` (587/ipv4:starttls,25:starttls,
    sequential) and ``symmetric`` (587 over IPv6, over IPv4, then 25 likewise, sequential)."""

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
    def for_port(cls, port: int | str | None, *, prefer_submission: bool = False) -> Self:
        """Returns the plan for a port that the user has configured, which comes first.

        587 and ``None`` are ``submission``; 25 is 25, then 587, both with STARTTLS, or
        ``submission`` where *prefer_submission* is true, which is for programs whose own default
        is 25; 465, 993 and 995 are tried alone, with TLS from the first byte; any other port is
        tried alone, with STARTTLS. A port may be digits in a string.

        >>> Plan.for_port(465)
        Plan('465:implicit')
        >>> Plan.for_port(25)
        Plan('25:starttls,587:starttls')
        """
        number = None if port is None else port_of(port)
        return cls._of(_native.Plan.for_port(number, prefer_submission))

    @property
    def services(self) -> tuple[Service, ...]:
        """The services in order of preference, at least one."""
        return tuple(map(service_of, self._parsed.services))

    @property
    def sequential(self) -> bool:
        """Whether a service starts only when every attempt of the one before has failed or is
        overdue.
        """
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
        raise AttributeError(f"a plan is immutable: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return _plan, (type(self), str(self), self._allow_cleartext, self.sequential)


def _plan(kind: type[Plan], text: str, allow_cleartext: bool, sequential: bool) -> Plan:
    return kind(text, allow_cleartext=allow_cleartext, sequential=sequential)


def port_of(port: int | str) -> int:
    """A port as a number; digits in a string are accepted, as :mod:`smtplib` does."""
    number = port
    if isinstance(port, str) and port.isascii() and port.isdigit():
        number = int(port)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise TypeError(f"port must be an int or digits, not {type(port).__name__}")
    if isinstance(number, str) or not 0 < number < 65536:
        raise ValueError(f"port must be from 1 to 65535: {port!r}")
    return number
