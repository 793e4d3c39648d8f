#!/bin/sh
# Builds each program of sources twice, with its patch, from the archives in a folder: without the
# patch's build flag to FOLDER/NAME/without, and with it to FOLDER/NAME/with. Downloads nothing.
# C_LIBRARY is what make lib built. What was built from the same archive, patch and script is not
# built again.
set -eu

test $# = 2 || { echo "usage: $0 FOLDER C_LIBRARY" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
folder=$(realpath "$1")
library=$(realpath "$2")

# What our own make exports is not for theirs.
unset MAKEFLAGS MFLAGS MAKELEVEL PREFIX DESTDIR BINDIR LIBDIR INCLUDEDIR DATADIR MANDIR

# Compilers and pkg-config look here, too.
CPATH=$here/../../include
LIBRARY_PATH=$library
LD_LIBRARY_PATH=$library
PKG_CONFIG_PATH=$(mktemp -d)
trap 'rm -rf "$PKG_CONFIG_PATH"' EXIT
export CPATH LIBRARY_PATH LD_LIBRARY_PATH PKG_CONFIG_PATH
sed -e "s|@LIBDIR@|$library|" -e "s|@INCLUDEDIR@|$CPATH|" "$here/../../ffi/mailport.pc.in" \
    >"$PKG_CONFIG_PATH/mailport.pc"

# Each is called in the patched source, with "without" or "with", and the folder for what was built.
nullmailer() {
    test "$1" = without || set -- "$@" --with-mailport
    touch ChangeLog && autoreconf --force --install && ./configure --enable-tls ${3-}
    make -C lib && make -C protocols && cp protocols/smtp "$2"
}

s_nail() {
    test "$1" = without || set -- "$@" OPT_MAILPORT=require
    make OPT_GSSAPI=no OPT_DOTLOCK=no OPT_TLS=require OPT_SMTP=require ${3-} VAL_PREFIX=/usr config
    make build && cp .obj/s-nail "$2"
}

libesmtp() {
    test "$1" = without || set -- "$@" -Dmailport=enabled
    # The name that Debian gives it, and that esmtp asks for.
    sed -i "s/soversion : libesmtp_so_version/version : libesmtp_so_version, soversion : '6'/" \
        meson.build
    meson setup ${3-} out && ninja -C out && cp out/libesmtp.so.6 "$2"
}

libetpan() {
    test "$1" = without || set -- "$@" --with-mailport
    aclocal -I m4 && autoheader && autoconf && automake --foreign
    ./configure --disable-shared --disable-dependency-tracking --disable-db --with-openssl \
        --without-gnutls --without-sasl --without-curl --without-expat ${3-}
    # Its own program for sending.
    make -C include && make -C src && make -C tests smtpsend && cp tests/smtpsend "$2"
}

build() {
    place=$folder/$1
    rm -rf "$place"
    for flag in without with; do
        mkdir -p "$place/$flag"
        tar -xf "$folder/${path##*/}" -C "$place"
        cd "$place/$unpacked"
        patch -p1 <"$here/$1.patch"
        "$(echo "$1" | tr - _)" "$flag" "$place/$flag"
        cd /
        rm -rf "${place:?}/$unpacked"
    done
}

grep -v '^#' "$here/sources" | while read -r name unpacked sum path; do
    key=$({ echo "$sum"; cat "$here/build.sh" "$here/$name.patch"; } | sha256sum)
    if test "$(cat "$folder/$name/built" 2>/dev/null)" != "$key"; then
        echo "Building $name with $name.patch, without and with its build flag"
        echo "$sum  $folder/${path##*/}" | sha256sum --check --status ||
            { echo "${path##*/} is not in $folder (make setup)" >&2; exit 1; }
        # Not as a condition, in which set -e would not hold.
        trap 'tail -n 30 "$folder/$name.log" >&2' EXIT
        build "$name" </dev/null >"$folder/$name.log" 2>&1
        trap - EXIT
        echo "$key" >"$folder/$name/built"
    fi
done
