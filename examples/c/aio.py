"""A dial in asyncio, through ctypes: for a program that cannot use the package in bindings/python.

    python3 aio.py mail.example.com
    python3 aio.py mail.example.com 465:implicit,587:starttls
"""

import asyncio
import ctypes
import os
import sys

mailport = ctypes.CDLL("libmailport.so.0")
mailport.mailport_options_new.restype = ctypes.c_void_p
for name in ("mailport_options_message", "mailport_dial_message", "mailport_last_error_message"):
    getattr(mailport, name).restype = ctypes.c_char_p


def connect(host: str, options: ctypes.c_void_p) -> "asyncio.Future[tuple[int, str]]":
    """Returns a descriptor, or -1, and the message of the dial."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    dial = ctypes.c_void_p()
    status = mailport.mailport_dial_start(host.encode(), 0, options, ctypes.byref(dial))
    if status < 0:
        done.set_result((-1, mailport.mailport_last_error_message().decode()))
        return done

    def ended(status):
        connected = ctypes.c_int(-1)
        if status == 0:
            mailport.mailport_dial_take_fd(dial, ctypes.byref(connected))
        done.set_result((connected.value, mailport.mailport_dial_message(dial).decode()))
        mailport.mailport_dial_free(dial)

    def readable():
        status = mailport.mailport_dial_process(dial)
        if status <= 0:
            loop.remove_reader(fd)
            ended(status)

    fd = mailport.mailport_dial_fd(dial)
    loop.add_reader(fd, readable)
    return done


async def main() -> int:
    """Dials and prints the result."""
    if len(sys.argv) < 2:
        print("usage: aio.py HOST [PLAN]", file=sys.stderr)
        return 2
    options = ctypes.c_void_p(mailport.mailport_options_new())
    if len(sys.argv) > 2 and mailport.mailport_options_set_plan(options, sys.argv[2].encode(), 0) < 0:
        print(f"aio.py: {mailport.mailport_options_message(options).decode()}", file=sys.stderr)
        return 2
    fd, message = await connect(sys.argv[1], options)
    mailport.mailport_options_free(options)
    print(message, file=sys.stderr if fd < 0 else sys.stdout)
    if fd < 0:
        return 1
    os.close(fd)  # use TLS as mailport_dial_tls() says, then SMTP
    return 0


sys.exit(asyncio.run(main()))
