"""Installing the package as its users do: from its folder, and from its source archive."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.lab]

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
CARGO = os.environ.get("CARGO", "cargo").split()
# Run in the new environment, and not in the folder of the sources.
DIAL = """
import importlib.metadata, sys, mailport
assert mailport.__version__ == importlib.metadata.version("mailport")
connected = mailport.dial("127.0.0.1", plan=f"{sys.argv[1]}:starttls")
assert connected.socket.getpeername()[1] == int(sys.argv[1])
print(mailport.__file__, connected.tls)
"""


def offline(folder: Path) -> dict[str, str]:
    """Variables with which nothing is downloaded, and the pinned maturin is what builds.

    Of all that is installed for the tests, the new environment sees nothing else.
    """
    backend = folder / "backend"
    backend.mkdir()
    # Before 3.11 it reads pyproject.toml by tomli.
    for module in ["maturin", *(["tomli"] if sys.version_info < (3, 11) else [])]:
        found = importlib.util.find_spec(module)
        assert found is not None
        assert found.origin is not None
        (backend / module).symlink_to(Path(found.origin).parent)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(backend),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "CARGO_NET_OFFLINE": "true",
        # With what is built there already, it takes seconds and not minutes.
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target"),
    }


def run(*words: str | Path, variables: dict[str, str], cwd: Path = HERE) -> str:
    """Runs a command to its end, and gives what it printed."""
    done = subprocess.run(
        words, env=variables, cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installed_and_dials(source: str | Path, folder: Path, opened: socket.socket) -> None:
    """Installs with pip in an environment that has nothing else, and dials there."""
    variables = offline(folder)
    fresh = folder / "fresh"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    # In a separate network namespace there is no network.
    alone = "unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"
    pip = "-m", "pip", "install", "--no-build-isolation"
    run(*alone, python, *pip, source, variables=variables)
    del variables["PYTHONPATH"]
    port = str(opened.getsockname()[1])
    said = run(python, "-I", "-c", DIAL, port, variables=variables, cwd=folder)
    assert said.startswith(f"{fresh}/lib/")
    assert said.endswith("mailport/__init__.py starttls\n")


def test_pip_installs_it_from_its_folder(tmp_path: Path, opened: socket.socket) -> None:
    installed_and_dials(".", tmp_path, opened)


def test_its_source_archive_builds_elsewhere_without_a_network(
    tmp_path: Path, opened: socket.socket
) -> None:
    maturin = Path(sys.executable).parent / "maturin"
    run(maturin, "sdist", "--out", tmp_path, variables=dict(os.environ))
    (archive,) = tmp_path.glob("*.tar.gz")
    run("tar", "-xf", archive, "-C", tmp_path, variables=dict(os.environ))
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    locked = packages(unpacked / "Cargo.lock")
    assert locked == packages(ROOT / "Cargo.lock")
    installed_and_dials(archive, tmp_path, opened)
    # It has fewer crates than the lock file names, and none that this does not name.
    run(*CARGO, "metadata", "--offline", "--format-version", "1",
        variables=dict(os.environ), cwd=unpacked)  # fmt: skip
    assert packages(unpacked / "Cargo.lock") < locked


def packages(lock: Path) -> set[tuple[str, ...]]:
    """Name, version, source and checksum of every crate in a lock file."""
    fields = "name", "version", "source", "checksum"
    found = set()
    for block in lock.read_text().split("[[package]]")[1:]:
        values = dict(re.findall(r'^(\w+) = "(.*)"$', block, re.MULTILINE))
        found.add(tuple(values.get(field, "") for field in fields))
    return found
