"""Sends a message to a host in every way, and prints what came of each."""

from __future__ import annotations

import asyncio
import base64
import email.message
import email.policy
import json
import smtplib
import ssl
import sys
from collections.abc import Callable
from typing import Any

import aiosmtplib
import uvloop

import mailport

USER, PASSWORD = "reader", "secret"
SENDER, READER = "sender@example.test", "reader@example.test"
# The service that was reached, and the cipher as the ssl module says it.
Sent = tuple["mailport.Service | None", Any]


def message(subject: str) -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, READER, subject
    made.set_content(".\n..\nthe last line\n")
    return made


def by_smtp(host: str, port: int, subject: str) -> Sent:
    """As a user of smtplib does."""
    with mailport.SMTP.for_submission(host, port) as smtp:
        smtp.login(USER, PASSWORD)
        smtp.send_message(message(subject))
        assert isinstance(smtp.sock, ssl.SSLSocket)
        return smtp.service, smtp.sock.cipher()


async def by_streams(host: str, port: int, subject: str) -> Sent:
    """As a program does that speaks SMTP itself."""
    reader, writer = await mailport.open_submission(host, port)

    async def command(text: bytes, expected: bytes) -> None:
        writer.write(text + b"\r\n")
        while (line := await reader.readline())[3:4] == b"-":
            pass
        if not line.startswith(expected):
            raise smtplib.SMTPException(f"{text!r} is answered by {line!r}")

    login = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
    lines = message(subject).as_bytes(policy=email.policy.SMTP).splitlines()
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    await command(b"EHLO client.example.test", b"250")
    await command(b"AUTH PLAIN " + login, b"235")
    await command(f"MAIL FROM:<{SENDER}>".encode(), b"250")
    await command(f"RCPT TO:<{READER}>".encode(), b"250")
    await command(b"DATA", b"354")
    await command(stuffed + b"\r\n.", b"250")
    await command(b"QUIT", b"221")
    cipher = writer.get_extra_info("cipher")
    writer.close()
    await writer.wait_closed()
    return writer.connected.service, cipher


async def by_aiosmtplib(host: str, port: int, subject: str) -> Sent:
    """As the package page's recipe does."""
    connected = await mailport.adial(host, port)
    smtp = aiosmtplib.SMTP(
        hostname=host,
        sock=connected.socket,
        use_tls=connected.tls == "implicit",
        start_tls=connected.tls == "starttls",
    )
    async with smtp:
        await smtp.login(USER, PASSWORD)
        await smtp.send_message(message(subject))
        return connected.service, smtp.transport and smtp.transport.get_extra_info("cipher")


def in_uvloop(host: str, port: int, subject: str) -> Sent:
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(by_streams(host, port, subject))
    finally:
        loop.close()


WAYS: dict[str, Callable[[str, int, str], Sent]] = {
    "smtplib": by_smtp,
    "asyncio": lambda *words: asyncio.run(by_streams(*words)),
    "uvloop": in_uvloop,
    "aiosmtplib": lambda *words: asyncio.run(by_aiosmtplib(*words)),
}


def main() -> None:
    host, port, subject = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    for way, send in WAYS.items():
        said: dict[str, object] = {"way": way, "subject": f"{way}: {subject}"}
        try:
            service, cipher = send(host, port, f"{way}: {subject}")
            assert service is not None
            said |= {"service": str(service), "cipher": cipher and cipher[0]}
        except (OSError, smtplib.SMTPException, aiosmtplib.SMTPException) as error:
            # What a library raises may have the cause behind it.
            causes: list[BaseException] = [error]
            while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
                causes.append(cause)
            said |= {
                "trouble": " <- ".join(f"{type(cause).__name__}: {cause}" for cause in causes),
            }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
