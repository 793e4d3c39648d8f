"""Ctrl-C in the middle of every phase: it works at once, and nothing is left."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_asyncio import Scripted

import mailport
from conftest import HASTY, Silent, starttls
from mailport import SMTP, Question
from servers import Server

HERE = "127.0.0.1"
# A server that never replies.
LISTENS = [b""] * 9


def by_smtp(plan: str) -> object:
    return SMTP.for_submission(HERE, plan=plan)


def by_streams(plan: str) -> object:
    return asyncio.run(mailport.open_submission(HERE, plan=plan))


@pytest.fixture
def soon() -> Iterator[None]:
    """A Ctrl-C, a moment from now; and the default handler, which raises."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()
    timer.join()
    signal.signal(signal.SIGINT, before)


class AtOnce:
    """Fails what takes longer than it may after the Ctrl-C."""

    def __enter__(self) -> None:
        self.begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.begun < 2


@pytest.mark.usefixtures("soon")
class TestCtrlC:
    """In the middle of..."""

    def test_a_connect(self, silent: Silent) -> None:
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect(HERE, plan=starttls(silent.port))

    def test_a_connect_without_a_limit(self, silent: Silent) -> None:
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect(HERE, plan=starttls(silent.port), timeout=None)

    def test_a_connection_that_is_held(self, silent: Silent, server: Server) -> None:
        config = mailport.Config(port_delay=0.01, patience=30)
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect(HERE, plan=starttls(silent.port, server.port), config=config)

    def test_the_wait_for_a_greeting(self) -> None:
        config = mailport.Config(greeting_wait=30)
        with Scripted(b"") as server, AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect(HERE, plan=starttls(server.port), config=config)

    def test_a_question(self, refused: int, server: Server) -> None:
        def ask(_: Question) -> str:
            time.sleep(30)
            raise AssertionError

        with AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect(HERE, plan=starttls(refused, server.port), ask=ask)

    def test_a_greeting_that_smtp_waits_for(self) -> None:
        with Scripted(b"") as server, AtOnce(), pytest.raises(KeyboardInterrupt):
            SMTP.for_submission(HERE, plan=starttls(server.port))

    def test_a_proxy_that_does_not_reply(self) -> None:
        with Scripted(*LISTENS) as server, AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect("mail.example", via=f"socks5://{HERE}:{server.port}")

    def test_a_command_that_says_nothing(self) -> None:
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            mailport.connect("mail.example", via="command:cat")

    def test_a_handshake_of_tls(self) -> None:
        with Scripted(*LISTENS) as server, AtOnce(), pytest.raises(KeyboardInterrupt):
            SMTP.for_submission(HERE, plan=f"{server.port}:implicit")

    @pytest.mark.parametrize(
        "says",
        [
            [b"220 a\r\n", *LISTENS],
            [b"220 a\r\n", b"250-b\r\n250 STARTTLS\r\n", *LISTENS],
            [b"220 a\r\n", b"250-b\r\n250 STARTTLS\r\n", b"220 go\r\n", *LISTENS],
        ],
        ids=["EHLO", "STARTTLS", "TLS"],
    )
    @pytest.mark.parametrize("call", [by_smtp, by_streams])
    def test_what_leads_to_tls(self, says: list[bytes], call: Callable[[str], object]) -> None:
        with Scripted(*says) as server, AtOnce(), pytest.raises(KeyboardInterrupt):
            call(starttls(server.port))

    def test_a_cache_that_is_flushed(
        self, tmp_path: Path, silent: Silent, opened: socket.socket
    ) -> None:
        cache = mailport.Cache(tmp_path / "cache.json")
        plan = starttls(silent.port, opened.getsockname()[1])
        # While the lock of the file is held, the thread that saves waits.
        with (tmp_path / "cache.json.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            mailport.connect(HERE, plan=plan, config=HASTY, cache=cache).close()
            with AtOnce(), pytest.raises(KeyboardInterrupt):
                cache.flush(30)
        assert cache.flush()

    def test_a_wait_of_a_dial(self, silent: Silent) -> None:
        with mailport.Dial(HERE, plan=starttls(silent.port)) as dial:
            with AtOnce(), pytest.raises(KeyboardInterrupt):
                dial.wait()
            # The dial is as it was.
            assert dial.process() == "pending"

    def test_a_dial_in_asyncio(self, silent: Silent) -> None:
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            asyncio.run(mailport.adial(HERE, plan=starttls(silent.port)))

    def test_a_coroutine_that_is_asked(self, refused: int, server: Server) -> None:
        async def ask(_: Question) -> str:
            await asyncio.sleep(30)
            raise AssertionError

        plan = starttls(refused, server.port)
        with AtOnce(), pytest.raises(KeyboardInterrupt):
            asyncio.run(mailport.adial(HERE, plan=plan, ask=ask))


def test_a_signal_whose_handler_returns_does_not_end_a_dial(silent: Silent) -> None:
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        with pytest.raises(mailport.ConnectError):
            mailport.connect(HERE, plan=starttls(silent.port), timeout=0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) > 5


def test_a_shortage_of_descriptors_is_emfile_and_passes(opened: socket.socket) -> None:
    plan = starttls(opened.getsockname()[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = os.open("/dev/null", os.O_RDONLY)
    os.close(used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    try:
        for call in (
            lambda: mailport.connect(HERE, plan=plan),
            lambda: mailport.connect("localhost", plan=plan),
            lambda: mailport.Dial(HERE, plan=plan),
        ):
            with pytest.raises(OSError, match=r"EMFILE|Too many open files") as caught:
                call()
            assert type(caught.value) is mailport.ConnectError
            assert caught.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    mailport.connect(HERE, plan=plan, config=HASTY).close()
