"""mailport.connect: one call, without a timer.

Usage: python_mailport.py HOST PORT... Of each number on standard input it makes that many dials, and
prints the milliseconds that they took and the port that the last one reached (0: none).
"""

import sys
import time

import mailport


def dial(host, plan):
    try:
        with mailport.connect(host, plan=plan) as sock:
            return sock.getpeername()[1]
    except mailport.ConnectError:
        return 0


plan = mailport.Plan(",".join(f"{port}:starttls" for port in sys.argv[2:]))
for line in sys.stdin:
    start, port = time.perf_counter(), 0
    for _ in range(int(line)):
        port = dial(sys.argv[1], plan)
    print(f"{(time.perf_counter() - start) * 1e3:.3f} {port}", flush=True)
