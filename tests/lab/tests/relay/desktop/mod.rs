//! Mail clients with windows, in a chroot: Thunderbird, Claws Mail, Evolution. `make test-desktop`
//! makes the chroot and runs these tests.

use std::fs::{self, File};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::Fate;
use mailport_lab::command::mailport;
use mailport_lab::mta::Software;

use crate::programs::{Entry, arrived};
use crate::{LISTENERS, PATIENCE, V4, V6, World, redirect};

/// The directory of the drivers.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/desktop");
/// The files that the drivers need.
const DRIVERS: [&str; 4] = ["thunderbird.py", "claws.sh", "evolution.sh", "window.sh"];

/// Dovecot, for the inbox, where the mailbox of the server is /lab/home.
const DOVECOT: &str = "\
protocols = imap
listen = 192.0.2.1, 2001:db8:2::1
ssl = required
ssl_cert = </lab/certificate.pem
ssl_key = </lab/key.pem
log_path = /dev/stderr
mail_location = maildir:/lab/home/Maildir
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=903 gid=903 home=/lab/home
}
";

/// A name for what becomes of the server, and on which port a letter then arrives.
type Story = (&'static str, &'static [(IpAddr, u16, Fate)], u16);

/// Open; IPv6 dead; refused; silent.
const WORLDS: [Story; 4] = [
    ("open", &[], 587),
    ("IPv6 dead", &[(V6, 587, Fate::Silent), (V6, 25, Fate::Silent), (V6, 143, Fate::Silent)], 587),
    ("refused", &[(V4, 587, Fate::Reset), (V6, 587, Fate::Reset)], 25),
    ("silent", &[(V4, 587, Fate::Silent), (V6, 587, Fate::Silent)], 25),
];

/// What runs a command in the chroot, in the calling thread's namespaces, with a directory as /lab.
fn inside(lab: &Path) -> Command {
    let root = Path::new(HERE).join("../../../../../target/desktop/mail");
    assert!(root.join(".complete").exists(), "no {}: make test-desktop", root.display());
    let mut command = Command::new(Path::new(HERE).join("enter.sh"));
    command.arg(root).arg(lab).stdin(Stdio::null());
    command
}

/// A server in the chroot; dropping it ends all of its processes.
struct Inbox(Child);

