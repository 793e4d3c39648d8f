//! TLS with the real Postfix, from one end to the other: by OpenSSL, through mailport, through a
//! tunnel, with the name of the server that the user configured.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::mta::{Certificate, HOST, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::tunnels::{Gateway, Side, Tunnel as Service};
use mailport_lab::{Fate, Network};

use crate::tunnel::Tunnel;

const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Another name of the same server, which is not in its certificate.
const OTHER: &str = "other.example.test";
const LOOPBACK: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(5);

/// A process that ends with the test.
struct Guard(Child);

impl Guard {
    fn wait(&mut self, name: &str) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < deadline => thread::sleep(STEP),
                other => panic!("{name} does not end: {other:?}"),
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It fails for a process that has ended, which is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What OpenSSL made of one session.
struct Session {
    is_verified: bool,
    /// What it printed, and what mailport said.
    story: String,
}

/// Has OpenSSL speak STARTTLS over `mailport connect --stdio` with these arguments and this host,
/// and verify a name.
fn session(server: &Server, arguments: &[&str], host: &str, name: &str) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let tunnel = Tunnel::with(place, arguments);
    let listener = UnixListener::bind(place.join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    fs::write(place.join("input"), "EHLO client.example.test\r\nQUIT\r\n").unwrap();
    let output = File::create(place.join("output")).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-brief", "-ign_eof", "-starttls", "smtp", "-unix"]);
    openssl.arg(place.join("socket")).arg("-CAfile").arg(server.certificate().unwrap());
    openssl.args(["-verify_return_error", "-verify_hostname", name, "-servername", name]);
    openssl.stdin(File::open(place.join("input")).unwrap());
    openssl.stdout(output.try_clone().unwrap()).stderr(Stdio::from(output));
    let mut openssl = Guard(openssl.spawn().expect("apt-get install openssl"));
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(STEP),
            Err(error) => panic!("the socket breaks: {error}"),
        }
        assert_eq!(openssl.0.try_wait().unwrap(), None, "openssl connects");
    };
    stream.set_nonblocking(false).unwrap();
    let mut mailport = Guard(tunnel.start(host, stream.into()));
    let is_verified = openssl.wait("openssl").success();
    mailport.wait("mailport");
    let printed = fs::read(place.join("output")).unwrap();
    let story = format!("{}\n{}", tunnel.words(), String::from_utf8_lossy(&printed));
    Session { is_verified, story }
}

/// A way to the server, as arguments and the host to dial.
struct Way {
    name: &'static str,
    arguments: Vec<String>,
    /// By how much the ports of the client's loopback that lead to the server's differ from those,
    /// where mailport dials them instead of the server by its name.
    forwards: Option<u16>,
}

impl Way {
    /// Completes STARTTLS at the port that is reached, and sees wrong names refused.
    fn check(&self, server: &Server, port: u16) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let host = if self.forwards.is_none() { HOST } else { LOOPBACK };
        let done = session(server, &arguments, host, HOST);
        let (name, story) = (self.name, &done.story);
        assert!(done.is_verified, "{name}: {story}");
        for part in [
            &*format!("connected to {}", port + self.forwards.unwrap_or(0)),
            &*format!("Verified peername: {HOST}"),
            &*format!("250-port-{port}.example.test"),
            "221 ",
        ] {
            assert!(story.contains(part), "{name}, no {part}: {story}");
        }
        let (host, wrong) = match self.forwards {
            None => (OTHER, OTHER),
            Some(_) => (LOOPBACK, "localhost"),
        };
        let refused = session(server, &arguments, host, wrong);
        let story = &refused.story;
        assert!(!refused.is_verified && !story.contains("221 "), "{name}: {story}");
        assert!(story.contains("ostname mismatch"), "{name}: {story}");
    }
}

/// A plan of forwarded ports, and the greeting wait, as arguments.
fn forwarded(offset: u16) -> Vec<String> {
    let plan = [587, 25].map(|port| format!("{}:starttls", offset + port)).join(",");
    ["--greeting-wait", "20s", "--plan", &plan].map(str::to_owned).to_vec()
}

/// stunnel in front of both services, at either end; at the far one it has its own certificate,
/// which the near one trusts.
fn stunnel(certificate: &Certificate) -> (String, String) {
    let authority = certificate.authority().display();
    let (own, key) = (certificate.own().display(), certificate.key().display());
    let near = [587, 25].map(|port| {
        format!(
            "[{port}]\nclient = yes\naccept = 127.0.0.1:{}\nconnect = {FAR}:{}\n\
             verifyChain = yes\nCAfile = {authority}\n",
            20_000 + port,
            1000 + port
        )
    });
    let far = [587, 25].map(|port| {
        let tls = 1000 + port;
        format!(
            "[{port}]\naccept = {FAR}:{tls}\nconnect = {FAR}:{port}\ncert = {own}\nkey = {key}\n"
        )
    });
    (near.concat(), far.concat())
}

fn via(way: &str) -> Vec<String> {
    ["--via", way].map(str::to_owned).to_vec()
}

#[test]
fn starttls_verifies_the_servers_own_name_through_everything_and_on_either_port() {
    let network = Network::new(Duration::from_millis(10)).address(FAR, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, Software::Postfix, &[FAR], &[587, 25]).unwrap();
    lab.hosts(&[(HOST, FAR), (OTHER, FAR)]).unwrap();
    let gateway = Gateway::start(&lab).unwrap();
    let mut options = vec!["-D".to_owned(), "127.0.0.1:1081".to_owned()];
    for port in [587, 25] {
        options.extend(["-L".to_owned(), format!("{LOOPBACK}:{}:{HOST}:{port}", 10_000 + port)]);
    }
    let _ssh = gateway.forward(&lab, &options, &[1081, 10_587, 10_025]).unwrap();
    let _proxy = Service::microsocks(&lab, 1080, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = stunnel(&Certificate::new(folder.path()).unwrap());
    let _far = Service::stunnel(&lab, Side::Server, &far, &[1587, 1025]).unwrap();
    let _near = Service::stunnel(&lab, Side::Client, &near, &[20_587, 20_025]).unwrap();
    let ways = [
        Way {
            name: "ssh -W",
            arguments: via(&format!("command:{} -W [%h]:%p gateway", gateway.ssh())),
            forwards: None,
        },
        Way { name: "ssh -D", arguments: via("socks5://127.0.0.1:1081"), forwards: None },
        Way { name: "microsocks", arguments: via("socks5://127.0.0.1"), forwards: None },
        Way { name: "ssh -L", arguments: forwarded(10_000), forwards: Some(10_000) },
        Way { name: "stunnel", arguments: forwarded(20_000), forwards: Some(20_000) },
    ];
    let check = |port| {
        thread::scope(|scope| {
            for way in &ways {
                let (lab, server) = (&lab, &server);
                scope.spawn(move || lab.client(|| way.check(server, port)));
            }
        });
    };
    // Before any thread is inside, for cargo may have to build it.
    mailport_lab::command::mailport();
    check(587);
    // Both as a network sees them: the service itself, and the one that stunnel forwards.
    lab.set(FAR, 587, Fate::Reset);
    lab.set(FAR, 1587, Fate::Reset);
    check(25);
}
