#!/bin/sh
# Builds the wheel and the source archive of the Python package, for the oldest glibc that links, and
# installs the wheel in each Python at hand and in Debian 13. Downloads maturin, zig (which links for
# that glibc) and the checkers from PyPI. As root, for a chroot with Debian 13.
set -eu
cd "$(dirname "$0")/../.."
tools=$PWD/target/packages/python
out=$PWD/target/packages/wheels
root=$PWD/target/packages/trixie
fail() { echo "wheel: $*" >&2; exit 1; }
tests/packages/chroot.sh "$root"
if [ ! -e "$tools/.complete" ]; then
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" --disable-pip-version-check install --quiet --require-hashes \
        --only-binary :all: --requirement tests/packages/requirements.txt
    touch "$tools/.complete"
fi
export PATH="$tools/bin:$PATH"
# Neither the module nor the bill of materials names a directory of the builder.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$PWD=/usr/src/mailport --remap-path-prefix=$cargo_home=/usr/src/cargo"
export CARGO_TARGET_DIR="$PWD/target/packages/wheel"
rm -rf "$out"
maturin build --quiet --release --locked --zig --compatibility manylinux_2_17 \
    --manifest-path bindings/python/Cargo.toml --out "$out"
# The bill of materials names each crate of this repository by its path.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
wheel unpack --dest "$unpacked" "$out"/*.whl >/dev/null
sed -i "s|file://$PWD|file:///usr/src/mailport|g" "$unpacked"/*/*.dist-info/sboms/*.json
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) wheel pack --dest-dir "$out" "$unpacked"/* >/dev/null
maturin sdist --manifest-path bindings/python/Cargo.toml --out "$out"
wheel=$(ls "$out"/*.whl)
shown=$(auditwheel show "$wheel")
echo "$shown" | grep -F '"manylinux_2_17_x86_64"' || fail "not for manylinux_2_17: $shown"
twine check --strict "$out"/*
abi3audit --strict "$wheel"
rm -rf "${unpacked:?}"/*
python3 -m zipfile -e "$wheel" "$unpacked"
for name in LICENSE-MIT LICENSE-APACHE '*.cyclonedx.json'; do
    find "$unpacked" -name "$name" | grep -q . || fail "no $name in the wheel"
done
! grep -rlF -e "$PWD" -e "$cargo_home" "$unpacked" || fail "the wheel names a directory of the builder"
# try ROOT PYTHON: installs the wheel in a new environment, and connects.
try() {
    place=$(mktemp -d "$1/tmp/wheel.XXXXXX")
    cp "$wheel" debian/tests/python "$place"
    # shellcheck disable=SC2016
    chroot "$1" sh -euc 'cd "/tmp/$1"
        echo "wheel: in $("$2" --version)"
        "$2" -m venv venv
        venv/bin/pip --disable-pip-version-check install --quiet --no-index ./*.whl
        venv/bin/python python' try "${place##*/}" "$2"
    rm -rf "$place"
}
for python in /usr/bin/python3 $(ls "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 2>/dev/null); do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || continue
    try / "$python"
done
try "$root" /usr/bin/python3
echo "wheel: ok: $(basename "$wheel")"
