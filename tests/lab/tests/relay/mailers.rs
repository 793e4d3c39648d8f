//! Mail clients that are libraries or run without a terminal: Nodemailer, `PHPMailer`, s-nail, and
//! Postfix as a null client.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use mailport_lab::Fate;
use mailport_lab::mta::{HOST, NullClient, READER};

use crate::programs::{Entry, arrived};
use crate::{V4, V6, World};

/// What each letter says.
const BODY: &str = "a letter\n.\nand its end";

const NODEMAILER: &str = r#"
const nodemailer = require("nodemailer");
const [options, to, subject, text] = process.argv.slice(1);
const transport = nodemailer.createTransport(JSON.parse(options));
if (options.includes("socks")) transport.set("proxy_socks_module", require("socks"));
transport.sendMail({ from: "sender@example.test", to, subject, text }, (error) => {
  if (error) { console.error(error); process.exit(1); }
  process.exit(0);
});
"#;

const PHPMAILER: &str = r#"<?php
$at = "/usr/share/php/libphp-phpmailer/src/";
foreach (["Exception", "PHPMailer", "SMTP"] as $class) require "$at$class.php";
[, $host, $port, $trust, $name, $to, $subject, $text] = $argv;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
[$mail->Host, $mail->Port, $mail->SMTPSecure] = [$host, (int) $port, "tls"];
$mail->SMTPOptions = ["ssl" => ["cafile" => $trust, "peer_name" => $name]];
$mail->setFrom("sender@example.test");
$mail->addAddress($to);
[$mail->Subject, $mail->Body] = [$subject, $text];
$mail->send();
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mailer {
    Nodemailer,
    Php,
    /// With `SOCKS5_PROXY`.
    SNail,
    /// A null client: the relay is its `relayhost`, or between it and that.
    Postfix,
}

impl Mailer {
    const ALL: [Mailer; 4] = [Mailer::Nodemailer, Mailer::Php, Mailer::SNail, Mailer::Postfix];

    /// The ways into the relay that it has.
    fn entries(self) -> &'static [Entry] {
        match self {
            Mailer::Nodemailer => {
                &[Entry::Fixed, Entry::Socks, Entry::Http, Entry::Transparent(V4)]
            }
            Mailer::Php | Mailer::Postfix => &[Entry::Fixed, Entry::Transparent(V4)],
            Mailer::SNail => &[Entry::Socks, Entry::Transparent(V4)],
        }
    }

    fn send(self, world: &World, entry: Entry, subject: &str) -> Output {
        let folder = tempfile::tempdir().expect("a directory");
        let trust = world.server.certificate().expect("Postfix does TLS");
        let (host, port) = if entry == Entry::Fixed { ("127.0.0.1", 2525) } else { (HOST, 587) };
        let mut command = match self {
            Mailer::Nodemailer => {
                let mut options = serde_json::json!({
                    "host": host, "port": port, "requireTLS": true, "tls": { "servername": HOST },
                });
                match entry {
                    Entry::Socks => options["proxy"] = "socks5://127.0.0.1:1080".into(),
                    Entry::Http => options["proxy"] = "http://127.0.0.1:1080".into(),
                    _ => {}
                }
                let mut command = Command::new("node");
                command.env("NODE_PATH", "/usr/share/nodejs").env("NODE_EXTRA_CA_CERTS", trust);
                command.args(["-e", NODEMAILER, "--", &options.to_string(), READER, subject, BODY]);
                command
            }
            Mailer::Php => {
                let script = folder.path().join("send.php");
                fs::write(&script, PHPMAILER).expect("a file");
                let mut command = Command::new("php");
                command.arg(script).args([host, &port.to_string()]).arg(trust);
                command.args([HOST, READER, subject, BODY]);
                command
            }
            Mailer::SNail => s_nail(entry, (host, port), trust, subject, folder.path()),
            Mailer::Postfix => {
                return by_postfix(world, &format!("[{host}]:{port}"), trust, subject);
            }
        };
        world.lab.client(|| command.output()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn s_nail(
    entry: Entry,
    (host, port): (&str, u16),
    trust: &Path,
    subject: &str,
    folder: &Path,
) -> Command {
    let letter = folder.join("letter");
    fs::write(&letter, BODY).expect("a file");
    let settings = [
        "v15-compat=yes".to_owned(),
        format!("mta=smtp://{host}:{port}"),
        "smtp-use-starttls".to_owned(),
        "smtp-auth=none".to_owned(),
        "from=sender@example.test".to_owned(),
        "tls-verify=strict".to_owned(),
        format!("tls-ca-file={}", trust.display()),
        "tls-ca-no-defaults".to_owned(),
    ];
    let mut command = Command::new("s-nail");
    command.env("HOME", folder).arg("-n");
    if entry == Entry::Socks {
        command.env("SOCKS5_PROXY", "127.0.0.1:1080");
    }
    for setting in settings {
        command.arg("-S").arg(setting);
    }
    command.args(["-s", subject, READER]);
    command.stdin(fs::File::open(letter).expect("the letter"));
    command
}

/// Gives a letter to a null client, and waits until that has delivered it.
fn by_postfix(world: &World, relayhost: &str, trust: &Path, subject: &str) -> Output {
    let client = NullClient::start(&world.lab, relayhost, trust).unwrap_or_else(|e| panic!("{e}"));
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", "127.0.0.1", "--from", "sender@example.test", "--to", READER]);
    swaks.args(["--header", &format!("Subject: {subject}"), "--body", BODY]);
    let output = world.lab.client(|| swaks.output()).expect("swaks");
    client.wait_until_sent().unwrap_or_else(|error| panic!("{}", world.story(&error.to_string())));
    output
}

#[test]
fn libraries_s_nail_and_postfix_send_through_the_relay_in_every_world() {
    // Open; IPv6 dead; refused; silent.
    type Story = (&'static str, &'static [(IpAddr, u16, Fate)], u16);
    let worlds: [Story; 4] = [
        ("open", &[], 587),
        ("IPv6 dead", &[(V6, 587, Fate::Silent), (V6, 25, Fate::Silent)], 587),
        ("refused", &[(V4, 587, Fate::Reset), (V6, 587, Fate::Reset)], 25),
        ("silent", &[(V4, 587, Fate::Silent), (V6, 587, Fate::Silent)], 25),
    ];
    thread::scope(|scope| {
        for (name, fates, port) in worlds {
            scope.spawn(move || {
                let world = World::new();
                for (address, port, fate) in fates {
                    world.lab.set(*address, *port, *fate);
                }
                for mailer in Mailer::ALL {
                    for entry in mailer.entries() {
                        world.name(*entry, &[V6, V4]);
                        let subject = format!("{name}: {mailer:?} {entry}");
                        let output = mailer.send(&world, *entry, &subject);
                        let said = format!("{subject}: {output:?}");
                        assert!(output.status.success(), "{}", world.story(&said));
                        let message = arrived(&world, &subject, &said);
                        let received = message.field("Received").unwrap_or_default();
                        assert!(received.contains("ESMTPS"), "{}", world.story(&said));
                        assert_eq!(message.port(), Some(port), "{}", world.story(&said));
                    }
                }
            });
        }
    });
}
