#!/bin/sh
# Runs the Emacs of the chroot $1 with the other arguments, on this terminal. As root.
set -eu
root=$(realpath "$1")
shift
exec unshare --mount sh -eu -c '
	root=$1 here=$2
	shift 2
	mount --make-rprivate /
	mkdir -p "$root$here"
	mount --bind "$here" "$root$here"
	mount --bind /tmp "$root/tmp"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	exec chroot "$root" emacs "$@"' sh "$root" "$(realpath "$(dirname "$0")/..")" "$@"
