"""Dials in asyncio: a dial is one reader of the loop, with no thread and no timer."""

from __future__ import annotations

import asyncio
import inspect
import smtplib
import socket
import ssl as tls_library
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ._dial import AsyncAsk, Connected, Status, Untimed, answer_of, check_ask, one_mode, plan_of
from ._plan import DEFAULT_TIMEOUT, Config, Plan, Tls
from ._smtp import default_context, name_for_tls

if TYPE_CHECKING:
    from ._cache import Cache
    from ._report import Answer, Question

REPLY_TIMEOUT = 300.0
"""RFC 5321 section 4.5.3.2: how long a server may take to greet or to reply, in seconds."""
LONGEST_REPLY = 65536
LIMIT = 65536


async def start_connection(
    host: str,
    port: int | None = None,
    *,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: AsyncAsk | None = None,
    cache: Cache | None = None,
    via: str | None = None,
) -> socket.socket:
    """Connects to a mail server's best port, and gives the non-blocking socket.

    Pass it on: ``loop.create_connection(..., sock=sock, server_hostname=host)``, or aiosmtplib's
    ``sock=``. The arguments are those of :func:`connect`; *timeout* is for the dial alone, and
    *ask* may also be a coroutine function. While it runs, the dial goes on: should the service
    before connect after all, the question is withdrawn and the coroutine cancelled.

    No thread waits, and the loop gets one reader. Cancelling closes everything, the dial first and
    then the coroutine of *ask*. Every service of the plan must have the same TLS mode, for the
    socket alone does not tell; for another plan use :func:`start_dial`.

    >>> async def greeting():
    ...     sock = await mailport.start_connection("127.0.0.1", plan=f"{server.port}:starttls")
    ...     with sock:
    ...         return await asyncio.get_running_loop().sock_recv(sock, 4)
    >>> asyncio.run(greeting())
    b'220 '
    """
    resolved = plan_of(port, plan)
    one_mode(resolved, "start_dial")
    connected = await start_dial(
        host, plan=resolved, timeout=timeout, config=config, ask=ask, cache=cache, via=via
    )
    return connected.socket


async def start_dial(
    host: str,
    port: int | None = None,
    *,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: AsyncAsk | None = None,
    cache: Cache | None = None,
    via: str | None = None,
) -> Connected:
    """Does what :func:`start_connection` does, and gives the whole result, of any plan.

    >>> async def reached():
    ...     connected = await mailport.start_dial("127.0.0.1", plan=f"{server.port}:starttls")
    ...     connected.socket.close()
    ...     return connected.tls
    >>> asyncio.run(reached())
    <Tls.STARTTLS: 'starttls'>
    """
    check_ask(ask, awaits=True)
    given = Untimed(
        host,
        port,
        plan=plan,
        timeout=timeout,
        config=config,
        asks=ask is not None,
        cache=cache,
        via=via,
    )
    with given as dial:
        watch = _Watch(dial)
        try:
            while watch.status in ("pending", "asking"):
                question = dial.question if watch.status == "asking" else None
                if question is None or ask is None:
                    await watch.change()
                    continue
                answer = await _answer(ask, question, watch)
                # What has connected meanwhile counts more.
                watch.turn()
                if answer is not None and dial.answer(question, answer):
                    watch.turn()
        finally:
            watch.close()
        return dial.result()


class _Watch:
    """The reader of one dial in the loop that runs; removed before the descriptor closes."""

    def __init__(self, dial: Untimed) -> None:
        self._loop = asyncio.get_running_loop()
        self.dial = dial
        self._descriptor = dial.fileno()
        self._changed: asyncio.Future[None] | None = None
        self._number: int | None = None
        self.status: Status = "pending"
        self.turn()
        self._is_reading = self.status in ("pending", "asking")
        if self._is_reading:
            dial.add_timer()
            self._loop.add_reader(self._descriptor, self._readable)

    def turn(self) -> None:
        """Lets the dial do what it can."""
        before = (self.status, self._number)
        self.status = self.dial.process()
        question = self.dial.question if self.status == "asking" else None
        self._number = question.number if question else None
        if before != (self.status, self._number):
            self._settle(None)

    def _readable(self) -> None:
        try:
            self.turn()
        except Exception as error:
            # Else it would be the loop's, and nobody would wake.
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
        """Is done when the dial has another status, or another question."""
        self._changed = self._loop.create_future()
        return self._changed

    def close(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._descriptor)


