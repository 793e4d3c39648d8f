//! What is redirected and what is not, who may use the listeners, and what the relay has given up.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::Fate;
use mailport_lab::mta::{HOST, Software};
use mailport_lab::real::{CLIENT_V4, CLIENT_V6, Lab};
use socket2::{Domain, SockRef, Socket, Type};

use crate::programs::{Entry, Letter, Program, deliver};
use crate::{
    Case, LISTENERS, MARK, PATIENCE, Relay, V4, V6, World, body, lab, last, load, redirect,
};

#[test]
fn what_the_relay_sends_is_not_caught_again_and_what_was_not_redirected_is_refused() {
    let world = World::new();
    let (program, entry, addresses) = (Program::Curl, Entry::Transparent(V4), &[]);
    let letter =
        Letter { program, entry, port: 587, addresses, subject: "Once", body: &body("Once") };
    assert_eq!(deliver(&world, letter), Some(587));
    world.relay.logs("joined ", 1);
    for entry in ["127.0.0.1:2587", "[::1]:2587"] {
        assert_eq!(heard(&world, entry.parse().expect("an address")), "");
    }
    world.relay.logs("not-redirected", 2);
}

/// Connects where the mail programs are.
fn connect(world: &World, to: SocketAddr) -> TcpStream {
    let stream = world.lab.client(|| TcpStream::connect_timeout(&to, PATIENCE));
    let stream = stream.unwrap_or_else(|error| panic!("{}", world.story(&error.to_string())));
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// What is sent to a client that sends nothing, until the connection is closed.
fn heard(world: &World, to: SocketAddr) -> String {
    let mut said = String::new();
    let result = connect(world, to).read_to_string(&mut said);
    // What follows a refusal may be a reset.
    let kind = result.err().map(|error| error.kind());
    assert!(matches!(kind, None | Some(io::ErrorKind::ConnectionReset)), "{kind:?}");
    said
}

#[test]
fn rules_for_another_mark_make_a_loop_which_is_found() {
    let world = World::new();
    redirect(&world.lab, &["--mark", "7", "--ipv6", "redirect"]);
    for address in [V4, V6] {
        for port in [587, 25] {
            let said = heard(&world, SocketAddr::new(address, port));
            assert!(said.starts_with("421 4.4.6 "), "{address} {port}: {said}{}", world.story(""));
        }
        assert_eq!(heard(&world, SocketAddr::new(address, 465)), "", "{}", world.story(""));
    }
    wait_for(&world, "all sessions end", || {
        let status = world.relay.status();
        (&status["joined"], &status["dialling"]) == (&0.into(), &0.into())
    });
    let status = world.relay.status();
    assert!(status["refused"]["loop"].as_u64() >= Some(6), "{status}");
    let limited = [&status["refused"]["per-client"], &status["refused"]["full"]];
    assert!(limited.iter().all(|count| count.is_null()), "it went round and round: {status}");
}

#[test]
fn a_redirected_connection_too_many_receives_421_where_smtp_greets() {
    let world =
        World::with(Software::Postfix, &[&LISTENERS[..], &["--max-sessions", "1"]].concat());
    let mut first = connect(&world, SocketAddr::new(V4, 587));
    let mut code = [0; 4];
    first.read_exact(&mut code).expect("a greeting");
    assert_eq!(&code, b"220 ");
    for to in [SocketAddr::new(V4, 587), SocketAddr::new(V6, 25)] {
        let said = heard(&world, to);
        assert!(said.starts_with("421 4.3.2 "), "{to}: {said}{}", world.story(""));
    }
    assert_eq!(heard(&world, SocketAddr::new(V6, 465)), "", "{}", world.story(""));
}

#[test]
fn a_port_that_is_not_among_the_ports_is_not_fallen_back_to() {
    let world = World::with(Software::Postfix, &[&LISTENERS[..], &["--ports", "587"]].concat());
    world.meets(Case::Off);
    let before = world.lab.syns().len();
    let said = heard(&world, SocketAddr::new(V4, 587));
    assert!(said.starts_with("421 4.4.1 ") && said.contains("587"), "{said}");
    let near = SocketAddr::from(([127, 0, 0, 1], 1080));
    assert_eq!(world.lab.client(|| socks(near, &by_address(V4), 587)), Some(5), "refused");
    assert_eq!(world.lab.client(|| socks(near, &by_address(V4), 25)), Some(2), "not allowed");
    let ports: Vec<u16> = world.lab.syns()[before..].iter().map(|syn| syn.port).collect();
    assert!(ports.iter().all(|port| *port == 587) && ports.len() >= 2, "{ports:?}");
}

#[test]
fn a_port_for_reading_mail_races_over_both_families() {
    let world = World::new();
    redirect(&world.lab, &["--ipv6", "redirect", "--ports", "143"]);
    for address in [V4, V6] {
        let inbox = world.lab.server(|| TcpListener::bind((address, 143))).expect("a free port");
        thread::spawn(move || {
            for mut stream in inbox.incoming().flatten() {
                let _ = stream.write_all(b"* OK an inbox\r\n");
            }
        });
    }
    for (dead, lives, family) in [(V6, V4, "-6"), (V4, V6, "-4")] {
        world.lab.set(dead, 143, Fate::Silent);
        world.lab.set(lives, 143, Fate::Open);
        for way in [&["-X", "5", "-x", "127.0.0.1:1080"][..], &[family]] {
            let mut nc = Command::new("nc");
            nc.args(way).args([HOST, "143"]).stdin(Stdio::null());
            let said = world.lab.client(|| nc.output()).expect("netcat").stdout;
            assert_eq!(said, b"* OK an inbox\r\n", "{dead} {way:?}: {}", world.story(""));
        }
    }
}

fn wait_for(world: &World, what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{}", world.story(&format!("it never happened: {what}")));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Connects in the lab from this port, as the relay does itself where there is a mark.
fn connect_from(lab: &Lab, port: u16, to: IpAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let to = SocketAddr::new(to, 587);
    let from = SocketAddr::new(if to.is_ipv4() { CLIENT_V4 } else { CLIENT_V6 }, port);
    lab.client(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    })
}

/// A packet filter remembers connections by addresses and ports for minutes after their end, and a
/// port is used again sooner than that.
#[test]
fn one_port_is_redirected_for_a_client_and_not_for_the_relay_even_after_the_other() {
    let world = World::new();
    // A firewall that lets answers in, as many machines have it, knows them all the same.
    world.lab.client(|| {
        load(
            b"table inet firewall {\n\tchain input {\n\t\ttype filter hook input priority 0; \
            policy drop;\n\t\tiifname \"lo\" accept\n\t\tct state established,related accept\n\t}\n}\n",
        );
    });
    for (address, fate) in Case::Soft.fates() {
        world.lab.set(address, 587, fate);
        let port = 40_000;
        for round in 0..2 {
            let own = connect_from(&world.lab, port, address, Some(MARK)).map(drop);
            let own = own.expect_err("what carries the mark is not redirected");
            assert_eq!(own.raw_os_error(), Some(libc::EHOSTUNREACH), "{round}: {own}");
            let mut client = connect_from(&world.lab, port, address, None)
                .unwrap_or_else(|error| panic!("{address}, {round}: {error}"));
            let mut greeting = [0; 4];
            client.read_exact(&mut greeting).expect("a greeting, from port 25");
            assert_eq!(&greeting, b"220 ");
            // A reset, so that the port can be used again at once.
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    }
}

/// A line of a status in procfs, of every thread of the relay; all are the same.
fn of_every_thread(relay: &Relay, name: &str) -> Vec<String> {
    let folder = format!("/proc/{}/task", relay.child.id());
    let threads = fs::read_dir(folder).expect("procfs");
    let mut lines: Vec<Vec<String>> = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .map(|status| {
            let found = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            found.split_whitespace().skip(1).map(str::to_owned).collect()
        })
        .collect();
    lines.dedup();
    let [line] = &lines[..] else { panic!("{name}: {lines:?}") };
    line.clone()
}

#[test]
fn capabilities_are_given_up_with_and_without_another_user() {
    let lab = lab();
    // CAP_NET_ADMIN is number 12.
    let (none, one) = ("0000000000000000", "0000000000001000");
    let fixed = ["--listen", "127.0.0.1:2525=127.0.0.1", "--plan", "25:starttls"];
    let transparent = ["--listen-transparent", "127.0.0.1:2587"];
    let nobody = ["--user", "nobody"];
    for (options, user, kept) in [
        (&fixed[..], "0", none),
        (&[&fixed[..], &nobody].concat(), "65534", none),
        (&[&fixed[..], &transparent].concat(), "0", one),
        (&[&fixed[..], &transparent, &nobody].concat(), "65534", one),
    ] {
        let relay = Relay::start(&lab, options);
        // A look-up and a session more, so that all threads are there that there may be.
        let said = lab.client(|| {
            let mut said = String::new();
            TcpStream::connect("127.0.0.1:2525")?.read_to_string(&mut said).map(|_| said)
        });
        assert!(said.as_ref().is_ok_and(|said| said.starts_with("421 4.4.1 ")), "{said:?}");
        let line = |name: &str| of_every_thread(&relay, name);
        assert_eq!(line("Uid:"), [user; 4], "{options:?}");
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(line(set), [kept], "{set} {options:?}");
        }
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(line(set), [none], "{set} {options:?}");
        }
        assert_eq!(line("NoNewPrivs:"), ["1"], "{options:?}");
        if user == "65534" {
            assert_eq!(line("Groups:"), ["65534"], "{options:?}");
        }
    }
}

