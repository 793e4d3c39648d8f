//! `mailport relay`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use mailport::{Cache, Cleartext, Dialer, Patience, Plan, Target};
use mailport_relay::{
    self as relay, Asked, ListenAddress, Listener, Log, LogFormat, LogRecord, Mode, Prefer, Relay,
    Settings, Signals,
};

use crate::options::CacheOption;
use crate::values;

mod nft;
mod pac;
mod status;

/// Relays mail clients that cannot be changed to the best port of their server
///
/// Each connection that it accepts is a dial with fallback, and then passes bytes unchanged. The
/// mail client uses TLS with the server itself: the relay cannot read it. Without a subcommand it
/// runs until SIGTERM; SIGHUP reads --config again.
///
/// Exit status: 0 stopped, 1 it could not run, 2 the command line or the file is wrong.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Listen at ADDRESS and connect each client to HOST, such as 127.0.0.1:2525=mail.example.com
    ///
    /// ADDRESS is an address and a port, or the absolute path of a UNIX socket, which only its owner,
    /// root and --allow-uid can use. HOST is a name or an address.
    #[arg(long, value_name = "ADDRESS=HOST", value_parser = fixed, help_heading = LISTENERS)]
    listen: Vec<(ListenAddress, Target)>,

    /// Listen at ADDRESS as a proxy (SOCKS5 and HTTP CONNECT) to mail ports only
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = LISTENERS)]
    listen_proxy: Vec<ListenAddress>,

    /// Listen at ADDRESS for connections that a packet filter redirects: see mailport relay nft
    ///
    /// Needs CAP_NET_ADMIN for --mark, the only capability that is then kept.
    #[arg(long, value_name = "ADDRESS", help_heading = LISTENERS)]
    listen_transparent: Vec<SocketAddr>,

    /// Read everything from this TOML file instead; examples/systemd/relay.toml shows all keys
    ///
    /// Only the file can give each listener its settings.
    #[arg(long, value_name = "FILE", help_heading = LISTENERS)]
    #[arg(conflicts_with_all = ["listen", "plan", "allow_cleartext", "listen_proxy",
        "listen_transparent", "ports", "names", "prefer", "via", "family", "source", "device",
        "port_delay", "patience", "allow", "allow_uid", "max_sessions", "max_sessions_per_client",
        "idle_timeout", "mailbox_idle_timeout", "drain_timeout", "dial_timeout", "mark"])]
    config: Option<PathBuf>,

    /// Check the options and the file, print ok and exit [default: off]
    #[arg(long, help_heading = LISTENERS)]
    check: bool,

    /// The services to try for --listen, in order of preference
    ///
    /// As in mailport connect. All services must have the same TLS mode: the mail client uses one,
    /// and does not learn which service was reached.
    #[arg(long, value_name = "PLAN", default_value = "submission", help_heading = DIALS)]
    plan: String,

    /// Accept services without TLS (cleartext) in the plan [default: refused]
    #[arg(long, help_heading = DIALS)]
    allow_cleartext: bool,

    /// The ports that clients of --listen-proxy and --listen-transparent may ask for
    ///
    /// No other port is fallen back to. Only 25 and 587 have a fallback, to one another; the
    /// ports for reading mail pass as they are.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = DIALS)]
    #[arg(default_value = "25,465,587,110,143,993,995,4190")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// The servers that clients ask for by address, so that all their addresses are tried
    ///
    /// For --listen-proxy and --listen-transparent. An address that belongs to none of these names
    /// is tried alone.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = DIALS)]
    names: Vec<Target>,

    /// The port that comes first where a client asks for 25
    #[arg(long, value_name = "PORT", value_enum, default_value = "asked", help_heading = DIALS)]
    prefer: PreferArg,

    /// Dial through a proxy or a command, as in mailport connect [default: none]
    #[arg(long, value_name = "VIA", help_heading = DIALS)]
    via: Option<String>,

    /// The address families to use, and which goes first
    #[arg(long, value_name = "FAMILY", value_enum, default_value = "any", help_heading = DIALS)]
    family: values::FamilyChoice,

    /// The address of this machine to connect from [default: the kernel's choice]
    #[arg(long, value_name = "ADDRESS", help_heading = DIALS)]
    source: Option<IpAddr>,

    /// The network interface to connect through [default: the kernel's choice]
    #[arg(long, value_name = "INTERFACE", help_heading = DIALS)]
    device: Option<String>,

    /// Delay before trying the next service in parallel [default: as in mailport connect]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = DIALS)]
    port_delay: Option<Duration>,

    /// How long a silent attempt may hold back the connection of a later service
    #[arg(long, value_name = "TIME", default_value = "automatic", value_parser = values::patience)]
    #[arg(help_heading = DIALS)]
    patience: Patience,

    /// The timeout of a dial
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = DIALS)]
    dial_timeout: Duration,

    /// The firewall mark of the connections that it makes [default: 0x6d70 with --listen-transparent]
    #[arg(long, value_name = "MARK", value_parser = values::mark, help_heading = DIALS)]
    mark: Option<u32>,

    /// Clients of other machines that may use it, such as 192.0.2.0/24 [default: none]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    allow: Vec<IpNet>,

    /// A user of this machine, by number, that may use its UNIX sockets [default: its own and root]
    #[arg(long, value_name = "UID", help_heading = LIMITS)]
    allow_uid: Vec<u32>,

    /// Sessions at the same time
    ///
    /// Another one is refused by 421. Clients that have not yet said where they want to go are
    /// counted apart, with the same limit.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, help_heading = LIMITS)]
    max_sessions: usize,

    /// Sessions at the same time of one user of this machine, or of one address of another
    #[arg(long, value_name = "COUNT", default_value_t = 200, help_heading = LIMITS)]
    max_sessions_per_client: usize,

    /// How long a session may pass nothing (RFC 5321 section 4.5.3.2)
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    idle_timeout: Duration,

    /// The same for ports 110, 143, 993, 995 and 4190 (IMAP IDLE: RFC 2177)
    #[arg(long, value_name = "TIME", default_value = "35min", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    mailbox_idle_timeout: Duration,

    /// How long sessions may continue after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = LIMITS)]
    drain_timeout: Duration,

    /// Become this user once it listens [default: stay, without capabilities]
    #[arg(long, value_name = "USER", help_heading = SERVICE)]
    user: Option<String>,

    /// The control socket, in a separate directory [default: relay.sock in $RUNTIME_DIRECTORY or
    /// in $XDG_RUNTIME_DIR/mailport]
    #[arg(long, value_name = "PATH", help_heading = SERVICE)]
    control: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOption,

    /// The format of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = SERVICE)]
    log: Format,
}