async def _answer(ask: AsyncAsk, question: Question, watch: _Watch) -> Answer | None:
    """What `ask` says; `None` where the question was withdrawn before."""
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
    """Cancels what runs for the caller, and waits until it has ended, whatever comes meanwhile."""
    task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            # The caller's own; it is raised when there is nothing left to clean up.
            cancelled = error
    if not task.cancelled():
        # Looked at, so that the loop does not complain of an error that nobody saw.
        task.exception()
    if cancelled is not None:
        raise cancelled


class StreamWriter(asyncio.StreamWriter):
    """asyncio's writer, which knows the service that was reached."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
        connected: Connected,
    ) -> None:
        super().__init__(transport, protocol, reader, loop)
        self._unread = reader
        self.connected = connected
        """Service and report of the dial. Its socket belongs to the transport now."""

    @property
    def tls(self) -> Tls:
        """The TLS mode that the plan demands of this connection."""
        return self.connected.tls

    if sys.version_info >= (3, 11):

        async def start_tls(
            self,
            sslcontext: tls_library.SSLContext,
            *,
            server_hostname: str | None = None,
            **kw: Any,
        ) -> None:
            """Begins TLS after the server's reply to STARTTLS.

            *server_hostname*, the name to verify, is the host that was dialled unless you say
            otherwise. Bytes that came after the reply would be taken for the server's own, though
            anybody may have put them there: then this closes the connection and raises
            :exc:`ssl.SSLError`.
            """
            if _has_unread(self._unread):
                self.transport.abort()
                raise tls_library.SSLError("bytes came in cleartext after the reply to STARTTLS")
            name = server_hostname or name_for_tls(self.connected.report.host)
            await super().start_tls(sslcontext, server_hostname=name, **kw)


def _has_unread(reader: asyncio.StreamReader) -> bool:
    """Whether there is a byte to read. It takes what it finds."""
    read = reader.read(1)
    try:
        read.send(None)
    except StopIteration as stop:
        return bool(stop.value)
    read.close()
    return False


async def open_connection(
    host: str,
    port: int | None = None,
    *,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: AsyncAsk | None = None,
    cache: Cache | None = None,
    via: str | None = None,
    ssl: tls_library.SSLContext | None = None,
    limit: int = LIMIT,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Connects like :func:`asyncio.open_connection`, to a mail server's best port.

    Where the service that was reached demands TLS from the first byte, it is spoken already, with
    the context *ssl* or else :func:`ssl.create_default_context`, and *host* is verified. Where
    ``writer.tls`` is ``"starttls"``, the streams are in cleartext and begin with the greeting:
    insist on STARTTLS and use ``writer.start_tls(context)`` (CPython 3.11 and later), or let
    :func:`open_submission` do it.

    *limit* is the size of the reader's buffer. The other arguments are those of
    :func:`start_connection`; the plan may mix TLS modes.

    >>> async def greeting():
    ...     reader, writer = await mailport.open_connection(
    ...         "127.0.0.1", plan=f"{server.port}:starttls"
    ...     )
    ...     line = await reader.readline()
    ...     writer.close()
    ...     await writer.wait_closed()
    ...     return writer.tls, line[:4]
    >>> asyncio.run(greeting())
    (<Tls.STARTTLS: 'starttls'>, b'220 ')
    """
    connected = await start_dial(
        host,
        port,
        plan=plan,
        timeout=timeout,
        config=config,
        ask=ask,
        cache=cache,
        via=via,
    )
    try:
        return await _streams(connected, ssl, connected.tls is Tls.IMPLICIT, limit)
    except BaseException:
        connected.socket.close()
        raise


