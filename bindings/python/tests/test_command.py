"""``python -m mailport`` beside the command that it stands for."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mailport
from conftest import ENVIRONMENT, PYTHON, Silent, command_line, starttls
from mailport.__main__ import json_of
from mailport._options import duration, parser
from mailport._terminal import words_of

HERE = "127.0.0.1"


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [*PYTHON, *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command_line(), *arguments],
        capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def timeless(text: str) -> str:
    """The text with every figure of time replaced, and what drawing depends on them."""
    text = re.sub(r'(_ms":)[0-9.]+', r"\1T", text)
    text = re.sub(r"[0-9.]+ (ms|s)\b", "T", text)
    return re.sub(r"[├─●×┄┤ ]+", " ", text)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--json"],
        ["--explain"],
        ["--json", "--explain"],
        ["--stdio"],
        ["--stdio", "--explain"],
    ],
)
@pytest.mark.parametrize("fate", ["connected", "refused"])
def test_it_prints_what_the_command_prints(
    refused: int, closing: int, options: list[str], fate: str
) -> None:
    line = {
        "connected": [HERE, "--plan", starttls(refused, closing)],
        "refused": [HERE, "--plan", starttls(refused)],
    }[fate]
    ours, theirs = python(*line, *options), command(*line, *options)
    assert ours.returncode == theirs.returncode == (0 if fate == "connected" else 1)
    assert timeless(ours.stdout) == timeless(theirs.stdout)
    assert timeless(ours.stderr) == timeless(theirs.stderr)
    if "--json" in options:
        assert list(json.loads(ours.stdout)) == list(json.loads(theirs.stdout))


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["mail.example:587"],
        [HERE, "--port", "0"],
        [HERE, "--port", "587", "--plan", "mew"],
        [HERE, "--plan", "587:cleartext"],
        [HERE, "--timeout", "30"],
        [HERE, "--timeout", "1ms"],
        [HERE, "--patience", "auto"],
        [HERE, "--family", "ipv5"],
        [HERE, "--mark", "x"],
        [HERE, "--device", "no-such-device-at-all"],
        [HERE, "--source", "192.0.2.1", "--family", "ipv6"],
        [HERE, "--ask"],
        [HERE, "--no-such-option"],
        [HERE, "--json", "--stdio"],
        [HERE, "--svg", "-"],
        [HERE, "--svg", ""],
    ],
)
def test_what_the_command_refuses_it_refuses(line: list[str]) -> None:
    ours = subprocess.run(
        ["setsid", "--wait", *PYTHON, *line],
        capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert (ours.returncode, ours.stdout) == (2, "")
    assert "Traceback" not in ours.stderr
    if line[1:] != ["--ask"]:
        assert command(*line).returncode == 2


def test_its_options_are_the_command_s() -> None:
    ours = set(re.findall(r"--[a-z-]+", parser().format_help()))
    theirs = set(re.findall(r"(?<![a-z])--[a-z-]+", command("--help").stdout))
    assert ours - {"--version"} == theirs


def test_times_are_shown_as_the_command_shows_them() -> None:
    said = {0.25: "250ms", 30: "30s", 90.5: "1m 30s 500ms", 7200: "2h", 172800: "2days"}
    assert {time: words_of(time) for time in said} == said


@pytest.mark.parametrize("options", [[], ["--json"], ["--explain"], ["--stdio"]])
@pytest.mark.parametrize("fate", ["connected", "refused"])
def test_its_picture_is_the_command_s(
    tmp_path: Path, closing: int, refused: int, options: list[str], fate: str
) -> None:
    plan = starttls(refused, closing) if fate == "connected" else starttls(refused)
    pictures = []
    for run in (python, command):
        drawn = tmp_path / "dial.svg"
        done = run(HERE, "--plan", plan, "--svg", str(drawn), *options)
        assert done.returncode == (0 if fate == "connected" else 1), done.stderr
        pictures.append(drawn.read_text())
        assert drawn.stat().st_mode & 0o777 == 0o644
        drawn.unlink()
    assert list(tmp_path.iterdir()) == []
    ours, theirs = pictures
    assert ours.startswith("<svg ")
    assert ours.endswith("</svg>\n")
    assert f"{refused} is refused" in ours
    assert set(re.findall(r"<[a-z]+", ours)) == set(re.findall(r"<[a-z]+", theirs))


def test_a_picture_takes_the_place_of_what_its_name_leads_to(
    program: list[str], tmp_path: Path, refused: int
) -> None:
    old, link = tmp_path / "old.svg", tmp_path / "dial.svg"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to("old.svg")
    line = [*program, HERE, "--plan", starttls(refused), "--svg", str(link)]
    assert subprocess.run(line, env=ENVIRONMENT, stderr=subprocess.DEVNULL).returncode == 1
    assert link.is_symlink()
    assert old.read_text().startswith("<svg ")
    assert old.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("file", ["/no/such/folder/dial.svg", "/dev/full"])
def test_a_picture_that_cannot_be_written_hides_no_result(
    program: list[str], closing: int, file: str
) -> None:
    line = [*program, HERE, "--plan", starttls(closing), "--svg", file]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout.startswith("connected to ")
    assert done.stderr.startswith(f"mailport: {file}: No s")
    # The session matters more than its picture.
    done = subprocess.run(
        [*line, "--stdio"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0


def test_durations_are_the_command_s() -> None:
    assert [duration(text) for text in ["0", "250ms", "1.3s", "2min", "1min 30s"]] == [
        0, 0.25, 1.3, 120, 90,
    ]  # fmt: skip


def test_a_name_that_does_not_exist_is_told_alike() -> None:
    ours, theirs = python("nowhere.invalid"), command("nowhere.invalid")
    assert (ours.returncode, timeless(ours.stderr)) == (1, timeless(theirs.stderr))


def test_an_error_without_a_report_keeps_the_shape(refused: int) -> None:
    with pytest.raises(mailport.ConnectError) as caught:
        mailport.connect(HERE, plan=starttls(refused))
    assert caught.value.report is not None
    full = caught.value.report.to_json()
    assert list(json.loads(json_of(mailport.ConnectError(24, "no descriptors")))) == list(
        json.loads(full)
    )


def test_a_reader_that_has_gone_is_no_failure(opened: socket.socket) -> None:
    line = f"{sys.executable} -m mailport --cache off {HERE} --plan {starttls(port_of(opened))}"
    script = f"set -o pipefail; {line} | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_result_that_cannot_be_written_is_a_failure(opened: socket.socket) -> None:
    line = [*PYTHON, "--cache", "off", HERE, "--plan", starttls(port_of(opened))]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "mailport: standard output: No space left on device\n"


def on_a_terminal(line: list[str], typed: bytes) -> tuple[int, str]:
    """Runs a program on a terminal of its own, where this is typed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(line[0], line, {**ENVIRONMENT, "NO_COLOR": "1"})
    os.write(terminal, typed)
    shown = b""
    while True:
        try:
            got = os.read(terminal, 4096)
        except OSError:  # Linux says EIO where the other end has gone.
            break
        if not got:
            break
        shown += got
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, shown.decode().replace("\r", "")


