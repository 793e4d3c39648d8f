"""The settings of a dial, and the options that every call takes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypedDict

from . import _native
from ._enums import Families

if TYPE_CHECKING:
    from ._cache import Cache
    from ._plan import Plan

DEFAULT_TIMEOUT, _PORT_DELAY = _native.Config.defaults()
LONGEST: float = 24 * 60 * 60.0
"""The longest timeout of a dial, in seconds."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that few callers need. Times are in seconds.

    attempt_delay : float or None
        Delay before the next address of a service is tried in parallel: the Connection Attempt
        Delay of RFC 8305 section 5. At least 0.01. Default ``None``: 0.25, or the timeout of the
        dial if that is shorter.
    port_delay : float
        Silence of a service after which the next service is tried in parallel. At least 0.01.
        Left at its default, it is 1 where the cache says that the service has connected lately,
        and where ``patience`` is set. A shorter delay sends needless packets to the later port.
    patience : float or None
        How long a silent attempt may hold back the connection of a later service. At least 0.01.
        Default ``None``: until a packet that was sent while the path was good has had no answer;
        where the service has connected lately, also 1.3 or more. With a short time, lost packets
        can lead to the later port.
    greeting_wait : float or None
        How long to wait for the server's greeting before a connection counts as established. The
        greeting stays in the socket. The wait makes the dial try services one after the other.
        0 turns it off. Default ``None``: 10 through a proxy or a command, else off.
    try_failed_last : bool
        Try a service that the cache knows as unavailable last instead of first, though never
        after one with weaker TLS. Default ``False``.
    families : Families or str
        Which address families are used and which goes first: ``"any"`` (the default), ``"ipv4"``,
        ``"ipv6"``, ``"prefer-ipv4"``, ``"prefer-ipv6"``.
    source : str or None
        The local address to connect from; the other family is then not used. Default ``None``:
        the kernel chooses.
    device : str or None
        The network interface to connect through (``SO_BINDTODEVICE``). Default ``None``: any.
    mark : int or None
        The firewall mark of every packet (``SO_MARK``, which needs ``CAP_NET_ADMIN``). Default
        ``None``: no mark.

    Raises :exc:`ValueError` for a setting that no dial can use.

    >>> Config(families="prefer-ipv4", patience=2).families
    <Families.PREFER_IPV4: 'prefer-ipv4'>
    >>> Config(port_delay=0)
    Traceback (most recent call last):
    ...
    ValueError: the port delay of 0ns is too short: at least 10ms
    """

    _: dataclasses.KW_ONLY
    attempt_delay: float | None = None
    port_delay: float = _PORT_DELAY
    patience: float | None = None
    greeting_wait: float | None = None
    try_failed_last: bool = False
    families: Families | str = Families.ANY
    source: str | None = None
    device: str | None = None
    mark: int | None = None

    def __post_init__(self) -> None:
        if self.families not in _FAMILIES:
            raise ValueError(
                f"families must be one of {', '.join(_FAMILIES)}: {str(self.families)!r}"
            )
        object.__setattr__(self, "families", Families(self.families))
        object.__setattr__(self, "_native", _native.Config(**dataclasses.asdict(self)))

    def __getstate__(self) -> dict[str, object]:
        return dataclasses.asdict(self)

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]


_FAMILIES = [family.value for family in Families]


def native_of(config: Config) -> _native.Config:
    """The settings as the native module has them."""
    return config._native  # type: ignore[attr-defined,no-any-return]  # not a field


DEFAULT_CONFIG = Config()


class DialOptions(TypedDict, total=False):
    """The keyword arguments that every call of the package which dials takes.

    plan : Plan or str or None
        The services to try. Default ``None``: the plan of the port (:meth:`Plan.for_port`), which
        is 587 and then 25, both with STARTTLS, if no port is given either.
    config : Config or None
        The settings that few callers need. Default ``None``: ``Config()``.
    cache : Cache or False or None
        What earlier dials have found out. Default ``None``: the shared cache of the process
        (:meth:`Cache.shared`). ``False``: no cache.
    via : str or None
        A SOCKS5 proxy, ``socks5://[USER:PASSWORD@]HOST[:PORT]``, or a command whose standard input
        and output are the connection, such as ``command:ssh -W '[%h]:%p' GATEWAY``. No shell reads
        the command, and the socket is then an AF_UNIX one. Default ``None``: a direct connection.
    """

    plan: Plan | str | None
    config: Config | None
    cache: Cache | Literal[False] | None
    via: str | None


OPTIONS = frozenset(DialOptions.__annotations__)
