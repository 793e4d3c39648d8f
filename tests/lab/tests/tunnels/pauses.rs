//! Servers that greet late: one connection, and no fallback, through any tunnel.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use mailport::{Config, GreetingWait, Plan};
use mailport_lab::greeters::{GREETING, Greeters};
use mailport_lab::real::Lab;
use mailport_lab::tunnels::{Gateway, Tunnel};
use mailport_lab::{Fate, Network};

use crate::far::{connect, story};

const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_secs(5)];
/// Longer than any pause, and shorter than the longer one.
const GATES: [Duration; 2] = [Duration::from_secs(30), Duration::from_millis(500)];

/// How a server is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Microsocks,
    SshW,
    SshD,
    SshL,
}

/// One server for each dial, which has it to itself.
#[derive(Debug, Clone, Copy)]
struct Case {
    address: IpAddr,
    way: Way,
    pause: Duration,
    greeting_wait: Duration,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for way in [Way::Direct, Way::Microsocks, Way::SshW, Way::SshD, Way::SshL] {
            for (pause, greeting_wait) in
                [(PAUSES[0], GATES[0]), (PAUSES[1], GATES[0]), (PAUSES[1], GATES[1])]
            {
                let number = u8::try_from(cases.len() + 1).unwrap();
                let address = Ipv4Addr::new(192, 0, 2, number).into();
                cases.push(Case { address, way, pause, greeting_wait });
            }
        }
        cases
    }

    fn server(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// The port on the client's loopback that `ssh -L` forwards to the server's.
    fn local(&self, port: u16) -> u16 {
        let IpAddr::V4(address) = self.address else { panic!("these have IPv4 only") };
        10_000 + 1000 * u16::from(address.octets()[3]) + port
    }
}

#[test]
fn a_server_that_pauses_has_one_connection_through_anything_and_no_other_port_is_tried() {
    let cases = Case::all();
    let network = Network::new(Duration::from_millis(10));
    let network = cases.iter().fold(network, |n, case| n.address(case.address, Fate::Open));
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let servers: Vec<_> =
        cases.iter().flat_map(|c| [587, 25].map(|port| (c.server(port), c.pause))).collect();
    let greeters = Greeters::start(&lab, &servers).unwrap();
    let _proxy = Tunnel::microsocks(&lab, 1080, None).unwrap();
    let gateway = Gateway::start(&lab).unwrap();
    let (mut options, mut ports) = (vec!["-D".to_owned(), "127.0.0.1:1081".to_owned()], vec![1081]);
    for case in cases.iter().filter(|case| case.way == Way::SshL) {
        for port in [587, 25] {
            let forward = format!("127.0.0.1:{}:{}:{port}", case.local(port), case.address);
            options.extend(["-L".to_owned(), forward]);
            ports.push(case.local(port));
        }
    }
    let _ssh = gateway.forward(&lab, &options, &ports).unwrap();
    let command = format!("command:{} -W [%h]:%p gateway", gateway.ssh());
    thread::scope(|scope| {
        for case in &cases {
            let (lab, greeters, command) = (&lab, &greeters, &*command);
            scope.spawn(move || check(lab, greeters, command, case));
        }
    });
}

fn check(lab: &Lab, greeters: &Greeters, command: &str, case: &Case) {
    let mut config = Config::default();
    (config.greeting_wait, config.timeout) = (GreetingWait::For(case.greeting_wait), 2 * GATES[0]);
    let via = match case.way {
        Way::Direct | Way::SshL => None,
        Way::Microsocks => Some("socks5://127.0.0.1"),
        Way::SshD => Some("socks5://127.0.0.1:1081"),
        Way::SshW => Some(command),
    };
    let far = case.address.to_string();
    let (host, ports) = match case.way {
        Way::SshL => ("127.0.0.1", [587, 25].map(|port| case.local(port))),
        _ => (&*far, [587, 25]),
    };
    let plan: Plan = ports.map(|port| format!("{port}:starttls")).join(",").parse().unwrap();
    let connected = connect(lab, host, &plan, via, &config).unwrap();
    let heard = if case.greeting_wait < case.pause { "unheard" } else { "greeted" };
    assert_eq!(story(&connected.report), format!("{} connected {heard}", ports[0]), "{case:?}");
    // The greeting is the reader's, however late it comes.
    let mut greeting = [0; GREETING.len()];
    (&connected.stream).read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, GREETING, "{case:?}");
    let seen = [587, 25].map(|port| greeters.connections(case.server(port)));
    assert_eq!(seen, [1, 0], "{case:?}");
}
