#!/bin/sh
# Makes a Debian 13 to build and test packages in, in the directory $1. As root; downloads 400 MB.
set -eu
root=$1
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
packages="build-essential debhelper dh-elpa dh-python python3-all python3-venv pkgconf cargo-web rustc-web
    lintian autopkgtest mandoc emacs-nox"
fail() { echo "chroot: $*" >&2; exit 1; }
test "$(id -u)" = 0 || fail "a Debian 13 is made in a chroot, which needs root"
command -v debootstrap >/dev/null || fail "a Debian 13 is made in a chroot, which needs debootstrap: apt-get install debootstrap"
if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$mirror"
    # Nothing is to be started by an installation.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/"
    # A mirror or a proxy may have its own certificate.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || :
    # Debian's newer Rust is in the updates.
    printf 'deb %s %s main\n' "$mirror" trixie "$mirror" trixie-updates "$security" trixie-security \
        >"$root/etc/apt/sources.list"
    touch "$root/.complete"
fi
if [ "$(cat "$root/.complete")" != "$packages" ]; then
    chroot "$root" apt-get -q update
    # shellcheck disable=SC2086
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages
    echo "$packages" >"$root/.complete"
fi
