"""Python's socket.create_connection: each port in turn, with a timer of 10 seconds.

Usage: python_socket.py HOST PORT... Of each number on standard input it makes that many dials, and
prints the milliseconds that they took and the port that the last one reached (0: none).
"""

import socket
import sys
import time


def dial(host, ports):
    for port in ports:
        try:
            socket.create_connection((host, port), timeout=10).close()
            return port
        except OSError:
            pass
    return 0


for line in sys.stdin:
    start, port = time.perf_counter(), 0
    for _ in range(int(line)):
        port = dial(sys.argv[1], sys.argv[2:])
    print(f"{(time.perf_counter() - start) * 1e3:.3f} {port}", flush=True)
