# Sends a letter with the subject $2 by Evolution; $1 is 1 where it is to use the SOCKS5 proxy, else 0.
set -eu
. /lab/window.sh
sources=/tmp/.config/evolution/sources
mkdir -p "$sources"
export XDG_RUNTIME_DIR=/run/user GSETTINGS_BACKEND=keyfile CAMEL_DEBUG=smtp WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS=1
mkdir -m 700 "$XDG_RUNTIME_DIR"
proxy=system-proxy
[ "$1" = 0 ] || proxy=relay
section() { printf '[Data Source]\nDisplayName=%s\nEnabled=true\nParent=%s\n' "$1" "$2"; }
{
	section sender ''
	printf '[Mail Account]\nBackendName=none\nIdentityUid=identity\nNeedsInitialSetup=false\n'
} >"$sources/account.source"
{
	section sender account
	printf '[Mail Identity]\nAddress=sender@example.test\nName=Sender\n'
	printf '[Mail Submission]\nTransportUid=transport\nSentFolder=folder://local/Sent\nUseSentFolder=true\n'
	printf '[Mail Composition]\nDraftsFolder=folder://local/Drafts\n'
} >"$sources/identity.source"
{
	section sender account
	printf '[Mail Transport]\nBackendName=smtp\n'
	printf '[Authentication]\nHost=mail.example.test\nPort=587\nMethod=none\nProxyUid=%s\n' "$proxy"
	printf '[Security]\nMethod=starttls-on-standard-port\n'
} >"$sources/transport.source"
{
	section relay ''
	printf '[Proxy]\nMethod=manual\nIgnoreHosts=localhost;127.0.0.0/8;::1;\nSocksHost=127.0.0.1\nSocksPort=1080\n'
} >"$sources/relay.source"
letter="mailto:reader@example.test?subject=$(printf %s "$2" | sed 's/ /%20/g')&body=Sent%20by%20Evolution"

cat >/tmp/session <<END
gsettings set org.gnome.evolution.mail prompt-check-if-default-mailer false
gsettings set org.gnome.evolution.mail composer-mode plain-text
gsettings set org.gnome.evolution.mail prompt-on-accel-send false
exec evolution --force-online '$letter'
END
dbus-run-session sh /tmp/session >/lab/evolution.log 2>&1 &
wait_for "the window of the letter" xdotool search --onlyvisible --name "$2"
sleep 3
send_by_keys "$2"
is_sent() { grep -q 'Sent by Evolution' /tmp/.local/share/evolution/mail/local/.Sent/cur/*; }
wait_for "the letter among those that were sent" is_sent