fn by_address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
    }
}

fn by_name(name: &str) -> Vec<u8> {
    [&[3, u8::try_from(name.len()).expect("a short name")][..], name.as_bytes()].concat()
}

/// What a SOCKS proxy replies.
fn socks(proxy: SocketAddr, address: &[u8], port: u16) -> Option<u8> {
    let mut stream = TcpStream::connect(proxy).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"\x05\x01\0").ok()?;
    stream.read_exact(&mut [0; 2]).ok()?;
    stream.write_all(&[b"\x05\x01\0", address, &port.to_be_bytes()].concat()).ok()?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).ok()?;
    Some(reply[1])
}

/// What the proxy of these tests replies to a client that asks for this address.
pub(crate) fn socks_at_proxy(lab: &Lab, address: IpAddr, port: u16) -> Option<u8> {
    let proxy = SocketAddr::from(([127, 0, 0, 1], 1080));
    lab.client(|| socks(proxy, &by_address(address), port))
}

/// The same, to a client on the servers' side of the lab.
fn from_outside(lab: &Lab, address: &[u8], port: u16) -> Option<u8> {
    lab.server(|| socks(SocketAddr::new(CLIENT_V4, 1080), address, port))
}

#[test]
fn a_client_of_another_machine_is_refused_unless_it_is_allowed() {
    let lab = lab();
    let stranger =
        Relay::start(&lab, &["--listen-proxy", "0.0.0.0:1080", "--allow", "203.0.113.0/24"]);
    assert_eq!(from_outside(&lab, &by_address(V4), 587), None, "not a byte");
    stranger.logs("reason=client", 1);
    drop(stranger);
    let _known = Relay::start(&lab, &["--listen-proxy", "0.0.0.0:1080", "--allow", "192.0.2.0/24"]);
    assert_eq!(from_outside(&lab, &by_address(V4), 587), Some(0));
    assert_eq!(from_outside(&lab, &by_address(V4), 80), Some(2), "ports of mail only");
}

