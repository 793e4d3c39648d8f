"""Runs the examples of a README as they are written: tests/test_readme.py starts it.

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
import types
from pathlib import Path
from types import CodeType
from typing import Any

import mailport
from servers import Server

HOST = "mail.example.com"
PAGE = Path(sys.argv[4])
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
    if "aiosmtplib" in names:
        # The transport of the loop owns the socket, and closes it in a later turn.
        await asyncio.sleep(0.1)
        return
    for name in ("sock", "connected"):
        if name in names:
            getattr(names[name], "socket", names[name]).close()


def message() -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = "from@example.com", "to@example.com", "Hello"
    made.set_content("Hello.")
    return made


def by_django(backend: Any, mailers: dict[str, Any]) -> None:
    """Sends by both ports of the recipe for Django, with the settings of a project."""
    import django
    import django.conf
    import django.core.mail

    project, module = types.ModuleType("project"), types.ModuleType("project.mail")
    module.Backend = backend  # type: ignore[attr-defined]
    sys.modules.update({"project": project, "project.mail": module})
    options = mailers["default"]["OPTIONS"]
    with_ssl = {**options, "port": 465, "use_tls": False, "use_ssl": True}
    if django.VERSION >= (6, 1):
        both = {**mailers, "ssl": {**mailers["default"], "OPTIONS": with_ssl}}
        django.conf.settings.configure(USE_I18N=False, MAILERS=both)
        for name in both:
            sent = django.core.mail.send_mail(
                "Hello", "Hello.", "from@example.com", ["to@example.com"], using=name
            )
            assert sent == 1
        return
    names = {"username": "HOST_USER", "password": "HOST_PASSWORD"}
    django.conf.settings.configure(USE_I18N=False, EMAIL_BACKEND=mailers["default"]["BACKEND"])
    for way in (options, with_ssl):
        for name, value in way.items():
            setattr(django.conf.settings, f"EMAIL_{names.get(name, name.upper())}", value)
        sent = django.core.mail.send_mail("Hello", "Hello.", "from@example.com", ["to@example.com"])
        assert sent == 1


def by_logging(handler: Any) -> None:
    """Logs by the recipe for logging, with credentials and without."""
    arguments = "from@example.com", ["to@example.com"], "Hello"
    for made in (
        handler(HOST, *arguments, ("user", "password")),
        handler((HOST, 2525), *arguments),
    ):
        logger = logging.Logger("page")
        logger.addHandler(made)
        logger.error("Hello.")


def by_flask(mail: Any) -> None:
    """Sends by the recipe for Flask-Mail."""
    import flask
    import flask_mail

    app = flask.Flask("page")
    app.config.update(MAIL_SERVER=HOST, MAIL_PORT=587, MAIL_USERNAME="user")
    app.config.update(MAIL_PASSWORD="password", MAIL_DEFAULT_SENDER="from@example.com")
    made = mail(app)
    with app.app_context():
        made.send(flask_mail.Message("Hello", ["to@example.com"], "Hello."))


async def by_fastapi() -> None:
    """Sends by the recipe for fastapi-mail."""
    import fastapi_mail as library

    fastapi_mail: Any = library  # Its types are those that it converts to.
    settings = fastapi_mail.ConnectionConfig(
        MAIL_USERNAME="user", MAIL_PASSWORD="password", MAIL_FROM="from@example.com",
        MAIL_PORT=587, MAIL_SERVER=HOST, MAIL_STARTTLS=True, MAIL_SSL_TLS=False,
    )  # fmt: skip
    sent = fastapi_mail.MessageSchema(
        subject="Hello", recipients=["to@example.com"], body="Hello.",
        subtype=fastapi_mail.MessageType.plain,
    )  # fmt: skip
    await fastapi_mail.FastMail(settings).send_message(sent)


def by_trio(dial: Any) -> None:
    """Connects by the recipe for trio."""
    import trio

    async def connect() -> None:
        with await dial(HOST) as connected:
            assert connected.service.port == 587

    trio.run(connect)


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
    """Every example, with the number of messages that each has brought to the server."""
    names = {
        "mailport": mailport, "message": message(), "host": HOST,
        # yagmail adds its own domain to a name that has none.
        "user": "user@example.com", "password": "password",
    }  # fmt: skip
    for number, block in enumerate(blocks(), 1):
        own: dict[str, Any] = dict(names)
        await run(block, own)
        # Each blocks, and the server is in its own threads.
        if "Backend" in own:
            backend = own["Backend"]
        if "MAILERS" in own:
            by_django(backend, own["MAILERS"])
        if "Handler" in own:
            by_logging(own["Handler"])
        if "Mail" in own:
            by_flask(own["Mail"])
        if "PlannedConnection" in own:
            await by_fastapi()
        if "trio" in own:
            # Its loop cannot run inside of this one's thread.
            thread = threading.Thread(target=by_trio, args=(own["dial"],))
            thread.start()
            thread.join()
        if "SMTP" in own:
            assert own["SMTP"] is mailport.SMTP
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
        Server(certificate, trusting, (587, 465, 1025)) as server,
    ):
        # Without a login, as for a machine that the server knows.
        server.listen(2525, auth_required=False)
        threading.Thread(target=proxy, args=(listener,), daemon=True).start()
        asyncio.run(page(server))


if __name__ == "__main__":
    main()
