#!/bin/sh
# Builds the C library into a folder: libmailport.so.0.1.0 with its links, and libmailport.a.
#
# The shared library is linked from the static one. Cargo would give it no SONAME, no versions and
# every symbol of Rust's; so it has the symbols of symbols.txt, each in its version, and no others.
set -eu

test $# = 1 || { echo "usage: $0 FOLDER" >&2; exit 2; }
here=$(dirname "$0")
folder=$1
target=${CARGO_TARGET_DIR:-$here/../target}
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
soname=libmailport.so.${version%%.*}

${CARGO:-cargo} build --locked --release --package mailport-ffi --manifest-path "$here/../Cargo.toml"
archive=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release/libmailport.a

# Into a new folder first, so that a program that uses the library meanwhile sees a complete one.
mkdir -p "$folder"
new=$(mktemp -d "$folder/new.XXXXXX")
trap 'rm -rf "$new"' EXIT

# One node a version, each on top of the one before; the first says that nothing else gets out.
grep -v '^#' "$here/symbols.txt" | sort -V -k2,2 -k1,1 | awk '
    function close_node() {
        if (node) print (before ? "} " before : "    local: *;\n}") ";"
    }
    $2 != node { close_node(); before = node; node = $2; print node " {\n    global:" }
    { print "        " $1 ";" }
    END { close_node() }
' > "$new/versions"

# -z nodelete: a thread that looks a name up may outlive a dlclose.
# shellcheck disable=SC2046,SC2086
${CC:-cc} -shared -o "$new/libmailport.so.$version" ${CFLAGS:-} ${LDFLAGS:-} \
    $(awk '!/^#/ { print "-Wl,-u," $1 }' "$here/symbols.txt") \
    "-Wl,-soname,$soname" "-Wl,--version-script=$new/versions" -Wl,-z,nodelete -Wl,-z,defs \
    -Wl,-z,relro -Wl,-z,now -Wl,--gc-sections -Wl,--as-needed -Wl,--strip-all "$archive" \
    -lgcc_s -lpthread -ldl -lc
ln -s "libmailport.so.$version" "$new/$soname"
ln -s "$soname" "$new/libmailport.so"
${STRIP:-strip} --strip-debug -o "$new/libmailport.a" "$archive"

rm "$new/versions"
mv -f "$new"/* "$folder"
