#!/bin/sh
# Runs a command in the chroot $1, with the network and the names of the caller, and with the directory
# $2 as /lab; what is to be trusted is authority.pem there. All processes of the command end with it.
set -eu
exec unshare --mount --pid --fork --kill-child sh -eu -c '
	root=$1 lab=$2
	shift 2
	for file in hosts nsswitch.conf resolv.conf; do
		mount --bind "/etc/$file" "$root/etc/$file"
	done
	mount --bind "$lab/authority.pem" "$root/etc/ssl/certs/ca-certificates.crt"
	mount --bind "$lab" "$root/lab"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	for directory in tmp run; do
		mount -t tmpfs -o mode=1777 tmpfs "$root/$directory"
	done
	exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp "$@"
' sh "$@"
