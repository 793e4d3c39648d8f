"""A dial for any event loop, its result, and how every call of the package starts one."""

from __future__ import annotations

import functools
import inspect
import math
import select
import socket
import time
from collections.abc import Awaitable, Callable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from . import _native
from ._cache import SHARED, Cache
from ._config import DEFAULT_CONFIG, DEFAULT_TIMEOUT, LONGEST, OPTIONS, Config, native_of
from ._enums import Answer, Status, TLSMode
from ._errors import ConnectError, connect_error
from ._plan import Plan, Service, service_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ._config import DialOptions
    from ._report import Question, Report

Ask = Callable[["Question"], "Answer | str"]
"""A function that answers a :class:`Question`."""
AsyncAsk = Callable[["Question"], "Answer | str | Awaitable[Answer | str]"]
"""A function or a coroutine function that answers a :class:`Question`."""
# The default of smtplib and of create_connection: the timeout that new sockets get.
UNSET: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_DEFAULT_PLAN = Plan()
# What the native module gives: stated, it need not be asked for.
_KIND = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class Connected:
    """A connection and its report. As a context manager, it closes the socket.

    socket : socket.socket
        The connected socket. The caller closes it.
    """

    __slots__ = ("__weakref__", "_host", "_native", "_report", "_service", "socket")

    def __init__(
        self,
        connection: socket.socket,
        service: tuple[int, str, str | None],
        native: _native.Report,
        host: str,
    ) -> None:
        # Service and report are made when they are asked for: most callers need only the socket.
        self.socket = connection
        self._service = service
        self._native = native
        self._host = host
        self._report: Report | None = None

    @property
    def service(self) -> Service:
        """The service that was reached."""
        return service_of(self._service)

    @property
    def tls(self) -> TLSMode:
        """The TLS mode that the plan demands. Insist on it, and send no credentials before."""
        return TLSMode(self._service[1])

    @property
    def report(self) -> Report:
        """What the dial did."""
        from ._report import report_of

        if self._report is None:
            self._report = report_of(self._native)
        return self._report

    @property
    def server_hostname(self) -> str:
        """The name that the server's certificate must have: the host in ASCII (IDNA 2008)."""
        return _native.tls_name(self._host)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._host!r} {self.service}>"


