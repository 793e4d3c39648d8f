"""Cancelling at random moments beside a server in the same loop, which must not notice it.

A descriptor that is closed twice, or closed while the loop still watches it, hits the descriptor
that got its number next: of the next dial, or of another connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

import mailport
from conftest import descriptors
from servers import Server

HERE = "127.0.0.1"
CANCELS = 2000
AT_ONCE = 25
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[Server], Awaitable[Streams]]


def by_asyncio(server: Server) -> Awaitable[Streams]:
    """The control: what asyncio itself does to the innocent server."""
    return asyncio.open_connection(HERE, server.implicit, ssl=server.context)


MODES: dict[str, Open] = {
    "asyncio": by_asyncio,
    "open_connection, implicit": lambda server: mailport.open_connection(
        HERE, plan=f"{server.implicit}:implicit", ssl=server.context
    ),
    "open_connection, starttls": lambda server: mailport.open_connection(
        HERE, plan=f"{server.port}:starttls"
    ),
    "open_submission, implicit": lambda server: mailport.open_submission(
        HERE, plan=f"{server.implicit}:implicit", ssl=server.context
    ),
    "open_submission, starttls": lambda server: mailport.open_submission(
        HERE, plan=f"{server.port}:starttls", ssl=server.context
    ),
}


class Innocent:
    """An echo server and its clients, which talk all the time."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.echoed = 0
        self.is_over = False

    async def __aenter__(self) -> Innocent:
        self.server = await asyncio.start_server(self.serve, HERE, 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.clients = [asyncio.ensure_future(self.talk()) for _ in range(4)]
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError as error:
            self.failures.append(error)
        writer.close()

    async def talk(self) -> None:
        while not self.is_over:
            try:
                reader, writer = await asyncio.open_connection(HERE, self.port)
                for _ in range(20):
                    writer.write(b"hello\n")
                    assert await reader.readline() == b"hello\n"
                    self.echoed += 1
                    await asyncio.sleep(0)
                writer.close()
                await writer.wait_closed()
            except Exception as error:
                self.failures.append(error)

    async def __aexit__(self, *_: object) -> None:
        self.is_over = True
        await asyncio.wait(self.clients, timeout=60)
        self.server.close()
        await self.server.wait_closed()


@pytest.fixture(scope="module", autouse=True)
def _what_libuv_keeps() -> None:
    """It keeps its threads for look-ups, and a descriptor, from the first use on."""

    async def use() -> None:
        async with Innocent() as innocent:
            while innocent.echoed < 100:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

    loop = uvloop.new_event_loop()
    loop.run_until_complete(use())
    loop.close()


async def close(streams: Streams) -> None:
    writer = streams[1]
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def cancels(server: Server, mode: Open) -> dict[str, Any]:
    """Cancels many times, and returns what was seen."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    # How long a whole call takes, about: half of the calls are to be cancelled.
    span = 0.05
    left, failures = CANCELS, []
    counts = {"cancelled": 0, "connected": 0}
    async with Innocent():
        # libuv keeps a descriptor from the first listener of a loop on.
        await asyncio.sleep(0)
    before = len(descriptors())
    async with Innocent() as innocent:

        async def one() -> None:
            nonlocal left, span
            while left > 0:
                left -= 1
                task = asyncio.ensure_future(mode(server))
                await asyncio.sleep(random.uniform(0, span))
                task.cancel()
                try:
                    await close(await task)
                    counts["connected"] += 1
                    span *= 0.98
                except asyncio.CancelledError:
                    counts["cancelled"] += 1
                    span /= 0.98
                except Exception as error:
                    failures.append(error)

        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    # What was aborted is closed in a later turn of the loop.
    until = loop.time() + 10
    while len(descriptors()) > before and loop.time() < until:
        await asyncio.sleep(0.01)
    return {
        **counts,
        "echoed": innocent.echoed,
        "failures": failures,
        "innocent": innocent.failures,
        "unhandled": unhandled,
        "descriptors": len(descriptors()) - before,
    }


@pytest.mark.filterwarnings("default::ResourceWarning")
@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("name", MODES)
def test_two_thousand_cancels_hurt_nothing_else_in_the_loop(
    server: Server, name: str, loop_of: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # A context is expensive to make, and is not what is tested.
    monkeypatch.setattr(ssl, "create_default_context", lambda: server.context)
    loop = loop_of()
    try:
        seen = loop.run_until_complete(cancels(server, MODES[name]))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    print(name, seen)
    assert seen["innocent"] == []
    assert seen["echoed"] > 100
    assert seen["cancelled"] > CANCELS / 4
    if name == "asyncio":
        # The control may leave things behind, and is not ours to judge.
        return
    assert seen["failures"] == []
    assert seen["unhandled"] == []
    assert seen["descriptors"] <= 0
