"""A plugin of pytest: aiosmtplib's own tests, with a socket of mailport for each connection.

Prints a line for each test: its result, and its name. The tests know nothing of plans, so every
port is tried alone.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiosmtplib
import pytest
from aiosmtplib.smtp import SMTP

import mailport

create_connection: Any = SMTP._create_connection


async def dialled(smtp: Any, timeout: float | None) -> Any:
    """Connects as aiosmtplib does where it is given a socket, and raises what it raises."""
    if smtp.loop is None or smtp.sock is not None or smtp.socket_path is not None:
        return await create_connection(smtp, timeout)
    host = "localhost" if smtp.hostname is None else smtp.hostname
    port = smtp._get_default_port() if smtp.port is None else smtp.port
    plan = mailport.Plan(f"{port}:cleartext", allow_cleartext=True)
    try:
        # Its timeout may be 0, which only `wait_for` takes.
        dial = mailport.aconnect(host, plan=plan, timeout=None, local_addr=smtp.source_address)
        smtp.sock = await asyncio.wait_for(dial, timeout)
    except TimeoutError as error:
        raise aiosmtplib.SMTPConnectTimeoutError(
            f"Timed out connecting to {host} on port {port}"
        ) from error
    except OSError as error:
        raise aiosmtplib.SMTPConnectError(
            f"Error connecting to {host} on port {port}: {error}"
        ) from error
    try:
        return await create_connection(smtp, timeout)
    finally:
        # A second connect of the same client dials again.
        smtp.sock = None


if "WITHOUT_MAILPORT" not in os.environ:
    setattr(SMTP, "_create_connection", dialled)  # noqa: B010  # of another signature


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        print(f"\n{report.outcome} {report.nodeid}", flush=True)
