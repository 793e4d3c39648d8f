#!/bin/sh
# Inside the chroot, in a separate network namespace: Dovecot for IPv4, and an IPv6 address that is
# silent.
set -eu
cd "$(dirname "$0")/.."
there=$(mktemp -d)
chmod 755 "$there"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Authority -keyout "$there/ca.key" \
	-out "$there/ca" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=mail.example.test -keyout "$there/key" -out "$there/csr" 2>/dev/null
printf 'subjectAltName=DNS:mail.example.test\n' >"$there/ext"
openssl x509 -req -in "$there/csr" -CA "$there/ca" -CAkey "$there/ca.key" -days 30 -extfile "$there/ext" \
	-out "$there/cert" 2>/dev/null
printf 'machine mail.example.test login me password secret\n' >"$there/logins"
mkdir "$there/mail"
chown 65534 "$there/mail"
cat >"$there/conf" <<END
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = $there/run
log_path = $there/log
protocols = imap pop3
listen = 127.0.0.1
mail_driver = maildir
mail_path = $there/mail
ssl = yes
ssl_server_cert_file = $there/cert
ssl_server_key_file = $there/key
first_valid_uid = 0
passdb static {
  password = secret
}
userdb static {
  fields {
    uid = 65534
    gid = 65534
    home = $there/mail
  }
}
END
printf '127.0.0.1 localhost\n2001:db8::1 mail.example.test\n127.0.0.1 mail.example.test\n' >/etc/hosts
dovecot -F -c "$there/conf" >"$there/output" 2>&1 &
server=$!
trap 'test $? = 0 || cat "$there/output" "$there/log"; kill $server; rm -rf "$there"' EXIT
until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new("127.0.0.1:143")'; do
	kill -0 $server
	sleep 0.1
done
CERTIFICATE=$there/ca LOGINS=$there/logins emacs --batch -Q -L . -L test \
	--eval "(setq load-prefer-newer t backtrace-on-error-noninteractive nil)" -l desktop/imap.el