impl Inbox {
    /// Starts Dovecot for the mailbox of this world's server, and waits for its greeting.
    fn start(world: &World) -> Inbox {
        let folder = world.server.folder();
        fs::write(folder.join("dovecot.conf"), DOVECOT).expect("a file");
        let log = File::create(folder.join("dovecot.log")).expect("a file");
        let mut command = inside(folder);
        command.args(["dovecot", "-F", "-c", "/lab/dovecot.conf"]);
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let inbox = Inbox(world.lab.server(|| command.spawn()).expect("the chroot"));
        let until = Instant::now() + PATIENCE;
        while world.lab.server(|| TcpStream::connect((V4, 143))).is_err() {
            let log = || fs::read_to_string(folder.join("dovecot.log")).unwrap_or_default();
            assert!(Instant::now() < until, "Dovecot does not listen: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
        inbox
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world in which the client sees both addresses of the server, the IPv6 one first.
fn world(options: &[&str], rules: &[&str], fates: &[(IpAddr, u16, Fate)]) -> World {
    let world = World::with(Software::Postfix, options);
    redirect(&world.lab, rules);
    world.name(Entry::Socks, &[V6, V4]);
    for (address, port, fate) in fates {
        world.lab.set(*address, *port, *fate);
    }
    world
}

/// Runs a driver, which fails unless it has sent its letters.
#[allow(clippy::print_stdout, reason = "how long each letter took")]
fn run(world: &World, words: &[&str]) {
    let lab = tempfile::tempdir().expect("a directory");
    for name in DRIVERS {
        fs::copy(Path::new(HERE).join(name), lab.path().join(name)).expect("a driver");
    }
    let trust = world.server.certificate().expect("Postfix does TLS");
    fs::copy(trust, lab.path().join("authority.pem")).expect("a file");
    let pac = Command::new(mailport()).args(["relay", "pac"]).output().expect("the command");
    fs::write(lab.path().join("relay.pac"), pac.stdout).expect("a file");
    let mut command = inside(lab.path());
    let output = world.lab.client(|| command.args(words).output()).expect("the chroot");
    let said = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    print!("{}", said(&output.stdout));
    if !output.status.success() {
        // What the program has logged, and its screen.
        let kept = lab.keep();
        let story = world.story(&said(&output.stderr));
        panic!("{words:?}: {story}\nlogs are in {}", kept.display());
    }
}

/// The letter has arrived at this port, by TLS.
fn has_arrived(world: &World, subject: &str, port: u16) {
    let message = arrived(world, subject, "");
    assert!(message.field("Received").unwrap_or_default().contains("ESMTPS"), "{message:?}");
    assert_eq!(message.port(), Some(port), "{}", world.story(subject));
}

/// How many sessions came by the proxy and reached this port: the rules of the packet filter would
/// take in a letter that does not use it.
fn by_proxy(world: &World, port: u16) -> usize {
    let parts = [" joined ", "listener=127.0.0.1:1080", &format!("port={port} ")];
    world.relay.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// What Thunderbird is to do for one letter, as JSON.
fn letter(subject: &str, settings: &serde_json::Value, reads_inbox: bool) -> String {
    serde_json::json!({ "subject": subject, "settings": settings, "inbox": reads_inbox })
        .to_string()
}

#[test]
fn thunderbird_sends_and_reads_through_the_relay_in_every_world() {
    let entries = [
        (
            "proxy",
            serde_json::json!({
                "network.proxy.type": 1,
                "network.proxy.socks": "127.0.0.1",
                "network.proxy.socks_port": 1080,
                "network.proxy.socks_version": 5,
                "network.proxy.socks_remote_dns": true,
            }),
        ),
        (
            "PAC file",
            serde_json::json!({
                "network.proxy.type": 2,
                "network.proxy.autoconfig_url": "file:///lab/relay.pac",
            }),
        ),
        ("transparent", serde_json::json!({ "network.proxy.type": 0 })),
    ];
    for (name, fates, port) in WORLDS {
        let world = world(&LISTENERS, &["--ipv6", "redirect", "--ports", "25,143,587"], fates);
        let _inbox = Inbox::start(&world);
        let subjects = entries.each_ref().map(|(entry, _)| format!("Thunderbird {entry} {name}"));
        let letters = subjects.iter().zip(&entries);
        let letters: Vec<String> =
            letters.map(|(subject, (_, settings))| letter(subject, settings, true)).collect();
        let words = ["python3", "/lab/thunderbird.py"].into_iter();
        run(&world, &words.chain(letters.iter().map(String::as_str)).collect::<Vec<_>>());
        for subject in &subjects {
            has_arrived(&world, subject, port);
        }
        assert_eq!(by_proxy(&world, port), 2, "{}", world.story(name));
    }
}

#[test]
fn thunderbird_turns_to_ipv4_at_once_where_the_relay_knows_no_names() {
    let at = LISTENERS.iter().position(|option| *option == "--names").expect("they have names");
    let without: Vec<&str> = [&LISTENERS[..at], &LISTENERS[at + 2..]].concat();
    let (_, fates, port) = WORLDS[1];
    let world = world(&without, &[], fates);
    let subject = "Thunderbird, IPv6 is reset";
    let settings = serde_json::json!({ "network.proxy.type": 0 });
    run(&world, &["python3", "/lab/thunderbird.py", &letter(subject, &settings, false)]);
    has_arrived(&world, subject, port);
}

/// Sends a letter by this driver, by its proxy and without, in every world.
fn sends_in_every_world(program: &str, driver: &str) {
    for (name, fates, port) in WORLDS {
        let world = world(&LISTENERS, &["--ipv6", "redirect"], fates);
        for (entry, uses_proxy) in [("proxy", "1"), ("transparent", "0")] {
            let subject = format!("{program} {entry} {name}");
            run(&world, &["sh", &format!("/lab/{driver}"), uses_proxy, &subject]);
            has_arrived(&world, &subject, port);
        }
        assert_eq!(by_proxy(&world, port), 1, "{}", world.story(name));
    }
}

#[test]
fn claws_mail_sends_through_the_relay_in_every_world() {
    sends_in_every_world("Claws", "claws.sh");
}

#[test]
fn evolution_sends_through_the_relay_in_every_world() {
    sends_in_every_world("Evolution", "evolution.sh");
}
