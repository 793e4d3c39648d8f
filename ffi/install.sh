#!/bin/sh
# Installs the library and the command as a package does; `uninstall` removes the same files.
# FOLDER is where link.sh has built the library, COMMAND is the command that was built. Where that
# does not run on this machine (a cross build), the command is built for this machine as well: it
# prints the manual pages and completions.
#
# Everything is generated first, then copied beside its place, then renamed: a failure leaves nothing
# behind.
set -eu

usage() { echo "usage: [PREFIX=] [DESTDIR=] [LIBDIR=] $0 install|uninstall FOLDER COMMAND" >&2; exit 2; }
test $# = 3 || usage
case $1 in install | uninstall) action=$1 ;; *) usage ;; esac
here=$(cd "$(dirname "$0")" && pwd)
folder=$2
command=$3

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
soname=libmailport.so.${version%%.*}
: "${PREFIX:=/usr/local}" "${DESTDIR:=}"
: "${BINDIR:=$PREFIX/bin}" "${LIBDIR:=$PREFIX/lib}" "${INCLUDEDIR:=$PREFIX/include}"
: "${DATADIR:=$PREFIX/share}" "${MANDIR:=$DATADIR/man}"
so=$LIBDIR/libmailport.so
man1=$MANDIR/man1
bash_completion=$DATADIR/bash-completion/completions/mailport
zsh_completion=$DATADIR/zsh/site-functions/_mailport
fish_completion=$DATADIR/fish/vendor_completions.d/mailport.fish

functions() { sed -n 's/^ *\(mailport_[a-z0-9_]*\).*/\1/p' "$here/symbols.txt"; }

if [ "$action" = uninstall ]; then
    for file in "$so.$version" "$LIBDIR/$soname" "$so" "$LIBDIR/libmailport.a" \
        "$INCLUDEDIR/mailport.h" "$MANDIR/man3/mailport.3" "$LIBDIR/pkgconfig/mailport.pc" \
        "$BINDIR/mailport" "$man1/mailport.1" "$bash_completion" "$zsh_completion" \
        "$fish_completion"; do
        rm -f "$DESTDIR$file"
    done
    rm -f "$DESTDIR$man1"/mailport-*.1
    for function in $(functions); do rm -f "$DESTDIR$MANDIR/man3/$function.3"; done
    # The directories that no bare system has, where nothing else is in them.
    for empty in "$LIBDIR/pkgconfig" "$man1" "$MANDIR/man3" \
        "$DATADIR/bash-completion/completions" "$DATADIR/bash-completion" \
        "$DATADIR/zsh/site-functions" "$DATADIR/zsh" \
        "$DATADIR/fish/vendor_completions.d" "$DATADIR/fish"; do
        rmdir "$DESTDIR$empty" 2>/dev/null || :
    done
    exit 0
fi

# Prints the manual pages and completions.
printer=$command
if ! "$command" --version >/dev/null 2>&1; then
    echo "$command does not run on this machine: building the command for this machine as well" >&2
    (unset CARGO_BUILD_TARGET
     ${CARGO:-cargo} build --locked --release -p mailport-cli --manifest-path "$here/../Cargo.toml")
    printer=${CARGO_TARGET_DIR:-$here/../target}/release/mailport
fi

stage=$(mktemp -d)
placed=$stage.placed
made=$stage.made
: >"$placed"
: >"$made"
clean() {
    status=$?
    trap - EXIT
    # What was copied and not renamed, and the directories that were made for it.
    while read -r file; do rm -f "$file.new"; done <"$placed"
    while read -r directory; do rmdir "$directory" 2>/dev/null || :; done <"$made"
    rm -rf "$stage" "$placed" "$made"
    exit $status
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

# put MODE TO COMMAND...: generates a file from what a command prints.
put() {
    mode=$1 to=$stage$2
    shift 2
    mkdir -p "$(dirname "$to")"
    "$@" >"$to"
    chmod "$mode" "$to"
}

put 755 "$so.$version" cat "$folder/libmailport.so.$version"
ln -s "libmailport.so.$version" "$stage$LIBDIR/$soname"
ln -s "$soname" "$stage$so"
put 644 "$LIBDIR/libmailport.a" cat "$folder/libmailport.a"
put 644 "$INCLUDEDIR/mailport.h" cat "$here/../include/mailport.h"
put 644 "$MANDIR/man3/mailport.3" cat "$here/mailport.3"
put 644 "$LIBDIR/pkgconfig/mailport.pc" sed -e "s|@PREFIX@|$PREFIX|" -e "s|@LIBDIR@|$LIBDIR|" \
    -e "s|@INCLUDEDIR@|$INCLUDEDIR|" -e "s|@VERSION@|$version|" "$here/mailport.pc.in"
put 755 "$BINDIR/mailport" cat "$command"
# Each function opens the page that describes it.
for function in $(functions); do ln -s mailport.3 "$stage$MANDIR/man3/$function.3"; done
put 644 "$man1/mailport.1" "$printer" man
# pages_of PAGE: the pages that a page of the command names, and those that they name.
pages_of() {
    for page in $(sed -n 's/.*mailport\\-\([a-z\\-]*\)(1).*/\1/p' "$stage$man1/$1.1" | tr -d '\\'); do
        test ! -f "$stage$man1/mailport-$page.1" || continue
        put 644 "$man1/mailport-$page.1" "$printer" man "$page"
        pages_of "mailport-$page"
    done
}
pages_of mailport
put 644 "$bash_completion" "$printer" completions bash
put 644 "$zsh_completion" "$printer" completions zsh
put 644 "$fish_completion" "$printer" completions fish

# make_directory PATH: with those above it, which are removed again after a failure.
make_directory() {
    if [ ! -d "$1" ]; then
        make_directory "$(dirname "$1")"
        mkdir "$1"
        # The deepest first, as rmdir needs them.
        { echo "$1"; cat "$made"; } >"$made.next"
        mv "$made.next" "$made"
    fi
}

find "$stage" '(' -type f -o -type l ')' | sort >"$stage.files"
mv "$stage.files" "$stage/files"
while read -r file; do
    to=$DESTDIR${file#"$stage"}
    test ! -d "$to" || { echo "$to is a directory" >&2; exit 1; }
    make_directory "$(dirname "$to")"
    echo "$to" >>"$placed"
    cp -pP "$file" "$to.new"
done <"$stage/files"
# A new file in the place of the old one: a program that has the old library mapped keeps it.
while read -r to; do mv -f "$to.new" "$to"; done <"$placed"
: >"$made"

# A package does it by itself.
if [ -z "$DESTDIR" ]; then
    echo "The loader finds the library after \`ldconfig\`, or with LD_LIBRARY_PATH=$LIBDIR."
fi