const LISTENERS: &str = "Listeners";
const DIALS: &str = "Dials";
const LIMITS: &str = "Limits";
const SERVICE: &str = "Service";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Nft(nft::Args),
    Pac(pac::Args),
    Status(status::Args),
}

/// `--log`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A time, an event and its fields
    Text,
    /// One JSON object a line
    Json,
}

/// `--prefer`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PreferArg {
    /// 25 itself; 587 when that fails
    Asked,
    /// 587; 25 when that fails
    Submission,
}

fn address(text: &str) -> Result<ListenAddress, String> {
    text.parse().map_err(|error: relay::SettingsError| error.to_string())
}

fn fixed(text: &str) -> Result<(ListenAddress, Target), String> {
    let (at, host) = text.rsplit_once('=').ok_or("give ADDRESS=HOST")?;
    let host = host.parse().map_err(|error: mailport::TargetError| error.to_string())?;
    Ok((address(at)?, host))
}

impl Args {
    fn settings(&self) -> Result<Settings, String> {
        let mut settings = match &self.config {
            Some(path) => read(path)?,
            None => self.options_settings()?,
        };
        if self.control.is_some() {
            settings.control.clone_from(&self.control);
        }
        if settings.control.is_none() {
            settings.control = relay::default_control(|name| env::var(name).ok());
        }
        Ok(settings)
    }

