from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict, final

__all__ = ["Cache", "Config", "Dial", "Plan", "Report", "__version__", "tls_name"]

__version__: str

_Service = tuple[int, str, str | None]
_Status = Literal["pending", "asking", "connected", "failed"]

class _Attempt(TypedDict):
    service: _Service
    family: str | None
    address: str | None
    stage: str
    started: float
    connected: float | None
    ended: float
    outcome: str | None
    errno: int | None
    icmp: tuple[int, int, int, str | None, str] | None
    via_error: str | None
    note: str | None
    greeting: str | None
    syns: int | None
    reason: str

class _Lookup(TypedDict):
    hedged: bool
    ended: float | None
    addresses: list[str]
    error: str | None

class _Report(TypedDict):
    host: str
    via: str | None
    attempts: list[_Attempt]
    lookup: _Lookup | None
    end: str | None
    winner: int | None
    errno: int | None
    elapsed: float

class _Question(TypedDict):
    number: int
    unavailable: _Service
    next: _Service
    reason: str
    attempts: list[_Attempt]
    asked: float
    text: str

@final
class Plan:
    def __new__(cls, text: str, allow_cleartext: bool, sequential: bool) -> Plan: ...
    @staticmethod
    def for_port(port: int | None, prefer_submission: bool) -> Plan: ...
    @staticmethod
    def names() -> list[str]: ...
    @property
    def services(self) -> list[_Service]: ...
    @property
    def is_mixed(self) -> bool: ...
    @property
    def sequential(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Config:
    def __new__(
        cls,
        *,
        attempt_delay: float | None,
        port_delay: float,
        patience: float | None,
        greeting_wait: float | None,
        try_failed_last: bool,
        families: str,
        source: str | None,
        device: str | None,
        mark: int | None,
    ) -> Config: ...
    @staticmethod
    def defaults() -> tuple[float, float]: ...

@final
class Cache:
    def __new__(cls, path: str | PathLike[str] | None) -> Cache: ...
    @staticmethod
    def shared() -> Cache: ...
    @staticmethod
    def default_path() -> Path | None: ...
    def forget(self, host: str) -> int: ...
    def clear(self) -> int: ...
    def remember_answer(
        self, host: str, service: str, answer: str, config: Config, via: str | None
    ) -> bool: ...
    def flush(self, timeout: float) -> bool: ...

@final
class Report:
    def summary(self) -> str: ...
    def timeline(self, width: int) -> str: ...
    def to_svg(self) -> str: ...
    def to_json(self) -> str: ...
    def facts(self) -> _Report: ...
    def lookup_errno(self) -> int | None: ...

@final
class Dial:
    def __new__(
        cls,
        host: str,
        plan: Plan,
        config: Config,
        timeout: float,
        asks: bool,
        source: tuple[str, int] | None,
        cache: Cache | None,
        via: str | None,
    ) -> Dial: ...
    def add_timer(self) -> None: ...
    def fileno(self) -> int: ...
    def poll_timeout(self) -> float | None: ...
    def process(self) -> _Status: ...
    def make_cancellable(self) -> None: ...
    def cancel(self) -> None: ...
    def wait(self, timeout: float | None) -> _Status: ...
    def question(self) -> _Question | None: ...
    def answer(self, number: int, answer: str, remember: bool) -> bool: ...
    def report(self) -> Report: ...
    def take(self) -> tuple[tuple[int, int, _Service] | None, Report]: ...
    def close(self) -> None: ...

def tls_name(host: str) -> str: ...
