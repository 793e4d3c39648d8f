"""``python -m mailport`` beside the command that it stands for."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mailport
from conftest import Silent, starttls
from mailport.__main__ import duration, json_of, parser

HERE = "127.0.0.1"
PYTHON = [sys.executable, "-m", "mailport"]
# No folder can be made below a device, so nothing is remembered from one run to the next.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "MAILPORT_VIA"},
    "COLUMNS": "80",
    "XDG_CACHE_HOME": "/dev/null",
}


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [*PYTHON, *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, which `make test` builds first."""
    built = os.environ.get("MAILPORT_COMMAND") or shutil.which("mailport")
    assert built, "the command mailport is in PATH, or named by MAILPORT_COMMAND"
    return subprocess.run(
        [built, "connect", *arguments],
        capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def timeless(text: str) -> str:
    """The text with every figure of time replaced, and what drawing depends on them."""
    text = re.sub(r'(_ms":)[0-9.]+', r"\1T", text)
    text = re.sub(r"[0-9.]+ (ms|s)\b", "T", text)
    return re.sub(r"[├─●×┄┤ ]+", " ", text)


@pytest.mark.parametrize("options", [[], ["--json"], ["--explain"], ["--json", "--explain"]])
@pytest.mark.parametrize("fate", ["connected", "refused"])
def test_it_prints_what_the_command_prints(
    refused: int, opened: socket.socket, options: list[str], fate: str
) -> None:
    line = {
        "connected": [HERE, "--plan", starttls(refused, port_of(opened))],
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
        [HERE, "--plan", "587:none"],
        [HERE, "--deadline", "30"],
        [HERE, "--deadline", "1ms"],
        [HERE, "--patience", "auto"],
        [HERE, "--family", "ipv5"],
        [HERE, "--mark", "x"],
        [HERE, "--device", "no-such-device-at-all"],
        [HERE, "--source", "192.0.2.1", "--family", "ipv6"],
        [HERE, "--ask"],
        [HERE, "--no-such-option"],
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
    assert ours - {"--help", "--version"} <= theirs


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
    line = f"{sys.executable} -m mailport --memory off {HERE} --plan {starttls(port_of(opened))}"
    script = f"set -o pipefail; {line} | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_result_that_cannot_be_written_is_a_failure(opened: socket.socket) -> None:
    line = [*PYTHON, "--memory", "off", HERE, "--plan", starttls(port_of(opened))]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "mailport: standard output: No space left on device\n"


def on_a_terminal(line: list[str], typed: bytes) -> tuple[int, str]:
    """Runs it on a terminal of its own, where this is typed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*PYTHON, "--memory", "off", *line])
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


def test_it_asks_on_the_terminal(refused: int, opened: socket.socket) -> None:
    line = [HERE, "--plan", starttls(refused, port_of(opened)), "--ask"]
    status, shown = on_a_terminal(line, b"f\n")
    assert status == 0
    assert f"{refused} is refused. Fall back to {port_of(opened)} (STARTTLS)?" in shown
    assert re.search(rf"{refused} at {HERE}: reset after \d+ ms", shown)
    assert f"connected to {port_of(opened)} over IPv4" in shown
    status, shown = on_a_terminal(line, b"perhaps\ng\n")
    assert status == 1
    assert shown.count("[g]ive up?") == 2
    assert "not falling back, as you wish" in shown


def test_ctrl_c_ends_it_at_once(silent: Silent) -> None:
    line = [*PYTHON, "--memory", "off", HERE, "--plan", starttls(silent.port)]
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=5)
    finally:
        running.kill()
    assert running.returncode == -signal.SIGINT
    assert "Traceback" not in said