    fn options_settings(&self) -> Result<Settings, String> {
        let cleartext = if self.allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = Plan::parse(&self.plan, cleartext).map_err(|error| {
            format!("invalid value '{}' for '--plan <PLAN>': {error}", self.plan)
        })?;
        let mut modes = Vec::new();
        for (address, target) in &self.listen {
            let mode = Mode::fixed(target.clone(), plan.clone());
            modes.push((address.clone(), mode.map_err(|error| error.to_string())?));
        }
        let mut asked = Asked::with_ports(&self.ports[..]);
        asked.names.clone_from(&self.names);
        if let PreferArg::Submission = self.prefer {
            asked.prefer = Prefer::Submission;
        }
        for address in &self.listen_proxy {
            modes.push((address.clone(), Mode::Proxy(asked.clone())));
        }
        for &address in &self.listen_transparent {
            modes.push((address.into(), Mode::Transparent(asked.clone())));
        }
        let via = crate::via::read(self.via.as_deref())?;
        let mut settings = Settings::default();
        for (address, mode) in modes {
            let mut listener = Listener::new(address, mode);
            listener.via.clone_from(&via);
            (listener.idle_timeout, listener.mailbox_idle_timeout) =
                (self.idle_timeout, self.mailbox_idle_timeout);
            let dial = &mut listener.dial;
            (dial.timeout, dial.patience) = (self.dial_timeout, self.patience);
            (dial.families, dial.source) = (self.family.into(), self.source);
            dial.device.clone_from(&self.device);
            dial.port_delay = self.port_delay.unwrap_or(dial.port_delay);
            settings.listeners.push(listener);
        }
        settings.allow.clone_from(&self.allow);
        settings.allow_uids.clone_from(&self.allow_uid);
        settings.limits.max_sessions = self.max_sessions;
        settings.limits.max_sessions_per_client = self.max_sessions_per_client;
        settings.limits.drain_timeout = self.drain_timeout;
        settings.mark = self.mark;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
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
        Some(Command::Pac(args)) => pac::run(args),
        Some(Command::Status(args)) => status::run(args),
        None => match args.settings() {
            Ok(_) if args.check => crate::written(writeln!(io::stdout(), "ok")),
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
    // Before there is a thread that could receive one.
    let signals = Signals::from_process()?;
    let inherited = relay::inherited()?;
    relay::raise_limit();
    let (control, confined) = (settings.control.clone(), settings.clone());
    let mark = settings.mark.is_some();
    let log = Log::to_stderr(match args.log {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    });
    // Where a service is silent, only the first client waits for it. The user that this process
    // becomes may not be able to write the file; the cache then ends with the process.
    let cache = args.cache.path();
    let mut dialer = Dialer::new().without_cache();
    if args.cache.is_on() {
        let cache = cache.as_ref().map_or_else(Cache::new, Cache::open);
        dialer = dialer.with_cache(cache.reading_network_rarely());
    }
    let mut relay = Relay::start(settings, dialer, inherited, log)?;
    let sockets = relay.socket_files();
    relay::drop_privileges(args.user.as_deref(), mark, &sockets).map_err(|error| {
        match &args.user {
            Some(user) => io::Error::new(error.kind(), format!("--user {user}: {error}")),
            None => io::Error::new(error.kind(), format!("capabilities: {error}")),
        }
    })?;
    if let Some(user) = &args.user {
        relay.log(&LogRecord::new("user_changed").with("user", user));
    }
    let written: Vec<&Path> =
        [control.as_deref(), cache.as_deref()].into_iter().flatten().collect();
    let confinement = relay::confine(&confined, args.config.as_deref(), &written);
    let record = LogRecord::new("confined").with("landlock", &confinement.landlock);
    relay.log(&record.with("seccomp", &confinement.seccomp));
    relay::notify_ready();
    relay.run(signals, || match &args.config {
        Some(path) => read(path).and_then(|settings| {
            confinement.check(&settings)?;
            Ok(settings)
        }),
        None => Err("there is no --config to read again".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mailport_relay::all_ports;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let line = ["relay"].into_iter().chain(line.split_whitespace());
        Command::try_parse_from(line).map_err(|error| error.to_string())?.args.options_settings()
    }

    #[test]
    fn without_options_everything_is_the_librarys_default() {
        let given = settings("--listen-proxy 127.0.0.1:1080").unwrap();
        let mut expected = Settings::default();
        let address: SocketAddr = "127.0.0.1:1080".parse().unwrap();
        let mut listener = Listener::new(address, Mode::Proxy(Asked::default()));
        let asked = listener.mode.asked().unwrap().ports.clone();
        assert_eq!(asked, all_ports());
        listener.dial.mark = None;
        expected.listeners.push(listener);
        assert_eq!(given, expected);
    }

    #[test]
    fn each_listener_names_its_server_and_all_have_one_plan() {
        let two = "--listen 127.0.0.1:1=a.example --listen /run/b=b.example";
        let given = settings(&format!("{two} --plan submissions")).unwrap();
        let fixed = |host: &str| {
            Mode::fixed(host.parse().unwrap(), "465:implicit".parse().unwrap()).unwrap()
        };
        let modes: Vec<Mode> = given.listeners.iter().map(|one| one.mode.clone()).collect();
        assert_eq!(modes, [fixed("a.example"), fixed("b.example")]);
        assert_eq!(given.listeners[1].address, ListenAddress::Unix("/run/b".into()));
        assert!(settings("--listen 127.0.0.1:1").unwrap_err().contains("give ADDRESS=HOST"));
        assert!(settings("--listen here=a").unwrap_err().contains("not an address"));
        assert!(settings(&format!("{two} --plan rfc8314")).unwrap_err().contains("TLS modes"));
        assert!(settings(&format!("{two} --plan 25:cleartext")).unwrap_err().contains("cleartext"));
        assert!(settings("").unwrap_err().contains("there is no listener"));
    }

    #[test]
    fn every_listener_has_the_settings_of_the_command_line() {
        let line = "--listen-proxy 127.0.0.1:1 --names a.example,b.example --prefer submission \
                    --family prefer-ipv4 --patience 2s --port-delay 700ms --via socks5://127.0.0.1";
        let given = settings(line).unwrap();
        let listener = &given.listeners[0];
        let asked = listener.mode.asked().unwrap();
        assert_eq!((asked.names.len(), asked.prefer), (2, Prefer::Submission));
        assert_eq!(listener.dial.families, mailport::Families::PreferIpv4);
        assert_eq!(listener.dial.patience, Patience::Fixed(Duration::from_secs(2)));
        assert_eq!(listener.dial.port_delay, Duration::from_millis(700));
        assert_eq!(listener.via.as_ref().unwrap().to_string(), "socks5://127.0.0.1:1080");
    }
}
