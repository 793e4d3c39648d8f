"""aiohappyeyeballs as aiohttp uses it: each port in turn, with a timer of 10 seconds.

Usage: python_aiohappyeyeballs.py HOST PORT... Of each number on standard input it makes that many
dials, and prints the milliseconds that they took and the port that the last one reached (0: none).
"""

import asyncio
import socket
import sys
import time

from aiohappyeyeballs import start_connection


async def attempt(host, port):
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(addresses, happy_eyeballs_delay=0.25)


async def dial(host, ports):
    for port in ports:
        try:
            (await asyncio.wait_for(attempt(host, port), 10)).close()
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
