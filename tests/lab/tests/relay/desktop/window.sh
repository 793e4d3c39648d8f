# A display, and what the drivers of programs with windows do with it.

export DISPLAY=:1 GDK_BACKEND=x11 NO_AT_BRIDGE=1
# How often 0.2 s are waited, on a busy machine.
PATIENCE=900

Xvfb "$DISPLAY" -screen 0 1200x800x24 -nolisten tcp 2>/dev/null &

# Waits until a command succeeds; what does not come ends the program, with a picture in /lab.
wait_for() {
	what=$1
	shift
	for _ in $(seq "$PATIENCE"); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	import -window root /lab/screen.png
	echo "$what: it did not come. Windows: $(windows)" >&2
	exit 1
}

# The titles of all windows.
windows() {
	for window in $(xdotool search --onlyvisible --name . 2>/dev/null); do
		xdotool getwindowname "$window"
	done | sort -u | tr '\n' ';'
}

# Presses the keys that send a letter, in the window with this title.
send_by_keys() {
	window=$(xdotool search --onlyvisible --name "$1" | tail -1)
	xdotool windowfocus --sync "$window"
	sleep 1
	xdotool key --clearmodifiers ctrl+Return
}

wait_for "the display" xdotool getdisplaygeometry
