"""Runs the tests of CPython's smtplib and of aiosmtplib with mailport in them: `make test-peers`.

Usage: run.py SITE PYTEST ARCHIVE INTERPRETER... SITE has the package, PYTEST is an interpreter with
what aiosmtplib's tests need, ARCHIVE is aiosmtplib's source archive, and each INTERPRETER has
CPython's own tests. Each suite runs twice, first without mailport. A test that passes there and
fails with mailport must be listed, with its reason, in smtplib.txt or aiosmtplib.txt; a listed test
that passes is an error, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
Results = dict[str, str]


def listed(name: str) -> dict[str, str]:
    """Test to reason: an unindented line is the reason of the indented ones that follow."""
    found, reason = {}, ""
    for line in (HERE / name).read_text().splitlines():
        if line.startswith("  "):
            found[line.strip()] = reason
        elif line and not line.startswith("#"):
            reason = line
    return found


def results(*words: str | Path, cwd: Path | None = None, **variables: str) -> Results:
    """Runs a suite, and returns each test's result."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        words, env=environment, cwd=cwd, capture_output=True, text=True, timeout=900
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    # A test may be reported twice: for itself, and for what it leaves.
    found: Results = {}
    for words_of_line in lines:
        if len(words_of_line) == 2 and words_of_line[0] in ("passed", "failed", "skipped"):
            result, test = words_of_line
            found[test] = "failed" if "failed" in (result, found.get(test)) else result
    if not found:
        sys.exit(f"{words} ran no test\n{done.stdout}\n{done.stderr}")
    return found


def compare(title: str, without: Results, with_mailport: Results, name: str) -> list[str]:
    """Prints the figures of a suite, and returns what is wrong."""
    reasons = listed(name)
    passed = {test for test, result in without.items() if result == "passed"}
    failed = {test for test in passed if with_mailport.get(test) != "passed"}
    fine = sorted(passed - failed)
    print(
        f"{title}: of {len(passed)} tests that pass without mailport, {len(fine)} pass with it and "
        f"{len(failed & reasons.keys())} fail for a listed reason",
        flush=True,
    )
    unlisted = [f"{title}: {test} fails, and is not in {name}" for test in failed - reasons.keys()]
    stale = [f"{title}: {test} passes, and is in {name}" for test in fine if test in reasons]
    return [*unlisted, *stale]


def main() -> None:
    site, pytest, archive, *interpreters = sys.argv[1:]
    wrong: list[str] = []
    for interpreter in interpreters:
        words = interpreter, HERE / "smtplib_shim.py"
        version = subprocess.run(
            [interpreter, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        wrong += compare(
            f"{version}, test_smtplib",
            results(*words, "without"),
            results(*words, PYTHONPATH=site),
            "smtplib.txt",
        )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        (source,) = Path(folder).iterdir()
        suite = pytest, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--tb=no"
        plugin = "-p", "aiosmtplib_shim", "tests"
        both = os.pathsep.join([str(HERE), site])
        wrong += compare(
            source.name,
            results(*suite, *plugin, cwd=source, PYTHONPATH=both, WITHOUT_MAILPORT="1"),
            results(*suite, *plugin, cwd=source, PYTHONPATH=both),
            "aiosmtplib.txt",
        )
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
