#!/bin/sh
# Builds Debian's packages in a clean Debian 13 in the directory $1, twice: in two directories, at two
# times. Then lintian, and the autopkgtests with the packages installed. As root; downloads 400 MB.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD/${1:-target/packages/trixie}
out=$PWD/target/packages/debian
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
fail() { echo "debian: $*" >&2; exit 1; }
tests/packages/chroot.sh "$root"
git archive HEAD | tar -x -C "$source"
${CARGO:-cargo} vendor --locked --quiet --manifest-path "$source/Cargo.toml" "$source/vendor" >/dev/null

# build DIRECTORY ZONE OPTIONS: in the chroot without a network; the packages are beside the directory.
build() {
    rm -rf "$root$1"
    mkdir -p "$root$1"
    cp -a "$source/." "$root$1"
    unshare -nm sh -c "mount -t proc proc '$root/proc' && mount --rbind /dev '$root/dev' && ip link set lo up &&
        chroot '$root' env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=$2 \
        DEB_BUILD_OPTIONS='$3' sh -c 'cd $1 && dpkg-buildpackage -b -us -uc'"
}
build /build/first/mailport UTC "${DEB_BUILD_OPTIONS:-}"
# The tests have passed; what they build is in no package.
build /build/another-directory/mailport Pacific/Kiritimati nocheck
for package in "$root"/build/first/*.deb; do
    cmp "$package" "$root/build/another-directory/${package##*/}" || fail "not reproducible: ${package##*/}"
done
inside() { unshare -m sh -c "mount -t proc proc '$root/proc' && mount --rbind /dev '$root/dev' && chroot '$root' env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root $*"; }
inside "sh -c 'lintian --allow-root --fail-on error,warning /build/first/*.changes'"
inside "sh -c 'autopkgtest --no-built-binaries /build/first/*.deb /build/first/mailport -- null'"
rm -rf "$out" && mkdir -p "$out" && cp "$root"/build/first/*.deb "$out"
echo "debian: ok: $(cd "$out" && echo *.deb)"
