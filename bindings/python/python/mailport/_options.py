"""The command line of ``python -m mailport``: the options of the command's ``mailport connect``."""

from __future__ import annotations

import argparse
import re
import typing
from pathlib import Path

from ._cache import Cache
from ._native import __version__
from ._plan import Families

UNITS = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3,
    "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0,
}  # fmt: skip
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
EPILOG = """exit status: 0 connected, 1 not connected (or the result could not be written; with \
--stdio, the connection broke later), 2 the command line is wrong"""


def duration(text: str) -> float:
    """Reads ``250ms``, ``1.3s``, ``2min``, ``1min 30s``."""
    if text == "0":
        return 0.0
    parts = DURATION.findall(text)
    if DURATION.sub("", text).strip() or not parts:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            said = f"`{text}` has no unit: write {text}s for seconds, {text}ms for milliseconds"
        else:
            said = f"`{text}` is not a duration such as 250ms or 1.3s"
        raise argparse.ArgumentTypeError(said)
    for _, unit in parts:
        if unit not in UNITS:
            raise argparse.ArgumentTypeError(f"`{unit}` is not a unit: write ms, s, min or h")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def patience(text: str) -> float | None:
    """Reads a duration, or ``automatic``."""
    return None if text == "automatic" else duration(text)


def greeting_wait(text: str) -> float | None:
    """Reads a duration, ``off`` or ``automatic``."""
    if text == "off":
        return 0.0
    given = patience(text)
    if given == 0:
        raise argparse.ArgumentTypeError("the greeting_wait of 0 is too short: at least 10ms, or off")
    return given


def cache(text: str) -> Cache | None:
    """Reads the name of a file, or ``off``."""
    if not text:
        raise argparse.ArgumentTypeError("a file must have a name")
    return None if text == "off" else Cache(text)


def picture(text: str) -> Path:
    """Reads the name of a file for a picture."""
    if not text:
        raise argparse.ArgumentTypeError("a file must have a name")
    if text == "-":
        raise argparse.ArgumentTypeError(
            "a picture goes to a file, not to standard output (or write ./-)"
        )
    return Path(text)


def port(text: str) -> int:
    """Reads a port number."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"`{text}` is not a port number from 1 to 65535")
    return int(text)


def mark(text: str) -> int:
    """Reads a firewall mark, in decimal or as ``0x...``."""
    if not re.fullmatch(r"[0-9]+|0x[0-9a-fA-F]+", text) or int(text, 0) > 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 0 to 0xffffffff")
    return int(text, 0)


def parser() -> argparse.ArgumentParser:
    """The options, which are the command's."""
    made = argparse.ArgumentParser(
        prog="python -m mailport",
        description="Dials a mail server once, and says which port was reached and why. "
        "Nothing is sent to the server.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    made.add_argument("host", metavar="HOST", help="the server: a name, or an address")
    made.add_argument("--version", action="version", version=f"mailport {__version__}")
    what = made.add_argument_group("what to try")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--plan", help="the services to try [default: submission]")
    which.add_argument("--port", type=port, help="take the plan that replaces this port")
    what.add_argument(
        "--allow-cleartext", action="store_true", help="accept services without TLS in the plan"
    )
    what.add_argument(
        "--sequential", action="store_true", help="wait out a silent service before the next is begun"
    )
    what.add_argument(
        "--family",
        choices=typing.get_args(Families),
        default="any",
        help="the address families to use, and which goes first [default: any]",
    )
    what.add_argument(
        "--ask", action="store_true", help="ask on the terminal before another service is tried"
    )
    what.add_argument(
        "--try-failed-last", action="store_true", help="try what is remembered as bad last instead of first"
    )
    times = made.add_argument_group("times (such as 250ms, 1.3s, 2min)")
    for name, default, read, said in [
        ("--attempt-delay", "250ms", duration, "silence of one address, then the next besides"),
        ("--port-delay", "1s", duration, "silence of a whole service, then the next besides"),
        ("--patience", "automatic", patience, "how long silence may hold back a later service"),
        ("--greeting-wait", "automatic", greeting_wait, "how long to wait for the server's greeting"),
        ("--timeout", "30s", duration, "how long everything may take"),
    ]:
        times.add_argument(
            name, metavar="TIME", type=read, default=default, help=f"{said} [default: {default}]"
        )
    where = made.add_argument_group("where to leave from")
    where.add_argument("--source", metavar="ADDRESS", help="the address to connect from")
    where.add_argument("--device", metavar="INTERFACE", help="the interface to connect through")
    where.add_argument("--mark", type=mark, help="the firewall mark of every packet")
    where.add_argument("--via", help="go through a SOCKS5 proxy or a command")
    keeps = made.add_argument_group("what to remember")
    keeps.add_argument(
        "--cache",
        metavar="FILE|off",
        type=cache,
        default=argparse.SUPPRESS,
        help="the cache of earlier dials [default: $XDG_CACHE_HOME/mailport/cache.json]",
    )
    prints = made.add_argument_group("what to print")
    prints.add_argument("--explain", action="store_true", help="draw every attempt on a scale")
    prints.add_argument(
        "--svg",
        metavar="FILE",
        type=picture,
        help="draw every attempt as a picture, into this file",
    )
    only = prints.add_mutually_exclusive_group()
    only.add_argument("--json", action="store_true", help="print one JSON object")
    only.add_argument(
        "--stdio", action="store_true", help="join the connection to standard input and output"
    )
    return made
