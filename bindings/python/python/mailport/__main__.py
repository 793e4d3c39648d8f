"""``python -m mailport HOST``: what the command's ``mailport connect HOST`` does."""

from __future__ import annotations

import argparse
import os
import re
import select
import shutil
import signal
import sys
import typing
from typing import TextIO

from . import Answer, Config, Memory, Plan, Question, __version__, _native
from ._dial import FLUSH, Dial, deadline_of
from ._errors import ConnectError
from ._plan import Families

# What the arguments are: (name of the option, its value's name, how to read it, what it is).
UNITS = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3,
    "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0,
}  # fmt: skip
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
EPILOG = """exit status: 0 connected, 1 not connected (or the result could not be written), 2 the \
command line is wrong"""


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


def gate(text: str) -> float | None:
    """Reads a duration, ``off`` or ``automatic``."""
    if text == "off":
        return 0.0
    given = patience(text)
    if given == 0:
        raise argparse.ArgumentTypeError("the gate of 0 is too short: at least 10ms, or off")
    return given


def memory(text: str) -> Memory | None:
    """Reads the name of a file, or ``off``."""
    if not text:
        raise argparse.ArgumentTypeError("a file must have a name")
    return None if text == "off" else Memory(text)


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
        "--strict", action="store_true", help="wait out a silent service before the next is begun"
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
        "--skip", action="store_true", help="try what is remembered as bad last instead of first"
    )
    times = made.add_argument_group("times (such as 250ms, 1.3s, 2min)")
    for name, default, read, said in [
        ("--attempt-delay", "250ms", duration, "silence of one address, then the next besides"),
        ("--port-delay", "1s", duration, "silence of a whole service, then the next besides"),
        ("--patience", "automatic", patience, "how long silence may hold back a later service"),
        ("--resolution-delay", "50ms", duration, "how long the second family waits for the first"),
        ("--gate", "automatic", gate, "how long to wait for the server's greeting"),
        ("--deadline", "30s", duration, "how long everything may take"),
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
        "--memory",
        metavar="FILE|off",
        type=memory,
        default=argparse.SUPPRESS,
        help="the memory of earlier dials [default: $XDG_CACHE_HOME/mailport/memory.json]",
    )
    prints = made.add_argument_group("what to print")
    prints.add_argument("--explain", action="store_true", help="draw every attempt on a scale")
    prints.add_argument("--json", action="store_true", help="print one JSON object")
    return made


