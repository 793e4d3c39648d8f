#!/bin/sh
# Builds and tests the library, the command and the C library in an i386 Debian 13 with Debian's Rust,
# on an x86-64 kernel. It needs root, and 4 GB in target/packages, where that Debian is made once. The
# crates are those that cargo has fetched on this machine.
set -eu

here=$(realpath "$(dirname "$0")/../..")
folder=$here/target/packages/i386
root=$folder/i386
packages=ca-certificates,gcc,libc6-dev,pkg-config,iproute2,cargo-web,rustc-web

if [ ! -e "$folder/complete" ]; then
    rm -rf "$root"
    debootstrap --arch=i386 --variant=minbase --include="$packages" trixie "$root" \
        "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    touch "$folder/complete"
fi

# The source is the working tree, read-only; what is built stays in the Debian.
mkdir -p "$root/source" "$root/build" "$root/cargo"
rm -rf "$root/cargo/vendor"
${CARGO:-cargo} vendor --locked --offline --quiet --manifest-path "$here/Cargo.toml" \
    "$root/cargo/vendor" >/dev/null
cat >"$root/cargo/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendor"
[source.vendor]
directory = "/cargo/vendor"
[net]
offline = true
CONFIG

# In a mount namespace, so that nothing stays mounted, and a network namespace with loopback alone.
# shellcheck disable=SC2016
exec unshare --mount --net setarch i686 sh -euc '
    mount --bind "$1" "$2/source"
    mount -o remount,bind,ro "$2/source"
    mount -t proc proc "$2/proc"
    mount --rbind /dev "$2/dev"
    mount -t tmpfs tmpfs "$2/tmp"
    exec env -i CARGO_HOME=/cargo CARGO_TARGET_DIR=/build PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LC_ALL=C.UTF-8 CARGO=cargo chroot "$2" sh -euxc "
        ip link set lo up
        cd /source
        cargo test --locked -p mailport --all-features
        cargo test --locked -p mailport-relay -p mailport-cli --lib --bins
        ffi/link.sh /build/c
        cc -Wall -Wextra -Werror -I include -o /build/poll examples/c/poll.c -L /build/c -lmailport
        cargo test --locked -p mailport-ffi programs
    "
' i386 "$here" "$root"
