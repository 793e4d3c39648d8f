"""Ports with a fate each, a mail server, and a watch over what a test leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

import mailport
from servers import Server, certificate

T = TypeVar("T")
# How long what is left in a loop may take to end, in seconds.
GOODBYE = 5.0


def pytest_report_header() -> str:
    return f"mailport {mailport.__version__} in {mailport.__file__}, Python {sys.version}"


def descriptors() -> dict[int, str]:
    """What this process has open, by number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # The folder itself, which was open while it was read.
    return found


def threads() -> set[str]:
    """Every thread of this process, by number and name."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            found.add(f"{task} {Path(f'/proc/self/task/{task}/comm').read_text().strip()}")
        except OSError:
            continue
    return found


@pytest.fixture(scope="session", autouse=True)
def _what_libraries_keep() -> None:
    """Libuv keeps a pipe for signals from the first loop on."""
    loop = uvloop.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a descriptor or a thread."""
    if "server" in request.fixturenames:
        # It lives longer than the test, and may drop a session a moment later.
        request.getfixturevalue("server")
    before = descriptors(), threads()
    yield
    # An abandoned look-up has its thread until the name service answers.
    until = time.monotonic() + 20
    while True:
        left = {n: what for n, what in descriptors().items() if n not in before[0]}
        running = threads() - before[1]
        if not left and not running:
            return
        if time.monotonic() > until:
            pytest.fail(f"left behind: descriptors {left}, threads {running}")
        gc.collect()
        time.sleep(0.01)


class WatchedLoop(uvloop.Loop):
    """uvloop's, which does not say itself what it watches and waits for."""

    def __init__(self) -> None:
        self.readers: set[int] = set()
        self.timers: list[asyncio.TimerHandle] = []

    def add_reader(self, fd: Any, *arguments: Any) -> None:  # type: ignore[override]
        super().add_reader(fd, *arguments)
        self.readers.add(fd if isinstance(fd, int) else fd.fileno())

    def remove_reader(self, fd: Any) -> Any:
        self.readers.discard(fd if isinstance(fd, int) else fd.fileno())
        return super().remove_reader(fd)

    def call_later(self, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]
        return self.kept(super().call_later(*arguments, **named))

    def call_at(self, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]
        return self.kept(super().call_at(*arguments, **named))

    def kept(self, timer: Any) -> Any:
        self.timers = [timer for timer in self.timers if is_due(timer, self)]
        self.timers.append(timer)
        return timer


def is_due(timer: asyncio.TimerHandle, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is still to come."""
    return not timer.cancelled() and timer.when() > loop.time()


def left_in(loop: asyncio.AbstractEventLoop, before: set[asyncio.Task[Any]]) -> list[object]:
    """Tasks that are new, timers, and descriptors that are watched."""
    left: list[object] = list(asyncio.all_tasks(loop) - before)
    if isinstance(loop, WatchedLoop):
        left += [f"reader of {descriptor}" for descriptor in loop.readers]
        left += [timer for timer in loop.timers if is_due(timer, loop)]
    left += [timer for timer in getattr(loop, "_scheduled", []) if not timer.cancelled()]
    if hasattr(loop, "_selector"):
        own = loop._ssock.fileno()  # type: ignore[attr-defined]
        left += [key.fd for key in loop._selector.get_map().values() if key.fd != own]
    return left


def looked_after(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Fails where the coroutine leaves a task, a timer or a reader in its loop."""

    async def run() -> T:
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        try:
            return await coroutine
        finally:
            until = time.monotonic() + GOODBYE
            # TLS that was closed says goodbye first.
            while (left := left_in(loop, before)) and time.monotonic() < until:
                await asyncio.sleep(0.01)
            assert not left, f"left in the loop: {left}"

    return run()


Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture(params=["asyncio", "uvloop", "anyio"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Runs a coroutine in each kind of loop, and looks at what it leaves there."""
    if request.param == "uvloop":

        def in_uvloop(coroutine: Coroutine[Any, Any, T]) -> T:
            loop = WatchedLoop()
            try:
                return loop.run_until_complete(looked_after(coroutine))
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()

        return in_uvloop
    if request.param == "anyio":
        import anyio

        async def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
            return await coroutine

        return lambda coroutine: anyio.run(awaited, looked_after(coroutine), backend="asyncio")
    return lambda coroutine: asyncio.run(looked_after(coroutine))


@pytest.fixture
def refused() -> Iterator[int]:
    """A port that answers with RST: no listener can get it while the socket holds its number."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def opened() -> Iterator[socket.socket]:
    """A listener that accepts, as the kernel does for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        yield sock


@pytest.fixture
def closing() -> Iterator[int]:
    """A port that closes every connection as soon as its peer has said all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    with listener.accept()[0] as peer:
                        while peer.recv(4096):
                            pass
                except ConnectionError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


class Silent:
    """A port that drops SYNs: a listener whose queue is full."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port: int = self.listener.getsockname()[1]
        self.queued: list[socket.socket] = []
        while True:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            try:
                # Loopback answers while connect runs, unless the SYN was dropped.
                sock.getpeername()
            except OSError:
                sock.close()
                return
            self.queued.append(sock)

    def make_room(self) -> None:
        """The next retransmission is accepted."""
        self.listener.accept()[0].close()

    def accept_everything(self) -> None:
        """From now on the queue is long, and each retransmission is accepted."""
        self.listener.listen(4096)

    def close(self) -> None:
        for sock in [self.listener, *self.queued]:
            sock.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    """A port that drops SYNs."""
    port = Silent()
    yield port
    port.close()


def starttls(*ports: int) -> str:
    """A plan of these ports, all with STARTTLS."""
    return ",".join(f"{port}:starttls" for port in ports)


def outcomes(attempts: tuple[mailport.Attempt, ...]) -> dict[int, set[str]]:
    """The outcomes of each port; a silent one may have a second attempt."""
    found: dict[int, set[str]] = {}
    for attempt in attempts:
        found.setdefault(attempt.service.port, set()).add(str(attempt.outcome))
    return found


# Short enough that a silent port is given up while a test runs.
HASTY = mailport.Config(attempt_delay=0.01, port_delay=0.01, patience=0.02)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the names of the tests' server, and its key."""
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def trusting(authority: tuple[Path, Path]) -> ssl.SSLContext:
    """A context that verifies, and trusts the test's certificate."""
    return ssl.create_default_context(cafile=str(authority[0]))


@pytest.fixture(scope="session")
def server(authority: tuple[Path, Path], trusting: ssl.SSLContext) -> Iterator[Server]:
    """A mail server with STARTTLS and AUTH on one port and implicit TLS on another."""
    with Server(authority, trusting) as server:
        yield server


@pytest.fixture
def mailbox(server: Server) -> list[Any]:
    """What the server received, from now on."""
    server.received.clear()
    return server.received


@pytest.fixture
def unhandled(monkeypatch: pytest.MonkeyPatch) -> list[threading.ExceptHookArgs]:
    """The uncaught exceptions of threads."""
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen
