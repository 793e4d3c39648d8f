"""A name outside ASCII, as a user writes it: dialled and verified by its A-label (IDNA 2008)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mailport
from servers import Server

pytestmark = pytest.mark.lab

# Python's own codec would look up and verify strasse.example, which is another name.
NAME = "straße.example"
HOSTS = "127.0.0.1 localhost xn--strae-oqa.example\n"


async def by_streams(server: Server, plan: str) -> None:
    _, writer = await mailport.open_submission(NAME, plan=plan, ssl=server.context)
    writer.close()
    await writer.wait_closed()


def main() -> None:
    import ssl

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    authority = Path(sys.argv[1]), Path(sys.argv[2])
    with Server(authority, ssl.create_default_context(cafile=sys.argv[1])) as server:
        for plan in [f"{server.port}:starttls", f"{server.implicit}:implicit"]:
            with mailport.SMTP.for_submission(NAME, plan=plan, context=server.context) as smtp:
                smtp.login("user", "password")
            asyncio.run(by_streams(server, plan))
            with mailport.dial(NAME, plan=plan) as connected:
                print(connected.server_hostname, connected.report.host)
        with mailport.SMTP_SSL(NAME, server.implicit, context=server.context) as smtp:
            smtp.login("user", "password")


def test_a_name_outside_ascii_is_dialled_and_verified(
    tmp_path: Path, authority: tuple[Path, Path]
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", *root, "--net", "--mount", "sh", "-c", script, "sh", hosts,
         sys.executable, "-W", "ignore", __file__, *authority],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"xn--strae-oqa.example {NAME}"] * 2


if __name__ == "__main__":
    main()
