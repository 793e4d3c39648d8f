#!/bin/sh
# Inside the chroot: takes pictures of a graphical Emacs while it dials. Its windows must be redrawn.
set -eu
cd "$(dirname "$0")/.."
export NOTES=$(mktemp -d) HOME=/root XDG_RUNTIME_DIR=/tmp GDK_BACKEND=x11 NO_AT_BRIDGE=1 DISPLAY=:77 LANG=C.UTF-8
Xvfb :77 -screen 0 900x700x24 >/dev/null 2>&1 &
server=$!
sleep 2
emacs -Q -L . -L test --geometry +0+0 -l desktop/frame.el >"$NOTES/output" 2>&1 &
emacs=$!
trap 'kill $emacs $server 2>/dev/null; rm -rf "$NOTES"' EXIT

until_there() {
	for _ in $(seq 300); do test -e "$NOTES/$1" && return; sleep 0.1; done
	cat "$NOTES/output" >&2
	echo "Emacs never got to: $1" >&2
	exit 1
}
picture() { import -window root "$NOTES/$1.png"; }
colour() { convert "$NOTES/$1.png" -format "%[hex:p{$2}]" info:; }

until_there ready
window=$(xdotool search --onlyvisible --class emacs | tail -1)
xdotool windowfocus "$window"
xdotool key F5
until_there dialling
sleep 1
colours=
for shot in 1 2 3 4 5 6 7 8 9 10 11 12; do
	picture "$shot"
	colours="$colours $(colour "$shot" 250,200)"
	sleep 0.1
done
echo "the window below while Emacs dials:$colours"
case $colours in *00FF00*) ;; *) echo "it never was green" >&2; exit 1 ;; esac
case $colours in *FF0000*) ;; *) echo "it never was red" >&2; exit 1 ;; esac

# A resized frame is drawn: the coloured window reaches into what is new.
xdotool windowsize "$window" 700 500
sleep 1.5
picture resized
resized=$(colour resized 600,440)
echo "what is new of the resized frame: $resized"
case $resized in *00FF00*|*FF0000*) ;; *) echo "it is blank" >&2; exit 1 ;; esac
test ! -e "$NOTES/ended" || { echo "the dial ended too soon" >&2; exit 1; }

# A quit by key ends the dial.
xdotool key ctrl+g
until_there ended
echo "C-g has ended the dial"
