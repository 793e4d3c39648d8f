#!/bin/sh
# The C library beside others: cost of a connect, memory of a pending dial, start of a command, size,
# time to load.
# The folder is where link.sh has built the library.
set -eu

test $# = 1 || { echo "usage: $0 FOLDER" >&2; exit 2; }
here=$(dirname "$0")
folder=$(cd "$1" && pwd)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# shellcheck disable=SC2046
${CC:-cc} -O2 -o "$made/connect" "$here/connect.c" -I "$here/../../include" -L "$folder" -lmailport \
    "-Wl,-rpath,$folder" $(pkg-config --cflags --libs gio-2.0 libcurl)
${CC:-cc} -O2 -o "$made/load" "$here/load.c" -ldl
${CC:-cc} -O2 -o "$made/process" "$here/process.c" -I "$here/../../include" -L "$folder" -lmailport \
    "-Wl,-rpath,$folder"

"$made/connect" 31 100
"$made/process" 2000
for library in "$folder/libmailport.so" libcurl.so.4 libgio-2.0.so.0; do
    i=0
    while [ $i -lt 31 ]; do "$made/load" "$library"; i=$((i + 1)); done | sort -n |
        awk -v name="${library##*/}" '{ took[NR] = $1 } END { print "dlopen of " name ": " took[int((NR + 1) / 2)] " us" }'
done
echo "libmailport.so, stripped: $(stat -L -c %s "$folder/libmailport.so") bytes"
