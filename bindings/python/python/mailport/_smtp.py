"""smtplib's clients, which dial with a plan and never speak less TLS than it demands."""

from __future__ import annotations

import dataclasses
import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, cast

from ._dial import Ask, Connected, check_ask, dial, seconds_of
from ._errors import TLSRequiredError
from ._plan import DEFAULT_TIMEOUT, Config, Plan, Service, Tls

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._cache import Cache
    from ._report import Report

# What smtplib's own signature has: the timeout that new sockets get.
_GLOBAL_DEFAULT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_BEFORE_TLS = {"ehlo", "helo", "help", "noop", "quit", "rset", "starttls"}


def default_context() -> ssl.SSLContext:
    """A context that verifies; smtplib's own default does not."""
    return ssl.create_default_context()


def name_for_tls(host: str) -> str:
    """The target as certificates name it: no zone, and no dot at the end."""
    return host.partition("%")[0] if ":" in host else host.removesuffix(".")


class _Handshake:
    """A context whose sockets are closed where their handshake is interrupted.

    The ssl module's own are only closed for its errors, and for a Ctrl-C when they are collected.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: socket.socket, server_hostname: str) -> ssl.SSLSocket:
        wrapped = self._context.wrap_socket(
            sock, server_hostname=server_hostname, do_handshake_on_connect=False
        )
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


class _Dialling(smtplib.SMTP):
    """What both clients do otherwise than smtplib's."""

    _plan: Plan | None
    _config: Config
    _ask: Ask | None
    _cache: Cache | None
    _via: str | None
    _context: ssl.SSLContext | None
    _dialled: Connected | None

    def _prepare(
        self,
        plan: Plan | str | None,
        config: Config | None,
        ask: Ask | None,
        cache: Cache | None,
        via: str | None,
        context: ssl.SSLContext | None,
    ) -> None:
        check_ask(ask)
        self._plan = Plan(plan) if isinstance(plan, str) else plan
        self._config = config or Config()
        self._ask = ask
        self._cache = cache
        self._via = via
        self._context = context
        self._dialled = None

    @property
    def service(self) -> Service | None:
        """The service that was reached; ``None`` before a connection."""
        return self._dialled.service if self._dialled else None

    @property
    def tls(self) -> Tls | None:
        """The TLS mode that the plan demands of this session; ``None`` before a connection."""
        return self._dialled.tls if self._dialled else None

    @property
    def report(self) -> Report | None:
        """What the dial did; ``None`` before a connection."""
        return self._dialled.report if self._dialled else None

    def _plan_for(self, port: int) -> Plan:
        if self._plan is None:
            return Plan.for_port(port)
        if port != self.default_port:
            raise ValueError("port and plan are both given: a plan has its ports")
        return self._plan

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        """What smtplib connects with: a dial, and TLS where it comes first."""
        self._dialled = None
        plan = self._plan_for(port)
        if timeout is _GLOBAL_DEFAULT:
            timeout = socket.getdefaulttimeout()
            limit = DEFAULT_TIMEOUT if timeout is None else timeout
        else:
            limit = timeout
        config = self._config
        if self.source_address is not None:
            source, source_port = cast("tuple[str, int]", self.source_address)
            if source_port:
                raise ValueError("a dial cannot choose its source port: give 0")
            config = dataclasses.replace(config, source=source or None)
        if self.debuglevel > 0:
            print("connect: to", (host, str(plan)), self.source_address, file=sys.stderr)
        dialled = dial(
            host,
            plan=plan,
            timeout=limit,
            config=config,
            ask=self._ask,
            cache=self._cache,
            via=self._via,
        )
        sock = dialled.socket
        try:
            sock.settimeout(seconds_of(timeout))
            # The name that STARTTLS verifies, too; smtplib has it only where it is an argument of
            # the constructor, and with a port if the user wrote one.
            self._host = name_for_tls(host)
            if dialled.tls is Tls.IMPLICIT:
                context = _Handshake(self._context or default_context())
                sock = context.wrap_socket(sock, self._host)
        except BaseException:
            sock.close()
            raise
        self._dialled = dialled
        return sock

    def connect(
        self,
        host: str = "localhost",
        port: int = 0,
        source_address: Any = None,
    ) -> tuple[int, bytes]:
        """Dials, and hears the greeting. The arguments and the result are smtplib's."""
        try:
            return super().connect(host, port, source_address)
        except BaseException:
            # A Ctrl-C during the greeting, too, after which nobody has this object.
            self.close()
            raise

    def starttls(
        self, *legacy: Any, context: ssl.SSLContext | None = None, **named: Any
    ) -> tuple[int, bytes]:
        """Begins TLS, and verifies the host that was dialled.

        Without a *context*, it is the one of the constructor or else
        :func:`ssl.create_default_context`. A key file and a certificate file, as smtplib took them
        before Python 3.12, are loaded into that.
        """
        keyfile = named.pop("keyfile", legacy[0] if legacy else None)
        certfile = named.pop("certfile", legacy[1] if len(legacy) > 1 else None)
        if named or len(legacy) > 2:
            raise TypeError(f"starttls() takes context=, and no {sorted(named) or 'more'}")
        if context is None:
            context = self._context or default_context()
            if certfile is not None:
                context.load_cert_chain(certfile, keyfile)
        elif keyfile is not None or certfile is not None:
            raise ValueError("context and certificate files are both given")
        # All that is done with it is to wrap a socket.
        return super().starttls(context=cast("ssl.SSLContext", _Handshake(context)))

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Sends a command, unless it needs TLS that the session does not have.

        Before TLS, only what leads there is sent; a login never is, whatever the plan says. Raises
        :exc:`TLSRequiredError`.
        """
        if self.sock is not None and not isinstance(self.sock, ssl.SSLSocket):
            words = cmd.split(maxsplit=1)
            word = words[0].lower() if words else ""
            if word == "auth":
                raise TLSRequiredError("no login is sent without TLS")
            if self.tls is not Tls.NONE and word not in _BEFORE_TLS:
                raise TLSRequiredError(f"{word.upper()} is not sent before STARTTLS")
        super().putcmd(cmd, args)


class SMTP(_Dialling):
    """:class:`smtplib.SMTP`, which dials with a plan.

    *port* becomes a plan (:meth:`Plan.for_port`), or *plan* says which services are tried.
    :attr:`tls` says which TLS mode was won. ``"implicit"`` is spoken already; for ``"starttls"``
    call :meth:`starttls`, before which neither mail nor login is sent (:exc:`TLSRequiredError`).
    *context* is the TLS context, by default :func:`ssl.create_default_context`.

    *timeout* is smtplib's; the dial takes as long at most, or 30 seconds where there is none.
    *config*, *ask*, *cache* and *via* are those of :func:`connect`, and the other arguments are
    smtplib's.

    >>> with mailport.SMTP("127.0.0.1", server.port) as smtp:
    ...     code, _ = smtp.starttls(context=server.context)
    ...     _ = smtp.login("user", "password")
    >>> code
    220
    """

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float | None = _GLOBAL_DEFAULT,
        source_address: tuple[str, int] | None = None,
        *,
        plan: Plan | str | None = None,
        config: Config | None = None,
        ask: Ask | None = None,
        cache: Cache | None = None,
        via: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._prepare(plan, config, ask, cache, via, context)
        super().__init__(host, port, local_hostname, timeout, source_address)  # type: ignore[arg-type]

    @classmethod
    def for_submission(
        cls,
        host: str,
        port: int | None = None,
        *,
        context: ssl.SSLContext | None = None,
        plan: Plan | str | None = None,
        timeout: float | None = _GLOBAL_DEFAULT,
        local_hostname: str | None = None,
        source_address: tuple[str, int] | None = None,
        config: Config | None = None,
        ask: Ask | None = None,
        cache: Cache | None = None,
        via: str | None = None,
    ) -> Self:
        """Connects and does the TLS that the plan demands, never less: ready for ``login()``.

        *host* is verified, with *context* or else :func:`ssl.create_default_context`. A failure of
        TLS or of STARTTLS is raised, and never a reason to try another port. The other arguments
        are those of the class.

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
            plan=plan,
            config=config,
            ask=ask,
            cache=cache,
            via=via,
            context=context,
        )
        try:
            smtp.ehlo_or_helo_if_needed()
            if smtp.tls is Tls.STARTTLS:
                smtp.starttls()
                smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp


