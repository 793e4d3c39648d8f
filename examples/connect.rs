//! Connects to a submission server and prints how: `connect HOST [PLAN]`.
//!
//! `cargo run --example connect mail.example.com` tries 587, then 25.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use mailport::{Dialer, Plan, Tls};

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().ok_or("usage: connect HOST [PLAN]")?;
    let plan = arguments.next().map_or_else(|| Ok(Plan::submission()), |plan| plan.parse())?;

    let connected = Dialer::new().with_plan(plan).connect(host.as_str())?;
    println!("{}", connected.report.summary());
    match connected.service.tls() {
        // The server sends first. A pause of 20 s is customary (RFC 5321 section 4.5.3.2).
        Tls::StartTls | Tls::Cleartext => {
            if let Ok(stream) = connected.stream.into_tcp() {
                stream.set_read_timeout(Some(Duration::from_secs(300)))?;
                let mut greeting = String::new();
                BufReader::new(&stream).read_line(&mut greeting)?;
                println!("{}", greeting.trim_end());
            }
        }
        Tls::Implicit => println!("the client starts TLS now"),
    }
    Ok(())
}
