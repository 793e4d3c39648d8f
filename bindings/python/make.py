"""Builds the wheel and tests it in every CPython of this machine; `make` calls it.

Everything goes below the build folder: an environment for each interpreter, and the wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# The programs of the lab that are in Python.
LAB = ROOT / "tests" / "lab" / "tests" / "python"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
FOLDER = TARGET / "python"
WHEELS = FOLDER / "wheels"
# What `peers` needs.
PEERS = FOLDER / "peers"
REQUIREMENTS = HERE / "requirements.txt"
# Debian's own comes first: the tools run in it.
SYSTEM = Path("/usr/bin/python3")
# The tests that run in every further interpreter: those in which one may differ from another. Cache
# and name service are Rust's, and a test of a second or more is about load or time. The order is
# that of all tests: a test that forks must come before the first that starts a server's threads.
QUICK = {
    "test_asyncio.py": "asyncio's readers, streams and TLS",
    "test_cancelling.py": "asyncio's transports, cancelled",
    "test_dial.py": "the native module: arguments, errors, values, threads",
    "test_docstrings.py": "every call, by its example",
    "test_interpreters.py": "the import in a second interpreter",
    "test_other_loops.py": "gevent, trio and anyio",
    "test_readme.py": "the recipes: Django needs a new enough CPython",
    "test_signals.py": "waits without the interpreter lock, and signals that interrupt them",
    "test_smtplib.py": "smtplib, ssl, and the libraries that are built on them",
}
FULL = os.environ.get("MAILPORT_EVERY_PYTHON") == "full"
PROBE = (
    "import sys, sysconfig; assert sys.implementation.name == 'cpython';"
    "assert not sysconfig.get_config_var('Py_GIL_DISABLED');"
    "print('%d.%d' % sys.version_info[:2], sys.version.split()[0])"
)


def interpreters() -> dict[str, tuple[str, Path]]:
    """Returns every CPython from 3.10 on, one of each minor version, with its path."""
    return {minor: paths[0] for minor, paths in every_interpreter().items()}


def every_interpreter() -> dict[str, list[tuple[str, Path]]]:
    """Returns every CPython from 3.10 on, by minor version; the system's comes first."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(":") if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders += sorted(pyenv.glob("versions/*/bin"))
    named = [path for folder in folders for path in sorted(folder.glob("python3.[0-9]*"))]
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in [SYSTEM, *named]:
        if not re.fullmatch(r"python3(\.\d+)?", path.name):
            continue
        try:
            asked = subprocess.run(
                [path, "-c", PROBE], capture_output=True, text=True, check=False, timeout=20
            )
        except OSError:
            continue
        if asked.returncode == 0:
            minor, version = asked.stdout.split()
            if tuple(map(int, minor.split("."))) >= (3, 10):
                found.setdefault(minor, []).append((version, path))
    return found


def python(minor: str) -> Path:
    """Returns the interpreter in the environment of a version."""
    return FOLDER / minor / "bin" / "python"


def tool(name: str) -> Path:
    """Returns a program of the first environment, which is Debian's."""
    return FOLDER / next(iter(interpreters())) / "bin" / name


def run(*words: str | Path, **variables: str) -> None:
    """Runs a command in the package's folder, and exits if it fails."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), **variables}
    done = subprocess.run(words, cwd=HERE, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, words))}")


def setup() -> None:
    """Installs the packages of the tests from PyPI, in an environment for each interpreter."""
    for minor, (version, path) in interpreters().items():
        print(f"Python {version}: {path}, in {FOLDER / minor}")
        run(path, "-m", "venv", FOLDER / minor)
        pip = python(minor), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"
        # Wheels alone: a build from source would download tools that are not pinned.
        run(*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", REQUIREMENTS)
        shutil.copy(REQUIREMENTS, FOLDER / minor / "installed.txt")
    set_up_peers()


def environment() -> None:
    """Prints the interpreter that the lab runs: that of Debian's environment."""
    print(python(next(iter(interpreters()))))


