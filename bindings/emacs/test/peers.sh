#!/bin/sh
# Runs Emacs' own tests of what mailport-mode touches, with the mode off and on, and compares the
# results. $1 is a directory for Emacs' source code, which is downloaded if it is missing.
set -eu
folder=$1
here=$(realpath "$(dirname "$0")/..")
emacs=${EMACS:-emacs}
version=$($emacs --batch -Q --eval '(princ emacs-version)')
archive=emacs_$version+1.orig.tar.xz
mkdir -p "$folder"
if [ ! -d "$folder/emacs-$version/test" ]; then
	curl --fail --silent --show-error --location --retry 3 --output "$folder/$archive" \
		"${DEBIAN_MIRROR:-http://deb.debian.org/debian}/pool/main/e/emacs/$archive"
	mkdir -p "$folder/emacs-$version"
	tar -C "$folder/emacs-$version" --strip-components=1 -xf "$folder/$archive" --wildcards '*/test/*'
fi
tests=$folder/emacs-$version/test
export EMACS_TEST_DIRECTORY=$(realpath "$tests") HOME=$(mktemp -d)
trap 'rm -rf "$HOME"' EXIT
export XDG_CACHE_HOME=$HOME
failed=
for suite in net/network-stream net/gnutls net/nsm net/socks auth-source auth-source-pass mail/rmail mail/rmailmm; do
	for mode in off on; do
		on=
		test $mode = off || on="(progn (require 'mailport) (mailport-mode 1) (mailport-send-mode 1))"
		$emacs --batch -Q -L "$here" -L "$tests" --eval "${on:-t}" \
			-l "$tests/lisp/$suite-tests.el" \
			--eval "(ert-run-tests-batch-and-exit '(not (or (tag :expensive-test) (tag :unstable))))" \
			>"$HOME/output" 2>&1 || :
		grep -oE '^ +(passed|FAILED|skipped|failed) +[0-9]+/[0-9]+ +[^ ]+' "$HOME/output" |
			sed -E 's/ +[0-9]+\/[0-9]+ +/ /' >"$HOME/$mode" || :
		test -s "$HOME/$mode" || { cat "$HOME/output"; failed="$failed $suite"; }
	done
	count() { grep -ci "$1" "$HOME/on" || :; }
	echo "$suite: $(count passed) pass, $(count skipped) are skipped, $(count failed) fail"
	# A test with a server that starts too late is skipped, now and then.
	for mode in off on; do grep -i failed "$HOME/$mode" >"$HOME/$mode.failed" || :; done
	diff -u "$HOME/off.failed" "$HOME/on.failed" || failed="$failed $suite"
done
test -z "$failed" || { echo "different with mailport-mode:$failed" >&2; exit 1; }
