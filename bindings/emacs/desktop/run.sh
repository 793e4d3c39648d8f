#!/bin/sh
# Runs the tests of Emacs 30 in the chroot $1, in a terminal and in a frame. As root, after `make emacs`.
set -eu
root=$(realpath "$1")
here=$(realpath "$(dirname "$0")/..")
rm -rf "$root/repository"
mkdir -p "$root/mailport" "$root/repository"
git -C "$here/../.." ls-files -z | tar -C "$here/../.." --null -T - -c | tar -C "$root/repository" -x
exec unshare --mount --pid --fork --kill-child sh -eu -c '
	mount --make-rprivate /
	mount --bind "$2" "$1/mailport"
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	mount -t tmpfs tmpfs "$1/tmp"
	chmod 1777 "$1/tmp"
	exec chroot "$1" /bin/sh -eu -c "
		cd /mailport
		export HOME=/tmp XDG_CACHE_HOME=/tmp LANG=C.UTF-8
		emacs --version | head -1
		emacs --batch -Q -L . -L test --module-assertions \
			--eval \"(setq load-prefer-newer t backtrace-on-error-noninteractive nil)\" \
			-l mailport-tests -l mailport-close-tests -l mailport-mew-tests -l mailport-send-tests \
			-f ert-run-tests-batch-and-exit
		desktop/frame.sh
		git config --global user.name x; git config --global user.email x@example.test
		git config --global safe.directory \"*\"
		(cd /repository && git init -q && git add . && git commit -qm x)
		REPOSITORY=/repository MODULES=/mailport emacs --batch -Q -l desktop/package-vc.el
	"' sh "$root" "$here"
