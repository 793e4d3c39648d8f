#!/bin/sh
# Builds each program of sources twice, without and with its patch, from the archives in a folder:
# to FOLDER/NAME/before and FOLDER/NAME/after. Downloads nothing. C_LIBRARY is what make lib built.
# What was built from the same archive, patch and script is not built again.
set -eu

test $# = 2 || { echo "usage: $0 FOLDER C_LIBRARY" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
folder=$(realpath "$1")
library=$(realpath "$2")

# What our own make exports is not for theirs.
unset MAKEFLAGS MFLAGS MAKELEVEL PREFIX DESTDIR BINDIR LIBDIR INCLUDEDIR DATADIR MANDIR

# Compilers look here, too; so no build needs to be told of mailport but for its -lmailport.
CPATH=$here/../../include
LIBRARY_PATH=$library
LD_LIBRARY_PATH=$library
export CPATH LIBRARY_PATH LD_LIBRARY_PATH

# Each is called in the unpacked archive: NAME_configure once, NAME_build before and after patching,
# with a folder for what was built.
nullmailer_configure() {
    touch ChangeLog && autoreconf --force --install && ./configure --enable-tls
}
nullmailer_build() {
    make -C lib && make -C protocols && cp protocols/smtp "$1"
}

snail_options="OPT_GSSAPI=no OPT_DOTLOCK=no OPT_TLS=require OPT_SMTP=require"
s_nail_configure() {
    # shellcheck disable=SC2086
    make $snail_options EXTRA_LDFLAGS='-Wl,--no-as-needed -lmailport' VAL_PREFIX=/usr config
}
s_nail_build() {
    make build && cp .obj/s-nail "$1"
}

libesmtp_configure() {
    # The name that Debian gives it, and that esmtp asks for.
    sed -i "s/soversion : libesmtp_so_version/version : libesmtp_so_version, soversion : '6'/" \
        meson.build
    meson setup out
}
libesmtp_build() {
    ninja -C out && cp out/libesmtp.so.6 "$1"
}

libetpan_configure() {
    ./configure --disable-shared --disable-dependency-tracking --disable-db --with-openssl \
        --without-gnutls --without-sasl --without-curl --without-expat LIBS=-lmailport \
        LDFLAGS=-Wl,--as-needed
}
libetpan_build() {
    # Its own program for sending.
    make -C include && make -C src && make -C tests smtpsend && cp tests/smtpsend "$1"
}

build() {
    place=$folder/$1
    call=$(echo "$1" | tr - _)
    rm -rf "$place"
    mkdir -p "$place/before" "$place/after"
    tar -xf "$folder/${path##*/}" -C "$place"
    cd "$place/$unpacked"
    "${call}_configure"
    "${call}_build" "$place/before"
    patch -p1 < "$here/$1.patch"
    "${call}_build" "$place/after"
    cd /
    rm -rf "${place:?}/$unpacked"
}

grep -v '^#' "$here/sources" | while read -r name unpacked sum path; do
    key=$({ echo "$sum"; cat "$here/build.sh" "$here/$name.patch"; } | sha256sum)
    if test "$(cat "$folder/$name/built" 2>/dev/null)" != "$key"; then
        echo "Building $name, as it is and with $name.patch"
        echo "$sum  $folder/${path##*/}" | sha256sum --check --status ||
            { echo "${path##*/} is not in $folder (make setup)" >&2; exit 1; }
        # Not as a condition, in which set -e would not hold.
        trap 'tail -n 30 "$folder/$name.log" >&2' EXIT
        build "$name" </dev/null >"$folder/$name.log" 2>&1
        trap - EXIT
        echo "$key" >"$folder/$name/built"
    fi
done
