#!/bin/sh
# Makes a Debian 13 with Emacs 30, X and what the desktop tests need, in the directory $1. As root.
set -eu
root=$1
packages=emacs-gtk,xvfb,xauth,x11-utils,x11-apps,xdotool,imagemagick,tmux,ca-certificates,openssl,procps,dbus-x11,git,fonts-dejavu-core
if [ ! -e "$root/.complete" ]; then
	rm -rf "$root"
	mkdir -p "$root"
	debootstrap --variant=minbase --include="$packages" trixie "$root" "${MIRROR:-http://deb.debian.org/debian}"
	# Nothing is to be started by an installation.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$root/etc/"
	chroot "$root" apt-get install -y --no-install-recommends dovecot-imapd dovecot-pop3d
	# A mirror or a proxy may have its own certificate.
	cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || :
	touch "$root/.complete"
fi
