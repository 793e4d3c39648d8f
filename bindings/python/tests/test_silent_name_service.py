"""Real look-ups, in a network namespace whose name service is silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

# Loopback alone, and a name service there that hears everything and says nothing.
SCENE = """
import asyncio, os, pathlib, socket, subprocess, sys, time
import mailport
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))

def threads():
    return len(os.listdir("/proc/self/task"))

def descriptors():
    # An abandoned look-up has its thread, and a socket, until it ends.
    until = time.monotonic() + 20
    while threads() > 1 and time.monotonic() < until:
        time.sleep(0.05)
    return set(os.listdir("/proc/self/fd"))
"""


def in_namespace(folder: Path, body: str) -> subprocess.Popen[str]:
    """Runs Python code as root of a namespace with a separate network and name service."""
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:3 attempts:1\n")
    script = folder / "scene.py"
    script.write_text(SCENE + textwrap.dedent(body))
    bound = f"mount --bind {resolv} /etc/resolv.conf && exec {sys.executable} {script}"
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return subprocess.Popen(
        ["unshare", *root, "--net", "--mount", "--uts", "sh", "-c", bound],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def succeeded(running: subprocess.Popen[str]) -> str:
    said, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    return said


def test_ctrl_c_ends_a_look_up_that_nobody_answers(tmp_path: Path) -> None:
    running = in_namespace(
        tmp_path,
        """
        before = descriptors()
        print("looking up", flush=True)
        begun = time.monotonic()
        try:
            mailport.connect("mail.example.com")
        except KeyboardInterrupt:
            print("ended at once", time.monotonic() - begun < 2, flush=True)
            print("nothing left", descriptors() == before)
        """,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "looking up\n"
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    assert succeeded(running) == "ended at once True\nnothing left True\n"


def test_a_look_up_that_nobody_answers_ends_with_the_dial(tmp_path: Path) -> None:
    running = in_namespace(
        tmp_path,
        """
        async def main():
            # The loop goes on meanwhile.
            turns = 0
            task = asyncio.ensure_future(mailport.aconnect("mail.example.com", timeout=1))
            while not task.done():
                await asyncio.sleep(0.01)
                turns += 1
            print(turns > 50, task.exception())
            cancelled = asyncio.ensure_future(mailport.aconnect("mail.example.org"))
            await asyncio.sleep(0.1)
            cancelled.cancel()
            await asyncio.wait({cancelled})
            print(cancelled.cancelled())

        before = descriptors()
        asyncio.run(main())
        print(descriptors() == before)
        """,
    )
    first, second, third = succeeded(running).splitlines()
    assert first.startswith("True mail.example.com: no address found before the timeout")
    assert (second, third) == ("True", "True")


def test_a_thousand_look_ups_share_few_threads(tmp_path: Path) -> None:
    running = in_namespace(
        tmp_path,
        """
        async def main():
            every = [
                mailport.aconnect(f"mail{n % 50}.example.com", timeout=2)
                for n in range(1000)
            ]
            tasks = asyncio.gather(*every, return_exceptions=True)
            await asyncio.sleep(1)
            print(threads() <= 1 + 64)
            print({type(result).__name__ for result in await tasks})

        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
        asyncio.run(main())
        """,
    )
    assert succeeded(running) == "True\n{'ConnectTimeoutError'}\n"


def test_smtp_asks_no_name_service_for_the_name_of_this_machine(tmp_path: Path) -> None:
    running = in_namespace(
        tmp_path,
        """
        import threading
        socket.sethostname("laptop")
        silent.setblocking(False)

        def serve(listener):
            with listener.accept()[0] as peer:
                peer.sendall(b"220 here\\r\\n")
                for code in (b"250", b"221"):
                    print(peer.recv(4096).decode().strip(), flush=True)
                    peer.sendall(code + b" here\\r\\n")

        def failed(host, port):
            begun = time.monotonic()
            try:
                mailport.SMTP(host, port, timeout=2)
            except OSError as error:
                print(type(error).__name__, 1.9 < time.monotonic() - begun < 10)

        def was_asked():
            try:
                return bool(silent.recv(512))
            except BlockingIOError:
                return False

        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            with mailport.SMTP("127.0.0.1", port, timeout=2) as smtp:
                smtp.ehlo()
            thread.join()
            # Nothing greets now.
            failed("127.0.0.1", port)
        print("asked", was_asked())
        # What smtplib does, and what the host's name costs.
        socket.getfqdn()
        print("asked", was_asked())
        failed("mail.example.com", 587)
        """,
    )
    assert succeeded(running).splitlines() == [
        "ehlo [127.0.0.1]",
        "QUIT",
        "SMTPServerDisconnected True",
        "asked False",
        "asked True",
        "ConnectTimeoutError True",
    ]
