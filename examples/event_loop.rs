//! Many dials in one thread and one event loop: `event_loop PLAN HOST...`.
//!
//! A dial is one descriptor to watch for reading, and one call that never blocks. The loop here is
//! poll(2); every other that watches descriptors does.

use std::error::Error;

use mailport::{Dial, Dialer, Plan, Status};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let plan: Plan = arguments.next().ok_or("usage: event_loop PLAN HOST...")?.parse()?;
    let dialer = Dialer::new().with_plan(plan);
    let mut dials = Vec::new();
    for host in arguments {
        dials.push((dialer.start(host.as_str())?, host));
    }
    loop {
        // What has ended is printed, and leaves the loop.
        dials.retain_mut(|(dial, host)| {
            let is_pending = dial.process() == Status::Pending;
            if !is_pending {
                println!("{host}: {}", result(dial));
            }
            is_pending
        });
        if dials.is_empty() {
            return Ok(());
        }
        let mut watched = Vec::new();
        for (dial, _) in &mut dials {
            watched.push(PollFd::new(dial.descriptor()?, PollFlags::POLLIN));
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One sentence. A mail client would go on with the stream, which is non-blocking.
fn result(dial: &mut Dial) -> String {
    dial.take().map_or_else(|error| error.to_string(), |connected| connected.report.summary())
}
