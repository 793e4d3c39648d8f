"""smtplib's clients with a plan, which never use less TLS than it demands."""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, cast

from ._connect import dial
from ._dial import UNSET, Ask, Connected, check_ask, limits_of, plan_of
from ._enums import TLSMode
from ._errors import TLSRequiredError
from ._plan import Plan, Service, port_of
from ._streams import address_literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self, Unpack

    from ._config import DialOptions
    from ._report import Report

_BEFORE_TLS = {"ehlo", "helo", "help", "noop", "quit", "rset", "starttls"}
_CONTEXT_WITHOUT_FILES = "context and certificate files are both given"


class _Handshake:
    """A context whose socket is closed if its handshake is interrupted.

    The ssl module closes it for its own errors only; after a Ctrl-C the collector would.
    """

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._context = context
        self._server_hostname = server_hostname

    def wrap_socket(self, sock: socket.socket, server_hostname: object = None) -> ssl.SSLSocket:
        # smtplib passes the host as it was written, or none at all after `connect()`.
        del server_hostname
        wrapped = self._context.wrap_socket(
            sock, server_hostname=self._server_hostname, do_handshake_on_connect=False
        )
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


class _PlannedSMTP(smtplib.SMTP):
    """The differences from smtplib that both clients share."""

    _options: DialOptions
    _ask: Ask | None
    _context: ssl.SSLContext | None
    _connected: Connected | None
    _local_hostname: str

    def _set_up(
        self,
        host: str,
        port: int | str,
        local_hostname: str | None,
        ask: Ask | None,
        context: ssl.SSLContext | None,
        options: DialOptions,
        inherited: dict[str, Any],
    ) -> None:
        """Keeps what smtplib does not know, and calls its constructor, which connects to a host."""
        check_ask(ask)
        plan = options.get("plan")
        if isinstance(plan, str):
            options = {**options, "plan": Plan(plan)}
        self._options = options
        self._ask = ask
        self._context = context
        self._connected = None
        # An empty name, for which smtplib does not ask the name service.
        super().__init__(host, cast("int", port), local_hostname or "", **inherited)

    @property
    def service(self) -> Service | None:
        """The service that was reached. ``None`` before a connection."""
        return self._connected.service if self._connected else None

    @property
    def tls(self) -> TLSMode | None:
        """The TLS mode that the plan demands of this session. ``None`` before a connection."""
        return self._connected.tls if self._connected else None

    @property
    def report(self) -> Report | None:
        """What the dial did. ``None`` before a connection."""
        return self._connected.report if self._connected else None

    @property
    def local_hostname(self) -> str:
        """The name for EHLO and HELO.

        By default this machine's name if it has a dot, or else, and through a proxy or a command,
        the address of this end of the connection in brackets. The name service is not asked.
        """
        if self._local_hostname:
            return self._local_hostname
        name = socket.gethostname()
        is_full = "." in name.strip(".") and not name.startswith("localhost.")
        if is_full and self._options.get("via") is None:
            return name
        return "[127.0.0.1]" if self.sock is None else address_literal(self.sock)

    @local_hostname.setter
    def local_hostname(self, name: str) -> None:
        self._local_hostname = name

    def _plan_for(self, port: int | str) -> Plan:
        plan = self._options.get("plan")
        if plan is None:
            return Plan.for_port(port)
        if port_of(port) != self.default_port:
            raise ValueError("port and plan are both given: the plan names the ports")
        return plan_of(None, plan)

    def _get_socket(self, host: str, port: int | str, timeout: Any) -> socket.socket:
        """Dials, and starts TLS where it starts at the first byte; smtplib calls it."""
        self._connected = None
        plan = self._plan_for(port)
        limits_of(timeout)
        source = cast("tuple[str, int] | None", self.source_address)
        if self.debuglevel > 0:
            print("connect: to", (host, str(plan)), source, file=sys.stderr)
        options: DialOptions = {**self._options, "plan": plan}
        connected = dial(host, timeout=timeout, source_address=source, ask=self._ask, **options)
        sock = connected.socket
        try:
            # smtplib keeps the host here, if it is an argument of the constructor.
            self._host = connected.server_hostname
            if connected.tls is TLSMode.IMPLICIT:
                sock = self._handshake(connected, self._context).wrap_socket(sock)
        except BaseException:
            sock.close()
            raise
        self._connected = connected
        return sock

    def _handshake(self, connected: Connected, context: ssl.SSLContext | None) -> _Handshake:
        return _Handshake(context or ssl.create_default_context(), connected.server_hostname)

    def connect(
        self,
        host: str = "localhost",
        port: int | str = 0,
        source_address: Any = None,
    ) -> tuple[int, bytes]:
        """Dials and reads the greeting. The arguments and the result are smtplib's.

        *port* may be digits in a string. Raises :exc:`ConnectError` if the dial fails.
        """
        try:
            return super().connect(host, cast("int", port), source_address)
        except BaseException:
            # Also for a Ctrl-C in the constructor, after which no caller has this object.
            self.close()
            raise

    if sys.version_info >= (3, 12):

        def starttls(self, *, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
            """Starts TLS, and verifies the host that was dialled.

            *context* is by default that of the constructor, or else
            :func:`ssl.create_default_context`.
            """
            return self._starttls(super().starttls, context)

    else:

        def starttls(
            self,
            keyfile: Any = None,
            certfile: Any = None,
            context: ssl.SSLContext | None = None,
        ) -> tuple[int, bytes]:
            """Starts TLS, and verifies the host that was dialled.

            *context* is by default that of the constructor, or else
            :func:`ssl.create_default_context`, into which *certfile* and *keyfile* are loaded.
            """
            if certfile is not None or keyfile is not None:
                if context is not None:
                    raise ValueError(_CONTEXT_WITHOUT_FILES)
                if certfile is None:
                    raise ValueError("keyfile is given without certfile")
                context = self._context or ssl.create_default_context()
                context.load_cert_chain(certfile, keyfile)
            return self._starttls(super().starttls, context)

    def _starttls(
        self, inherited: Callable[..., tuple[int, bytes]], context: ssl.SSLContext | None
    ) -> tuple[int, bytes]:
        if self._connected is None:
            # It raises what smtplib raises without a connection.
            return inherited()
        return inherited(context=self._handshake(self._connected, context or self._context))

    def auth(
        self, mechanism: str, authobject: Any, *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """Authenticates. Raises :exc:`TLSRequiredError` without TLS, even if the server offers it.

        The arguments and the result are smtplib's.
        """
        self._check_tls("auth")
        return super().auth(mechanism, authobject, initial_response_ok=initial_response_ok)

    def login(
        self, user: str, password: str, *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """Logs in. Raises :exc:`TLSRequiredError` without TLS, even if the server offers it.

        The arguments and the result are smtplib's.
        """
        self._check_tls("auth")
        return super().login(user, password, initial_response_ok=initial_response_ok)

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Sends a command. Raises :exc:`TLSRequiredError` if the command needs TLS first.

        Before TLS only the commands that lead to it are sent, and never a login.
        """
        self._check_tls(cmd)
        super().putcmd(cmd, args)

    def _check_tls(self, command: str) -> None:
        if self.sock is None or isinstance(self.sock, ssl.SSLSocket):
            return
        words = command.split(maxsplit=1)
        word = words[0].lower() if words else ""
        if word == "auth":
            raise TLSRequiredError("a login is not sent without TLS: call starttls() first")
        if self.tls is not TLSMode.CLEARTEXT and word not in _BEFORE_TLS:
            raise TLSRequiredError(f"{word.upper()} is not sent before starttls()")


class SMTP(_PlannedSMTP):
    """:class:`smtplib.SMTP` with a plan.

    host, port, local_hostname, timeout, source_address
        As in smtplib; *port* may be digits in a string, and becomes a plan
        (:meth:`Plan.for_port`). Without a port, 587 comes first, and 25 next. The *timeout* is in
        seconds, for the dial and then for each operation of the socket. By default
        :func:`socket.getdefaulttimeout`, or else 30 for the dial and none for the socket.
    context
        The TLS context. Default ``None``: :func:`ssl.create_default_context`.
    ask
        As in :func:`connect`.
    options
        *plan*, *config*, *cache* and *via*: see :class:`DialOptions`.

    :attr:`tls` is the TLS mode that was reached. ``IMPLICIT`` is spoken already. For ``STARTTLS``
    call :meth:`starttls`, before which neither mail nor a login is sent.

    >>> with mailport.SMTP("127.0.0.1", server.port) as smtp:
    ...     code, _ = smtp.starttls(context=server.context)
    ...     _ = smtp.login("user", "password")
    >>> code
    220
    """

    # What a port of 0 means. It is 25 in smtplib, which is for relays between servers.
    default_port = 587

    def __init__(
        self,
        host: str = "",
        port: int | str = 0,
        local_hostname: str | None = None,
        timeout: float | None = UNSET,
        source_address: tuple[str, int] | None = None,
        *,
        context: ssl.SSLContext | None = None,
        ask: Ask | None = None,
        **options: Unpack[DialOptions],
    ) -> None:
        inherited = {"timeout": timeout, "source_address": source_address}
        self._set_up(host, port, local_hostname, ask, context, options, inherited)

    @classmethod
    def for_submission(
        cls,
        host: str,
        port: int | str | None = None,
        *,
        context: ssl.SSLContext | None = None,
        local_hostname: str | None = None,
        timeout: float | None = UNSET,
        source_address: tuple[str, int] | None = None,
        ask: Ask | None = None,
        **options: Unpack[DialOptions],
    ) -> Self:
        """Connects and does the TLS that the plan demands, never less: call ``login()`` next.

        The arguments are those of the class. *host* is verified. A failure of TLS is raised, and
        never leads to another port.

        >>> with mailport.SMTP.for_submission(
        ...     "127.0.0.1", server.port, context=server.context
        ... ) as smtp:
        ...     smtp.login("user", "password")[0]
        235
        """
        smtp = cls(
            host,
            port or 0,
            local_hostname,
            timeout,
            source_address,
            context=context,
            ask=ask,
            **options,
        )
        try:
            smtp.ehlo_or_helo_if_needed()
            if smtp.tls is TLSMode.STARTTLS:
                smtp.starttls()
                smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp


class SMTP_SSL(_PlannedSMTP, smtplib.SMTP_SSL):  # noqa: N801  # the name in smtplib
    """:class:`smtplib.SMTP_SSL` with a plan, whose every service has implicit TLS.

    *port* is tried alone, by default 465, and never falls back; *plan* may name several. The
    arguments are those of :class:`SMTP`.

    >>> smtp = mailport.SMTP_SSL(plan="465:implicit,2465:implicit")
    """

    def __init__(
        self,
        host: str = "",
        port: int | str = 0,
        local_hostname: str | None = None,
        *,
        timeout: float | None = UNSET,
        source_address: tuple[str, int] | None = None,
        context: ssl.SSLContext | None = None,
        ask: Ask | None = None,
        **options: Unpack[DialOptions],
    ) -> None:
        if (plan := options.get("plan")) is not None:
            for service in plan_of(None, plan).services:
                if service.tls is not TLSMode.IMPLICIT:
                    raise ValueError(f"SMTP_SSL needs implicit TLS, not {service}: use SMTP")
        context = context or ssl.create_default_context()
        inherited = {"timeout": timeout, "source_address": source_address, "context": context}
        self._set_up(host, port, local_hostname, ask, context, options, inherited)

    def _plan_for(self, port: int | str) -> Plan:
        if self._options.get("plan") is None:
            return Plan([Service(port_of(port), TLSMode.IMPLICIT)])
        return super()._plan_for(port)
