"""The time of a connect on loopback, beside other clients; memory of a dial; time of the import.

``python benches/connect.py [ROUNDS]`` in an environment with mailport, uvloop and aiohappyeyeballs.
Each client connects once in each round, in turn, so that load slows them all. The ratio is to the
first client of the same loop, and of medians.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohappyeyeballs
import uvloop

import mailport

HERE = "127.0.0.1"
Times = dict[str, list[float]]


def accept(listener: socket.socket) -> None:
    """Takes every connection and drops it."""
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def blocking(port: int, refused: int, rounds: int) -> Times:
    """Calls that block."""
    plan = mailport.Plan(f"{port}:starttls")
    both = mailport.Plan(f"{refused}:starttls,{port}:starttls")
    cache = mailport.Cache()

    def by_hand() -> socket.socket:
        try:
            return socket.create_connection((HERE, refused), 10)
        except OSError:
            return socket.create_connection((HERE, port), 10)

    clients: dict[str, Callable[[], socket.socket]] = {
        "socket.create_connection": lambda: socket.create_connection((HERE, port), 10),
        "mailport.connect": lambda: mailport.connect(HERE, plan=plan),
        "mailport.connect, with a cache": lambda: mailport.connect(HERE, plan=plan, cache=cache),
        "refused first: create_connection twice": by_hand,
        "refused first: mailport.connect": lambda: mailport.connect(HERE, plan=both),
    }
    times: Times = {name: [] for name in clients}
    for _ in range(rounds):
        for name, client in clients.items():
            begun = time.perf_counter()
            sock = client()
            times[name].append(time.perf_counter() - begun)
            sock.close()
    return times


async def in_loop(port: int, rounds: int) -> Times:
    """Coroutines."""
    loop = asyncio.get_running_loop()
    plan = mailport.Plan(f"{port}:starttls")
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HERE, port))

    async def asyncio_s() -> Callable[[], None]:
        made = await loop.create_connection(asyncio.Protocol, HERE, port, happy_eyeballs_delay=0.25)
        return made[0].abort

    async def theirs() -> Callable[[], None]:
        return (await aiohappyeyeballs.start_connection([info], happy_eyeballs_delay=0.25)).close

    async def ours() -> Callable[[], None]:
        return (await mailport.aconnect(HERE, plan=plan)).close

    async def theirs_by_name() -> Callable[[], None]:
        found = await loop.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        return (await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=0.25)).close

    async def ours_by_name() -> Callable[[], None]:
        return (await mailport.aconnect("localhost", plan=plan)).close

    async def streams() -> Callable[[], None]:
        return (await mailport.open_connection(HERE, plan=plan))[1].transport.abort

    clients: dict[str, Callable[[], Awaitable[Callable[[], None]]]] = {
        # Given the address, so that neither of these two looks a name up.
        "aiohappyeyeballs.start_connection": theirs,
        "mailport.aconnect": ours,
        "loop.create_connection(happy_eyeballs_delay=)": asyncio_s,
        "mailport.open_connection": streams,
        "by name: aiohappyeyeballs.start_connection": theirs_by_name,
        "by name: mailport.aconnect": ours_by_name,
    }
    if isinstance(loop, uvloop.Loop):
        # Its create_connection has no happy_eyeballs_delay.
        del clients["loop.create_connection(happy_eyeballs_delay=)"]
    times: Times = {name: [] for name in clients}
    for _ in range(rounds):
        for name, client in clients.items():
            begun = time.perf_counter()
            close = await client()
            times[name].append(time.perf_counter() - begun)
            close()
            await asyncio.sleep(0)
    return times


def memory(count: int = 2000) -> float:
    """Bytes of this process for a dial that waits: an address, one attempt, a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * count + 1000), hard))
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # Its queue is full with two, and every further SYN is dropped.
        held = [socket.socket() for _ in range(3)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex((HERE, port))
        plan = mailport.Plan(f"{port}:starttls")

        def pending() -> mailport.Dial:
            dial = mailport.Dial(HERE, plan=plan)
            assert dial.process() == "pending"
            return dial

        dials = [pending() for _ in range(100)]
        before = resident()
        dials += [pending() for _ in range(count)]
        grown = resident() - before
        for dial in dials:
            dial.close()
        for sock in held:
            sock.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return grown / count


def resident() -> int:
    """The memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def importing(rounds: int = 25) -> float:
    """Seconds of the processor for the import, beyond that of asyncio, smtplib and ssl.

    The least of each counts, as in :mod:`timeit`: more is what else the machine does.
    """
    taken: dict[str, list[float]] = {"": [], ", mailport": []}
    for _ in range(rounds):
        for more, times in taken.items():
            program = (
                "import time; begun = time.process_time()\n"
                f"import asyncio, smtplib, ssl{more}\n"
                "print(time.process_time() - begun)"
            )
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout))
    bare, whole = (min(times) for times in taken.values())
    return whole - bare


def show(title: str, times: Times) -> None:
    """Prints the medians, and their ratios to the first."""
    print(f"{title:<48} median     ratio")
    first = None
    for name, taken in times.items():
        median = statistics.median(taken)
        first = first or median
        print(f"  {name:<45} {median * 1e6:6.0f} us  {median / first:6.2f}")


def main() -> None:
    """Runs everything."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with socket.create_server((HERE, 0), backlog=512) as listener, socket.socket() as held:
        held.bind((HERE, 0))
        port, refused = listener.getsockname()[1], held.getsockname()[1]
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        print(f"memory of a pending dial: {memory() / 1024:.1f} KiB")
        print(f"import beyond asyncio, smtplib and ssl: {importing() * 1e3:.1f} ms")
        print(f"Python {sys.version.split()[0]}, mailport {mailport.__version__}, {rounds} rounds")
        show("blocking", blocking(port, refused, rounds))
        for name, make in [("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)]:
            loop = make()
            show(name, loop.run_until_complete(in_loop(port, rounds)))
            loop.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


if __name__ == "__main__":
    main()
