//! A dial in one call.

use std::time::Duration;

use crate::config::Config;
use crate::driver::{Connected, Dialer, Status};
use crate::error::ConnectError;
use crate::plan::Plan;
use crate::target::Target;

/// How long a memory may take to save what a dial has taught, before the caller gets the connection.
const FLUSH: Duration = Duration::from_millis(50);

/// Dials `target` by `plan` and blocks until it is connected, or cannot be.
///
/// The socket blocks, as one from `std::net::TcpStream::connect` does. Interrupted system calls
/// are taken up again.
///
/// ```no_run
/// use mailport::{Config, Plan};
///
/// let connected = mailport::connect(&"mail.example.com".parse()?, &Plan::default(), &Config::default())?;
/// println!("{}", connected.report.summary());
/// // Now speak SMTP on `connected.socket`, with TLS as `connected.service.tls()` demands.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect(target: &Target, plan: &Plan, config: &Config) -> Result<Connected, ConnectError> {
    Dialer::default().connect(target, plan, config)
}

impl Dialer {
    /// Dials and blocks until it is connected, or cannot be: [`connect`] with what this dialer
    /// holds. Its memory is given 50 ms at most to save what the dial has taught.
    pub fn connect(
        &self,
        target: &Target,
        plan: &Plan,
        config: &Config,
    ) -> Result<Connected, ConnectError> {
        let mut dial = self.prepare(target, plan, config)?;
        while dial.wait(None) == Status::Pending {}
        let result = dial.take();
        if let Some(memory) = &self.memory {
            memory.flush(FLUSH);
        }
        let connected = result?;
        connected.socket.set_nonblocking(false).map_err(ConnectError::Setup)?;
        Ok(connected)
    }
}
