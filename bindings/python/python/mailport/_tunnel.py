"""A connection joined to two descriptors, as a mail reader's tunnel command does."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import select
import socket
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CHUNK = 65536
INPUT, OUTPUT, CONNECTION = "standard input", "standard output", "the connection broke"


class Broken(Exception):
    """The end of a join that failed, and why."""

    def __init__(self, side: str, cause: OSError) -> None:
        super().__init__(f"{side}: {cause.strerror}")
        self.side = side
        self.cause = cause


def join(connection: socket.socket, source: int, sink: int) -> None:
    """Joins a connection to what is read and what is written, until both directions have ended.

    The end of *source* closes the connection for writing only; the end of what the server sends
    closes *sink*. An error in either direction ends both, and raises :exc:`Broken`. A read that
    blocks cannot be called off, so a thread may stay in one of *source* after an error.
    """
    connection.settimeout(None)
    ends: queue.SimpleQueue[Broken | None] = queue.SimpleQueue()

    def send() -> None:
        pump(source, INPUT, connection.fileno(), CONNECTION)
        # It may have been reset by now; the other direction will say so.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    def receive() -> None:
        try:
            pump(connection.fileno(), CONNECTION, sink, OUTPUT)
        finally:
            close(sink)

    def run(direction: Callable[[], None]) -> None:
        try:
            direction()
        except Broken as broken:
            ends.put(broken)
        else:
            ends.put(None)

    for direction in (send, receive):
        threading.Thread(target=run, args=(direction,), daemon=True).start()
    for _ in ("up", "down"):
        broken = ends.get()
        if broken is not None:
            raise broken


def pump(source: int, read_from: str, sink: int, written_to: str) -> None:
    """Copies until the end. Nothing stays behind in a buffer: who talks waits for answers."""
    while True:
        try:
            data = insist(source, select.POLLIN, lambda: os.read(source, CHUNK))
        except OSError as error:
            raise Broken(read_from, error) from None
        if not data:
            return
        try:
            while data:
                data = data[insist(sink, select.POLLOUT, functools.partial(os.write, sink, data)) :]
        except OSError as error:
            raise Broken(written_to, error) from None


def insist(descriptor: int, event: int, act: Callable[[], T]) -> T:
    """Does it when the descriptor is ready, where that does not block: its program may share it."""
    while True:
        try:
            return act()
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, event)
            poll.poll()


def close(sink: int) -> None:
    """Closes it; a socket for writing first, for this may not be its only descriptor."""
    if stat.S_ISSOCK(os.fstat(sink).st_mode):
        # It fails where the other end has gone.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sink)) as same:
            same.shutdown(socket.SHUT_WR)
    os.close(sink)
