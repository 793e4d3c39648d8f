#!/bin/sh
# The command $1 is static, and finds names in the hosts file and by the DNS. As root, in separate mount and
# network namespaces, with dnsmasq-base, binutils and python3.
set -eu
command=$1
fail() { echo "static: $*" >&2; exit 1; }
for what in INTERP NEEDED; do
    ! readelf --dynamic --program-headers --wide "$command" | grep $what || fail "it has $what"
done
work=$(mktemp -d)
started=
trap 'kill $started; rm -rf "$work"' EXIT
printf '127.0.0.1 in-hosts.example.test\n' >"$work/hosts"
printf 'nameserver 127.0.0.1\n' >"$work/resolv.conf"
touch /etc/hosts /etc/resolv.conf
mount --bind "$work/hosts" /etc/hosts
mount --bind "$work/resolv.conf" /etc/resolv.conf
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
    --listen-address=127.0.0.1 --bind-interfaces --host-record=in-dns.example.test,127.0.0.1 \
    --local=/test/ &
started=$!
python3 -c '
import socket
listener = socket.create_server(("127.0.0.1", 587))
while True:
    connection = listener.accept()[0]
    connection.sendall(b"220 ready\r\n")
' &
started="$started $!"
connect() { "$command" connect "$1" --plan 587:starttls --cache off; }
# Both servers have started once a connection succeeds.
for _ in $(seq 100); do
    ! connect in-dns.example.test >/dev/null 2>&1 || break
    sleep 0.1
done
connect in-dns.example.test || fail "no name by the DNS"
connect in-hosts.example.test || fail "no name from the hosts file"
! found=$(connect missing.example.test 2>&1) || fail "a missing name was found"
echo "$found" | grep -q 'missing.example.test' || fail "$found"
echo "static: ok: $command"
