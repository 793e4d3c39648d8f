//! One client, one user or one name cannot keep others from the relay.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailport_lab::mta::{HOST, Software};

use crate::{LISTENERS, PATIENCE, Relay, V4, World, lab, last, mailport};

const NOBODY: u32 = 65534;

/// How long the fixed listener, whose server has a name, takes to its greeting.
fn time_to_greeting(world: &World) -> Duration {
    let began = Instant::now();
    world.lab.client(|| {
        let mut stream = TcpStream::connect("127.0.0.1:2525").expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut code = [0; 4];
        stream.read_exact(&mut code).unwrap_or_else(|error| panic!("{error}: {}", world.story("")));
        assert_eq!(&code, b"220 ", "{}", world.story(""));
    });
    began.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

/// A client of the proxy that asks for this name, and waits.
fn asks(world: &World, name: &str) -> TcpStream {
    world.lab.client(|| {
        let mut stream = TcpStream::connect("127.0.0.1:1080").expect("the relay listens");
        stream
            .write_all(format!("CONNECT {name}:587 HTTP/1.1\r\n\r\n").as_bytes())
            .expect("a request");
        stream
    })
}

#[test]
fn names_that_never_resolve_delay_nobody_else() {
    let options = [&LISTENERS[..], &["--max-sessions-per-client", "300"]].concat();
    let world = World::with(Software::Postfix, &options);
    // The files are the lab's own; from now on a name that is not in hosts is asked for where
    // no server answers.
    world.lab.client(|| {
        fs::write("/etc/nsswitch.conf", "hosts: files dns\n").expect("the lab's own file");
        let silent = "nameserver 192.0.2.99\noptions timeout:15 attempts:2\n";
        fs::write("/etc/resolv.conf", silent).expect("the lab's own file");
    });
    let usual = median((0..9).map(|_| time_to_greeting(&world)));
    let clients: Vec<TcpStream> =
        (0..200).map(|number| asks(&world, &format!("hangs{number}.example.test"))).collect();
    let until = Instant::now() + PATIENCE;
    while world.relay.status()["lookups"].as_u64() < Some(8) {
        assert!(Instant::now() < until, "{}", world.story(&world.relay.status().to_string()));
        std::thread::sleep(Duration::from_millis(10));
    }
    let now = median((0..9).map(|_| time_to_greeting(&world)));
    // Behind look-ups that hang it would be seconds; twice the usual time is the aim, and the rest
    // is for a machine that is busy.
    assert!(now < usual * 2 + Duration::from_millis(200), "{now:?} instead of {usual:?}");
    let status = world.relay.status();
    assert_eq!(status["lookups"], 8, "the quota of one client: {status}");
    drop(clients);
}

/// A process of this user that is connected to the fixed listener and says nothing.
fn client_of(world: &World, user: u32) -> Child {
    let mut command = Command::new("nc");
    command.args(["127.0.0.1", "2525"]).uid(user).gid(user);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    world.lab.client(|| command.spawn()).expect("netcat (apt-get install netcat-openbsd)")
}

fn first_words(client: &mut Child) -> String {
    let mut words = [0; 10];
    let output = client.stdout.as_mut().expect("it is piped");
    output.read_exact(&mut words).expect("a reply");
    String::from_utf8_lossy(&words).into_owned()
}

#[test]
fn clients_of_this_machine_are_counted_by_user() {
    let options = [&LISTENERS[..], &["--max-sessions-per-client", "2"]].concat();
    let world = World::with(Software::Postfix, &options);
    world.lab.hosts(&[(crate::SERVER, V4), (HOST, V4)]).expect("the lab's own file");
    let mut clients: Vec<Child> = (0..2).map(|_| client_of(&world, NOBODY)).collect();
    for client in &mut clients {
        assert!(first_words(client).starts_with("220 "), "{}", world.story(""));
    }
    let mut third = client_of(&world, NOBODY);
    assert_eq!(first_words(&mut third), "421 4.7.0 ", "{}", world.story(""));
    let mut other = client_of(&world, 0);
    assert!(first_words(&mut other).starts_with("220 "), "another user: {}", world.story(""));
    for mut client in clients.into_iter().chain([third, other]) {
        client.kill().and_then(|()| client.wait()).expect("a child");
    }
}

#[test]
fn the_directory_of_the_control_socket_must_be_the_users_own() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).expect("it is ours");
    chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root may do this");
    let output = Command::new(mailport())
        .args(["relay", "--listen-proxy", "127.0.0.1:0", "--cache", "off", "--control"])
        .arg(directory.path().join("relay.sock"))
        .output()
        .expect("the command");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && words.contains("another user"), "{words}");
}

#[test]
fn a_client_behind_a_blackhole_is_not_one_of_this_machine() {
    let lab = lab();
    let relay =
        Relay::start(&lab, &["--listen-proxy", "0.0.0.0:1080", "--allow", "203.0.113.0/24"]);
    // Towards the servers' side there is no route any more, but packets still come from there.
    lab.client(|| {
        let mut ip = Command::new("ip");
        ip.args(["rule", "add", "to", "198.51.100.0/24", "blackhole"]);
        assert!(ip.status().expect("ip").success());
    });
    let near = SocketAddr::from(([127, 0, 0, 1], 1080));
    let reply = lab.client(|| {
        let mut stream = TcpStream::connect(near)?;
        stream.write_all(b"CONNECT 198.51.100.1:587 HTTP/1.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let reply = reply.unwrap_or_else(|error| panic!("{error}: {}", last(&relay.log())));
    assert!(reply.starts_with("HTTP/1.1 502 "), "it fails as without the relay: {reply}");
}