async def open_submission(
    host: str,
    port: int | None = None,
    *,
    context: tls_library.SSLContext | None = None,
    plan: Plan | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    config: Config | None = None,
    ask: AsyncAsk | None = None,
    cache: Cache | None = None,
    via: str | None = None,
    local_hostname: str | None = None,
    limit: int = LIMIT,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Connects, hears the greeting and does the TLS that the plan demands: send EHLO next.

    TLS is from the first byte or by STARTTLS, as the service that was reached demands, and never
    less. The context is *context* or else :func:`ssl.create_default_context`; *host* is verified.
    *local_hostname* is the name for the EHLO before STARTTLS, by default this machine's address in
    brackets. A reply may take five minutes (RFC 5321 section 4.5.3.2).

    Raises :exc:`smtplib.SMTPException` where the server does not greet or offers no STARTTLS, and
    :exc:`ssl.SSLError` where TLS fails. Neither leads to another port. The other arguments are
    those of :func:`open_connection`.

    >>> async def farewell():
    ...     reader, writer = await mailport.open_submission(
    ...         "127.0.0.1", plan=f"{server.port}:starttls", context=server.context
    ...     )
    ...     writer.write(b"QUIT\\r\\n")
    ...     reply = await reader.readline()
    ...     writer.close()
    ...     await writer.wait_closed()
    ...     return reply[:4]
    >>> asyncio.run(farewell())
    b'221 '
    """
    connected = await start_dial(
        host,
        port,
        plan=plan,
        timeout=timeout,
        config=config,
        ask=ask,
        cache=cache,
        via=via,
    )
    try:
        if connected.tls is Tls.STARTTLS:
            await _starttls(connected.socket, local_hostname)
            return await _streams(connected, context, True, limit)
        streams = await _streams(connected, context, connected.tls is Tls.IMPLICIT, limit)
    except BaseException:
        connected.socket.close()
        raise
    reader, writer = streams
    try:
        _expect_greeting(*await _reply(reader.readline))
    except BaseException:
        writer.transport.abort()
        raise
    return streams


async def _streams(
    connected: Connected,
    context: tls_library.SSLContext | None,
    with_tls: bool,
    limit: int,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    sock = connected.socket
    # What a command gives is a socket of another kind, which uvloop insists on knowing.
    is_unix = sock.family == socket.AF_UNIX
    create = loop.create_unix_connection if is_unix else loop.create_connection
    transport, _ = await create(
        lambda: protocol,
        sock=sock,
        ssl=(context or default_context()) if with_tls else None,
        server_hostname=name_for_tls(connected.report.host) if with_tls else None,
    )
    return reader, StreamWriter(transport, protocol, reader, loop, connected)


async def _starttls(sock: socket.socket, local_hostname: str | None) -> None:
    """Greeting, EHLO and STARTTLS on the bare socket, so that no buffer outlives them."""
    loop = asyncio.get_running_loop()
    buffer = bytearray()

    async def line() -> bytes:
        while (end := buffer.find(b"\n") + 1) == 0:
            if len(buffer) > LONGEST_REPLY:
                raise smtplib.SMTPResponseException(500, "the reply is too long")
            received = await loop.sock_recv(sock, 4096)
            if not received:
                return b""
            buffer.extend(received)
        found = bytes(buffer[:end])
        del buffer[:end]
        return found

    _expect_greeting(*await _reply(line))
    name = local_hostname or _address_literal(sock)
    await loop.sock_sendall(sock, f"EHLO {name}\r\n".encode("ascii"))
    code, text = await _reply(line)
    if code != 250:
        raise smtplib.SMTPHeloError(code, text)
    words = (feature.split(maxsplit=1) for feature in text.splitlines()[1:])
    if not any(word and word[0].upper() == b"STARTTLS" for word in words):
        raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS, which the plan demands")
    await loop.sock_sendall(sock, b"STARTTLS\r\n")
    code, text = await _reply(line)
    if code != 220:
        raise smtplib.SMTPResponseException(code, text)
    if buffer:
        raise tls_library.SSLError("bytes came in cleartext after the reply to STARTTLS")


async def _reply(line: Any) -> tuple[int, bytes]:
    """One reply of the server, of one line or several: its code, and its text."""
    lines: list[bytes] = []
    size = 0
    while True:
        found: bytes = await asyncio.wait_for(line(), REPLY_TIMEOUT)
        size += len(found)
        if not found.endswith(b"\n"):
            raise smtplib.SMTPServerDisconnected("the server has closed the connection")
        if size > LONGEST_REPLY:
            raise smtplib.SMTPResponseException(500, "the reply is too long")
        if not found[:3].isdigit():
            raise smtplib.SMTPResponseException(-1, found.strip())
        lines.append(found[4:].strip())
        if found[3:4] != b"-":
            return int(found[:3]), b"\n".join(lines)


def _expect_greeting(code: int, text: bytes) -> None:
    if code != 220:
        raise smtplib.SMTPConnectError(code, text)


def _address_literal(sock: socket.socket) -> str:
    """RFC 5321 section 4.1.3: this machine by its address, for which nothing is looked up."""
    if sock.family == socket.AF_INET:
        return f"[{sock.getsockname()[0]}]"
    if sock.family == socket.AF_INET6:
        return f"[IPv6:{sock.getsockname()[0].partition('%')[0]}]"
    return "localhost"