class Dial:
    """A dial for any event loop: a descriptor to watch, and a call that never blocks.

    Watch :meth:`fileno` for reading, and call :meth:`process` once at the start and whenever the
    descriptor is readable; timers are inside the descriptor. When the status is neither ``PENDING``
    nor ``ASKING``, remove the descriptor from the loop and call :meth:`result`.

    A dial belongs to one thread at a time, and to the process that started it. Closing it cancels
    it.

    asks
        Stop with a :attr:`question` before each further service, until :meth:`answer`. Default
        ``False``.

    The other arguments are those of :func:`connect`.

    >>> import selectors
    >>> with Dial("127.0.0.1", plan=f"{server.port}:starttls") as dial:
    ...     with selectors.DefaultSelector() as selector:
    ...         _ = selector.register(dial, selectors.EVENT_READ)
    ...         while dial.process() == "pending":
    ...             _ = selector.select()
    ...     connected = dial.result()
    >>> connected.tls
    <TLSMode.STARTTLS: 'starttls'>
    >>> connected.socket.close()
    """

    __slots__ = ("__weakref__", "_host", "_native")

    def __init__(
        self,
        host: str | tuple[str, int | str],
        port: int | str | None = None,
        *,
        timeout: float | None = UNSET,
        source_address: tuple[str, int] | None = None,
        asks: bool = False,
        **options: Unpack[DialOptions],
    ) -> None:
        self._host, self._native = start(
            host, port, limits_of(timeout)[0], source_address, asks, options
        )
        with translated(self._host):
            self._native.add_timer()

    def fileno(self) -> int:
        """Returns the descriptor, which is the same until the dial is closed."""
        return self._native.fileno()

    def process(self) -> Status:
        """Does what can be done now, and returns the status. Never blocks."""
        return Status(self._native.process())

    def wait(self, timeout: float | None = None) -> Status:
        """Blocks while the status is ``PENDING``, at most *timeout* seconds, and returns it.

        Other threads run meanwhile, and signals are handled. ``None`` is no limit.
        """
        with translated(self._host):
            self._native.make_cancellable()
            return Status(wait(self._native, timeout))

    def cancel(self) -> None:
        """Ends the dial, from any thread: a blocked :meth:`wait` returns ``FAILED``.

        :meth:`result` then raises a :exc:`ConnectError` whose report has ended as ``CANCELLED``. A
        dial that has ended stays as it is.
        """
        with translated(self._host):
            self._native.cancel()

    @property
    def question(self) -> Question | None:
        """The question at which the dial has stopped. ``None`` if there is none."""
        from ._report import question_of

        raw = self._native.question()
        return None if raw is None else question_of(raw)

    def answer(self, question: Question, answer: Answer | str, *, remember: bool = False) -> bool:
        """Answers a question; :meth:`process` then goes on.

        Returns ``False`` and changes nothing if that question is no longer the current one. With
        *remember*, the dial's cache keeps the answer for 30 days, and later dials do not ask.
        """
        return self._native.answer(question.number, Answer(answer), remember)

    @property
    def report(self) -> Report:
        """The report of the dial so far; complete once it has ended."""
        from ._report import report_of

        return report_of(self._native.report())

    def result(self) -> Connected:
        """Returns the connection, with a non-blocking socket, or raises :exc:`ConnectError`.

        Raises :exc:`RuntimeError` if the dial has not ended, and if the connection was returned
        before.
        """
        return take(self._host, self._native, 0.0)

    def close(self) -> None:
        """Cancels the dial and closes everything that it holds. A second call does nothing."""
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


def start(
    host: str | tuple[str, int | str],
    port: int | str | None,
    limit: float,
    source_address: tuple[str, int] | None,
    asks: bool,
    options: DialOptions,
    *,
    socket_only: str | None = None,
) -> tuple[str, _native.Dial]:
    """Checks the arguments and starts a dial without a timer in its descriptor.

    *socket_only* names the call to use instead where the plan has more than one TLS mode.
    """
    if not options.keys() <= OPTIONS:
        unknown = next(iter(options.keys() - OPTIONS))
        raise TypeError(f"unexpected keyword argument {unknown!r}")
    if isinstance(host, tuple):
        host, port = _address_of(host, port)
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, not {type(host).__name__}")
    plan = plan_of(port, options.get("plan"))
    if socket_only is not None:
        _check_one_mode(plan, socket_only)
    config, cache, via = options.get("config"), options.get("cache"), options.get("via")
    if config is None:
        config = DEFAULT_CONFIG
    elif not isinstance(config, Config):
        raise TypeError(f"config must be a Config, not {type(config).__name__}")
    if cache is None:
        cache = SHARED
    elif cache is not False and not isinstance(cache, Cache):
        raise TypeError(f"cache must be a Cache or False, not {type(cache).__name__}")
    if via is not None and not isinstance(via, str):
        raise TypeError(f"via must be a str, not {type(via).__name__}")
    source = None if source_address is None else _source_of(source_address)
    settings, learned = native_of(config), None if cache is False else cache._native
    try:
        return host, _native.Dial(host, plan._parsed, settings, limit, asks, source, learned, via)
    except OSError as error:
        raise _setup_error(host, error) from None


def _setup_error(host: str, error: OSError) -> ConnectError:
    return ConnectError(error.errno, f"{host}: {error.strerror}")


class translated:  # noqa: N801  # used like a function
    """Turns what this machine refuses a dial into a :exc:`ConnectError`."""

    __slots__ = ("_host",)

    def __init__(self, host: str) -> None:
        self._host = host

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, ConnectError):
            raise _setup_error(self._host, error) from None


