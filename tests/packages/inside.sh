#!/bin/sh
# Runs the shell script $2 in the Debian in the directory $1, as root there: in /source, which is the
# working tree, read-only; with the crates that cargo has fetched on this machine; in a network
# namespace with loopback alone. What is built stays in /build of that Debian.
set -eu
here=$(realpath "$(dirname "$0")/../..")
root=$1
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

# In a mount namespace, so that nothing stays mounted.
# shellcheck disable=SC2016
exec unshare --mount --net sh -euc '
    ip link set lo up
    mount --bind "$0" "$1/source"
    mount -o remount,bind,ro "$1/source"
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs tmpfs "$1/tmp"
    exec env -i CARGO_HOME=/cargo CARGO_TARGET_DIR=/build PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LC_ALL=C.UTF-8 CARGO=cargo chroot "$1" sh -euxc "cd /source; $2"
' "$here" "$root" "$2"
