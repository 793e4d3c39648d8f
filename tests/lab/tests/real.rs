//! The lab of real kernels does what its vocabulary says.
//!
//! These tests need root (or `unshare -Urnm`), the command `ip` and /dev/net/tun; without them
//! they fail.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::fs;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::real::{CLIENT_V4, CLIENT_V6, Lab, PORTS};
use mailport_lab::{Fate, Network, ROUTER_V4, ROUTER_V6};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::socket::{sockopt::Ipv4RecvErr, sockopt::Ipv6RecvErr};
use socket2::{Domain, Socket, Type};

const ROUND_TRIP: Duration = Duration::from_millis(40);
/// How late a busy machine may be.
const SLACK: Duration = Duration::from_millis(500);

fn v4() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn v6() -> IpAddr {
    "2001:db8:2::1".parse().unwrap()
}

/// A lab of one host with an address of each family, and one fate for all of its ports.
fn lab(fate: Fate) -> Lab {
    Lab::start(Network::new(ROUND_TRIP).address(v4(), fate).address(v6(), fate)).unwrap()
}

/// Connects with a timeout, and tells how long it took.
fn connect(address: IpAddr, port: u16, timeout: Duration) -> (io::Result<TcpStream>, Duration) {
    let start = Instant::now();
    let result = TcpStream::connect_timeout(&SocketAddr::new(address, port), timeout);
    (result, start.elapsed())
}

/// Connects to port 587 of a new lab over both families, which must fail in one round trip.
fn failures(fates: [Fate; 2]) -> [Option<i32>; 2] {
    let network = Network::new(ROUND_TRIP).address(v4(), fates[0]).address(v6(), fates[1]);
    let lab = Lab::start(network).unwrap();
    [v4(), v6()].map(|address| {
        let (result, took) = lab.client(|| connect(address, 587, Duration::from_secs(5)));
        let error = result.expect_err("no server answers");
        assert!(took >= ROUND_TRIP && took < ROUND_TRIP + SLACK, "{address}: {error}, {took:?}");
        assert_eq!(lab.syns().last().map(|syn| syn.address), Some(address));
        error.raw_os_error()
    })
}

fn icmp(kind: u8, code: u8) -> Fate {
    Fate::Icmp { kind, code }
}

#[test]
fn open_connects_in_one_round_trip() {
    let lab = lab(Fate::Open);
    for address in [v4(), v6()] {
        for port in PORTS {
            let (result, took) = lab.client(|| connect(address, port, Duration::from_secs(5)));
            let client = result.unwrap().local_addr().unwrap().ip();
            assert_eq!(client, if address.is_ipv4() { CLIENT_V4 } else { CLIENT_V6 });
            assert!(took >= ROUND_TRIP && took < ROUND_TRIP + SLACK, "{address} {port} {took:?}");
        }
    }
}

#[test]
fn reset_is_connection_refused_in_one_round_trip() {
    let refused = Some(Errno::ECONNREFUSED as i32);
    assert_eq!(failures([Fate::Reset; 2]), [refused; 2]);
}

#[test]
fn icmp_ends_a_connect_with_the_errno_of_its_kind() {
    for (on_v4, expected_v4, on_v6, expected_v6) in [
        ((3, 13), Errno::EHOSTUNREACH, (1, 1), Errno::EACCES),
        ((3, 0), Errno::ENETUNREACH, (1, 0), Errno::ENETUNREACH),
        ((3, 3), Errno::ECONNREFUSED, (1, 4), Errno::ECONNREFUSED),
        ((11, 0), Errno::EHOSTUNREACH, (3, 0), Errno::EHOSTUNREACH),
        ((12, 0), Errno::EPROTO, (4, 0), Errno::EPROTO),
    ] {
        let errors = failures([icmp(on_v4.0, on_v4.1), icmp(on_v6.0, on_v6.1)]);
        assert_eq!(errors, [expected_v4, expected_v6].map(|errno| Some(errno as i32)));
    }
}