def _address_of(
    address: tuple[str, int | str], port: int | str | None
) -> tuple[str, int | str | None]:
    if len(address) != 2:
        raise ValueError(f"an address must be (host, port): {address!r}")
    if port is not None:
        raise ValueError("the port is in the address already; a timeout must be timeout=")
    return address


def _source_of(source_address: tuple[str, int]) -> tuple[str, int]:
    if not isinstance(source_address, tuple) or len(source_address) != 2:
        raise TypeError(f"source_address must be (host, port), not {source_address!r}")
    source, port = source_address
    if not isinstance(source, str):
        raise TypeError(f"the host of source_address must be a str, not {type(source).__name__}")
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"the port of source_address must be an int, not {type(port).__name__}")
    if not 0 <= port < 65536:
        raise ValueError(f"the port of source_address must be from 0 to 65535: {port}")
    return source, port


def take(host: str, native: _native.Dial, timeout: float | None) -> Connected:
    """The result of a dial that has ended; *timeout* is that of the socket."""
    try:
        taken, report = native.take()
    except OSError as error:
        raise _setup_error(host, error) from None
    if taken is None:
        raise connect_error(report)
    descriptor, protocol, service = taken
    connection = socket.socket(-1, _KIND, protocol, descriptor)
    try:
        if timeout != 0:
            connection.settimeout(timeout)
        return Connected(connection, service, report, host)
    except BaseException:
        connection.close()
        raise


def wait(native: _native.Dial, timeout: float | None = None) -> str:
    """Waits for a dial, without blocking the greenlets of a program that gevent has patched."""
    if isinstance(select.select, BuiltinFunctionType):
        return native.wait(timeout)
    until = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        status = native.process()
        left = until - time.monotonic()
        if status != "pending" or left <= 0:
            return status
        due = native.poll_timeout()
        left = min(left, LONGEST if due is None else due)
        select.select([native.fileno()], [], [], left)


def plan_of(port: int | str | None, plan: Plan | str | None) -> Plan:
    """The plan that the two arguments mean."""
    if plan is None:
        return _DEFAULT_PLAN if port is None else Plan.for_port(port)
    if port is not None:
        raise ValueError("port and plan are both given: the plan names the ports")
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, str):
        return Plan(plan)
    raise TypeError(f"plan must be a Plan or a str, not {type(plan).__name__}")


def _check_one_mode(plan: Plan, instead: str) -> None:
    if plan._parsed.is_mixed:
        modes = dict.fromkeys(service.tls.value for service in plan.services)
        raise ValueError(
            f"the plan {plan} has services with {' and '.join(modes)}: use {instead}(), which says "
            "which one was reached"
        )


def limits_of(timeout: float | None) -> tuple[float, float | None]:
    """The timeout of a dial, and that of the socket that it returns, in seconds."""
    if timeout is UNSET:
        timeout = socket.getdefaulttimeout()
        if timeout is None:
            return DEFAULT_TIMEOUT, None
    if timeout is None:
        return LONGEST, None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None: {timeout!r}")
    if timeout == 0:
        raise ValueError("Non-blocking socket (timeout=0) is not supported")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds: {timeout!r}")
    return min(float(timeout), LONGEST), None if timeout == math.inf else timeout


def check_ask(ask: Any, *, awaits: bool = False) -> None:
    """Fails, before anything is sent, for what cannot be called in the middle of a dial."""
    if ask is None:
        return
    if not callable(ask):
        raise TypeError(f"ask must be a function that answers a Question: {ask!r}")
    while isinstance(ask, functools.partial):
        ask = ask.func
    called = type(ask).__call__
    if not awaits and (inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(called)):
        raise TypeError("ask is a coroutine function, which only the asyncio functions can await")


def answer_of(answer: object) -> Answer:
    """The answer that `ask` returned."""
    if isinstance(answer, str):
        return Answer(answer)
    if inspect.iscoroutine(answer):
        # Nothing will await it; without this it would warn as well.
        answer.close()
        raise TypeError("ask returned a coroutine, which only the asyncio functions can await")
    raise TypeError(f"ask returned {answer!r}, which is not an Answer")
