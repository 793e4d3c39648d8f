"""The terminal of a command: what it shows while a dial runs, and asking before a fallback."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from ._report import Answer

if TYPE_CHECKING:
    from ._dial import Dial
    from ._report import Question

PROMPT = "[f]all back, [w]ait on or [g]ive up? (F, W, G: and do not ask again) "
WORDS = {
    "f": Answer.FALL_BACK, "fall back": Answer.FALL_BACK,
    "w": Answer.WAIT_ON, "wait": Answer.WAIT_ON, "wait on": Answer.WAIT_ON,
    "g": Answer.GIVE_UP, "give up": Answer.GIVE_UP,
}  # fmt: skip


class Terminal:
    """The terminal that this process belongs to: its streams may be a mail reader's."""

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
        self.say(PROMPT)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.register(dial, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if dial.fileno() in ready and dial.process() != "asking":
                self.say("\nNo need: an earlier service has connected.\n")
                return
            if self.descriptor not in ready:
                continue
            line = os.read(self.descriptor, 4096)
            text = line.decode(errors="replace").strip()
            answer = WORDS.get(text.lower()) if line else Answer.GIVE_UP
            if answer is not None:
                dial.answer(question, answer, for_good=text[:1].isupper())
                return
            self.say(PROMPT)


class Progress:
    """A line on a terminal while the dial runs; it is wiped out after."""

    def __init__(self, line: str | None) -> None:
        self.shown = line is not None and sys.stderr is not None and sys.stderr.isatty()
        if self.shown and line is not None:
            # A line that wraps could not be wiped out.
            print(line[: width_of(sys.stderr) - 1], end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        shown, self.shown = self.shown, False
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def width_of(stream: TextIO) -> int:
    """The width of a terminal, or the customary one."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def words_of(seconds: float) -> str:
    """A time as the command writes it: ``30s``, ``1m 30s``, ``250ms``."""
    left, words = round(seconds * 1_000_000_000), []
    for name, size in [("day", 86400), ("h", 3600), ("m", 60), ("s", 1)]:
        count, left = divmod(left, size * 1_000_000_000)
        if count:
            words.append(f"{count}{name}s" if name == "day" and count > 1 else f"{count}{name}")
    for name, size in [("ms", 1_000_000), ("us", 1000), ("ns", 1)]:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count}{name}")
    return " ".join(words) or "0s"
