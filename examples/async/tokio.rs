//! Many dials at once in tokio, without a thread for each: `tokio PLAN HOST...`.

use std::error::Error;
use std::time::Duration;

use mailport::{Dialer, Plan, Tls};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let plan: Plan = arguments.next().ok_or("usage: tokio PLAN HOST...")?.parse()?;
    let dialer = Dialer::new().with_plan(plan);
    let mut dials = JoinSet::new();
    for host in arguments {
        let dialer = dialer.clone();
        dials.spawn(async move {
            let result = greeting(&dialer, &host).await;
            format!("{host}: {}", result.unwrap_or_else(|error| error.to_string()))
        });
    }
    // In the order in which they end. Dropping the set would cancel the dials that are left.
    while let Some(line) = dials.join_next().await {
        println!("{}", line?);
    }
    Ok(())
}

/// How the host was reached, and the greeting of a server that sends first.
async fn greeting(dialer: &Dialer, host: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let connected = dialer.connect_async(host).await?;
    let summary = connected.report.summary();
    if connected.service.tls() == Tls::Implicit {
        return Ok(summary);
    }
    let stream = TcpStream::try_from(connected.stream)?;
    let mut line = String::new();
    // A pause of 20 s is customary (RFC 5321 section 4.5.3.2).
    timeout(Duration::from_secs(300), BufReader::new(stream).read_line(&mut line)).await??;
    Ok(format!("{summary}; {}", line.trim_end()))
}
