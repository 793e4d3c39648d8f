"""Runs CPython's own test_smtplib with mailport.SMTP in the place of smtplib.SMTP.

Usage: smtplib_shim.py [without]. Prints a line for each test: its result, and its name. The tests
know servers without TLS only, so every port is tried alone and in cleartext.
"""

from __future__ import annotations

import smtplib
import sys
import unittest
from typing import Any


def use_mailport() -> None:
    """Gives the tests another class: their module finds it in smtplib."""
    import mailport

    class SMTP(mailport.SMTP):
        def _plan_for(self, port: int | str) -> mailport.Plan:
            return mailport.Plan(f"{port}:cleartext", allow_cleartext=True)

    setattr(smtplib, "SMTP", SMTP)  # noqa: B010  # of another type


class Result(unittest.TextTestResult):
    """Prints the end of each test, once."""

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # the name in unittest
        super().stopTest(test)
        bad = {id(case): kind for kind in ("failures", "errors") for case, _ in getattr(self, kind)}
        skipped = {id(case) for case, _ in self.skipped}
        found = "failed" if id(test) in bad else "skipped" if id(test) in skipped else "passed"
        print(f"{found} {'.'.join(test.id().split('.')[-2:])}", flush=True)


def main() -> None:
    if sys.argv[1:] != ["without"]:
        use_mailport()
    from test import test_smtplib  # type: ignore[import-not-found]

    result: Any = Result
    suite: Any = unittest.defaultTestLoader.loadTestsFromModule(test_smtplib)
    unittest.TextTestRunner(stream=sys.stderr, resultclass=result, verbosity=0).run(suite)


if __name__ == "__main__":
    main()
