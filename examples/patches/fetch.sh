#!/bin/sh
# Downloads the archives of sources into a folder, from Debian's mirrors only, and checks them.
# What is there, and right, is not downloaded again.
set -eu

test $# = 1 || { echo "usage: $0 FOLDER" >&2; exit 2; }
here=$(dirname "$0")
folder=$1
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

mkdir -p "$folder"
grep -v '^#' "$here/sources" | while read -r _ _ sum path; do
    archive=$folder/${path##*/}
    if ! echo "$sum  $archive" | sha256sum --check --status 2>/dev/null; then
        echo "Downloading $mirror/pool/main/$path"
        curl --fail --silent --show-error --location --max-time 300 --retry 3 \
            --output "$archive.new" "$mirror/pool/main/$path" </dev/null
        echo "$sum  $archive.new" | sha256sum --check --quiet
        mv "$archive.new" "$archive"
    fi
done
