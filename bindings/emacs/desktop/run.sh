#!/bin/sh
# Runs the tests of Emacs 30 in the chroot $1, in a terminal and in a frame. As root, after `make emacs`.
set -eu
root=$(realpath "$1")
here=$(realpath "$(dirname "$0")/..")
rm -rf "$root/repository"
mkdir -p "$root/mailport/bindings/emacs" "$root/repository"
git -C "$here/../.." ls-files -z | tar -C "$here/../.." --null -T - -c | tar -C "$root/repository" -x
exec unshare --mount --pid --net --fork --kill-child sh -eu -c '
	ip link set lo up
	# What is sent there gets no answer.
	ip link add silent type veth peer name other
	ip address add 2001:db8::2/64 dev silent nodad
	ip link set other up
	ip link set silent up
	ip neighbour add 2001:db8::1 lladdr 02:00:00:00:00:01 dev silent
	mount --make-rprivate /
	mount --bind "$2" "$1/mailport/bindings/emacs"
	# Where a distribution would put the module.
	modules=$1/usr/lib/$(uname -m)-linux-gnu/emacs
	mkdir -p "$modules"
	mount -t tmpfs tmpfs "$modules"
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	mount -t tmpfs tmpfs "$1/tmp"
	chmod 1777 "$1/tmp"
	exec chroot "$1" /bin/sh -eu -c "
		cd /mailport/bindings/emacs
		export HOME=/tmp XDG_CACHE_HOME=/tmp LANG=C.UTF-8
		emacs --version | head -1
		emacs --batch -Q -L . -L test --module-assertions \
			--eval \"(setq load-prefer-newer t backtrace-on-error-noninteractive nil)\" \
			-l mailport-tests -l mailport-close-tests -l mailport-mew-tests -l mailport-send-tests \
			-f ert-run-tests-batch-and-exit
		desktop/imap.sh
		desktop/frame.sh
		git config --global user.name x; git config --global user.email x@example.test
		git config --global safe.directory \"*\"
		cp mailport-module.so /usr/lib/$(uname -m)-linux-gnu/emacs
		(cd /repository && git init -q && git add . && git commit -qm x)
		REPOSITORY=/repository emacs --batch -Q -l desktop/package-vc.el
	"' sh "$root" "$here"
