#!/bin/sh
# Builds the C library into a directory: libmailport.so.0.1.0 with its links, and libmailport.a.
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

${CARGO:-cargo} build --locked --profile library --package mailport-ffi --manifest-path "$here/../Cargo.toml"
archive=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}library/libmailport.a

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

# The static library is one object whose only global symbols are mailport_*: a program can be linked
# with another static library of Rust as well, which has the standard library's symbols, too. Bitcode
# is left out, and the one group that linkers share by its name gets its own name.
# shellcheck disable=SC2046
${CC:-cc} -r -nostdlib -fno-lto -o "$new/mailport.o" \
    $(awk '!/^#/ { print "-Wl,-u," $1 }' "$here/symbols.txt") -Wl,--gc-sections "$archive"
${OBJCOPY:-objcopy} --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
    --redefine-sym DW.ref.rust_eh_personality=DW.ref.mailport_eh_personality "$new/mailport.o"
# Weak references must stay weak: the standard library has some to newer C libraries. Those of code
# that was left out were dropped above, for they would be strong ones now.
# shellcheck disable=SC2046
${OBJCOPY:-objcopy} --wildcard --keep-global-symbol='mailport_*' \
    $(${NM:-nm} --undefined-only "$new/mailport.o" |
        awk '$1 == "w" { print "--keep-global-symbol=" $2 }') "$new/mailport.o"
${AR:-ar} rcs "$new/libmailport.a" "$new/mailport.o"

rm "$new/versions" "$new/mailport.o"
mv -f "$new"/* "$folder"
