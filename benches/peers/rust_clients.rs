//! The clients that are this program, started again: mailport, and the least that any client does.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Instant;

use mailport::{Cleartext, Config, Plan, Service, Tls};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;

/// The argument that makes this program a client; a name of one, a host and ports follow it.
pub(crate) const FLAG: &str = "--client";
pub(crate) const MAILPORT: &str = "mailport";
pub(crate) const BARE: &str = "bare";

/// Of each number on standard input it makes that many dials, and prints the milliseconds that
/// they took and the port that the last one reached (0: none). All clients do so.
pub(crate) fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = arguments.into_iter();
    let (Some(name), Some(host)) = (arguments.next(), arguments.next()) else {
        return Err("a client needs its name and a host".into());
    };
    let ports: Vec<u16> =
        arguments.map(|port| port.parse()).collect::<std::result::Result<_, _>>()?;
    let dial = if name == BARE { bare } else { library };
    for times in io::stdin().lines() {
        let times: u32 = times?.parse()?;
        let start = Instant::now();
        let mut port = 0;
        for _ in 0..times {
            port = dial(&host, &ports)?;
        }
        writeln!(io::stdout(), "{:.3} {port}", start.elapsed().as_secs_f64() * 1e3)?;
    }
    Ok(())
}

/// mailport's blocking call with its defaults.
fn library(host: &str, ports: &[u16]) -> Result<u16> {
    let services = ports.iter().map(|port| Service::new(*port, Tls::StartTls));
    let services = services.collect::<std::result::Result<Vec<_>, _>>()?;
    let plan = Plan::new(services, Cleartext::Refuse)?;
    let result = mailport::Dialer::new()
        .without_cache()
        .with_plan(plan.clone())
        .with_config(Config::default())
        .connect(host);
    Ok(result.map_or(0, |connected| connected.service.port()))
}

/// socket, non-blocking connect, poll, the socket's error, close, at an address and a port.
fn bare(host: &str, ports: &[u16]) -> Result<u16> {
    let port = *ports.first().ok_or("a client needs a port")?;
    let address = SocketAddr::new(host.parse()?, port);
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
            return Err(error.into());
        }
        _ => {}
    }
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
    match socket.take_error()? {
        None => Ok(port),
        Some(error) => Err(error.into()),
    }
}
