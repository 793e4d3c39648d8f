#!/bin/sh
# Builds the library, the command and the C library for arm64 in a Debian 13 that is made once in
# target/packages/cross, and runs them under qemu-user: the demo, the command, the library's own tests
# and programs in C. As root.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD/target/packages/cross
tests/packages/cross.sh "$root"
tests/packages/inside.sh "$root" '
    export CARGO_TARGET_DIR=/build/arm64 CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
    export CARGO_PROFILE_DEV_DEBUG=0
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    cargo test --locked -p mailport --lib --test loops --test fork
    cargo run --locked -p mailport-demo
    cargo build --locked -p mailport-cli
    CC=aarch64-linux-gnu-gcc OBJCOPY=aarch64-linux-gnu-objcopy NM=aarch64-linux-gnu-nm \
        AR=aarch64-linux-gnu-ar ffi/link.sh /build/arm64/c
    sh tests/packages/emulated.sh /build/arm64/aarch64-unknown-linux-gnu/debug/mailport /build/arm64/c
'
echo "arm64: ok: the library, the demo, the command, and the C library's programs, under qemu-user"