class SMTP_SSL(_Dialling, smtplib.SMTP_SSL):  # noqa: N801  # the name in smtplib
    """:class:`smtplib.SMTP_SSL`, which dials with a plan whose every service is implicit TLS.

    *port* is that port alone, by default 465, which never falls back; *plan* may name several.
    The arguments are those of :class:`SMTP`.

    >>> smtp = mailport.SMTP_SSL(plan="465:implicit,2465:implicit")
    """

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *,
        timeout: float | None = _GLOBAL_DEFAULT,
        source_address: tuple[str, int] | None = None,
        context: ssl.SSLContext | None = None,
        plan: Plan | str | None = None,
        config: Config | None = None,
        ask: Ask | None = None,
        cache: Cache | None = None,
        via: str | None = None,
    ) -> None:
        context = context or default_context()
        self._prepare(plan, config, ask, cache, via, context)
        if self._plan is not None:
            for service in self._plan.services:
                if service.tls is not Tls.IMPLICIT:
                    raise ValueError(f"SMTP_SSL speaks implicit TLS only, not {service}: use SMTP")
        smtplib.SMTP_SSL.__init__(
            self,
            host,
            port,
            local_hostname,
            timeout=timeout,  # type: ignore[arg-type]
            source_address=source_address,
            context=context,
        )

    def _plan_for(self, port: int) -> Plan:
        return super()._plan_for(port) if self._plan else Plan(f"{port}:implicit")
