"""asyncio streams to a mail server, with the TLS that the plan demands."""

from __future__ import annotations

import asyncio
import math
import smtplib
import socket
import ssl as tls_library
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ._asyncio import connected_of, ended
from ._dial import UNSET, AsyncAsk, Connected, limits_of
from ._enums import TLSMode
from ._errors import ConnectTimeoutError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._config import DialOptions

REPLY_TIMEOUT = 300.0
"""How long a server may take to greet or to reply, in seconds (RFC 5321 section 4.5.3.2)."""
HANDSHAKE_TIMEOUT = 60.0
"""How long a TLS handshake may take, in seconds: asyncio's own default."""
LONGEST_REPLY = 65536
LIMIT = 65536


class StreamWriter(asyncio.StreamWriter):
    """asyncio's writer, with the service that was reached.

    connected : Connected
        The service and the report of the dial. Its socket belongs to the transport.
    """

    connected: Connected

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

    @property
    def tls(self) -> TLSMode:
        """The TLS mode that the plan demands of this connection."""
        return self.connected.tls

    if sys.version_info >= (3, 11):

        async def start_tls(
            self,
            sslcontext: tls_library.SSLContext,
            *,
            server_hostname: str | None = None,
            **named: Any,
        ) -> None:
            """Starts TLS after the server's reply to STARTTLS.

            *server_hostname*, the name to verify, is by default the host that was dialled. If bytes
            have come after the reply, this closes the connection and raises :exc:`ssl.SSLError`:
            anybody could have sent them.
            """
            if _has_unread(self._unread):
                self.transport.abort()
                _refuse_early_bytes()
            name = server_hostname or self.connected.server_hostname
            await super().start_tls(sslcontext, server_hostname=name, **named)


def _has_unread(reader: asyncio.StreamReader) -> bool:
    """Whether there is a byte to read. It takes what it finds."""
    read = reader.read(1)
    try:
        read.send(None)
    except StopIteration as stop:
        return bool(stop.value)
    read.close()
    return False


def _refuse_early_bytes() -> NoReturn:
    raise tls_library.SSLError("bytes came in cleartext before the TLS handshake")


