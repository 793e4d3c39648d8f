#!/bin/sh
# Makes a Debian 13 to build and test packages in, in the directory $1. As root; downloads 400 MB.
set -eu
root=$1
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
packages=build-essential,debhelper,dh-elpa,dh-python,python3-all,python3-setuptools,pkgconf,ca-certificates,lintian,autopkgtest,mandoc,emacs-nox
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
    chroot "$root" apt-get -q update
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
        cargo-web rustc-web $(echo $packages | tr , ' ')
    touch "$root/.complete"
fi
