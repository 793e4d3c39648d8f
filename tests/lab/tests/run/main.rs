//! Mail gets through from programs that are run by `mailport run`, unchanged and without any setting
//! of mailport, whatever becomes of port 587 and of IPv6.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use mailport_lab::command::mailport;
use mailport_lab::mta::{HOST, READER, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What is wrong in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Nothing listens on 587.
    Refused,
    /// The router drops 587.
    Silent,
    /// The router drops IPv6.
    Ipv6Dead,
}

impl Trouble {
    const ALL: [Trouble; 4] = [Trouble::None, Trouble::Refused, Trouble::Silent, Trouble::Ipv6Dead];

    /// Where mail arrives.
    fn port(self) -> u16 {
        if matches!(self, Trouble::None | Trouble::Ipv6Dead) { 587 } else { 25 }
    }

    fn world(self) -> (Lab, Server) {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let ports = if self == Trouble::Refused { &[25][..] } else { &[587, 25] };
        let server = Server::start(&lab, Software::Postfix, &[V4, V6], ports)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let set = |address, port| lab.set(address, port, Fate::Silent);
        match self {
            Trouble::Silent => [V4, V6].into_iter().for_each(|address| set(address, 587)),
            Trouble::Ipv6Dead => [25, 587].into_iter().for_each(|port| set(V6, port)),
            Trouble::None | Trouble::Refused => {}
        }
        lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
        (lab, server)
    }
}

/// Programs that send a letter, each as it is used without mailport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Msmtp,
    Swaks,
    Curl,
    Smtplib,
    Asyncio,
}

impl Client {
    const ALL: [Client; 5] =
        [Client::Msmtp, Client::Swaks, Client::Curl, Client::Smtplib, Client::Asyncio];

    /// The arguments; the letter is in a file in the folder.
    fn arguments(self, host: &str, authority: &Path, letter: &Path, subject: &str) -> Vec<String> {
        let (ca, file) = (authority.display(), letter.display());
        let sender = "sender@example.org";
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Client::Msmtp => {
                let command = format!(
                    "msmtp --file=/dev/null --host={host} --port=587 --tls=on --tls-starttls=on \
                     --tls-trust-file={ca} --from={sender} {READER} <{file}"
                );
                vec!["sh".into(), "-c".into(), command]
            }
            Client::Swaks => words(format!(
                "swaks --server {host} --port 587 --tls --tls-verify --tls-ca-path {ca} \
                 --from {sender} --to {READER} --data @{file} --timeout 40"
            )),
            Client::Curl => words(format!(
                "curl --silent --show-error --ssl-reqd --cacert {ca} --mail-from {sender} \
                 --mail-rcpt {READER} --upload-file {file} smtp://{host}:587"
            )),
            Client::Smtplib => {
                let script = format!(
                    "import smtplib, ssl\n\
                     s = smtplib.SMTP('{host}', 587, timeout=60)\n\
                     s.starttls(context=ssl.create_default_context(cafile='{ca}'))\n\
                     s.sendmail('{sender}', '{READER}', open('{file}').read()); s.quit()"
                );
                vec!["python3".into(), "-c".into(), script]
            }
            Client::Asyncio => {
                let script = format!(
                    "import asyncio, ssl\n\
                     async def main():\n  \
                       r, w = await asyncio.open_connection('{host}', 587)\n  \
                       async def say(line):\n    \
                         if line: w.write(line.encode() + b'\\r\\n')\n    \
                         while (reply := await r.readline())[3:4] == b'-': pass\n    \
                         assert reply[:1] in b'23', reply\n  \
                       await say(''); await say('EHLO x'); await say('STARTTLS')\n  \
                       context = ssl.create_default_context(cafile='{ca}')\n  \
                       loop = asyncio.get_running_loop()\n  \
                       t = await loop.start_tls(w.transport, w.transport.get_protocol(), context, \
                         server_hostname='{host}')\n  \
                       w._transport = t; r._transport = t\n  \
                       await say('EHLO x'); await say('MAIL FROM:<{sender}>')\n  \
                       await say('RCPT TO:<{READER}>'); await say('DATA')\n  \
                       await say('Subject: {subject}\\r\\n\\r\\nasyncio\\r\\n.'); await say('QUIT')\n\
                     asyncio.run(main())"
                );
                vec!["python3".into(), "-c".into(), script]
            }
        }
    }
}

fn send(lab: &Lab, host: &str, authority: &Path, client: Client, subject: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let letter = folder.path().join("letter");
    let text = format!("From: sender@example.org\nTo: {READER}\nSubject: {subject}\n\nHello.\n");
    std::fs::write(&letter, text).expect("a letter");
    let arguments = client.arguments(host, authority, &letter, subject);
    let mut command = Command::new(mailport());
    command.args(["run", "--cache", "off", "--verbose"]).args(arguments);
    lab.client(|| command.output().expect("cargo has just built it"))
}

fn story(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_program_sends_whatever_becomes_of_587_and_ipv6() {
    mailport();
    thread::scope(|scope| {
        for trouble in Trouble::ALL {
            scope.spawn(move || {
                let (lab, server) = trouble.world();
                let authority = server.certificate().expect("a certificate");
                for client in Client::ALL {
                    let subject = format!("{client:?} {trouble:?}");
                    let output = send(&lab, HOST, authority, client, &subject);
                    let story = || format!("{subject}: {}\n{}", story(&output), server.log());
                    assert!(output.status.success(), "{}", story());
                    let mailbox = server.mailbox().expect("a mailbox");
                    let letters = mailbox.iter().filter(|m| m.field("Subject") == Some(&subject));
                    let ports: Vec<_> = letters.map(mailport_lab::mta::Message::port).collect();
                    assert_eq!(ports, [Some(trouble.port())], "{}", story());
                }
            });
        }
    });
}

#[test]
fn a_program_refuses_a_certificate_for_another_name_than_it_was_given() {
    mailport();
    let (lab, server) = Trouble::None.world();
    let other = "other.example.test";
    lab.hosts(&[(other, V4)]).expect("the lab's own file");
    let authority = server.certificate().expect("a certificate");
    for client in [Client::Msmtp, Client::Curl, Client::Smtplib] {
        let output = send(&lab, other, authority, client, "never sent");
        assert!(!output.status.success(), "{client:?}: {}", story(&output));
        assert!(story(&output).contains(" joined "), "{client:?}: {}", story(&output));
    }
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}
