#!/bin/sh
# Makes a Debian 13 in the directory $1, with Debian's Rust, that compiles for arm64 and for musl: with
# the source of Rust's standard library, and zig from PyPI as the C compiler for musl. As root;
# downloads 600 MB.
set -eu
cd "$(dirname "$0")/../.."
root=$1
mirror=${MIRROR:-http://deb.debian.org/debian}
packages='gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstd-rust-web-dev:arm64 qemu-user
    rust-web-src dnsmasq-base binutils python3'
test ! -e "$root/.complete" || exit 0
rm -rf "$root"
mkdir -p "$root"
debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,iproute2,cargo-web,rustc-web \
    trixie "$root" "$mirror"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
cp /etc/resolv.conf "$root/etc/"
# A mirror or a proxy may have its own certificate.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || :
printf 'deb %s %s main\n' "$mirror" trixie "$mirror" trixie-updates >"$root/etc/apt/sources.list"
chroot "$root" dpkg --add-architecture arm64
chroot "$root" apt-get -q update
# shellcheck disable=SC2086
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages

# Of the tools for packages only zig, with its hashes.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -n '/^ziglang==/,/[^\\]$/p' tests/packages/requirements.txt >"$work/zig.txt"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --disable-pip-version-check install --quiet --require-hashes \
    --only-binary :all: --target "$root/opt" --requirement "$work/zig.txt"
# rustc names the target as LLVM does, which zig does not know.
cat >"$root/usr/local/bin/musl-cc" <<'CC'
#!/bin/sh
for word; do
    shift
    case $word in --target=* | -m64) ;; *) set -- "$@" "$word" ;; esac
done
exec /opt/ziglang/zig cc -target x86_64-linux-musl "$@"
CC
chmod +x "$root/usr/local/bin/musl-cc"
touch "$root/.complete"
