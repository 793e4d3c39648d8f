#!/bin/sh
# Checks what make dist has made: each file of a release is in target/dist once, no other file is,
# SHA256SUMS has the checksum of each, and none names a directory of the builder.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "sums: $*" >&2; exit 1; }
cd target/dist
sha256sum --check --quiet SHA256SUMS || fail "a checksum is wrong"
sed 's/^[0-9a-f]\{64\}  //' SHA256SUMS | sort >"$work/listed"
find . -type f ! -path ./SHA256SUMS -printf '%P\n' | sort >"$work/found"
diff "$work/listed" "$work/found" >&2 || fail "SHA256SUMS does not list every file"
for pattern in "source/mailport-$version.tar.gz" \
    "crates/mailport-$version.crate" "crates/mailport-relay-$version.crate" "crates/mailport-cli-$version.crate" \
    "python/mailport-$version-*.whl" "python/mailport-$version.tar.gz" \
    "debian/mailport_$version*.deb" "debian/libmailport0_$version*.deb" "debian/libmailport-dev_$version*.deb" \
    "debian/python3-mailport_$version*.deb" "debian/elpa-mailport_$version*.deb" \
    "emacs/mailport-$version.tar" static/mailport \
    sbom/mailport.cdx.json sbom/mailport-relay.cdx.json sbom/mailport-cli.cdx.json sbom/mailport-ffi.cdx.json sbom/mailport-emacs.cdx.json; do
    # shellcheck disable=SC2086
    set -- $pattern
    test $# = 1 -a -s "$1" || fail "not one file: $pattern"
    echo "$1"
done >"$work/expected"
sort "$work/expected" | diff - "$work/found" >&2 || fail "another file than those of a release"
! grep -rlF -e "$here" -e "${CARGO_HOME:-$HOME/.cargo}/" . >&2 || fail "names a directory of the builder"
echo "sums: ok: $(wc -l <"$work/found") files"
