"""Python's asyncio.open_connection with happy_eyeballs_delay: each port in turn, with a timer of
10 seconds.

Usage: python_asyncio.py HOST PORT... Of each number on standard input it makes that many dials, and
prints the milliseconds that they took and the port that the last one reached (0: none).
"""

import asyncio
import sys
import time


async def dial(host, ports):
    for port in ports:
        connecting = asyncio.open_connection(host, port, happy_eyeballs_delay=0.25)
        try:
            _, writer = await asyncio.wait_for(connecting, 10)
            writer.close()
            return port
        except (OSError, asyncio.TimeoutError):
            pass
    return 0


async def main():
    for line in sys.stdin:
        start, port = time.perf_counter(), 0
        for _ in range(int(line)):
            port = await dial(sys.argv[1], sys.argv[2:])
        print(f"{(time.perf_counter() - start) * 1e3:.3f} {port}", flush=True)


asyncio.run(main())
