"""``--stdio``, of ``python -m mailport`` as of the command: both are held to the same."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_command import HERE, port_of

from conftest import ENVIRONMENT, starttls

LONG = bytes(number % 251 for number in range(3_000_000))


class Tunnel:
    """A tunnel that stands, with pipes at its ends: the greeting has come through."""

    def __init__(self, program: list[str]) -> None:
        with socket.create_server((HERE, 0)) as listener:
            listener.settimeout(20)
            self.running = subprocess.Popen(
                [*program, HERE, "--plan", starttls(port_of(listener)), "--stdio"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=ENVIRONMENT,
            )  # fmt: skip
            self.server = listener.accept()[0]
        assert self.running.stdin is not None
        assert self.running.stdout is not None
        self.stdin, self.stdout = self.running.stdin, self.running.stdout
        self.server.settimeout(20)
        self.server.sendall(b"220 ready\r\n")
        assert self.stdout.readline() == b"220 ready\r\n", "nothing but the server's bytes"

    def ended(self) -> tuple[int, str]:
        """Its exit status, and what it has said for people."""
        status = self.running.wait(timeout=20)
        assert self.running.stderr is not None
        return status, self.running.stderr.read().decode()

    def close(self) -> None:
        self.running.kill()
        self.running.wait()
        self.server.close()
        for pipe in (self.running.stdin, self.running.stdout, self.running.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue


@pytest.fixture
def tunnel(program: list[str]) -> Iterator[Tunnel]:
    made = Tunnel(program)
    yield made
    made.close()


def everything(server: socket.socket) -> bytes:
    """What comes until the end."""
    return b"".join(iter(lambda: server.recv(65536), b""))


def test_a_tunnel_carries_a_session_and_passes_the_end_of_its_input_on(tunnel: Tunnel) -> None:
    tunnel.stdin.write(b"EHLO localhost\r\nQUIT\r\n")
    tunnel.stdin.close()
    assert everything(tunnel.server) == b"EHLO localhost\r\nQUIT\r\n"
    # Half closed: the client has said all, and is still listening.
    tunnel.server.sendall(b"221 bye\r\n")
    tunnel.server.close()
    assert tunnel.stdout.read() == b"221 bye\r\n"
    status, said = tunnel.ended()
    assert status == 0
    assert said.startswith("connected to ")
    assert said.count("\n") == 1


def test_a_tunnel_ends_its_output_when_the_server_does_though_its_input_is_open(
    tunnel: Tunnel,
) -> None:
    tunnel.server.sendall(b"421 closing\r\n")
    tunnel.server.shutdown(socket.SHUT_WR)
    assert tunnel.stdout.read() == b"421 closing\r\n"
    # It still takes what the mail reader says.
    tunnel.stdin.write(b"QUIT\r\n")
    tunnel.stdin.close()
    assert everything(tunnel.server) == b"QUIT\r\n"
    assert tunnel.ended()[0] == 0


def test_a_tunnel_that_is_reset_does_not_wait_for_its_input(tunnel: Tunnel) -> None:
    linger = struct.pack("ii", 1, 0)
    tunnel.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    tunnel.server.close()
    status, said = tunnel.ended()
    assert status == 1
    assert "mailport: the connection broke: Connection reset by peer" in said


def test_a_tunnel_whose_reader_has_gone_ends_quietly(tunnel: Tunnel) -> None:
    tunnel.stdout.close()
    with pytest.raises(ConnectionError):  # noqa: PT012  # which one it is that finds out
        while True:
            tunnel.server.sendall(b"250 ok\r\n")
    status, said = tunnel.ended()
    assert (status, said.count("\n")) == (0, 1)


def test_a_tunnel_on_one_socket_ends_it_one_way_when_the_server_does(program: list[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, socket.create_server((HERE, 0)) as listener:
        listener.settimeout(20)
        line = [*program, HERE, "--plan", starttls(port_of(listener)), "--stdio"]
        # As whoever starts a command for its socket does: it is the input, and the output.
        running = subprocess.Popen(
            line,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        theirs.close()
        with listener.accept()[0] as server:
            server.settimeout(20)
            server.sendall(b"421 closing\r\n")
            server.shutdown(socket.SHUT_WR)
            ours.settimeout(20)
            assert everything(ours) == b"421 closing\r\n"
            ours.sendall(b"QUIT\r\n")
            ours.shutdown(socket.SHUT_WR)
            assert everything(server) == b"QUIT\r\n"
        assert running.wait(timeout=20) == 0


def test_more_than_any_buffer_holds_arrives_whole_through_what_does_not_block(
    program: list[str],
) -> None:
    ours, theirs = socket.socketpair()
    with ours, socket.create_server((HERE, 0)) as listener, ThreadPoolExecutor() as threads:
        listener.settimeout(20)
        line = [*program, HERE, "--plan", starttls(port_of(listener)), "--stdio"]
        # Shared with whoever started it, as the flag is.
        theirs.setblocking(False)
        running = subprocess.Popen(
            line,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        theirs.close()

        def echo(server: socket.socket) -> None:
            with server:
                while data := server.recv(65536):
                    server.sendall(data)

        echoing = threads.submit(echo, listener.accept()[0])
        got = threads.submit(everything, ours)
        ours.sendall(LONG)
        ours.shutdown(socket.SHUT_WR)
        assert got.result(60) == LONG
        echoing.result(20)
        assert running.wait(timeout=20) == 0
