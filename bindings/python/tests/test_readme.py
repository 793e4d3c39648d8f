"""Every example in Python of the README, and of that of the repository, runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.lab

HOSTS = "127.0.0.1 localhost mail.example.com proxy.example\n"
# By each example, in its order: the first one, a connect, asyncio, aiosmtplib, Django (a class, and
# settings that send by two ports), logging (with credentials and without), yagmail, redmail,
# Flask-Mail, fastapi-mail, a server without TLS, trio, the marker, asking, the cache and tunnels.
MESSAGES = [1, 0, 0, 1, 0, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0]
PACKAGE = Path(__file__).resolve().parent.parent
PAGES = {PACKAGE / "README.md": MESSAGES, PACKAGE.parent.parent / "README.md": [1]}


def test_the_marker_is_true_on_linux_alone() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (text,) = re.findall(r"^dependencies = \['(mailport.*)'\]$", readme, re.MULTILINE)
    marker = Requirement(text).marker
    assert marker is not None
    assert [marker.evaluate({"sys_platform": name}) for name in ("linux", "darwin", "win32")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("page", PAGES, ids=["package", "repository"])
def test_every_example_of_the_readme_runs_as_it_is_written(
    page: Path, tmp_path: Path, authority: tuple[Path, Path]
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    examples = Path(__file__).with_name("readme_examples.py")
    done = subprocess.run(
        ["unshare", *root, "--net", "--mount", "sh", "-c", script, "sh", hosts,
         sys.executable, examples, tmp_path, *authority, page],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # The examples print, too.
    said = [line for line in done.stdout.splitlines() if line.startswith("example ")]
    counts = enumerate(PAGES[page], 1)
    assert said == [f"example {number}: {count} messages" for number, count in counts], done.stderr