def test_it_asks_on_the_terminal(program: list[str], refused: int, opened: socket.socket) -> None:
    line = [
        *program,
        "--cache",
        "off",
        HERE,
        "--plan",
        starttls(refused, port_of(opened)),
        "--ask",
    ]
    status, shown = on_a_terminal(line, b"f\n")
    assert status == 0
    assert f"Dialling {HERE}: {line[-2]}, for 30s at most..." in shown
    assert f"{refused} is refused. Fall back to {port_of(opened)} (STARTTLS)?" in shown
    assert re.search(rf"{refused} at {HERE}: reset after \d+ ms", shown)
    assert f"connected to {port_of(opened)} over IPv4" in shown
    status, shown = on_a_terminal(line, b"gone\nGive Up\n")
    assert status == 1
    assert shown.count("[g]ive up? (F, W, G: and do not ask again) ") == 2
    assert "not falling back, as you wish" in shown


def test_an_answer_in_capitals_is_remembered(
    program: list[str], tmp_path: Path, refused: int, opened: socket.socket
) -> None:
    cache = str(tmp_path / "cache.json")
    plan = starttls(refused, port_of(opened))
    line = [*program, "--cache", cache, HERE, "--plan", plan, "--ask"]
    assert "[f]all back" in on_a_terminal(line, b"F\n")[1]
    status, shown = on_a_terminal(line, b"")
    assert status == 0
    assert "[f]all back" not in shown


def test_ctrl_c_ends_it_at_once(silent: Silent) -> None:
    line = [*PYTHON, "--cache", "off", HERE, "--plan", starttls(silent.port)]
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=5)
    finally:
        running.kill()
    assert running.returncode == -signal.SIGINT
    assert "Traceback" not in said