#[test]
fn the_error_queue_names_the_router() {
    let network = Network::new(ROUND_TRIP).address(v4(), icmp(3, 13)).address(v6(), icmp(1, 1));
    let lab = Lab::start(network).unwrap();
    let queued = |address| lab.client(|| queue_after_connect(SocketAddr::new(address, 587)));
    assert_eq!(queued(v4()), (Errno::EHOSTUNREACH, 3, 13, ROUTER_V4));
    assert_eq!(queued(v6()), (Errno::EACCES, 1, 1, ROUTER_V6));
}

/// Connects, and gives the first entry of the error queue: errno, type, code and offender.
fn queue_after_connect(to: SocketAddr) -> (Errno, u8, u8, IpAddr) {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if to.is_ipv4() {
        setsockopt(&socket, Ipv4RecvErr, &true).unwrap();
    } else {
        setsockopt(&socket, Ipv6RecvErr, &true).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    let error = socket.connect(&to.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EINPROGRESS as i32));
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    assert_eq!(poll(&mut ready, PollTimeout::from(5000u16)), Ok(1));

    let mut data = [0; 128];
    let mut buffers = [IoSliceMut::new(&mut data)];
    let mut control = nix::cmsg_space!([u8; 128]);
    let flags = MsgFlags::MSG_ERRQUEUE;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags);
    let message = message.expect("the error queue has an entry");
    let entry = message.cmsgs().unwrap().next().unwrap();
    let (error, offender) = match entry {
        ControlMessageOwned::Ipv4RecvErr(error, Some(from)) => {
            (error, IpAddr::from(from.sin_addr.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6RecvErr(error, Some(from)) => {
            (error, IpAddr::from(from.sin6_addr.s6_addr))
        }
        other => panic!("not an error with its offender: {other:?}"),
    };
    let errno = Errno::from_raw(error.ee_errno.try_into().unwrap());
    (errno, error.ee_type, error.ee_code, offender)
}

#[test]
fn silent_and_too_big_stay_pending() {
    let lab = lab(Fate::Silent);
    lab.set(v4(), 25, icmp(3, 4));
    lab.set(v6(), 25, icmp(2, 0));
    for address in [v4(), v6()] {
        for port in [587, 25] {
            let (result, _) = lab.client(|| connect(address, port, Duration::from_millis(300)));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut, "{address} {port}");
        }
    }
    let (unknown, _) =
        lab.client(|| connect("192.0.2.99".parse().unwrap(), 25, Duration::from_millis(300)));
    assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_lost_syn_costs_its_retransmission() {
    let lab = lab(Fate::LoseSyns(1));
    for address in [v4(), v6()] {
        let (result, took) = lab.client(|| connect(address, 587, Duration::from_secs(10)));
        result.unwrap();
        assert!(took > Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
        let syns = lab.syns();
        let [.., first, second] = syns[..] else { panic!("two SYNs: {syns:?}") };
        assert_eq!((first.address, first.port), (address, 587));
        assert_eq!(first.source_port, second.source_port);
        assert!(second.at - first.at > Duration::from_millis(900), "{syns:?}");
    }
}

#[test]
fn accept_then_close_ends_the_stream_after_its_delay() {
    let delay = Duration::from_millis(100);
    let lab = lab(Fate::AcceptThenClose(delay));
    for address in [v4(), v6()] {
        lab.client(|| {
            let (result, _) = connect(address, 587, Duration::from_secs(5));
            let start = Instant::now();
            assert_eq!(result.unwrap().read(&mut [0]).unwrap(), 0, "the end of the stream");
            let took = start.elapsed();
            assert!(took >= delay && took < delay + ROUND_TRIP + SLACK, "{took:?}");
        });
    }
}

#[test]
fn open_stays_open() {
    let lab = lab(Fate::Open);
    lab.client(|| {
        let (result, _) = connect(v4(), 587, Duration::from_secs(5));
        let mut stream = result.unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_fate_can_change() {
    let lab = lab(Fate::Reset);
    let attempt = || lab.client(|| connect(v6(), 25, Duration::from_secs(5)).0);
    assert_eq!(attempt().unwrap_err().raw_os_error(), Some(Errno::ECONNREFUSED as i32));
    lab.set(v6(), 25, Fate::Open);
    attempt().unwrap();
    lab.set(v6(), 25, icmp(1, 1));
    assert_eq!(attempt().unwrap_err().raw_os_error(), Some(Errno::EACCES as i32));
}

#[test]
fn syns_are_listed_in_order() {
    let lab = lab(Fate::Reset);
    assert_eq!(lab.syns(), []);
    let start = Instant::now();
    let tries = [(v6(), 465), (v4(), 587), (v6(), 587)];
    for (address, port) in tries {
        lab.client(|| connect(address, port, Duration::from_secs(5))).0.unwrap_err();
    }
    let syns = lab.syns();
    assert_eq!(syns.iter().map(|syn| (syn.address, syn.port)).collect::<Vec<_>>(), tries);
    assert!(syns.is_sorted_by_key(|syn| syn.at) && syns[0].at >= start);
    assert!(!syns.iter().any(|syn| syn.port == 25), "none went to port 25");
}

#[test]
fn names_resolve_inside_and_nowhere_else() {
    const NAME: &str = "mail.example.test";
    let lab = lab(Fate::Open);
    let resolve = || {
        let found = (NAME, 587).to_socket_addrs()?;
        Ok(found.map(|found| found.ip()).collect::<Vec<_>>())
    };
    let inside = || lab.client(resolve);
    let failed: io::Result<Vec<IpAddr>> = inside();
    failed.expect_err("it has no address yet");

    lab.hosts(&[(NAME, v4()), (NAME, v6())]).unwrap();
    let mut found = inside().unwrap();
    found.sort();
    assert_eq!(found, [v4(), v6()]);
    let from_thread = lab.client(|| thread::spawn(resolve).join().unwrap()).unwrap();
    assert_eq!(from_thread.len(), 2, "a thread that was started inside");
    let output = lab.client(|| Command::new("getent").args(["ahostsv6", NAME]).output().unwrap());
    assert!(String::from_utf8_lossy(&output.stdout).contains("2001:db8:2::1"), "{output:?}");

    lab.hosts(&[(NAME, v6())]).unwrap();
    assert_eq!(inside().unwrap(), [v6()]);
    assert_eq!(lab.server(resolve).unwrap(), [v6()], "the servers know the names as well");
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    assert!(!hosts.contains(NAME), "the machine's own file is what it was");
}

#[test]
fn a_server_of_ones_own_can_take_a_port() {
    let lab = lab(Fate::Open);
    lab.release(v4(), 25);
    lab.release(v4(), 25);
    let listener = lab.server(|| TcpListener::bind((v4(), 25))).unwrap();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 hello\r\n"));
    let mut greeting = String::new();
    let (result, _) = lab.client(|| connect(v4(), 25, Duration::from_secs(5)));
    result.unwrap().read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 hello\r\n");
    server.join().unwrap().unwrap();
}

#[test]
fn two_labs_do_not_disturb_each_other() {
    let (one, other) = (lab(Fate::Open), lab(Fate::Reset));
    one.hosts(&[("host.example.test", v4())]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| one.client(|| connect(v4(), 587, Duration::from_secs(5))).0.unwrap());
            scope.spawn(|| other.client(|| connect(v4(), 587, Duration::from_secs(5))).0.err());
        }
    });
    assert_eq!((one.syns().len(), other.syns().len()), (4, 4));
    drop(one);
    let (result, _) = other.client(|| connect(v6(), 587, Duration::from_secs(5)));
    assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::ECONNREFUSED as i32));
}

#[test]
fn a_closure_borrows_returns_and_panics_into_its_caller() {
    let lab = lab(Fate::Open);
    let word = String::from("borrowed");
    assert_eq!(lab.client(|| word.len()), 8);
    let attempt = AssertUnwindSafe(|| lab.client(|| panic!("from inside")));
    let panic = panic::catch_unwind(attempt).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"from inside"));
    let here = std::env::current_dir().unwrap();
    assert_eq!(lab.client(std::env::current_dir).unwrap(), here);
}