async def open_connection(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    ssl: tls_library.SSLContext | bool | None = None,
    server_hostname: str | None = None,
    local_addr: tuple[str, int] | None = None,
    limit: int = LIMIT,
    timeout: float | None = UNSET,
    ask: AsyncAsk | None = None,
    **options: Unpack[DialOptions],
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Connects to a mail server on its best port, like :func:`asyncio.open_connection`.

    ssl
        The TLS context for a service that demands TLS from the first byte; it is spoken when this
        returns. Default ``None``, and ``True``: :func:`ssl.create_default_context`.
    server_hostname
        The name to verify. Default ``None``: *host*.
    limit
        The size of the reader's buffer in bytes. Default 65536.

    The other arguments are those of :func:`aconnect`; the plan may mix TLS modes. *timeout* is for
    the dial alone.

    If ``writer.tls`` is ``STARTTLS``, the streams are in cleartext and begin with the greeting.
    Insist on STARTTLS and then use ``writer.start_tls(context)`` (CPython 3.11 and later), or let
    :func:`open_submission` do it.

    >>> async def greeting():
    ...     reader, writer = await mailport.open_connection(
    ...         "127.0.0.1", plan=f"{server.port}:starttls"
    ...     )
    ...     line = await reader.readline()
    ...     writer.close()
    ...     await writer.wait_closed()
    ...     return writer.tls, line[:4]
    >>> asyncio.run(greeting())
    (<TLSMode.STARTTLS: 'starttls'>, b'220 ')
    """
    context = _context_of(ssl)
    connected = await connected_of(host, port, timeout, local_addr, ask, options, None)
    if connected.tls is not TLSMode.IMPLICIT:
        return await _streams(connected, limit)
    until = asyncio.get_running_loop().time() + HANDSHAKE_TIMEOUT
    return await _tls_streams(connected, limit, context, server_hostname, until)


async def open_submission(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    ssl: tls_library.SSLContext | bool | None = None,
    server_hostname: str | None = None,
    local_addr: tuple[str, int] | None = None,
    local_hostname: str | None = None,
    limit: int = LIMIT,
    timeout: float | None = UNSET,
    ask: AsyncAsk | None = None,
    **options: Unpack[DialOptions],
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Connects, reads the greeting and does the TLS that the plan demands: send EHLO next.

    TLS starts at the first byte or by STARTTLS, as the service that was reached demands, and never
    less.

    ssl
        The TLS context. Default ``None``, and ``True``: :func:`ssl.create_default_context`.
    server_hostname
        The name to verify. Default ``None``: *host*.
    local_hostname
        The name for the EHLO before STARTTLS. Default ``None``: the address of this end of the
        connection in brackets (RFC 5321 section 4.1.3).
    timeout
        Seconds for everything up to the end of the TLS handshake. ``None`` is no limit. By default
        the dial has 30 s, and each reply of the server 5 minutes (RFC 5321 section 4.5.3.2).

    The other arguments are those of :func:`open_connection`.

    Raises :exc:`smtplib.SMTPException` if the server does not greet or does not offer STARTTLS,
    :exc:`ssl.SSLError` if TLS fails, and :exc:`ConnectTimeoutError` after the *timeout*. None of
    these leads to another port.

    >>> async def farewell():
    ...     reader, writer = await mailport.open_submission(
    ...         "127.0.0.1", plan=f"{server.port}:starttls", ssl=server.context
    ...     )
    ...     writer.write(b"QUIT\\r\\n")
    ...     reply = await reader.readline()
    ...     writer.close()
    ...     await writer.wait_closed()
    ...     return reply[:4]
    >>> asyncio.run(farewell())
    b'221 '
    """
    context = _context_of(ssl)
    begun = asyncio.get_running_loop().time()
    limit_of_dial, _ = limits_of(timeout)
    until = math.inf if timeout is UNSET or timeout is None else begun + limit_of_dial
    connected = await connected_of(host, port, timeout, local_addr, ask, options, None)
    if connected.tls is TLSMode.STARTTLS:
        try:
            await _starttls(_Conversation(connected, until), local_hostname)
        except BaseException:
            # No transport has the socket yet.
            connected.socket.close()
            raise
        return await _tls_streams(connected, limit, context, server_hostname, until)
    if connected.tls is TLSMode.IMPLICIT:
        streams = await _tls_streams(connected, limit, context, server_hostname, until)
    else:
        streams = await _streams(connected, limit)
    reader, writer = streams
    try:
        _check_greeting(*await _reply(lambda: _line(reader, writer, until)))
    except BaseException:
        writer.transport.abort()
        raise
    return streams


def _context_of(ssl: tls_library.SSLContext | bool | None) -> tls_library.SSLContext | None:
    if ssl is None or ssl is True:
        return None
    if not isinstance(ssl, tls_library.SSLContext):
        raise TypeError(f"ssl must be an SSLContext, True or None: {ssl!r}")
    return ssl


# From here on a transport owns the socket, and nothing else may close it: the loop still watches
# its descriptor, whose number the next socket of the program would get.


async def _streams(connected: Connected, limit: int) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Streams in cleartext."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = await _transport(connected.socket, protocol)
    return reader, StreamWriter(transport, protocol, reader, loop, connected)


class _BeforeTLS(asyncio.Protocol):
    """The protocol of a connection until its handshake starts. The server must be silent."""

    has_received = False

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  # the interface of asyncio
        self.has_received = True


async def _tls_streams(
    connected: Connected,
    limit: int,
    context: tls_library.SSLContext | None,
    server_hostname: str | None,
    until: float,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Streams over TLS, which starts now."""
    loop = asyncio.get_running_loop()
    before = _BeforeTLS()
    # The transport is made without TLS, so that it can be closed in the middle of a handshake.
    bare = await _transport(connected.socket, before)
    try:
        if before.has_received:
            _refuse_early_bytes()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        left = until - loop.time()
        if left <= 0:
            raise _timed_out(connected)
        try:
            transport = await loop.start_tls(
                bare,
                protocol,
                context or tls_library.create_default_context(),
                server_hostname=server_hostname or connected.server_hostname,
                ssl_handshake_timeout=min(left, HANDSHAKE_TIMEOUT),
            )
        except ConnectionAbortedError:
            if loop.time() < until:
                raise
            raise _timed_out(connected) from None
        if transport is None:
            raise ConnectionResetError("the connection was closed in the TLS handshake")
        protocol.connection_made(transport)
    except BaseException:
        bare.abort()
        raise
    return reader, StreamWriter(transport, protocol, reader, loop, connected)


async def _transport(sock: socket.socket, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
    """A transport for a socket. When this is cancelled, the transport is made and then aborted.

    What cancels the making itself does not know who closes the socket, asyncio or uvloop.
    """
    loop = asyncio.get_running_loop()
    # uvloop insists on the kind of a command's socket.
    is_unix = sock.family == socket.AF_UNIX
    create = loop.create_unix_connection if is_unix else loop.create_connection
    task = asyncio.ensure_future(create(lambda: protocol, sock=sock))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await ended(task)
        finally:
            _abandon(task, sock)
        raise
    except BaseException:
        sock.close()
        raise
    transport: asyncio.WriteTransport = task.result()[0]
    return transport


def _abandon(task: asyncio.Future[Any], sock: socket.socket) -> None:
    """Closes what a task has made that is no longer needed."""
    if task.cancelled():
        # The loop itself is ending. uvloop has closed the descriptor, but not through the socket;
        # asyncio closes the socket.
        if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            sock.detach()
    elif task.exception() is None:
        task.result()[0].abort()
    else:
        sock.close()


def _timed_out(connected: Connected) -> ConnectTimeoutError:
    host = connected.report.host
    return ConnectTimeoutError(None, f"{host}: connected, but not ready within the timeout")


class _Conversation:
    """A conversation of SMTP on a socket that no transport owns yet."""

    def __init__(self, connected: Connected, until: float) -> None:
        self.connected = connected
        self.sock = connected.socket
        self.until = until
        self.received = bytearray()
        self._loop = asyncio.get_running_loop()

    async def line(self) -> bytes:
        """One line of the server; what came before the end of the connection, if it has ended."""
        while (end := self.received.find(b"\n") + 1) == 0:
            if len(self.received) > LONGEST_REPLY:
                raise smtplib.SMTPResponseException(500, b"the reply is too long")
            try:
                found = self.sock.recv(4096)
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            if not found:
                return bytes(self.received)
            self.received.extend(found)
        line = bytes(self.received[:end])
        del self.received[:end]
        return line

    async def command(self, line: str) -> tuple[int, bytes]:
        """Sends a command, and returns the reply."""
        left = line.encode("ascii") + b"\r\n"
        while left:
            try:
                left = left[self.sock.send(left) :]
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
        return await _reply(self.line)

    async def _ready(
        self, add: Callable[..., object], remove: Callable[[socket.socket], object]
    ) -> None:
        """Waits until the socket is ready. The loop does not watch it after that."""
        future = self._loop.create_future()

        def settle(error: Exception | None = None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        at = min(self.until, self._loop.time() + REPLY_TIMEOUT)
        timer = self._loop.call_at(at, settle, _timed_out(self.connected))
        add(self.sock, settle)
        try:
            await future
        finally:
            remove(self.sock)
            timer.cancel()


async def _starttls(server: _Conversation, local_hostname: str | None) -> None:
    """Greeting, EHLO and STARTTLS, up to the reply after which TLS starts."""
    _check_greeting(*await _reply(server.line))
    name = local_hostname or address_literal(server.sock)
    code, text = await server.command(f"EHLO {name}")
    if code != 250:
        raise smtplib.SMTPHeloError(code, text)
    words = (feature.split(maxsplit=1) for feature in text.splitlines()[1:])
    if not any(word and word[0].upper() == b"STARTTLS" for word in words):
        raise smtplib.SMTPNotSupportedError(
            "the server does not offer STARTTLS, which the plan demands"
        )
    code, text = await server.command("STARTTLS")
    if code != 220:
        raise smtplib.SMTPResponseException(code, text)
    if server.received:
        _refuse_early_bytes()


async def _line(reader: asyncio.StreamReader, writer: StreamWriter, until: float) -> bytes:
    """One line of the server, from a stream."""
    loop = asyncio.get_running_loop()
    at = min(until, loop.time() + REPLY_TIMEOUT)
    # It ends the wait, and nothing else can: `asyncio.wait_for` may lose a cancellation.
    timer = loop.call_at(at, writer.transport.abort)
    try:
        line = await reader.readline()
    except ValueError:
        raise smtplib.SMTPResponseException(500, b"the reply is too long") from None
    finally:
        timer.cancel()
    if not line.endswith(b"\n") and loop.time() >= at:
        raise _timed_out(writer.connected)
    return line


async def _reply(line: Callable[[], Awaitable[bytes]]) -> tuple[int, bytes]:
    """One reply of the server, of one line or several: its code, and its text."""
    lines: list[bytes] = []
    size = 0
    while True:
        found = await line()
        size += len(found)
        if not found.endswith(b"\n"):
            raise smtplib.SMTPServerDisconnected("the server has closed the connection")
        if size > LONGEST_REPLY:
            raise smtplib.SMTPResponseException(500, b"the reply is too long")
        if not found[:3].isdigit():
            raise smtplib.SMTPResponseException(-1, found.strip())
        lines.append(found[4:].strip())
        if found[3:4] != b"-":
            return int(found[:3]), b"\n".join(lines)


def _check_greeting(code: int, text: bytes) -> None:
    if code != 220:
        raise smtplib.SMTPConnectError(code, text)


def address_literal(sock: socket.socket) -> str:
    """The address of this end of a connection, for EHLO (RFC 5321 section 4.1.3)."""
    if sock.family == socket.AF_INET:
        return f"[{sock.getsockname()[0]}]"
    if sock.family == socket.AF_INET6:
        return f"[IPv6:{sock.getsockname()[0].partition('%')[0]}]"
    # Behind a command, no address of this machine is known.
    return "[127.0.0.1]"
