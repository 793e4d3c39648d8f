"""One process, several interpreters: the package can be imported in one of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The module of interpreters had another name before 3.13, and other results.
SCRIPT = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    create = {{"shared": lambda: interpreters.create("legacy"), "own": interpreters.create}}
else:
    import _xxsubinterpreters as interpreters
    create = {{
        "shared": lambda: interpreters.create(isolated=False),
        "own": lambda: interpreters.create(isolated=True),
    }}
IMPORT = '''
try:
    import mailport
except ImportError as error:
    print("ImportError:", error, flush=True)
else:
    print("imported", mailport.Plan(), flush=True)
'''
{first}
other = create[{lock!r}]()
interpreters.run_string(other, IMPORT)
{last}
"""


def said(first: str, last: str, lock: str) -> list[str]:
    script = SCRIPT.format(first=first, last=last, lock=lock)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("lock", ["shared", "own"])
def test_a_second_interpreter_cannot_import_it_and_says_so(lock: str) -> None:
    first, second, third = said("exec(IMPORT)", "exec(IMPORT)", lock)
    assert first == third == "imported 587:starttls,25:starttls"
    assert second.startswith("ImportError: ")
    assert "mailport" in second


def test_a_sub_interpreter_that_is_the_first_can_import_it() -> None:
    first, second = said("", "exec(IMPORT)", "shared")
    assert first == "imported 587:starttls,25:starttls"
    assert second.startswith("ImportError: mailport is already imported in another interpreter")
