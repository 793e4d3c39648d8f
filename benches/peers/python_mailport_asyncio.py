"""mailport.aconnect in asyncio: one call, without a timer.

Usage: python_mailport_asyncio.py HOST PORT... Of each number on standard input it makes that many
dials, and prints the milliseconds that they took and the port that the last one reached (0: none).
"""

import asyncio
import sys
import time

import mailport


async def dial(host, plan):
    try:
        with await mailport.aconnect(host, plan=plan) as sock:
            return sock.getpeername()[1]
    except mailport.ConnectError:
        return 0


async def main():
    plan = mailport.Plan(",".join(f"{port}:starttls" for port in sys.argv[2:]))
    for line in sys.stdin:
        start, port = time.perf_counter(), 0
        for _ in range(int(line)):
            port = await dial(sys.argv[1], plan)
        print(f"{(time.perf_counter() - start) * 1e3:.3f} {port}", flush=True)


asyncio.run(main())