def set_up_peers() -> None:
    """Downloads aiosmtplib's source archive, and installs what its tests need."""
    run(SYSTEM, "-m", "venv", PEERS / "pytest")
    pip = PEERS / "pytest" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"
    requirements = HERE / "peers" / "requirements.txt"
    locked = "--quiet", "--require-hashes", "--requirement"
    run(*pip, "install", "--only-binary", ":all:", *locked, requirements)
    # The archive's hash is in the same file; hatchling, which describes it, is installed by now.
    (entry,) = re.findall(r"^aiosmtplib==(?:.*\\\n)*.*\n", requirements.read_text(), re.MULTILINE)
    (PEERS / "archive.txt").write_text(entry)
    source = "--no-deps", "--no-binary", ":all:", "--no-build-isolation"
    run(*pip, "download", "--dest", PEERS, *source, *locked, PEERS / "archive.txt")


def with_tests_of_smtplib() -> list[Path]:
    """Returns an interpreter of each minor version that has CPython's own test_smtplib."""
    found = []
    for minor, paths in every_interpreter().items():
        for _, path in paths:
            asked = [path, "-c", "import test.test_smtplib"]
            if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
                found.append(path)
                break
        else:
            package = f"libpython{minor}-testsuite"
            sys.exit(f"Python {minor} has no test_smtplib: apt-get install {package}")
    return found


def peers() -> None:
    """Runs the tests of CPython's smtplib and of aiosmtplib with mailport in them."""
    archives = [*PEERS.glob("aiosmtplib-*.tar.gz")]
    if len(archives) != 1:
        sys.exit("no source archive of aiosmtplib: make setup")
    wheel()
    (built,) = WHEELS.glob("*.whl")
    site = PEERS / "site"
    shutil.rmtree(site, ignore_errors=True)
    pytest = PEERS / "pytest" / "bin" / "python"
    pip = pytest, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"
    run(*pip, "--no-deps", "--target", site, built)
    run(SYSTEM, HERE / "peers" / "run.py", site, pytest, archives[0], *with_tests_of_smtplib())


def check() -> None:
    """Fails if an environment that `setup` makes is missing or out of date."""
    for minor in interpreters():
        installed = FOLDER / minor / "installed.txt"
        if not installed.exists() or installed.read_text() != REQUIREMENTS.read_text():
            sys.exit(f"no environment for Python {minor}: make setup")


def wheel() -> None:
    """Builds the one wheel."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    maturin = tool("maturin"), "build", "--quiet", "--release", "--locked", "--offline"
    run(*maturin, "--interpreter", SYSTEM, "--out", WHEELS)


def install() -> None:
    """Builds the wheel, and installs it in every environment."""
    check()
    wheel()
    (built,) = WHEELS.glob("*.whl")
    pip = "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"
    for minor in interpreters():
        run(python(minor), *pip, "--no-deps", "--force-reinstall", built)


def test() -> None:
    """Checks the types and runs the tests: all in Debian's Python, in the others the quick ones."""
    if os.environ.get("MAILPORT_EVERY_PYTHON", "full") != "full":
        sys.exit("MAILPORT_EVERY_PYTHON is full, or not set")
    install()
    ruff = "--quiet", "--config", HERE / "pyproject.toml", HERE, LAB
    run(tool("ruff"), "check", *ruff)
    run(tool("ruff"), "format", "--check", *ruff)
    run(tool("mypy"))
    run(tool("stubtest"), "mailport", "--mypy-config-file", HERE / "pyproject.toml")
    for number, (minor, (version, path)) in enumerate(interpreters().items()):
        chosen: list[str] = []
        if number > 0 and not FULL:
            chosen = ["-m", "not long", *(f"tests/{test}" for test in QUICK)]
        print(f"Python {version} ({path}): {'some tests' if chosen else 'every test'}", flush=True)
        run(python(minor), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *chosen)
    if not FULL:
        print(
            "MAILPORT_EVERY_PYTHON=full runs every test in each Python. Now all but the first ran"
        )
        print("only the tests under a second of these files:")
        for name, why in QUICK.items():
            print(f"  {name}: {why}")


if __name__ == "__main__":
    commands = {
        command.__name__: command
        for command in (setup, environment, check, wheel, install, test, peers)
    }
    if sys.argv[1:2] == [] or sys.argv[1] not in commands:
        sys.exit(f"usage: {Path(__file__).name} {'|'.join(commands)}")
    commands[sys.argv[1]]()
