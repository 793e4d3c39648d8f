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
if [ -z "${IN_NETWORK:-}" ]; then
	# A network in which IPv6 is there, which some of the tests need.
	test "$(id -u)" = 0 || map=--map-root-user
	exec env IN_NETWORK=1 unshare ${map:-} --net "$0" "$folder"
fi
ip link set lo up
ip address add 2001:db8::1/64 dev lo nodad
tests=$folder/emacs-$version/test
export EMACS_TEST_DIRECTORY=$(realpath "$tests") HOME=$(mktemp -d)
trap 'rm -rf "$HOME"' EXIT
export XDG_CACHE_HOME=$HOME
failed=
for suite in net/network-stream net/gnutls net/nsm net/socks auth-source auth-source-pass mail/rmail mail/rmailmm; do
	for mode in off on; do
		on=
		test $mode = off || on="(progn (require 'mailport) (mailport-mode 1) (mailport-send-mode 1))"
		: >"$HOME/results"
		which="(not (or (tag :expensive-test) (tag :unstable)))"
		# A test whose server starts too late is skipped. It is run again, up to nine times.
		for round in 1 2 3 4 5 6 7 8 9 10; do
			$emacs --batch -Q -L "$here" -L "$tests" --eval "${on:-t}" \
				-l "$tests/lisp/$suite-tests.el" \
				--eval "(ert-run-tests-batch-and-exit '$which)" \
				>"$HOME/output" 2>&1 || :
			grep -oE '^ +(passed|FAILED|skipped|failed) +[0-9]+/[0-9]+ +[^ ]+' "$HOME/output" |
				sed -E 's/ +[0-9]+\/[0-9]+ +/ /' >>"$HOME/results" || :
			# Of each test the worst result that is not "skipped", if there is one.
			awk '{ all[$2]; if (tolower($1) == "failed") fails[$2]; if ($1 == "passed") passes[$2] }
				END { for (test in all) {
					result = "skipped"
					if (test in passes) result = "passed"
					if (test in fails) result = "failed"
					print result, test
				} }' \
				"$HOME/results" | sort >"$HOME/$mode"
			which="(member $(sed -n 's/^skipped //p' "$HOME/$mode" | tr '\n' ' '))"
			grep -q ^skipped "$HOME/$mode" || break
		done
		test -s "$HOME/$mode" || { cat "$HOME/output"; failed="$failed $suite"; }
	done
	count() { grep -c "^$1" "$HOME/on" || :; }
	echo "$suite: $(count passed) pass, $(count skipped) are skipped, $(count failed) fail"
	grep ^skipped "$HOME/on" || :
	diff -u "$HOME/off" "$HOME/on" || failed="$failed $suite"
done
test -z "$failed" || { echo "different with mailport-mode:$failed" >&2; exit 1; }
