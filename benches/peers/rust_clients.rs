//! The clients that are this program, started again: mailport, tokio, hyper-util, and the least that
//! any client does.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpConnector;
use mailport::{Cleartext, Dialer, Plan, Service, Tls};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Builder;
use tower_service::Service as _;

use crate::Result;

/// The argument that makes this program a client; a name of one, a host and ports follow it.
pub(crate) const FLAG: &str = "--client";
pub(crate) const MAILPORT: &str = "mailport";
pub(crate) const BARE: &str = "bare";
pub(crate) const MAILPORT_TOKIO: &str = "mailport-tokio";
pub(crate) const TOKIO: &str = "tokio";
pub(crate) const HYPER: &str = "hyper-util";

/// The longest that tokio and hyper-util may take for a port, as for the other clients.
const TIMER: Duration = Duration::from_secs(10);

/// Of each number on standard input it makes that many dials, and prints the milliseconds that
/// they took and the port that the last one reached (0: none). All clients do so.
pub(crate) fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = arguments.into_iter();
    let (Some(name), Some(host)) = (arguments.next(), arguments.next()) else {
        return Err("a client needs its name and a host".into());
    };
    let ports: Vec<u16> =
        arguments.map(|port| port.parse()).collect::<std::result::Result<_, _>>()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let dial = |host: &str, ports: &[u16]| match name.as_str() {
        BARE => bare(host, ports),
        MAILPORT => library(host, ports),
        MAILPORT_TOKIO => runtime.block_on(library_in_tokio(host, ports)),
        TOKIO => runtime.block_on(tokio_connect(host, ports)),
        HYPER => runtime.block_on(hyper_connect(host, ports)),
        other => Err(format!("no client is named {other}").into()),
    };
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

fn dialer(ports: &[u16]) -> Result<Dialer> {
    let services = ports.iter().map(|port| Service::new(*port, Tls::StartTls));
    let services = services.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Dialer::new().without_cache().with_plan(Plan::new(services, Cleartext::Refuse)?))
}

/// mailport's blocking call with its defaults.
fn library(host: &str, ports: &[u16]) -> Result<u16> {
    let result = dialer(ports)?.connect(host);
    Ok(result.map_or(0, |connected| connected.service.port()))
}

/// mailport's call that is awaited, with its defaults.
async fn library_in_tokio(host: &str, ports: &[u16]) -> Result<u16> {
    let result = dialer(ports)?.connect_async(host).await;
    Ok(result.map_or(0, |connected| connected.service.port()))
}

/// tokio's call for one port after the other. It tries one address after the other.
async fn tokio_connect(host: &str, ports: &[u16]) -> Result<u16> {
    for port in ports {
        let connect = tokio::net::TcpStream::connect((host, *port));
        if let Ok(Ok(_)) = tokio::time::timeout(TIMER, connect).await {
            return Ok(*port);
        }
    }
    Ok(0)
}

/// The connector of hyper-util, which races the families, for one port after the other.
async fn hyper_connect(host: &str, ports: &[u16]) -> Result<u16> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(TIMER));
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    for port in ports {
        let connected = connector.call(format!("http://{host}:{port}/").parse()?).await;
        if connected.is_ok() {
            return Ok(*port);
        }
    }
    Ok(0)
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
