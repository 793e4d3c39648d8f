"""Runs a job in a terminal, as a shell with job control does: jobs.py CASE COMMAND...

Prints how often the job has stopped, and its exit status.
"""

import os
import pty
import signal
import sys
import time

CASE, *COMMAND = sys.argv[1:]


def shell():
    """The first process of the terminal."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    # What it says goes to its parent, not to the terminal.
    said = os.fdopen(3, "w", 1)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        if CASE != "background":
            os.tcsetpgrp(0, os.getpid())
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if number < 32:
                signal.signal(number, signal.SIG_DFL)
        os.close(3)
        os.execv(COMMAND[0], COMMAND)
    stops = 0
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        stops += 1
        # A person is not faster: the parent of the program has seen its stop by then.
        time.sleep(0.2)
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
        print("continued", file=said)
    print(stops, os.waitstatus_to_exitcode(status), file=said)


ours, theirs = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(theirs, 3)
    shell()
    os._exit(0)
os.close(theirs)
said = os.fdopen(ours)
if CASE == "key":
    text = b""
    while b"ready" not in text:
        text += os.read(terminal, 1000)
    os.write(terminal, b"\x1a")
for line in said:
    if line == "continued\n":
        os.write(terminal, b"a line\n")
    else:
        print(line, end="")
