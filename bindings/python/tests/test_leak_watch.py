"""The watch over what tests leave behind sees it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import conftest
from conftest import Run, descriptors, looked_after, threads

Undo = list[Callable[[], object]]


async def a_task(undo: Undo) -> None:
    undo.append(asyncio.ensure_future(asyncio.sleep(60)).cancel)


async def a_timer(undo: Undo) -> None:
    undo.append(asyncio.get_running_loop().call_later(60, print).cancel)


async def a_reader(undo: Undo) -> None:
    loop = asyncio.get_running_loop()
    ends = socket.socketpair()
    loop.add_reader(ends[0].fileno(), print)
    undo += [lambda: loop.remove_reader(ends[0].fileno()), ends[0].close, ends[1].close]


@pytest.mark.parametrize("leave", [a_task, a_timer, a_reader])
def test_what_is_left_in_a_loop_is_seen(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, leave: Callable[[Undo], Awaitable[None]]
) -> None:
    monkeypatch.setattr(conftest, "GOODBYE", 0.05)

    async def leaving(undo: Undo) -> None:
        await leave(undo)

    async def main() -> None:
        undo: Undo = []
        with pytest.raises(AssertionError, match="left in the loop"):
            await looked_after(leaving(undo))
        for step in undo:
            step()

    run(main())


def test_what_is_left_in_the_process_is_seen() -> None:
    before = descriptors(), threads()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    assert set(descriptors()) - set(before[0]) == {descriptor}
    assert len(threads() - before[1]) == 1
    ended.set()
    thread.join()
    os.close(descriptor)
