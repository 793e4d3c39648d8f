//! `mailport relay`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use ipnet::IpNet;
use mailport::{Cache, Cleartext, Dialer, Plan, Target};
use mailport_relay::{self as relay, Door, Line, Orders, Relay, Settings, Way};

use crate::options::CacheOption;
use crate::values;

mod nft;
mod status;

/// Relays mail readers that cannot be changed to the best port of their server
///
/// Every connection that it accepts is a dial with fallback, and then passes bytes unchanged. The
/// mail reader speaks TLS itself, with the server: the relay sees nothing of it. Without a
/// subcommand it serves until SIGTERM; SIGHUP reads --config again.
///
/// Exit status: 0 stopped, 1 it could not serve, 2 the command line or the file is wrong.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Listen here for a fixed server, which the next --to names
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = WAYS)]
    listen: Vec<SocketAddr>,

    /// The server of a --listen: a name, or an address
    #[arg(long, value_name = "HOST", help_heading = WAYS)]
    to: Vec<Target>,

    /// The services to try there, in order of preference; one for all, or one for each --to
    ///
    /// As in mailport connect. All services of a plan must have one TLS mode: the mail reader speaks
    /// one, and is not told which service was reached.
    #[arg(long, value_name = "PLAN", help_heading = WAYS)]
    plan: Vec<String>,

    /// Allow services without TLS (none) in a plan [default: refused]
    #[arg(long, help_heading = WAYS)]
    allow_cleartext: bool,

    /// Listen here as a SOCKS5 proxy (RFC 1928), to ports of mail only
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = WAYS)]
    socks: Vec<SocketAddr>,

    /// Listen here for connections that a packet filter redirects: see mailport relay nft
    ///
    /// Needs CAP_NET_ADMIN for --mark, the one capability that is then kept.
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = WAYS)]
    transparent: Vec<SocketAddr>,

    /// The ports that --socks and --transparent lead to; no other is fallen back to either
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_value = "25,465,587")]
    #[arg(help_heading = WAYS)]
    ports: Vec<u16>,

    /// Read all of this from a file instead (TOML); the README has one
    #[arg(long, value_name = "FILE", help_heading = WAYS)]
    #[arg(conflicts_with_all = ["listen", "to", "plan", "allow_cleartext", "socks", "transparent",
        "ports", "allow", "connections", "per_client", "idle", "grace", "deadline", "mark"])]
    config: Option<PathBuf>,

    /// Clients of other machines that may use it, such as 192.0.2.0/24 [default: none]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    allow: Vec<IpNet>,

    /// Connections at once; one more is answered by 421
    #[arg(long, value_name = "COUNT", default_value_t = 1000, help_heading = LIMITS)]
    connections: usize,

    /// Connections at once of one client address
    #[arg(long, value_name = "COUNT", default_value_t = 200, help_heading = LIMITS)]
    per_client: usize,

    /// How long a session may be silent (RFC 5321 section 4.5.3.2)
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    idle: Duration,

    /// How long sessions may go on after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    grace: Duration,

    /// How long a dial may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    deadline: Duration,

    /// The firewall mark of its own connections [default: 0x6d70 with --transparent]
    #[arg(long, value_name = "MARK", value_parser = values::mark, help_heading = LIMITS)]
    mark: Option<u32>,

    /// Become this user once it listens [default: stay, without capabilities]
    #[arg(long, value_name = "USER", help_heading = SERVICE)]
    user: Option<String>,

    /// The control socket, in a folder of its own [default: relay.sock in $RUNTIME_DIRECTORY or in
    /// $XDG_RUNTIME_DIR/mailport]
    #[arg(long, value_name = "PATH", help_heading = SERVICE)]
    control: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOption,

    /// How standard error is written
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = SERVICE)]
    log: Format,
}

const WAYS: &str = "Ways in";
const LIMITS: &str = "Limits";
const SERVICE: &str = "Service";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Nft(nft::Args),
    Status(status::Args),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A time, an event and its fields
    Text,
    /// One JSON object a line
    Json,
}

impl Args {
    fn settings(&self) -> Result<Settings, String> {
        let mut settings = match &self.config {
            Some(path) => read(path)?,
            None => self.from_options()?,
        };
        if self.control.is_some() {
            settings.control.clone_from(&self.control);
        }
        if settings.control.is_none() {
            settings.control = relay::default_control(|name| env::var(name).ok());
        }
        Ok(settings)
    }

