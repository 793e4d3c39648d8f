#!/bin/sh
# Under qemu-user, the command $1 and programs in C with the C library in the directory $2, for arm64,
# connect to a server of this machine. As root in a network namespace, with python3.
set -eu
command=$1
library=$2
fail() { echo "emulated: $*" >&2; exit 1; }
emulate() { qemu-aarch64 -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$library" "$@"; }
work=$(mktemp -d)
server=
trap 'kill $server; rm -rf "$work"' EXIT
python3 -c '
import socket
listener = socket.create_server(("127.0.0.1", 25))
print("ready", flush=True)
while True:
    connection = listener.accept()[0]
    connection.sendall(b"220 ready\r\n")
' >"$work/server" &
server=$!
until grep -q ready "$work/server"; do sleep 0.1; done
# Port 587 is refused. The kernel tells, and qemu does not pass on, whether that was a reset.
found=$(emulate "$command" connect localhost --json --cache off)
echo "$found" | grep -q '"port": *25' || fail "$found"
emulate "$command" --version
for name in connect poll; do
    aarch64-linux-gnu-gcc -Wall -Wextra -Werror -I include -o "$work/$name" "examples/c/$name.c" \
        -L "$library" -lmailport
done
found=$(emulate "$work/poll" localhost)
case $found in *'587 is refused; connected to 25 over IPv4'*) ;; *) fail "$found" ;; esac
test "$(emulate "$work/connect" localhost 25)" = 'connected to localhost' || fail "one call"
echo "emulated: ok: $command"
