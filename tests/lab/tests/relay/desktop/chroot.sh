#!/bin/sh
# Makes a Debian 12 with Thunderbird, Claws Mail, Evolution and what drives them, in the directory $1.
# As root.
set -eu
root=$1
if [ ! -e "$root/.complete" ]; then
	rm -rf "$root"
	mkdir -p "$root"
	debootstrap --variant=minbase bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}"
	# Nothing is to be started by an installation.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$root/etc/"
	chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		thunderbird claws-mail evolution dovecot-imapd libnss3-tools libglib2.0-bin dbus-daemon \
		xvfb xdotool imagemagick fonts-dejavu-core ca-certificates python3
	python3 -m pip install --quiet --target "$root/opt/driver" marionette_driver==3.7.1
	tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
	mkdir "$root/lab"
	touch "$root/etc/hosts" "$root/etc/nsswitch.conf"
	touch "$root/.complete"
fi
