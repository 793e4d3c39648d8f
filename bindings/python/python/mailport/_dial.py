"""A dial in one call, and a dial for any event loop."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from . import _native
from ._errors import ConnectError
from ._cache import Cache
from ._plan import DEFAULT_TIMEOUT, LONGEST, Config, Plan, Service, Tls, settings_of
from ._report import Answer, Question, Report, question_of, report_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

Ask = Callable[[Question], "Answer | str"]
AsyncAsk = Callable[[Question], "Answer | str | Awaitable[Answer | str]"]
FLUSH = 0.05
"""How long a cache may take to save what a dial has taught, in seconds."""
Status = Literal["pending", "asking", "connected", "failed"]


@dataclasses.dataclass(frozen=True)
class Connected:
    """A connection, and how it came about."""

    socket: socket.socket
    """The connected socket; the caller's to close."""
    service: Service
    """The service that was reached."""
    report: Report
    """What the dial did; ``report.host`` is the name that TLS must verify."""

    @property
    def tls(self) -> Tls:
        """The TLS mode that the plan demands: insist on it, and send no credentials before."""
        return self.service.tls


class Dial:
    """A dial under way, for any event loop: a descriptor to watch, a call that never blocks.

    Watch :meth:`fileno` for reading with whatever watches descriptors, and call :meth:`process`
    when it is readable, and once at the start; timers are inside the descriptor. When the status is
    neither ``"pending"`` nor ``"asking"``, take it out of the loop, and :meth:`result` gives the
    connection. Where *asks* is true, the dial stops with a :attr:`question` before each further
    service, and goes on with the :meth:`answer`.

    Closing it cancels it. It belongs to one thread at a time, and to the process that started it.
    The other arguments are those of :func:`connect`.

    >>> import selectors
    >>> with Dial("127.0.0.1", plan=f"{server.port}:starttls") as dial:
    ...     with selectors.DefaultSelector() as selector:
    ...         _ = selector.register(dial, selectors.EVENT_READ)
    ...         while dial.process() == "pending":
    ...             _ = selector.select()
    ...     connected = dial.result()
    >>> connected.tls
    <Tls.STARTTLS: 'starttls'>
    >>> connected.socket.close()
    """

    __slots__ = ("_host", "_native")
    _has_timer: ClassVar[bool] = True

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        plan: Plan | str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        config: Config | None = None,
        asks: bool = False,
        cache: Cache | None = None,
        via: str | None = None,
    ) -> None:
        if not isinstance(host, str):
            raise TypeError(f"host is a str, not {type(host).__name__}")
        if not isinstance(config, (Config, type(None))):
            raise TypeError(f"config is a Config, not {type(config).__name__}")
        if not isinstance(cache, (Cache, type(None))):
            raise TypeError(f"cache is a Cache, not {type(cache).__name__}")
        if not isinstance(via, (str, type(None))):
            raise TypeError(f"via is a str, not {type(via).__name__}")
        parsed = plan_of(port, plan)._parsed
        settings = settings_of(config or Config(), deadline_of(timeout), ask=asks)
        self._host = host
        remembers = None if cache is None else cache._native
        try:
            self._native = _native.Dial(host, parsed, settings, remembers, via)
            if self._has_timer:
                self._native.add_timer()
        except OSError as error:
            raise ConnectError(error.errno, f"{host}: {error.strerror}") from None

    def fileno(self) -> int:
        """Gives the descriptor, which is the same for the dial's whole life."""
        return self._native.fileno()

    def process(self) -> Status:
        """Does what can be done now, and says how the dial stands. Never blocks."""
        return self._native.process()

    def wait(self, timeout: float | None = None) -> Status:
        """Blocks until the status is not ``"pending"``, at most for *timeout* seconds.

        Other threads run meanwhile, and signals are handled.
        """
        return self._native.wait(timeout)

    @property
    def question(self) -> Question | None:
        """The question that the dial has stopped with."""
        raw = self._native.question()
        return None if raw is None else question_of(raw)

    def answer(self, question: Question, answer: Answer | str, *, for_good: bool = False) -> bool:
        """Answers a question; :meth:`process` then goes on.

        Where it is *for_good*, the dial's cache keeps the answer for 30 days, and later dials do
        not ask (:meth:`Cache.remember_answer`). ``False``, with nothing changed, where that question no
        longer stands.
        """
        return self._native.answer(question.number, Answer(answer), for_good)

    @property
    def report(self) -> Report:
        """The dial so far; complete once it has ended."""
        return report_of(self._native.report())

    def result(self) -> Connected:
        """Gives the connection, non-blocking, or raises the :exc:`ConnectError` of the dial.

        The connection is given once; :exc:`RuntimeError` before the end and after that.
        """
        connection, native = self._take()
        connection.settimeout(0.0)
        return connected_of(connection, native)

    def _take(self) -> tuple[socket.socket, _native.Report]:
        """The connection, whose timeout is still to be set, and the report as it comes."""
        descriptor, native = self._native.take()
        if descriptor is None:
            report = report_of(native)
            raise ConnectError(report.errno, report.summary(), report)
        return socket.socket(fileno=descriptor), native

    def close(self) -> None:
        """Closes everything that the dial holds; harmless when done twice."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._host!r}>"


class Untimed(Dial):
    """A dial without a timer in its descriptor: only waited for, or not yet watched.

    A timer that is due at once costs more than a whole dial to an address nearby.
    """

    __slots__ = ()
    _has_timer = False

    def add_timer(self) -> None:
        """Puts one in, so that the descriptor can be watched from now on."""
        try:
            self._native.add_timer()
        except OSError as error:
            raise ConnectError(error.errno, f"{self._host}: {error.strerror}") from None


def connect(
    host: str,
    port: int | None = None,
    *,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: Ask | None = None,
    cache: Cache | None = None,
    via: str | None = None,
) -> socket.socket:
    """Connects to a mail server's best port, in the manner of :func:`socket.create_connection`.

    *host* is a name or an address; TLS must verify this and nothing else. *port* is what the user
    configured, and becomes a plan (:meth:`Plan.for_port`); or *plan* says which services are tried,
    a :class:`Plan` or its text. The default plan is 587 and then 25, both with STARTTLS.

    *timeout* is how long the dial may take, in seconds, look-up included, and then the timeout of
    the socket; ``None`` is no limit. *config* has the rarer settings. *ask*, if given, is called
    with a :class:`Question` before each further service, and returns the :class:`Answer`.

    *cache* is a :class:`Cache` of earlier dials. *via* is a SOCKS5 proxy,
    ``socks5://[USER:PASSWORD@]HOST[:PORT]``, or a command whose standard input and output are the
    connection, such as ``command:ssh -W '[%h]:%p' GATEWAY``; no shell reads it, and the socket is
    then an AF_UNIX one.

    Other threads run while it blocks, and Ctrl-C works at once.

    The socket alone does not say which TLS mode was reached. So every service of the plan must have
    the same; for another plan use :func:`dial`. Raises :exc:`ConnectError`; :exc:`ValueError` and
    :exc:`TypeError` for the caller's mistakes.

    >>> with mailport.connect("127.0.0.1", plan=f"{server.port}:starttls") as connection:
    ...     connection.recv(4)
    b'220 '
    """
    resolved = plan_of(port, plan)
    one_mode(resolved, "dial")
    return _connection(host, resolved, timeout, config, ask, cache, via)[0]


def dial(
    host: str,
    port: int | None = None,
    *,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: Ask | None = None,
    cache: Cache | None = None,
    via: str | None = None,
) -> Connected:
    """Does what :func:`connect` does, and gives the whole result, of any plan.

    >>> connected = mailport.dial("127.0.0.1", plan=f"{server.port}:starttls")
    >>> connected.service.port == server.port, connected.tls
    (True, <Tls.STARTTLS: 'starttls'>)
    >>> print(connected.report)  # doctest: +ELLIPSIS
    connected to ... over IPv4 in ... ms
    >>> connected.socket.close()
    """
    resolved = plan_of(port, plan)
    return connected_of(*_connection(host, resolved, timeout, config, ask, cache, via))


def _connection(
    host: str,
    plan: Plan,
    timeout: float | None,
    config: Config | None,
    ask: Ask | None,
    cache: Cache | None,
    via: str | None,
) -> tuple[socket.socket, _native.Report]:
    """Dials and waits: the connection with its timeout, and the report as it comes."""
    check_ask(ask)
    asks = ask is not None
    given = Untimed(
        host, plan=plan, timeout=timeout, config=config, asks=asks, cache=cache, via=via
    )
    with given as dial:
        while dial.wait() == "asking":
            question = dial.question
            if question is not None and ask is not None:
                answer = answer_of(ask(question))
                # What has connected meanwhile counts more.
                if dial.process() == "asking":
                    dial.answer(question, answer)
        connection, native = dial._take()
    try:
        connection.settimeout(seconds_of(timeout))
        if cache is not None:
            cache.flush(FLUSH)
    except BaseException:
        connection.close()
        raise
    return connection, native


def connected_of(connection: socket.socket, native: _native.Report) -> Connected:
    """The whole result, with the facts of the report spread out."""
    report = report_of(native)
    if report.winner is None:
        connection.close()
        raise RuntimeError("a connection that no attempt of its report has won")
    return Connected(connection, report.winner.service, report)


def seconds_of(timeout: float | None) -> float | None:
    """The timeout as a socket takes it, which knows no infinity."""
    return None if timeout == math.inf else timeout


def plan_of(port: int | None, plan: Plan | str | None) -> Plan:
    """The plan that the two arguments mean."""
    if plan is None:
        return Plan.for_port(port)
    if port is not None:
        raise ValueError("port and plan are both given: a plan has its ports")
    return plan if isinstance(plan, Plan) else Plan(plan)


def one_mode(plan: Plan, instead: str) -> None:
    """Refuses a plan where a socket alone would not say which TLS mode was reached."""
    modes = list(dict.fromkeys(service.tls.value for service in plan.services))
    if len(modes) > 1:
        raise ValueError(
            f"the plan {plan} has services with {' and '.join(modes)}: use {instead}(), which says "
            "which one was reached"
        )


def deadline_of(timeout: float | None) -> float:
    """The deadline of a dial; without a limit, the longest there is."""
    if timeout is None:
        return LONGEST
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    if timeout == 0:
        raise ValueError("a timeout of 0 leaves no time to connect")
    return LONGEST if math.inf == timeout else timeout


def check_ask(ask: object, *, awaits: bool = False) -> None:
    """Refuses, before anything is sent, what cannot be asked in the middle of a dial."""
    if ask is None:
        return
    if not callable(ask):
        raise TypeError(f"ask is a function that answers a Question, not {type(ask).__name__}")
    while isinstance(ask, functools.partial):
        ask = ask.func
    called = type(ask).__call__
    if not awaits and (inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(called)):
        raise TypeError("ask is a coroutine function, which only the asyncio functions can await")


def answer_of(answer: object) -> Answer:
    """What `ask` returned, as an answer."""
    if isinstance(answer, str):
        return Answer(answer)
    if inspect.iscoroutine(answer):
        # Nobody will await it, which is no second mistake.
        answer.close()
        raise TypeError("ask returned a coroutine, which only the asyncio functions can await")
    raise TypeError(f"ask returned {answer!r}, which is not an Answer")
