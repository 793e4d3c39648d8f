#!/bin/sh
# Packages the crates without a warning, and tests each from what its package contains, elsewhere.
# Arguments are passed to cargo package: --allow-dirty.
set -eu
cd "$(dirname "$0")/../.."
: "${CARGO:=cargo}"
target=${CARGO_TARGET_DIR:-$PWD/target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
crates="mailport mailport-relay mailport-cli"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "crates: $*" >&2; exit 1; }

# What it would build to verify is built below.
# shellcheck disable=SC2046
$CARGO package --locked --no-verify "$@" $(printf ' -p %s' $crates) 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
cat "$work/log"
! grep -q '^warning' "$work/log" || fail "cargo package warns"

# Each depends on the one before, which is not published yet.
mkdir "$work/.cargo"
for crate in $crates; do
    tar -C "$work" -xf "$target/package/$crate-$version.crate"
    printf '[patch.crates-io.%s]\npath = "%s"\n' "$crate" "$work/$crate-$version" >>"$work/.cargo/config.toml"
    for file in README.md LICENSE-MIT LICENSE-APACHE; do
        test -s "$work/$crate-$version/$file" || fail "$crate has no $file"
    done
done
export CARGO_TARGET_DIR="$target" CARGO_NET_OFFLINE=true
for crate in $crates; do
    cd "$work/$crate-$version"
    echo "== $crate: its tests"
    $CARGO test --quiet
    echo "== $crate: its features"
    $CARGO hack check --quiet --each-feature --no-dev-deps
done
echo "== cargo install mailport-cli"
$CARGO install --debug --quiet --path "$work/mailport-cli-$version" --root "$work/root"
test "$("$work/root/bin/mailport" --version)" = "mailport $version" || fail "no command"
echo "crates: ok"
