//! What a whole blocking dial costs on loopback, beside a bare non-blocking connect.
//!
//! Both connect to the same listener, turn about in the same run, so that a machine that is busy
//! is busy for both. Run it with `cargo bench --bench loopback`.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mailport::{Cleartext, Config, Plan, Service, Target, Tls};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

const ROUNDS: usize = 41;
const CONNECTS: u32 = 200;

/// socket, non-blocking connect, poll, the socket's error, close: the least a client can do.
fn bare(address: SocketAddr) -> io::Result<()> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            return Err(error);
        }
        _ => {}
    }
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
    socket.take_error()?.map_or(Ok(()), Err)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || while listener.accept().is_ok() {});

    let target: Target = address.ip().to_string().parse()?;
    let service = Service::new(address.port(), Tls::StartTls)?;
    let plan = Plan::new([service], Cleartext::Refuse)?;
    let config = Config::default();

    let time = |work: &dyn Fn() -> Result<(), Box<dyn std::error::Error>>| {
        let start = Instant::now();
        (0..CONNECTS).try_for_each(|_| work())?;
        Ok::<Duration, Box<dyn std::error::Error>>(start.elapsed() / CONNECTS)
    };
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let one = time(&|| Ok(bare(address)?))?;
        let ours = time(&|| {
            mailport::Dialer::new()
                .with_plan(plan.clone())
                .with_config(config.clone())
                .connect(&target)?;
            Ok(())
        })?;
        // The first round warms up.
        if round > 0 {
            rounds.push((one, ours));
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let one = median(rounds.iter().map(|(one, _)| micros(*one)).collect());
    let ours = median(rounds.iter().map(|(_, ours)| micros(*ours)).collect());
    let ratio = median(rounds.iter().map(|(one, ours)| micros(*ours) / micros(*one)).collect());
    let mut out = io::stdout().lock();
    writeln!(out, "loopback, literal address, {ROUNDS} rounds of {CONNECTS}, medians")?;
    writeln!(out, "bare connect          {one:8.1} us")?;
    writeln!(out, "mailport::connect     {ours:8.1} us")?;
    writeln!(out, "ratio, round by round {ratio:8.2}")?;
    Ok(())
}
