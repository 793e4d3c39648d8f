"""Dials in asyncio: one reader and one timer of the loop, and no thread."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ._dial import (
    UNSET,
    AsyncAsk,
    Connected,
    answer_of,
    check_ask,
    limits_of,
    start,
    take,
    translated,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from . import _native
    from ._config import DialOptions
    from ._enums import Answer
    from ._report import Question


async def aconnect(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    timeout: float | None = UNSET,
    local_addr: tuple[str, int] | None = None,
    ask: AsyncAsk | None = None,
    **options: Unpack[DialOptions],
) -> socket.socket:
    """Connects to a mail server on its best port, and returns the non-blocking socket.

    Pass it on as ``sock=``, to :meth:`asyncio.loop.create_connection` or to aiosmtplib. The
    arguments are those of :func:`connect`, with *local_addr* for *source_address*, and with the
    *timeout* for the dial alone. *ask* may be a coroutine function; it is cancelled if an earlier
    service connects after all.

    No thread waits. Cancelling closes everything. Every service of the plan must have the same TLS
    mode; for another plan use :func:`adial`.

    >>> async def greeting():
    ...     with await mailport.aconnect("127.0.0.1", plan=f"{server.port}:starttls") as sock:
    ...         return await asyncio.get_running_loop().sock_recv(sock, 4)
    >>> asyncio.run(greeting())
    b'220 '
    """
    connected = await connected_of(host, port, timeout, local_addr, ask, options, "adial")
    return connected.socket


async def adial(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    timeout: float | None = UNSET,
    local_addr: tuple[str, int] | None = None,
    ask: AsyncAsk | None = None,
    **options: Unpack[DialOptions],
) -> Connected:
    """Does what :func:`aconnect` does, for any plan, and returns the connection with its report.

    The arguments are those of :func:`aconnect`.

    >>> async def reached():
    ...     with await mailport.adial("127.0.0.1", plan=f"{server.port}:starttls") as connected:
    ...         return connected.tls
    >>> asyncio.run(reached())
    <TLSMode.STARTTLS: 'starttls'>
    """
    return await connected_of(host, port, timeout, local_addr, ask, options, None)


async def connected_of(
    host: str | tuple[str, int | str],
    port: int | str | None,
    timeout: float | None,
    local_addr: tuple[str, int] | None,
    ask: AsyncAsk | None,
    options: DialOptions,
    socket_only: str | None,
) -> Connected:
    """Dials, and returns the connection with a non-blocking socket."""
    check_ask(ask, awaits=True)
    limit = limits_of(timeout)[0]
    name, native = start(
        host, port, limit, local_addr, ask is not None, options, socket_only=socket_only
    )
    try:
        status = native.process()
        if status == "pending" or status == "asking":
            with translated(name):
                watch = _Watch(native, status)
            try:
                await _ended(watch, ask)
            finally:
                watch.close()
        return take(name, native, 0.0)
    finally:
        native.close()


async def _ended(watch: _Watch, ask: AsyncAsk | None) -> None:
    """Returns when the dial has ended, and asks before each further service."""
    native = watch.dial
    while watch.status == "pending" or watch.status == "asking":
        raw = native.question() if watch.status == "asking" else None
        if raw is None or ask is None:
            await watch.change()
            continue
        from ._report import question_of

        answer = await _answer(ask, question_of(raw), watch)
        # A connection in the meantime comes before the answer.
        watch.turn()
        if answer is not None and native.answer(raw["number"], answer, False):
            watch.turn()


class _Watch:
    """The reader and the timer of one dial, in the loop that runs.

    The reader must be removed before the descriptor closes.
    """

    def __init__(self, dial: _native.Dial, status: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.dial = dial
        self.status = status
        self._number = self._question_number()
        self._changed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = dial.fileno()
        self._loop.add_reader(self._descriptor, self._readable)
        self._is_open = True
        self._arm()

    def _question_number(self) -> int | None:
        question = self.dial.question() if self.status == "asking" else None
        return question["number"] if question else None

    def turn(self) -> None:
        """Lets the dial do what it can."""
        before = self.status, self._number
        self.status = self.dial.process()
        self._number = self._question_number()
        if before != (self.status, self._number):
            self._settle(None)
        self._arm()

    def _arm(self) -> None:
        """Sets the timer to when the dial is due, if nothing happens before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_open and (due := self.dial.poll_timeout()) is not None:
            self._timer = self._loop.call_later(due, self._readable)

    def _readable(self) -> None:
        try:
            self.turn()
        except Exception as error:
            # The loop would only log it, and the dial would never end.
            self.close()
            self._settle(error)

    def _settle(self, error: Exception | None) -> None:
        changed, self._changed = self._changed, None
        if changed is None or changed.done():
            return
        if error is None:
            changed.set_result(None)
        else:
            changed.set_exception(error)

    def change(self) -> asyncio.Future[None]:
        """A future that is done when the dial has another status, or another question."""
        self._changed = self._loop.create_future()
        return self._changed

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._descriptor)
            self._arm()


async def _answer(ask: AsyncAsk, question: Question, watch: _Watch) -> Answer | None:
    """The answer of `ask`. ``None`` if the question was withdrawn before."""
    returned: Answer | str | Awaitable[Answer | str] = ask(question)
    if not inspect.isawaitable(returned):
        return answer_of(returned)
    task: asyncio.Future[Any] = asyncio.ensure_future(returned)
    change = watch.change()
    try:
        await asyncio.wait({task, change}, return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        watch.close()
        watch.dial.close()
        await _cancel(task)
        raise
    if change.done() and not task.done():
        try:
            await _cancel(task)
        except BaseException:
            watch.close()
            watch.dial.close()
            raise
        if task.cancelled():
            change.result()
            return None
    return answer_of(task.result())


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancels a coroutine of the caller, and waits until it has ended."""
    task.cancel()
    await ended(task)
    if not task.cancelled():
        # Retrieved, so that the loop does not log it as never retrieved.
        task.exception()


async def ended(task: asyncio.Future[Any]) -> None:
    """Waits until a task has ended. If the caller is cancelled meanwhile, raises that after."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
