//! A dial in one call.

use crate::config::{Config, ConfigError};
use crate::driver::{Cache, Connected, Dialer, Status};
use crate::error::ConnectError;
use crate::plan::Plan;
use crate::target::Target;

/// Dials `target` by `plan` and blocks until it is connected, or cannot be.
///
/// The socket blocks, as one from `std::net::TcpStream::connect` does. Interrupted system calls
/// are taken up again. A [`Config::ask`] is refused: there would be nobody to answer.
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
    /// holds. Its cache is given 50 ms at most to save what the dial has taught.
    pub fn connect(
        &self,
        target: &Target,
        plan: &Plan,
        config: &Config,
    ) -> Result<Connected, ConnectError> {
        if config.ask {
            return Err(ConfigError::Unusable {
                name: "ask",
                value: "yes".to_owned(),
                reason: "a call that blocks has nobody to ask: start a dial".to_owned(),
            }
            .into());
        }
        let mut dial = self.prepare(target, plan, config)?;
        while dial.wait(None) == Status::Pending {}
        let result = dial.take();
        if let Some(cache) = &self.cache {
            cache.flush(Cache::FLUSH);
        }
        let connected = result?;
        connected.socket.set_nonblocking(false).map_err(ConnectError::Setup)?;
        Ok(connected)
    }
}
