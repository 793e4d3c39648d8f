#!/bin/sh
# Runs `cargo test` as packagers and contributors do: each environment that is named, or all. As root.
# It must pass there, or name what is missing. TEST_ARGUMENTS narrow it: "-p mailport --test tunnel".
set -eu
cd "$(dirname "$0")/../.."
: "${CARGO:=cargo}"
all="unprivileged no_ipv6 no_proc umask read_only loopback_down one_thread load"
source=$PWD
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$source/target}"
test "$(id -u)" = 0 || { echo "environments: run as root, which makes namespaces" >&2; exit 1; }

# Tests that need a file of the environment say so; cargo and the compiler have run before.
# shellcheck disable=SC2086
$CARGO test --locked --no-run ${TEST_ARGUMENTS:-}
test="$CARGO test --locked --offline --no-fail-fast ${TEST_ARGUMENTS:-}"

# Another user, without a capability, who owns the files of this one.
unprivileged() { unshare --user --map-user=65534 --map-group=65534 $test; }
no_ipv6() {
    unshare -n sh -c "ip link set lo up && ip -6 address flush dev lo && $test"
}
no_proc() { unshare -m sh -c "umount -l /proc && $test"; }
umask_() { sh -c "umask 077 && $test"; }
read_only() {
    unshare -m sh -c "mount --bind '$source' '$source' && mount --bind '$CARGO_TARGET_DIR' '$CARGO_TARGET_DIR' &&
        mount -o remount,bind,ro '$source' && cd '$source' && $test"
}
loopback_down() { unshare -n $test; }
one_thread() { RUST_TEST_THREADS=1 $test; }
load() {
    busy=
    for _ in 1 2 3 4 5 6 7 8 9 10; do (while :; do :; done) & busy="$busy $!"; done
    status=0
    $test || status=$?
    # shellcheck disable=SC2086
    kill $busy
    return $status
}

# Where something is missing, each test that fails says so in one line.
names_what_is_missing() {
    case $1 in
        no_ipv6) missing='this test needs ::1' ;;
        no_proc) missing='this test needs /proc' ;;
        loopback_down) missing='this test needs \(the loopback interface\|::1\)' ;;
        *) return 1 ;;
    esac
    # The line after that of each panic.
    ! grep -A1 '^thread .* panicked at' "$2" | grep -v '^thread \|^--' | grep -v "$missing"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for environment in ${*:-$all}; do
    echo "== $environment"
    case $environment in umask) run=umask_ ;; *) run=$environment ;; esac
    if "$run" >"$log" 2>&1; then
        grep '^test result' "$log" | sort | uniq -c | sort -rn | head -3
    elif names_what_is_missing "$environment" "$log"; then
        echo "$environment: every test that fails names what is missing"
    else
        cat "$log"
        echo "environments: cargo test fails: $environment" >&2
        exit 1
    fi
done
echo "environments: ok: ${*:-$all}"
