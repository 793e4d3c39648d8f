"""A cache, and ways through."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mailport
from conftest import HASTY, Silent, starttls
from mailport import SMTP, Cache, Service, TLSMode
from servers import Server

HERE = "127.0.0.1"


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_a_later_dial_does_not_wait_for_what_an_earlier_one_found_silent(
    silent: Silent, opened: socket.socket
) -> None:
    cache = Cache()
    plan = starttls(silent.port, port_of(opened))
    config = mailport.Config(port_delay=0.3, patience=0.4)
    first = mailport.dial(HERE, plan=plan, config=config, cache=cache)
    second = mailport.dial(HERE, plan=plan, config=config, cache=cache)
    first.socket.close()
    second.socket.close()
    assert first.report.elapsed >= 0.3
    assert second.report.elapsed < 0.3
    assert second.report.attempts[1].reason.endswith("remembered as bad")
    assert cache.forget(HERE) > 0
    assert cache.clear() == 0


def test_a_cache_lasts_in_its_file(tmp_path: Path, silent: Silent, opened: socket.socket) -> None:
    path = tmp_path / "folder" / "cache.json"
    plan = starttls(silent.port, port_of(opened))
    cache = Cache(path)
    mailport.connect(HERE, plan=plan, config=HASTY, cache=cache).close()
    assert cache.flush()
    assert path.exists()
    again = Cache(str(path))
    assert (again.path, repr(again)) == (path, f"Cache({str(path)!r})")
    config = mailport.Config(port_delay=0.3, patience=0.4)
    connected = mailport.dial(HERE, plan=plan, config=config, cache=again)
    connected.socket.close()
    assert connected.report.elapsed < 0.3


def test_what_a_program_remembers_before_it_exits_is_saved(
    tmp_path: Path, opened: socket.socket
) -> None:
    program = """
import sys, mailport
from mailport import Cache
cache = Cache(sys.argv[1])
mailport.connect("127.0.0.1", plan=sys.argv[2], cache=cache).close()
assert cache.flush(60)
# The next save is not due for a second.
mailport.connect("localhost", plan=sys.argv[2], cache=cache).close()
"""

    def is_saved(turn: int) -> bool:
        path = tmp_path / f"{turn}.json"
        plan = f"{port_of(opened)}:starttls"
        subprocess.run([sys.executable, "-c", program, path, plan], check=True)
        text = path.read_text()
        assert '"127.0.0.1"' in text
        return '"localhost"' in text

    # A busy machine may need longer than the 50 ms that the end of a process waits for.
    assert any(is_saved(turn) for turn in range(20))


def test_the_shared_cache_is_used_by_default_and_can_be_turned_off(
    refused: int, opened: socket.socket
) -> None:
    shared = Cache.shared()
    assert shared is Cache.shared()
    assert repr(shared) == "Cache.shared()"
    assert shared.path is None
    plan = starttls(refused, port_of(opened))
    mailport.connect(HERE, plan=plan).close()
    mailport.connect(HERE, plan=plan, cache=shared).close()
    mailport.connect(HERE, plan=plan, cache=False).close()
    assert shared.forget(HERE) == 0, "nothing of loopback addresses"
    service = Service(port_of(opened), TLSMode.STARTTLS)
    assert not shared.remember_answer("192.0.2.1", service, "fall-back")
    with pytest.raises(TypeError, match="Cache or False"):
        mailport.connect(HERE, plan=plan, cache=True)  # type: ignore[arg-type]


def test_the_default_cache_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.default().path == tmp_path / "mailport" / "cache.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.default().path == tmp_path / ".cache" / "mailport" / "cache.json"
    monkeypatch.delenv("HOME")
    assert Cache.default().path is None


def test_a_remembered_answer_is_not_asked_for_again(refused: int, opened: socket.socket) -> None:
    cache, asked = Cache(), []

    def ask(question: mailport.Question) -> str:
        asked.append(question)
        return "give-up"

    service = Service(port_of(opened), TLSMode.STARTTLS)
    assert cache.remember_answer(HERE, service, "fall-back")
    plan = starttls(refused, service.port)
    mailport.connect(HERE, plan=plan, ask=ask, cache=cache).close()
    assert asked == []
    with pytest.raises(ValueError, match="perhaps"):
        cache.remember_answer(HERE, service, "perhaps")


def test_a_pool_of_threads_shares_a_cache(
    tmp_path: Path, refused: int, opened: socket.socket,
    unhandled: list[threading.ExceptHookArgs],
) -> None:  # fmt: skip
    plan = mailport.Plan(starttls(refused, port_of(opened)))
    for cache in [Cache(), Cache(tmp_path / "cache.json")]:

        def work(cache: Cache = cache) -> None:
            for _ in range(10):
                mailport.connect(HERE, plan=plan, cache=cache).close()
                cache.forget("other.example")
                cache.flush(0.001)
            asyncio.run(dials(cache))

        async def dials(cache: Cache) -> None:
            every = [mailport.aconnect(HERE, plan=plan, cache=cache) for _ in range(10)]
            for sock in await asyncio.gather(*every):
                sock.close()

        threads = [threading.Thread(target=work) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert unhandled == []
        assert cache.flush()
        assert cache.clear() > 0
        assert cache.flush()


# A command that joins its standard input and output to a port.
TUNNEL = """
import os, socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
# The end is a RST, for the tests' server does not mind a mere end of what it reads.
sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
def copy():
    try:
        while data := os.read(0, 65536):
            sock.sendall(data)
    finally:
        os._exit(0)
threading.Thread(target=copy, daemon=True).start()
while data := sock.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def tunnel(tmp_path: Path) -> str:
    script = tmp_path / "tunnel.py"
    script.write_text(TUNNEL)
    return f"command:{sys.executable} {script} %h %p"


def test_a_command_is_a_way_through(tunnel: str, refused: int, server: Server) -> None:
    plan = starttls(refused, server.port)
    with mailport.connect(HERE, plan=plan, via=tunnel) as sock:
        assert sock.family == socket.AF_UNIX
        assert sock.recv(4) == b"220 "
    with SMTP.for_submission("localhost", plan=plan, context=server.context, via=tunnel) as smtp:
        assert smtp.login("user", "password")[0] == 235
        assert smtp.report is not None
        assert smtp.report.via == f"command:{sys.executable}"
        # Never localhost, which is another machine for the server at the far end.
        assert smtp.local_hostname == "[127.0.0.1]"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_streams_go_through_a_command(tunnel: str, server: Server, loop: str) -> None:
    import uvloop

    async def main() -> None:
        reader, writer = await mailport.open_submission(
            "localhost", plan=starttls(server.port), ssl=server.context, via=tunnel
        )
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        writer.close()
        await writer.wait_closed()

    made = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[loop]()
    try:
        made.run_until_complete(main())
    finally:
        made.close()


def test_a_proxy_that_is_not_there_is_reported(refused: int) -> None:
    via = f"socks5://user:secret@{HERE}:{refused}"
    with pytest.raises(mailport.ConnectError, match=f"socks5://{HERE}:{refused}") as caught:
        mailport.connect("mail.example", via=via)
    assert "secret" not in f"{caught.value!r} {caught.value.report}"
    assert caught.value.report is not None
    assert caught.value.report.via == f"socks5://{HERE}:{refused}"


@pytest.mark.parametrize("via", ["socks4://a", "http://a:1", "command:", "socks5://u:pw@a:x"])
def test_a_way_that_cannot_be_is_misuse_and_not_repeated(via: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]") as caught:
        mailport.connect(HERE, via=via)
    assert "pw" not in str(caught.value)
