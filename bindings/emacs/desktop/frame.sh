#!/bin/sh
# Inside the chroot: takes pictures of a graphical Emacs while it dials. Its windows must be redrawn.
set -eu
cd "$(dirname "$0")/.."
export NOTES=$(mktemp -d) HOME=/root XDG_RUNTIME_DIR=/tmp GDK_BACKEND=x11 NO_AT_BRIDGE=1 DISPLAY=:77 LANG=C.UTF-8
Xvfb $DISPLAY -noreset -screen 0 900x700x24 >"$NOTES/output" 2>&1 &
server=$!
emacs=
trap 'kill $emacs $server 2>/dev/null; rm -rf "$NOTES"' EXIT
until xdpyinfo >/dev/null 2>&1; do
	kill -0 $server || { cat "$NOTES/output" >&2; exit 1; }
	sleep 0.1
done
emacs -Q -L . -L test --geometry +0+0 -l desktop/frame.el >"$NOTES/output" 2>&1 &
emacs=$!

# Calls a function until it succeeds, for a minute at most. $1 is what its success means.
until_true() {
	what=$1 end=$(($(date +%s) + 60))
	shift
	while test "$(date +%s)" -lt "$end"; do
		"$@" && return
		kill -0 "$emacs" || break
		sleep 0.2
	done
	cat "$NOTES/output" >&2
	echo "this never happened: $what" >&2
	exit 1
}
noted() { test -e "$NOTES/$1"; }
# Whether a picture has the colour $2 at the point $1.
shows() {
	import -window root "$NOTES/picture.png"
	seen=$(convert "$NOTES/picture.png" -format "%[hex:p{$1}]" info:)
	case $seen in $2*) ;; *) return 1 ;; esac
}
shows_either() { shows "$1" 00FF00 || shows "$1" FF0000; }

window() { window=$(xdotool search --onlyvisible --class emacs | tail -1); test -n "$window"; }
until_true "the frame is there" window
until_true "the frame is drawn" shows_either 250,200
xdotool windowfocus "$window"
xdotool key F5
until_true "Emacs dials" noted dialling
for colour in 00FF00 FF0000 00FF00 FF0000; do
	until_true "the window below becomes $colour" shows 250,200 "$colour"
done
echo "the window below is redrawn while Emacs dials"

# A resized frame is drawn: the coloured window reaches into what is new.
xdotool windowsize "$window" 700 500
until_true "what is new of the resized frame is drawn" shows_either 600,440
echo "a resized frame is redrawn"
! noted ended || { echo "the dial ended too soon" >&2; exit 1; }

# A quit by key ends the dial.
xdotool key ctrl+g
until_true "C-g ends the dial" noted ended
echo "C-g has ended the dial"