class Terminal:
    """The terminal of this process, asked before a fallback."""

    def __init__(self) -> None:
        self.descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)

    def say(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def settle(self, dial: Dial, question: Question) -> None:
        """Puts the question, and waits for its answer or until it is withdrawn."""
        self.say(f"{question}\n")
        for attempt in question.attempts:
            place = f" at {attempt.address}" if attempt.address else ""
            icmp = f" ({attempt.icmp})" if attempt.icmp else ""
            after = int((attempt.ended - attempt.started) * 1000)
            self.say(f"  {attempt.service.port}{place}: {attempt.outcome}{icmp} after {after} ms\n")
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.register(dial, select.POLLIN)
        while True:
            self.say("[f]all back, [w]ait on or [g]ive up? ")
            ready = [descriptor for descriptor, _ in poll.poll()]
            while self.descriptor not in ready:
                if dial.process() != "asking":
                    self.say("\nNo need: an earlier service has connected.\n")
                    return
                ready = [descriptor for descriptor, _ in poll.poll()]
            line = os.read(self.descriptor, 4096)
            words = {"f": Answer.FALL_BACK, "w": Answer.WAIT_ON, "g": Answer.GIVE_UP}
            answer = words.get(line.decode(errors="replace").strip()[:1]) if line else "give-up"
            if answer is not None:
                dial.answer(question, answer)
                return


def main(arguments: list[str] | None = None) -> int:
    """Dials and prints; gives the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    try:
        remembers = given.memory if "memory" in given else Memory.default()
        dial = begin(given, remembers)
        terminal = Terminal() if given.ask else None
    except ConnectError as error:
        return failed(given, error)
    except ValueError as error:
        options.error(str(error))
    except OSError as error:
        options.error(f"--ask has no terminal to ask on: {error.strerror}")
    with dial:
        while dial.wait() == "asking":
            question = dial.question
            if terminal is not None and question is not None:
                terminal.settle(dial, question)
        try:
            connected = dial.result()
        except ConnectError as error:
            save(remembers)
            return failed(given, error)
    save(remembers)
    connected.socket.close()
    report = connected.report
    try:
        print(report.to_json() if given.json else report, flush=True)
        explain(given, report.timeline, sys.stderr if given.json else sys.stdout)
    except BrokenPipeError:
        # Who has gone has seen enough.
        hang_up()
    except OSError as error:
        print(f"mailport: standard output: {error.strerror}", file=sys.stderr)
        hang_up()
        return 1
    return 0


def begin(given: argparse.Namespace, remembers: Memory | None) -> Dial:
    """The dial that the command line describes."""
    if given.port is not None:
        plan = Plan.for_port(given.port)
    else:
        plan = Plan(given.plan or "submission", allow_cleartext=given.allow_cleartext)
    config = Config(
        resolution_delay=given.resolution_delay,
        attempt_delay=given.attempt_delay,
        port_delay=given.port_delay,
        patience=given.patience,
        strict=given.strict,
        gate=given.gate,
        skip=given.skip,
        families=given.family,
        source=given.source,
        device=given.device,
        mark=given.mark,
    )
    deadline_of(given.deadline)
    return Dial(
        given.host,
        plan=plan,
        timeout=given.deadline,
        config=config,
        asks=given.ask,
        memory=remembers,
        via=way(given.via),
    )


def way(option: str | None) -> str | None:
    """The proxy or the command, by the option or else by the environment."""
    text = os.environ.get("MAILPORT_VIA") if option is None else option
    if not text:
        return None
    if text.startswith("@"):
        return way_in(text[1:])
    if option is not None and has_password(text):
        raise ValueError(
            "--via: every user of this machine can see a password there; put the text in "
            "MAILPORT_VIA, or in a file, and write --via @FILE"
        )
    return text


def way_in(path: str) -> str:
    """The first line of a file, which is its owner's alone where it holds a password."""
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline(65536).rstrip("\r\n")
            others = os.fstat(file.fileno()).st_mode & 0o077
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if has_password(line) and others:
        raise ValueError(f"{path}: it holds a password, and others may read it: chmod 600")
    return line


def has_password(text: str) -> bool:
    """Whether others must not see this."""
    return text.startswith("socks5://") and "@" in text


def save(remembers: Memory | None) -> None:
    """Gives the memory a moment to be saved."""
    if remembers is not None:
        remembers.flush(FLUSH)


def failed(given: argparse.Namespace, error: ConnectError) -> int:
    """Prints a dial that gave no connection."""
    try:
        if given.json:
            print(json_of(error), flush=True)
        else:
            print(f"mailport: {error}", file=sys.stderr)
        if error.report is not None:
            explain(given, error.report.timeline, sys.stderr if given.json else sys.stdout)
    except OSError:
        # Nobody reads it, which changes nothing.
        hang_up()
    return 1


def json_of(error: ConnectError) -> str:
    """The JSON object of an error, with a report or without."""
    return error.report.to_json() if error.report else _native.json_of_refusal(str(error))


def explain(given: argparse.Namespace, timeline: typing.Callable[[int], str], out: TextIO) -> None:
    """Draws the dial, where that is wanted."""
    drawing = timeline(shutil.get_terminal_size((80, 24)).columns) if given.explain else ""
    if drawing:
        print(drawing, file=out, flush=True)


def hang_up() -> None:
    """Lets the interpreter end without a word about a standard output that is broken."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> int:
    """Ends by Ctrl-C as a program does that knows nothing of it: by the signal, and silently."""
    try:
        return main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 1


if __name__ == "__main__":
    sys.exit(run())
