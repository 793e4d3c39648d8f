"""Sends a letter: WAY HOST PORT FROM TO SUBJECT CERTIFICATE; the way is smtplib, asyncio or aiosmtplib."""

import asyncio
import smtplib
import ssl
import sys

WAY, HOST, PORT, FROM, TO, SUBJECT, CERTIFICATE = sys.argv[1:]
PORT = int(PORT)
LETTER = f"From: {FROM}\r\nTo: {TO}\r\nSubject: {SUBJECT}\r\n\r\nHello.\r\n"
CONTEXT = ssl.create_default_context(cafile=CERTIFICATE)


def by_smtplib():
    with smtplib.SMTP(HOST, PORT, timeout=60) as client:
        client.starttls(context=CONTEXT)
        client.sendmail(FROM, TO, LETTER)


async def by_asyncio():
    reader, writer = await asyncio.open_connection(HOST, PORT)

    async def say(line=None):
        if line is not None:
            writer.write(line.encode() + b"\r\n")
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        assert reply[:1] in (b"2", b"3"), reply

    await say()
    await say("EHLO client.example.test")
    await say("STARTTLS")
    # StreamWriter.start_tls is newer than Python 3.10.
    transport, protocol = writer.transport, writer.transport.get_protocol()
    loop = asyncio.get_running_loop()
    writer._transport = await loop.start_tls(transport, protocol, CONTEXT, server_hostname=HOST)
    reader._transport = writer._transport
    for line in ("EHLO client.example.test", f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>", "DATA"):
        await say(line)
    await say(LETTER + ".")
    await say("QUIT")


async def by_aiosmtplib():
    import aiosmtplib

    await aiosmtplib.send(
        LETTER, FROM, [TO], hostname=HOST, port=PORT, start_tls=True, tls_context=CONTEXT
    )


if WAY == "smtplib":
    by_smtplib()
else:
    asyncio.run({"asyncio": by_asyncio, "aiosmtplib": by_aiosmtplib}[WAY]())