    fn from_options(&self) -> Result<Settings, String> {
        let mut settings = Settings::default();
        settings.doors = self.fixed()?;
        for &address in &self.socks {
            settings.doors.push(Door { address, way: Way::Socks { ports: self.ports.clone() } });
        }
        for &address in &self.transparent {
            let way = Way::Transparent { ports: self.ports.clone() };
            settings.doors.push(Door { address, way });
        }
        settings.allow.clone_from(&self.allow);
        settings.limits.connections = self.connections;
        settings.limits.per_client = self.per_client;
        settings.limits.idle = self.idle;
        settings.limits.grace = self.grace;
        settings.dial.timeout = self.deadline;
        settings.dial.mark = self.mark;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    fn fixed(&self) -> Result<Vec<Door>, String> {
        if self.listen.len() != self.to.len() {
            return Err("every --listen has its --to: give both, in the same order".to_owned());
        }
        if self.plan.len() > 1 && self.plan.len() != self.to.len() {
            return Err("give one --plan for all, or one for each --to".to_owned());
        }
        let cleartext = if self.allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let pairs = self.listen.iter().zip(&self.to).enumerate();
        pairs
            .map(|(index, (&address, to))| {
                let plan = match self.plan.get(index).or(self.plan.first()) {
                    None => Plan::default(),
                    Some(text) => Plan::parse(text, cleartext).map_err(|e| e.to_string())?,
                };
                let way = Way::fixed(to.clone(), plan).map_err(|error| error.to_string())?;
                Ok(Door { address, way })
            })
            .collect()
    }
}

fn read(path: &Path) -> Result<Settings, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| at(&error))?;
    Settings::parse(&text).map_err(|error| at(&error))
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match &args.command {
        Some(Command::Nft(args)) => nft::run(args),
        Some(Command::Status(args)) => status::run(args),
        None => match args.settings() {
            Ok(settings) => match serve(args, settings) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    crate::complain(error);
                    ExitCode::from(crate::FAILURE)
                }
            },
            Err(message) => crate::misuse("relay", message),
        },
    }
}

fn serve(args: &Args, settings: Settings) -> io::Result<()> {
    // Before there is a thread that could get one.
    let orders = Orders::from_signals()?;
    let inherited = relay::inherited()?;
    relay::raise_limit();
    let (control, mark) = (settings.control.clone(), settings.dial.mark.is_some());
    let format = args.log;
    let log = move |line: &Line| write(format, line);
    // Where a service is silent, only the first reader waits for it. A file may be out of reach of
    // the user that this process becomes; then what is learned ends with the process.
    let cache = args.cache.path();
    let mut dialer = Dialer::default();
    if args.cache.is_on() {
        dialer = dialer.with_cache(cache.as_ref().map_or_else(Cache::new, Cache::open));
    }
    let relay = Relay::start(settings, dialer, inherited, log)?;
    relay::give_up(args.user.as_deref(), mark).map_err(|error| match &args.user {
        Some(user) => io::Error::new(error.kind(), format!("--user {user}: {error}")),
        None => io::Error::new(error.kind(), format!("capabilities: {error}")),
    })?;
    if let Some(user) = &args.user {
        write(format, &Line::new("became").with("user", user));
    }
    let config = args.config.as_deref().and_then(|path| fs::canonicalize(path).ok());
    let written: Vec<&Path> =
        [control.as_deref(), cache.as_deref()].into_iter().flatten().collect();
    let confined = relay::confine(config.as_deref(), &written);
    write(format, &Line::new("confined").with("landlock", confined));
    relay::tell_ready();
    relay.run(orders, || match &args.config {
        Some(path) => read(path),
        None => Err("there is no --config to read again".to_owned()),
    })
}

/// A line of the log. There is nowhere to say that it cannot be written.
fn write(format: Format, line: &Line) {
    let now = SystemTime::now();
    let text = match format {
        Format::Text => format!("{} {}", humantime::format_rfc3339_seconds(now), line.text()),
        Format::Json => {
            let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            line.json(u64::try_from(since).unwrap_or(u64::MAX))
        }
    };
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mailport_relay::MAIL_PORTS;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let line = ["relay"].into_iter().chain(line.split_whitespace());
        Command::try_parse_from(line).map_err(|error| error.to_string())?.args.from_options()
    }

    #[test]
    fn without_options_everything_is_the_librarys_default() {
        let given = settings("--socks 127.0.0.1:1080").unwrap();
        let mut expected = Settings::default();
        let ports = MAIL_PORTS.to_vec();
        let address = "127.0.0.1:1080".parse().unwrap();
        expected.doors.push(Door { address, way: Way::Socks { ports } });
        assert_eq!(given, expected);
    }

    #[test]
    fn every_listen_has_its_server_and_its_plan() {
        let two = "--listen 127.0.0.1:1 --to a.example --listen 127.0.0.1:2 --to b.example";
        let given = settings(&format!("{two} --plan 587:starttls --plan submissions")).unwrap();
        let to = |host: &str, plan: &str| {
            Way::fixed(host.parse().unwrap(), plan.parse().unwrap()).unwrap()
        };
        let ways: Vec<Way> = given.doors.into_iter().map(|door| door.way).collect();
        assert_eq!(ways, [to("a.example", "587:starttls"), to("b.example", "465:implicit")]);
        assert!(settings("--listen 127.0.0.1:1").unwrap_err().contains("its --to"));
        let three = format!("{two} --listen 127.0.0.1:3 --to c --plan submission --plan mew");
        assert!(settings(&three).unwrap_err().contains("one for each"));
        assert!(settings(&format!("{two} --plan rfc8314")).unwrap_err().contains("TLS modes"));
        assert!(settings(&format!("{two} --plan 25:cleartext")).unwrap_err().contains("cleartext"));
        assert!(settings("").unwrap_err().contains("nowhere to listen"));
    }
}
