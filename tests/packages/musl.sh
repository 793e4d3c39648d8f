#!/bin/sh
# Builds the static command for musl, and runs the command's tests with it, in a Debian 13 that is made
# once in target/packages/cross. Rust's standard library is built from Debian's source of it. As root.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD/target/packages/cross
tests/packages/cross.sh "$root"
tests/packages/inside.sh "$root" '
    export PATH=/usr/local/bin:$PATH RUSTC_BOOTSTRAP=1 ZIG_GLOBAL_CACHE_DIR=/build/zig
    export ZIG_LOCAL_CACHE_DIR=/build/zig
    export CARGO_BUILD_TARGET=x86_64-unknown-linux-musl CARGO_PROFILE_DEV_DEBUG=0
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-cc CC_x86_64_unknown_linux_musl=musl-cc
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C link-self-contained=no"
    # What the standard library is built from stands beside it.
    cp -rn /usr/lib/rustlib/src/rust/library/vendor/. /cargo/vendor
    cargo test -Zbuild-std --locked -p mailport-cli
    cargo build -Zbuild-std --locked --release -p mailport-cli
    sh tests/packages/static.sh /build/x86_64-unknown-linux-musl/release/mailport
'
mkdir -p target/packages/static
cp "$root/build/x86_64-unknown-linux-musl/release/mailport" target/packages/static/
echo "musl: ok: target/packages/static/mailport"
