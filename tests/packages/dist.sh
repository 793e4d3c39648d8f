#!/bin/sh
# Makes every file of a release in target/dist, from a clone without changes: a directory for each
# place that it goes to, bills of materials, and SHA256SUMS. As root, for a chroot with Debian 13;
# downloads that, maturin and zig (PyPI) and cargo-cyclonedx (crates.io).
set -eu
cd "$(dirname "$0")/../.."
: "${CARGO:=cargo}"
here=$PWD
out=$here/target/dist
tools=$here/target/packages/cargo
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
fail() { echo "dist: $*" >&2; exit 1; }
test -z "$(git status --porcelain)" || fail "git status shows changes: commit or remove them first"
tests/packages/chroot.sh target/packages/trixie
test -x "$tools/bin/cargo-cyclonedx" ||
    $CARGO install --quiet --locked --root "$tools" cargo-cyclonedx@0.5.9
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"

echo "== the source archive and the crates"
mkdir -p "$out/source" "$out/crates"
git archive --prefix="mailport-$version/" HEAD | tee "$work/source.tar" | gzip -9n >"$out/source/mailport-$version.tar.gz"
CARGO_TARGET_DIR=$work $CARGO package --locked --no-verify -p mailport -p mailport-relay -p mailport-cli
cp "$work"/package/*.crate "$out/crates"

echo "== the Python package"
tests/packages/wheel.sh
cp -r target/packages/wheels "$out/python"

echo "== Debian's packages"
tests/packages/debian.sh
cp -r target/packages/debian "$out/debian"

echo "== the Emacs package"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
RUSTFLAGS="--remap-path-prefix=$here=/usr/src/mailport --remap-path-prefix=$cargo_home=/usr/src/cargo" \
    CARGO_TARGET_DIR=$here/target/packages/emacs make emacs
mkdir "$out/emacs"
cp "bindings/emacs/mailport-$version.tar" "$out/emacs"

echo "== the static command"
tests/packages/musl.sh
mkdir "$out/static"
cp target/packages/static/mailport "$out/static"

# A bill of materials for what each crate builds; that of the Python module is in the wheel.
echo "== bills of materials"
tar -C "$work" -xf "$work/source.tar"
(cd "$work/mailport-$version" && PATH=$tools/bin:$PATH $CARGO cyclonedx --quiet --format json --all-features)
mkdir "$out/sbom"
for file in mailport relay/mailport-relay cli/mailport-cli ffi/mailport-ffi bindings/emacs/mailport-emacs; do
    sed "s|file://$work|file:///usr/src|g" "$work/mailport-$version/$file.cdx.json" >"$out/sbom/${file##*/}.cdx.json"
done
! grep -rlF "$work" "$out/sbom" || fail "a bill of materials names a directory of the builder"

cd "$out"
find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" .
echo "dist: ok: $(wc -l <SHA256SUMS) files in target/dist"
