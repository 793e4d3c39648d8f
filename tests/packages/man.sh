#!/bin/sh
# Installs the manual pages as a package does: each page is clean, and each name opens its page.
# $1 is the directory of the C library (make lib), $2 the command.
set -eu
library=$1
command=$2
cd "$(dirname "$0")/../.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
fail() { echo "man: $*" >&2; exit 1; }
DESTDIR=$stage PREFIX=/usr ffi/install.sh install "$library" "$command"
man=$stage/usr/share/man
for page in "$man"/man1/*.1 "$man/man3/mailport.3"; do
    found=$(mandoc -T lint -W warning "$page") || fail "$found"
    test -z "$found" || fail "$found"
    for section in 'SEE ALSO' EXAMPLES; do
        grep -q "^\.S[Hh] \"\{0,1\}$section" "$page" || fail "${page##*/} has no section $section"
    done
done
for page in "$man"/man3/*.3; do
    function=$(basename "$page" .3)
    test "$function" = mailport || grep -q "^\.Fn $function " "$page" || fail "$function is not in its page"
done
echo "man: $(find "$man" -name '*.[13]' | wc -l) pages ok"
