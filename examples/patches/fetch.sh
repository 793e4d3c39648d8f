#!/bin/sh
# Downloads the archives of sources into a folder, from a mirror of Debian only, and checks them.
# What is there, and right, is not downloaded again. With --check, nothing is downloaded: it only
# tells whether all are there.
set -eu

check=
test "${1-}" != --check || { check=1; shift; }
test $# = 1 || { echo "usage: $0 [--check] FOLDER" >&2; exit 2; }
here=$(dirname "$0")
folder=$1
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

test -n "$check" || mkdir -p "$folder"
grep -v '^#' "$here/sources" | while read -r _ _ sum path; do
    archive=$folder/${path##*/}
    if echo "$sum  $archive" | sha256sum --check --status 2>/dev/null; then
        continue
    fi
    test -z "$check" || { echo "$archive is missing" >&2; exit 1; }
    echo "Downloading $mirror/pool/main/$path"
    curl --fail --silent --show-error --location --max-time 300 --retry 3 \
        --output "$archive.new" "$mirror/pool/main/$path" </dev/null
    echo "$sum  $archive.new" | sha256sum --check --quiet
    mv "$archive.new" "$archive"
done
