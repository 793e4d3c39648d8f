//! A dial awaited in async-io, the reactor of smol: `async_io PLAN HOST`. Other runtimes that watch
//! descriptors do the same.

use std::error::Error;
use std::net::TcpStream;

use async_io::{Async, block_on};
use mailport::{ConnectError, Connected, Dial, Dialer, Plan, Status};

/// Waits until the dial has ended. Dropping the future drops the dial, which cancels it.
async fn connected(mut dial: Dial) -> Result<Connected, Box<dyn Error>> {
    if dial.process() == Status::Pending {
        let watched = Async::new_nonblocking(dial.descriptor()?.try_clone_to_owned()?)?;
        while dial.process() == Status::Pending {
            watched.readable().await?;
        }
    }
    Ok(dial.take()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: async_io PLAN HOST";
    let plan: Plan = arguments.next().ok_or(usage)?.parse()?;
    let host = arguments.next().ok_or(usage)?;
    let dial = Dialer::new().with_plan(plan).start(host.as_str())?;
    let connected = block_on(connected(dial))?;
    println!("{}", connected.report.summary());
    // Asynchronous from here on. Through a command it would be a `UnixStream`.
    let stream = connected.stream.into_tcp().map_err(|_| ConnectError::NotConnected)?;
    let _stream: Async<TcpStream> = Async::new(stream)?;
    Ok(())
}
