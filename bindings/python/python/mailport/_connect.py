"""A dial in one call that blocks."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ._dial import UNSET, Ask, Connected, answer_of, check_ask, limits_of, start, take, wait

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._config import DialOptions


def connect(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    timeout: float | None = UNSET,
    source_address: tuple[str, int] | None = None,
    ask: Ask | None = None,
    **options: Unpack[DialOptions],
) -> socket.socket:
    """Connects to a mail server on its best port, like :func:`socket.create_connection`.

    host
        A name or an address, or the pair ``(host, port)``. TLS must verify this name.
    port
        The port that the user has configured, from which the plan follows
        (:meth:`Plan.for_port`). Default ``None``: 587, then 25.
    timeout
        Seconds that the dial may take, look-up included; then the timeout of the socket. ``None``
        is no limit. By default :func:`socket.getdefaulttimeout`, or else 30 for the dial and none
        for the socket.
    source_address
        The local address and port to connect from. An empty host is any address, and port 0 any
        port. With another port no address is tried a second time while it is silent. Default
        ``None``: the kernel chooses.
    ask
        A function that is called with a :class:`Question` before each further service, and returns
        an :class:`Answer`. Default ``None``: the dial does not ask.
    options
        *plan*, *config*, *cache* and *via*: see :class:`DialOptions`.

    The socket alone does not show which TLS mode was reached, so every service of the plan must
    have the same; for another plan use :func:`dial`. Other threads run while the call blocks, and
    Ctrl-C ends it at once.

    Raises :exc:`ConnectError`. Raises :exc:`ValueError` or :exc:`TypeError` for a mistake of the
    caller, before anything is sent.

    >>> with mailport.connect("127.0.0.1", plan=f"{server.port}:starttls") as sock:
    ...     sock.recv(4)
    b'220 '
    """
    return _connected(host, port, timeout, source_address, ask, options, "dial").socket


def dial(
    host: str | tuple[str, int | str],
    port: int | str | None = None,
    *,
    timeout: float | None = UNSET,
    source_address: tuple[str, int] | None = None,
    ask: Ask | None = None,
    **options: Unpack[DialOptions],
) -> Connected:
    """Does what :func:`connect` does, for any plan, and returns the connection with its report.

    The arguments are those of :func:`connect`.

    >>> with mailport.dial("127.0.0.1", plan=f"{server.port}:starttls") as connected:
    ...     connected.service.port == server.port, connected.tls
    (True, <TLSMode.STARTTLS: 'starttls'>)
    >>> print(connected.report)  # doctest: +ELLIPSIS
    connected to ... over IPv4 in ... ms
    """
    return _connected(host, port, timeout, source_address, ask, options, None)


def _connected(
    host: str | tuple[str, int | str],
    port: int | str | None,
    timeout: float | None,
    source_address: tuple[str, int] | None,
    ask: Ask | None,
    options: DialOptions,
    socket_only: str | None,
) -> Connected:
    check_ask(ask)
    limit, socket_timeout = limits_of(timeout)
    name, native = start(
        host, port, limit, source_address, ask is not None, options, socket_only=socket_only
    )
    try:
        while wait(native) == "asking":
            question = native.question()
            if question is not None and ask is not None:
                from ._report import question_of

                answer = answer_of(ask(question_of(question)))
                # A connection in the meantime comes before the answer.
                if native.process() == "asking":
                    native.answer(question["number"], answer, False)
        return take(name, native, socket_timeout)
    finally:
        native.close()
