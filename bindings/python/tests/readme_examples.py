"""Runs the examples of the README as they are written: tests/test_readme.py starts it.

It is alone in a network where mail.example.com is this machine, so the ports are the real ones.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import email.message
import inspect
import logging.handlers
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import CodeType
from typing import Any

import aiosmtplib
import django.conf
import django.core.mail.backends.smtp

import mailport
from servers import Server

HOST = "mail.example.com"
PAGE = Path(__file__).resolve().parent.parent / "README.md"
# In the place of OpenSSH: what its -W does, without a gateway.
SSH = """#!{python}
import os, socket, sys, threading
assert sys.argv[1] == "-W" and sys.argv[3:] == ["gateway.example"], sys.argv
host, _, port = sys.argv[2].rpartition(":")
sock = socket.create_connection((host.strip("[]"), int(port)))
def send():
    while data := os.read(0, 65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := sock.recv(65536):
    os.write(1, data)
"""


def blocks() -> list[CodeType]:
    """The examples in Python, in order."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [compile(block, str(PAGE), "exec", flags=flags) for block in found]


async def run(block: CodeType, names: dict[str, Any]) -> None:
    """Runs one, and closes what it leaves to its reader."""
    done = eval(block, names)
    if inspect.iscoroutine(done):
        await done
    if "writer" in names:
        names["writer"].close()
    for name in ("sock", "connected"):
        if name in names:
            getattr(names[name], "socket", names[name]).close()


def message() -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = "from@example.com", "to@example.com", "Hello"
    made.set_content("Hello.")
    return made


def by_django(backend: Any) -> None:
    """Sends by both ports of the recipe for Django."""
    django.conf.settings.configure(USE_I18N=False)
    for port, ways in [(587, {"use_tls": True}), (465, {"use_ssl": True})]:
        sent = django.core.mail.EmailMessage("Hello", "Hello.", "from@example.com", ["to@a.test"])
        assert backend(HOST, port, "user", "password", **ways).send_messages([sent]) == 1


def by_logging(handler: Any) -> None:
    """Logs by the recipe for logging."""
    made = handler(HOST, "from@example.com", ["to@example.com"], "Hello", ("user", "password"))
    logger = logging.Logger("page")
    logger.addHandler(made)
    logger.error("Hello.")


def proxy(listener: socket.socket) -> None:
    """One connection by SOCKS5, to the name that is asked for; bytes go back only."""
    near = listener.accept()[0]
    near.recv(64)
    near.sendall(b"\x05\x00")
    asked = near.recv(512)
    length = asked[4]
    name, port = asked[5 : 5 + length].decode(), int.from_bytes(asked[5 + length :], "big")
    with near, socket.create_connection((name, port)) as far:
        near.sendall(b"\x05\x00\x00\x01" + bytes(6))
        near.sendall(far.recv(4096))
        # The one who dialled closes it, with the greeting unread.
        with contextlib.suppress(ConnectionResetError):
            near.recv(1)


async def page(server: Server) -> None:
    """Every example, with what each has brought to the server."""
    names = {
        "mailport": mailport, "message": message(), "aiosmtplib": aiosmtplib, "django": django,
        "email": email, "logging": logging, "host": HOST, "user": "user", "password": "password",
    }  # fmt: skip
    for number, block in enumerate(blocks(), 1):
        own = dict(names)
        await run(block, own)
        # Each blocks, and the server is in threads of its own.
        if "Backend" in own:
            by_django(own["Backend"])
        if "Handler" in own:
            by_logging(own["Handler"])
        print(f"example {number}: {len(server.received)} messages", flush=True)
        server.received.clear()


def main() -> None:
    folder, certificate = Path(sys.argv[1]), (Path(sys.argv[2]), Path(sys.argv[3]))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ssh = folder / "ssh"
    ssh.write_text(SSH.format(python=sys.executable))
    ssh.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    os.environ["XDG_CACHE_HOME"] = str(folder)
    # What the system trusts, for the page gives no context.
    os.environ["SSL_CERT_FILE"] = str(certificate[0])
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with (
        socket.create_server(("127.0.0.1", 1080)) as listener,
        Server(certificate, trusting, (587, 465, 25)) as server,
    ):
        threading.Thread(target=proxy, args=(listener,), daemon=True).start()
        asyncio.run(page(server))


if __name__ == "__main__":
    main()
