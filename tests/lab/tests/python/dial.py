"""Dials every host that its input names, in the way of its argument, and prints what came of it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable

import uvloop

import mailport

FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
Result = tuple[socket.socket, "mailport.Report | None"]


def by_connect(host: str) -> Result:
    """Gives a socket, which knows where it leads, and no report."""
    return mailport.connect(host, cache=False), None


def by_dial(host: str) -> Result:
    connected = mailport.dial(host, cache=False)
    return connected.socket, connected.report


def in_loop(new: Callable[[], asyncio.AbstractEventLoop], host: str) -> Result:
    loop = new()
    try:
        connected = loop.run_until_complete(mailport.adial(host, cache=False))
    finally:
        loop.close()
    return connected.socket, connected.report


WAYS: dict[str, Callable[[str], Result]] = {
    "connect": by_connect,
    "dial": by_dial,
    "asyncio": lambda host: in_loop(asyncio.new_event_loop, host),
    "uvloop": lambda host: in_loop(uvloop.new_event_loop, host),
}


# Where two connections are established at one instant in virtual time, a kernel reports one after
# the other, and the first may begin an attempt that is cancelled at once.
LAST_MOMENT = 0.005


def reported(report: mailport.Report) -> dict[str, object]:
    """What a report says of itself."""
    won = report.winner
    return {
        "winner": won and [won.service.port, won.family],
        "attempts": [
            (a.service.port, a.family, a.outcome)
            for a in report.attempts
            if a.outcome != "cancelled" or a.started < report.elapsed - LAST_MOMENT
        ],
        "looked_up": (report.lookup and report.lookup.ended) or report.elapsed,
    }


def main() -> None:
    dial = WAYS[sys.argv[1]]
    for line in sys.stdin:
        begun = time.monotonic()
        try:
            connection, report = dial(line.strip())
        except mailport.ConnectError as error:
            said: dict[str, object] = {"reached": None, "error": str(error)}
        else:
            with connection:
                port = connection.getpeername()[1]
                said = {"reached": [port, FAMILIES[connection.family]]}
            if report is not None:
                said |= reported(report)
        print(json.dumps({**said, "took": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main()
