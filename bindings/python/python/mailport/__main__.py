"""``python -m mailport HOST``: what the command's ``mailport connect HOST`` does."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from . import _native
from ._dial import FLUSH, Connected, Dial, deadline_of
from ._errors import ConnectError
from ._cache import Cache
from ._options import parser
from ._plan import Config, Plan
from ._terminal import Progress, Terminal, width_of, words_of
from ._tunnel import CONNECTION, Broken, join

if TYPE_CHECKING:
    import argparse

    from ._report import Report


def main(arguments: list[str] | None = None) -> int:
    """Dials and prints; gives the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    try:
        plan = plan_of(given)
        remembers = given.cache if "cache" in given else Cache.default()
        terminal = Terminal() if given.ask else None
        dial = begin(given, plan, remembers)
    except ConnectError as error:
        return failed(given, error)
    except ValueError as error:
        options.error(str(error))
    except OSError as error:
        options.error(f"--ask has no terminal to ask on: {error.strerror}")
    line = f"Dialling {given.host}: {plan}, for {words_of(given.timeout)} at most..."
    progress = Progress(None if given.json else line)
    try:
        connected = settled(dial, terminal, progress)
    except ConnectError as error:
        progress.end()
        return failed(given, error)
    finally:
        progress.end()
        dial.close()
        if remembers is not None:
            remembers.flush(FLUSH)
    with connected.socket:
        return tunnel(given, connected) if given.stdio else told(given, connected.report)


def settled(dial: Dial, terminal: Terminal | None, progress: Progress) -> Connected:
    """Waits for the end of the dial, and asks where it is to be asked."""
    while dial.wait() == "asking":
        progress.end()
        question = dial.question
        if terminal is not None and question is not None:
            try:
                terminal.settle(dial, question)
            except OSError as error:
                raise ConnectError(error.errno, f"the terminal: {error.strerror}") from None
    return dial.result()


def told(given: argparse.Namespace, report: Report) -> int:
    """Prints what connected."""
    drawn = draw(given, report)
    try:
        print(report.to_json() if given.json else report, flush=True)
        explain(given, report, sys.stderr if given.json else sys.stdout)
    except BrokenPipeError:
        # Who has gone has seen enough.
        hang_up()
    except OSError as error:
        complain(f"standard output: {error.strerror}")
        hang_up()
        return 1
    return 0 if drawn else 1


def tunnel(given: argparse.Namespace, connected: Connected) -> int:
    """Joins the connection to standard input and output."""
    report = connected.report
    try:
        print(report, file=sys.stderr, flush=True)
        explain(given, report, sys.stderr)
    except OSError:
        # Nobody reads it, which changes nothing.
        pass
    # Now, for a mail reader may end its session by ending this process.
    draw(given, report)
    source, sink = standard(sys.stdin, os.O_RDONLY), standard(sys.stdout, os.O_WRONLY)
    # Whoever reads our output sees its end when `sink` is closed, so it must be the only one.
    hang_up()
    try:
        join(connected.socket, source, sink)
    except Broken as broken:
        # The mail reader has what it wanted, and has gone: with the last bytes unread where it
        # gave us a socket.
        if broken.side != CONNECTION and isinstance(
            broken.cause, (BrokenPipeError, ConnectionResetError)
        ):
            return 0
        complain(str(broken))
        return 1
    return 0


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan that the command line names."""
    if given.port is not None:
        return Plan.for_port(given.port)
    return Plan(given.plan or "submission", allow_cleartext=given.allow_cleartext)


def begin(given: argparse.Namespace, plan: Plan, remembers: Cache | None) -> Dial:
    """The dial that the command line describes."""
    config = Config(
        attempt_delay=given.attempt_delay,
        port_delay=given.port_delay,
        patience=given.patience,
        sequential=given.sequential,
        greeting_wait=given.greeting_wait,
        skip=given.try_failed_last,
        families=given.family,
        source=given.source,
        device=given.device,
        mark=given.mark,
    )
    deadline_of(given.timeout)
    return Dial(
        given.host,
        plan=plan,
        timeout=given.timeout,
        config=config,
        asks=given.ask,
        cache=remembers,
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


def failed(given: argparse.Namespace, error: ConnectError) -> int:
    """Prints a dial that gave no connection."""
    try:
        if given.json:
            print(json_of(error), flush=True)
        else:
            complain(str(error))
        if error.report is not None:
            draw(given, error.report)
            explain(given, error.report, sys.stderr if given.json or given.stdio else sys.stdout)
    except OSError:
        # Nobody reads it, which changes nothing.
        hang_up()
    return 1


def json_of(error: ConnectError) -> str:
    """The JSON object of an error, with a report or without."""
    return error.report.to_json() if error.report else _native.json_of_refusal(str(error))


def explain(given: argparse.Namespace, report: Report, out: TextIO) -> None:
    """Draws the dial, where that is wanted."""
    drawing = report.timeline(width_of(out)) if given.explain else ""
    if drawing:
        print(drawing, file=out, flush=True)


def draw(given: argparse.Namespace, report: Report) -> bool:
    """Whether the picture was drawn, where one is wanted; says what went wrong."""
    if given.svg is None:
        return True
    try:
        replace(given.svg, report.to_svg())
    except OSError as error:
        complain(f"{given.svg}: {error.strerror}")
        return False
    return True


def replace(path: Path, text: str) -> None:
    """Writes a file. One that was there before is replaced as a whole or not at all."""
    # Where a link leads; what is not there yet is made in its folder.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        # A pipe or a device is written to, never replaced.
        target.write_text(text)
        return
    made, name = tempfile.mkstemp(prefix=".mailport-", dir=target.parent)
    try:
        with open(made, "w", encoding="utf-8") as file:
            file.write(text)
        os.umask(mask := os.umask(0))
        # As any new file, or as the one that was there.
        os.chmod(name, target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~mask)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def complain(what: str) -> None:
    """Says on standard error what went wrong."""
    print(f"mailport: {what}", file=sys.stderr, flush=True)


def standard(stream: TextIO | None, flags: int) -> int:
    """A descriptor of a standard stream, or of nothing where this process was given none."""
    return os.open(os.devnull, flags) if stream is None else os.dup(stream.fileno())


def hang_up() -> None:
    """Lets the interpreter end without a word about a standard output that is broken."""
    if sys.stdout is not None:
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
