#!/bin/sh
# Installs the library and the command as a package has them; `uninstall` removes the same files.
# The folder is where link.sh has built the library, the command is the one that was built.
set -eu

usage() { echo "usage: [PREFIX=] [DESTDIR=] [LIBDIR=] $0 install|uninstall FOLDER COMMAND" >&2; exit 2; }
test $# = 3 || usage
case $1 in install | uninstall) action=$1 ;; *) usage ;; esac
here=$(dirname "$0")
folder=$2
command=$3

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
soname=libmailport.so.${version%%.*}
: "${PREFIX:=/usr/local}" "${DESTDIR:=}"
: "${BINDIR:=$PREFIX/bin}" "${LIBDIR:=$PREFIX/lib}" "${INCLUDEDIR:=$PREFIX/include}"
: "${DATADIR:=$PREFIX/share}" "${MANDIR:=$DATADIR/man}"

# put MODE TO COMMAND...: what a command prints, as a file.
put() {
    mode=$1 to=$DESTDIR$2
    shift 2
    if [ "$action" = uninstall ]; then rm -f "$to"; return; fi
    mkdir -p "$(dirname "$to")"
    # A new file in the place of the old one: a program that has the old library mapped keeps it.
    "$@" >"$to.new"
    chmod "$mode" "$to.new"
    mv -f "$to.new" "$to"
}

# link TO NAME: a link beside the file that it is to.
link() {
    if [ "$action" = uninstall ]; then rm -f "$DESTDIR$2"; else ln -sfn "$1" "$DESTDIR$2"; fi
}

put 755 "$LIBDIR/libmailport.so.$version" cat "$folder/libmailport.so.$version"
link "libmailport.so.$version" "$LIBDIR/$soname"
link "$soname" "$LIBDIR/libmailport.so"
put 644 "$LIBDIR/libmailport.a" cat "$folder/libmailport.a"
put 644 "$INCLUDEDIR/mailport.h" cat "$here/../include/mailport.h"
put 644 "$MANDIR/man3/mailport.3" cat "$here/mailport.3"
put 644 "$LIBDIR/pkgconfig/mailport.pc" sed -e "s|@PREFIX@|$PREFIX|" -e "s|@LIBDIR@|$LIBDIR|" \
    -e "s|@INCLUDEDIR@|$INCLUDEDIR|" -e "s|@VERSION@|$version|" "$here/mailport.pc.in"

put 755 "$BINDIR/mailport" cat "$command"
if [ "$action" = uninstall ]; then
    rm -f "$DESTDIR$MANDIR"/man1/mailport-*.1
else
    # The page of the command names the pages of the subcommands.
    for page in $("$command" man | sed -n 's/.*mailport\\-\([a-z-]*\)(1).*/\1/p'); do
        put 644 "$MANDIR/man1/mailport-$page.1" "$command" man "$page"
    done
fi
put 644 "$MANDIR/man1/mailport.1" "$command" man
put 644 "$DATADIR/bash-completion/completions/mailport" "$command" completions bash
put 644 "$DATADIR/zsh/site-functions/_mailport" "$command" completions zsh
put 644 "$DATADIR/fish/vendor_completions.d/mailport.fish" "$command" completions fish

# The folders that no bare system has, where nothing else is in them.
if [ "$action" = uninstall ]; then
    for empty in "$LIBDIR/pkgconfig" "$MANDIR/man1" "$MANDIR/man3" \
        "$DATADIR/bash-completion/completions" "$DATADIR/bash-completion" \
        "$DATADIR/zsh/site-functions" "$DATADIR/zsh" \
        "$DATADIR/fish/vendor_completions.d" "$DATADIR/fish"; do
        rmdir "$DESTDIR$empty" 2>/dev/null || :
    done
fi

# A package does it by itself.
if [ "$action" = install ] && [ -z "$DESTDIR" ]; then
    echo "The loader finds the library after \`ldconfig\`, or with LD_LIBRARY_PATH=$LIBDIR."
fi