#[test]
fn a_client_of_another_machine_reaches_nothing_on_this_one_by_any_of_its_addresses() {
    let lab = lab();
    lab.client(|| {
        // Any address can be bound; a whole network is local, though no interface has it; and a
        // link has its own address.
        for name in ["ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"] {
            fs::write(format!("/proc/sys/net/{name}"), "1").expect("a setting of the namespace");
        }
        for line in [
            "route add local 10.9.0.0/16 dev lo",
            "route add local 2001:db8:9::/48 dev lo",
            "link add near0 type veth peer name near1",
            "link set near0 up",
            "link set near1 up",
            "address add fe80::77/64 dev near0 nodad",
        ] {
            let status = Command::new("ip").args(line.split(' ')).status().expect("ip");
            assert!(status.success(), "ip {line}");
        }
    });
    let relay = Relay::start(&lab, &["--listen-proxy", "0.0.0.0:1080", "--allow", "192.0.2.0/24"]);
    // The address answers.
    let _listener = lab.client(|| TcpListener::bind("[::]:25")).expect("a port");
    let of = |text: &str| by_address(text.parse().expect("an address"));
    for (name, address) in [
        ("a loopback address", of("127.0.0.1")),
        ("another one", of("127.9.9.9")),
        ("IPv6's", of("::1")),
        ("IPv4's as one of IPv6", of("::ffff:127.0.0.1")),
        ("an interface's", by_address(CLIENT_V4)),
        ("an interface's in IPv6", by_address(CLIENT_V6)),
        ("a local network's", of("10.9.1.2")),
        ("a local network's in IPv6", of("2001:db8:9::1")),
        ("a name of them", by_name("localhost")),
        ("a link's", by_name("fe80::77%near0")),
    ] {
        assert_eq!(from_outside(&lab, &address, 25), Some(2), "{name}: {}", last(&relay.log()));
    }
    relay.logs("reason=inward", 10);
    assert_eq!(from_outside(&lab, &by_address(V4), 587), Some(0), "but what is not here");
    // This machine's own clients may go there.
    let near = SocketAddr::from(([127, 0, 0, 1], 1080));
    for address in [of("127.0.0.1"), of("10.9.1.2"), by_name("fe80::77%near0")] {
        assert_eq!(lab.client(|| socks(near, &address, 25)), Some(0), "{}", last(&relay.log()));
    }
}

