#!/bin/sh
# Builds and tests the library, the relay, the command and the C library in an i386 Debian 13 with
# Debian's Rust, on an x86-64 kernel. It needs root, and 5 GB in target/packages, where that Debian is
# made once. The crates are those that cargo has fetched on this machine.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD/target/packages/i386
mirror=${MIRROR:-http://deb.debian.org/debian}
# The tests have programs in C for event loops, and one in Python.
packages=ca-certificates,gcc,libc6-dev,pkg-config,iproute2,cargo-web,rustc-web,python3
packages=$packages,libglib2.0-dev,libevent-dev,libuv1-dev,libsystemd-dev,libssl-dev
if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --arch=i386 --variant=minbase --include="$packages" trixie "$root" "$mirror"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    touch "$root/.complete"
fi
setarch i686 tests/packages/inside.sh "$root" '
    cargo test --locked -p mailport --all-features
    cargo test --locked -p mailport-relay -p mailport-cli
    cargo test --locked -p mailport-ffi programs
'
echo "i386: ok: the library, the relay, the command, and the C library's programs"
