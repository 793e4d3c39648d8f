"""Programs with another loop than asyncio's: gevent, trio, and anyio with trio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import mailport
from conftest import HASTY, Silent, starttls
from servers import Server

HERE = "127.0.0.1"
GEVENT = """
import sys, time
{imports}
import gevent
silent, port, plan = sys.argv[1], int(sys.argv[2]), sys.argv[3]
turns = 0

def count():
    global turns
    while True:
        gevent.sleep(0.005)
        turns += 1

counter = gevent.spawn(count)

def shared(call):
    # Whether others run while the call blocks.
    global turns
    turns, begun = 0, time.monotonic()
    try:
        call()
    except mailport.ConnectTimeoutError as error:
        print(type(error).__name__, end=" ")
    else:
        print("done", end=" ")
    took = time.monotonic() - begun
    print(turns > 20, 0.25 < took < 5, flush=True)

shared(lambda: mailport.connect("127.0.0.1", plan=f"{{silent}}:starttls", timeout=0.3))
shared(lambda: mailport.dial("127.0.0.1", plan=f"{{silent}}:starttls", timeout=0.3))
shared(lambda: mailport.SMTP("127.0.0.1", int(silent), timeout=0.3))
both = mailport.Config(port_delay=0.3, patience=0.4)
shared(lambda: mailport.SMTP("127.0.0.1", plan=plan, config=both).quit())

# Side by side, and each by a name.
begun = time.monotonic()
every = [gevent.spawn(mailport.dial, "localhost", plan=plan, config=both) for _ in range(50)]
gevent.joinall(every, raise_error=True)
assert {{each.value.service.port for each in every}} == {{port}}
print("together", time.monotonic() - begun < 5)
dial = mailport.Dial("127.0.0.1", plan=f"{{silent}}:starttls")
print(dial.wait(0.3).value)
gevent.spawn_later(0.1, dial.cancel)
print(dial.wait().value)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "from gevent import monkey; monkey.patch_all(); import mailport",
        "import mailport; from gevent import monkey; monkey.patch_all()",
    ],
    ids=["patched before", "patched after"],
)
def test_calls_are_cooperative_in_gevent(silent: Silent, server: Server, imports: str) -> None:
    plan = starttls(silent.port, server.port)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEVENT.format(imports=imports),
         str(silent.port), str(server.port), plan],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ConnectTimeoutError True True",
        "ConnectTimeoutError True True",
        "ConnectTimeoutError True True",
        "done True True",
        "together True",
        "pending",
        "failed",
    ]


async def in_trio(*arguments: Any, **options: Any) -> mailport.Connected:
    import trio

    with mailport.Dial(*arguments, **options) as dial:
        while dial.process() == "pending":
            await trio.lowlevel.wait_readable(dial)
        return dial.result()


async def in_anyio(*arguments: Any, **options: Any) -> mailport.Connected:
    import anyio

    with mailport.Dial(*arguments, **options) as dial:
        while dial.process() == "pending":
            await anyio.wait_readable(dial)
        return dial.result()


@pytest.mark.parametrize("dialled", [in_trio, in_anyio])
def test_a_dial_is_watched_and_cancelled_in_trio(
    silent: Silent, server: Server, dialled: Callable[..., Any]
) -> None:
    import trio

    async def main() -> None:
        plan = starttls(silent.port, server.port)
        connected = await dialled(HERE, plan=plan, config=HASTY)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected.socket))
        assert (await stream.receive_some(4)) == b"220 "
        await stream.aclose()
        with trio.move_on_after(0.05) as scope:
            await dialled(HERE, plan=starttls(silent.port))
        assert scope.cancelled_caught
        with pytest.raises(mailport.ConnectTimeoutError):
            await dialled(HERE, plan=starttls(silent.port), timeout=0.1)

    trio.run(main)
