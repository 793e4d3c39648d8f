//! Options of every subcommand that dials.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mailport::{Cache, Cleartext, Config, Dialer, Patience, Plan, PlanError};

use crate::values;

/// What to dial and how, except the host and the timeout.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct DialOptions {
    /// The services to try, in order of preference
    ///
    /// Services are separated by commas, each PORT:TLS or PORT/FAMILY:TLS, where TLS is implicit,
    /// starttls or cleartext, and FAMILY is ipv4 or ipv6. Or the name of a plan: submission
    /// (587:starttls,25:starttls), submissions (465:implicit), rfc8314
    /// (465:implicit,587:starttls; RFC 8314 section 3.3), mew (587/ipv4:starttls,25:starttls,
    /// sequential), symmetric (587 over IPv6 then IPv4, then 25 likewise, sequential).
    #[arg(long, value_name = "PLAN", default_value = "submission", conflicts_with = "port")]
    #[arg(help_heading = "What to try")]
    plan: String,

    /// Use the plan that replaces a connection to this port [default: none, --plan counts]
    ///
    /// 587 becomes 587:starttls,25:starttls, and 25 becomes 25:starttls,587:starttls. 465, 993 and
    /// 995 are tried alone with implicit TLS. Any other is tried alone, with STARTTLS.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(help_heading = "What to try")]
    port: Option<u16>,

    /// Accept services without TLS in the plan [default: refused]
    ///
    /// Anyone on the path to a service with the TLS mode cleartext can read the mail and the
    /// password (RFC 8314 section 3).
    #[arg(long, help_heading = "What to try")]
    allow_cleartext: bool,

    /// Start the next service only after the one before it [default: off]
    ///
    /// The next service starts when every attempt of this one has failed or has been silent for the
    /// patience. No packet is sent to a later port before that.
    #[arg(long, help_heading = "What to try")]
    sequential: bool,

    /// Try services last that the cache knows as failed [default: off]
    ///
    /// Without this option such a service is still tried first, but the dial does not wait for it.
    /// A service is never moved behind one with weaker TLS. The option has no effect with --ask,
    /// --greeting-wait or --via, which keep the order of the plan.
    #[arg(long, help_heading = "What to try")]
    try_failed_last: bool,

    /// The address families to use, and which goes first
    #[arg(long, value_name = "FAMILY", value_enum, default_value = "any")]
    #[arg(help_heading = "What to try")]
    family: values::FamilyChoice,

    /// Delay before trying the next address of a service in parallel
    ///
    /// The Connection Attempt Delay of RFC 8305 section 5. At least 10ms.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    attempt_delay: Duration,

    /// Delay before trying the next service in parallel
    ///
    /// Left at its default, it is 1s where the cache says that the service has connected lately, and
    /// with --sequential or --patience. Any other value is used as it is, and silence then counts by
    /// --patience alone. A shorter delay sends more packets to later ports that are not needed. At
    /// least 10ms.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    port_delay: Duration,

    /// How long a silent attempt can hold back the connection of a later service
    ///
    /// Counted for each address from its first attempt: if the second address is tried 250ms after
    /// the first, it holds back a later service 250ms longer. The default is until a packet has had
    /// no answer that was sent while the path was good, and at least 1.3s, or 1s and two round trips
    /// of that connection if this is longer, where the service has connected lately: by then a SYN
    /// and its retransmission (RFC 6298 section 2) have both gone unanswered. At least 10ms. With a
    /// short time, lost packets can lead to the later port.
    #[arg(long, value_name = "TIME", default_value = "automatic", value_parser = values::patience)]
    #[arg(help_heading = TIMES)]
    patience: Patience,

    /// The address of this machine to connect from [default: the kernel's choice]
    ///
    /// The other family is then not used. The kernel chooses by RFC 6724 section 5.
    #[arg(long, value_name = "ADDRESS", help_heading = "Where to connect from")]
    source: Option<IpAddr>,

    /// The network interface to connect through [default: the kernel's choice]
    ///
    /// The socket option SO_BINDTODEVICE.
    #[arg(long, value_name = "INTERFACE", help_heading = "Where to connect from")]
    device: Option<String>,

    /// The firewall mark of every packet, such as 0x10 [default: none]
    ///
    /// The socket option SO_MARK, which needs CAP_NET_ADMIN.
    #[arg(long, value_name = "MARK", value_parser = values::mark)]
    #[arg(help_heading = "Where to connect from")]
    mark: Option<u32>,

    #[command(flatten)]
    cache: CacheOption,
}

/// The option `--cache`.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct CacheOption {
    /// The file of the cache, or off [default: $XDG_CACHE_HOME/mailport/cache.json]
    ///
    /// The cache keeps the outcomes of earlier dials for 10min or more, for each network and server,
    /// so that the next dial does not wait for a failed service again. Without XDG_CACHE_HOME the
    /// file is in ~/.cache. See mailport cache.
    #[arg(long, value_name = "FILE|off", value_parser = values::cache)]
    #[arg(help_heading = "Cache")]
    cache: Option<values::CacheChoice>,
}

impl CacheOption {
    /// Whether a cache is used.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.cache, Some(values::CacheChoice::Off))
    }

    /// The file; `None` with `off`, and where no home directory is set.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(values::CacheChoice::Off) => None,
            Some(values::CacheChoice::File(path)) => Some(path.clone()),
            None => Cache::default_path(),
        }
    }
}

/// The heading of the options that are times.
pub(crate) const TIMES: &str = "Times (such as 250ms, 1.3s, 2min)";

impl DialOptions {
    /// The plan, or what is wrong with it.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let refused = |option: &str, value: &dyn fmt::Display, error: &PlanError| {
            let hint = match error {
                PlanError::Cleartext { .. } => " (--allow-cleartext does)",
                _ => "",
            };
            format!("invalid value '{value}' for '{option}': {error}{hint}")
        };
        if let Some(port) = self.port {
            return Plan::for_port(Some(port)).map_err(|e| refused("--port <PORT>", &port, &e));
        }
        let cleartext = if self.allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = Plan::parse(&self.plan, cleartext);
        let plan = plan.map_err(|e| refused("--plan <PLAN>", &self.plan, &e))?;
        Ok(if self.sequential { plan.sequential() } else { plan })
    }

    /// The dialer with the cache, unless it is off.
    pub(crate) fn with_cache(&self, dialer: Dialer) -> Dialer {
        match self.cache.path() {
            Some(path) => dialer.with_cache(Cache::open(path)),
            None => dialer.without_cache(),
        }
    }

    /// The settings of a dial, except the timeout.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.attempt_delay = self.attempt_delay;
        config.port_delay = self.port_delay;
        config.patience = self.patience;
        config.try_failed_last = self.try_failed_last;
        config.families = self.family.into();
        config.source = self.source;
        config.device.clone_from(&self.device);
        config.mark = self.mark;
        config
    }
}
