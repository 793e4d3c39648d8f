# Sends a letter with the subject $2 by Claws Mail; $1 is 1 where it is to use the SOCKS5 proxy, else 0.
set -eu
. /lab/window.sh
settings=/tmp/claws
mail=/tmp/mail
mkdir -p "$settings" "$mail/inbox" "$mail/sent" "$mail/draft" "$mail/queue" "$mail/trash"
cat >"$settings/accountrc" <<END
[Account: 1]
account_name=sender
is_default=1
name=Sender
address=sender@example.test
protocol=6
smtp_server=mail.example.test
use_smtp_auth=0
ssl_smtp=2
ssl_certs_auto_accept=1
set_smtpport=1
smtp_port=587
use_proxy=$1
use_default_proxy=0
use_proxy_for_send=1
proxy_type=1
proxy_host=127.0.0.1
proxy_port=1080
END
cat >"$settings/folderlist.xml" <<END
<?xml version="1.0" encoding="UTF-8"?>
<folderlist>
<folder type="mh" name="Mail" path="$mail" collapsed="0" account_id="0">
<folderitem type="inbox" name="inbox" path="inbox"/>
<folderitem type="outbox" name="sent" path="sent"/>
<folderitem type="draft" name="draft" path="draft"/>
<folderitem type="queue" name="queue" path="queue"/>
<folderitem type="trash" name="trash" path="trash"/>
</folder>
</folderlist>
END
printf '[Common]\nsend_dialog_mode=0\nenable_aspell=0\n' >"$settings/clawsrc"
printf 'From: sender@example.test\nTo: reader@example.test\nSubject: %s\n\nSent by Claws Mail.\n' "$2" >/tmp/letter

dbus-run-session claws-mail --alternate-config-dir "$settings" --debug >/lab/claws.log 2>&1 &
wait_for "the main window" xdotool search --onlyvisible --name 'Claws Mail'
claws-mail --alternate-config-dir "$settings" --compose-from-file /tmp/letter >/dev/null 2>&1
wait_for "the window of the letter" xdotool search --onlyvisible --name "$2"
send_by_keys "$2"
is_sent() { ls "$mail/sent" | grep -q .; }
wait_for "the letter among those that were sent" is_sent