#[test]
fn a_loop_is_found_by_every_address_that_leads_to_an_open_door() {
    let lab = lab();
    lab.client(|| {
        let mut ip = Command::new("ip");
        ip.args(["route", "add", "local", "10.9.0.0/16", "dev", "lo"]);
        assert!(ip.status().expect("ip").success());
    });
    for to in ["127.0.0.3", "10.9.1.2", &CLIENT_V4.to_string(), "::ffff:10.9.1.2"] {
        let plan = ["--plan", "25:starttls", "--allow", "192.0.2.0/24"];
        let fixed = ["--listen", &format!("0.0.0.0:25={to}")];
        let relay = Relay::start(&lab, &[&fixed[..], &plan].concat());
        let said = lab.client(|| {
            let mut said = String::new();
            TcpStream::connect("127.0.0.1:25")?.read_to_string(&mut said).map(|_| said)
        });
        let said = said.unwrap_or_else(|error| panic!("{to}: {error}\n{}", last(&relay.log())));
        assert!(said.starts_with("421 4.4.6 "), "{to}: {said}\n{}", last(&relay.log()));
    }
}

#[test]
fn each_listener_dials_from_its_source_address_and_through_its_device() {
    let lab = lab();
    lab.release(V4, 587);
    let server = lab.server(|| TcpListener::bind((V4, 587))).expect("a free port");
    lab.client(|| {
        // Without a device, the route to the server leads to a link without hosts.
        for line in [
            "address add 198.51.100.77/24 dev lab0",
            "link add aside type veth peer name other",
            "link set other up",
            "link set aside up",
            "route add 192.0.2.1/32 dev aside",
            "route add 192.0.2.1/32 dev lab0 metric 9",
        ] {
            let status = Command::new("ip").args(line.split(' ')).status().expect("ip");
            assert!(status.success(), "ip {line}");
        }
    });
    lab.server(|| {
        let mut ip = Command::new("ip");
        ip.args(["route", "add", "198.51.100.77", "dev", "lab0"]);
        assert!(ip.status().expect("ip").success());
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("relay.toml");
    let listener = |port: u16, more: &str| {
        format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:{port}\"\nserver = \"{V4}\"\n\
             plan = \"587:starttls\"\ndial_timeout = \"2s\"\n{more}\n"
        )
    };
    let text = [
        listener(2525, ""),
        listener(2526, "device = \"lab0\""),
        listener(2527, "device = \"lab0\"\nsource = \"198.51.100.77\""),
        listener(2528, "device = \"lab0\"\nsource = \"198.51.100.99\""),
    ];
    fs::write(&file, text.concat()).expect("a file");
    let relay = Relay::start(&lab, &["--config", file.to_str().expect("a path")]);
    let heard = |port: u16| {
        lab.client(|| {
            let mut said = String::new();
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_string(&mut said).map(|_| said)
        })
        .unwrap_or_else(|error| panic!("{port}: {error}\n{}", last(&relay.log())))
    };
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let from = stream.peer_addr().map(|from| from.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(from.as_bytes());
        }
    });
    assert!(heard(2525).starts_with("421 4.4.1 "), "the route is not by that device");
    assert_eq!(heard(2526), CLIENT_V4.to_string());
    assert_eq!(heard(2527), "198.51.100.77");
    let said = heard(2528);
    assert!(said.starts_with("421 4.4.1 ") && said.contains("198.51.100.99"), "not ours: {said}");
}
