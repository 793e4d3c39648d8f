//! `mailport connect`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use mailport::join::{JoinError, Joined, Side, join};
use mailport::{
    Cleartext, Config, ConnectError, Connected, Patience, Plan, PlanError, Report, Target,
};

use crate::{paint, values};

/// Dials a mail server once, and says which port was reached and why
///
/// Nothing is sent to the server. The TLS mode of the service that was reached (implicit, starttls)
/// is what whoever uses the connection must insist on.
///
/// Exit status: 0 connected, 1 not connected (or, with --stdio, the connection broke later), 2 the
/// command line is wrong.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// The server: a name, or an address
    ///
    /// An IPv6 address is written without brackets, and with its zone where it is link-local:
    /// fe80::1%eth0. A name outside ASCII is given as A-labels (xn--...).
    #[arg(value_name = "HOST")]
    host: Target,

    /// The services to try, in order of preference
    ///
    /// Services are separated by commas, each PORT:TLS or PORT/FAMILY:TLS, where TLS is implicit,
    /// starttls or none, and FAMILY is ipv4 or ipv6. Or the name of a plan: submission
    /// (587:starttls,25:starttls), submissions (465:implicit), rfc8314
    /// (465:implicit,587:starttls; RFC 8314 section 3.3), mew (587/ipv4:starttls,25:starttls,
    /// strict), symmetric (587 over IPv6 then IPv4, then 25 likewise, strict).
    #[arg(long, value_name = "PLAN", default_value = "submission", conflicts_with = "port")]
    #[arg(help_heading = "What to try")]
    plan: String,

    /// Take the plan that replaces a connection to this port [default: none, --plan counts]
    ///
    /// 587 and 25 become 587:starttls,25:starttls. 465 becomes 465:implicit and never falls back.
    /// Any other is tried alone, with STARTTLS.
    #[arg(long, value_name = "PORT", help_heading = "What to try")]
    port: Option<u16>,

    /// Accept services without TLS in the plan [default: refused]
    ///
    /// Whoever is on the way to a service with the TLS mode none reads the mail, and a password
    /// with it (RFC 8314 section 3).
    #[arg(long, help_heading = "What to try")]
    allow_cleartext: bool,

    /// Wait out a silent service before the next is begun [default: off]
    ///
    /// The next service is held back until every attempt of this one has failed or was silent for
    /// the patience, so that no packet goes to a later port any sooner.
    #[arg(long, help_heading = "What to try")]
    strict: bool,

    /// The address families to use, and which goes first
    #[arg(long, value_name = "FAMILY", value_enum, default_value = "any")]
    #[arg(help_heading = "What to try")]
    family: values::Family,

    /// Silence of one address after which the next is tried besides
    ///
    /// The Connection Attempt Delay of RFC 8305 section 5, between addresses of one service. At
    /// least 10ms.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    attempt_delay: Duration,

    /// Silence of a whole service after which the next is tried besides
    ///
    /// The default is TCP's first retransmission timeout (RFC 6298 section 2). Shorter sends
    /// packets to a later port that was not needed. At least 10ms.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    port_delay: Duration,

    /// How long silence may hold back the connection of a later service
    ///
    /// The default is 1.3s, or 1s and two round trips of that connection where this is longer: a
    /// SYN and its retransmission (RFC 6298 section 2) have then both gone unanswered. At least
    /// 10ms; below a second, one lost packet is enough to end up on the later port.
    #[arg(long, value_name = "TIME", default_value = "automatic", value_parser = values::patience)]
    #[arg(help_heading = TIMES)]
    patience: Patience,

    /// How long everything may take, the look-up of the name included
    ///
    /// At the deadline the best connection made so far is taken; without one, the dial has failed.
    /// At least the attempt delay.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    deadline: Duration,

    /// How long the second family's addresses wait for the first's
    ///
    /// The Resolution Delay of RFC 8305 section 3: the name is looked up in both families at once.
    /// 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    resolution_delay: Duration,

    /// The address of this machine to connect from [default: the kernel's choice]
    ///
    /// The other family is then left out. The kernel chooses by RFC 6724 section 5.
    #[arg(long, value_name = "ADDRESS", help_heading = "Where to leave from")]
    source: Option<IpAddr>,

    /// The network interface to connect through [default: the kernel's choice]
    ///
    /// The socket option SO_BINDTODEVICE.
    #[arg(long, value_name = "INTERFACE", help_heading = "Where to leave from")]
    device: Option<String>,

    /// The firewall mark of every packet, such as 0x10 [default: none]
    ///
    /// The socket option SO_MARK, which needs CAP_NET_ADMIN.
    #[arg(long, value_name = "MARK", value_parser = values::mark)]
    #[arg(help_heading = "Where to leave from")]
    mark: Option<u32>,

    /// Draw every attempt on a scale of time, with its outcome [default: off]
    ///
    /// One bar an attempt: ├──● connected, ├──× failed, ├┄┄┤ no answer until it was given up. The
    /// drawing follows the summary on standard output; with --json, with --stdio, and when the dial
    /// fails, it goes to standard error.
    #[arg(long, help_heading = "What to print")]
    explain: bool,

    /// Print one JSON object and nothing else on standard output [default: off]
    ///
    /// Its keys are version, connected, elapsed_ms, summary, error and attempts, whether connected
    /// or not. Times are in milliseconds.
    #[arg(long, help_heading = "What to print")]
    json: bool,

    /// Join the connection to standard input and output [default: off]
    ///
    /// For a mail reader's tunnel command: until both ends have closed. The end of standard input is
    /// passed on, and what the server still sends arrives. Everything for people goes to standard
    /// error.
    #[arg(long, conflicts_with = "json", help_heading = "What to print")]
    stdio: bool,
}

const TIMES: &str = "Times (such as 250ms, 1.3s, 2min)";

impl Args {
    fn plan(&self) -> Result<Plan, String> {
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
        Plan::parse(&self.plan, cleartext).map_err(|e| refused("--plan <PLAN>", &self.plan, &e))
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.resolution_delay = self.resolution_delay;
        config.attempt_delay = self.attempt_delay;
        config.port_delay = self.port_delay;
        config.patience = self.patience;
        config.deadline = self.deadline;
        config.strict = self.strict;
        config.families = self.family.into();
        config.source = self.source;
        config.device.clone_from(&self.device);
        config.mark = self.mark;
        config
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(message) => return crate::misuse("connect", message),
    };
    let progress = Progress::begin(args, &plan);
    let result = mailport::connect(&args.host, &plan, &args.config());
    progress.end();
    match result {
        Err(ConnectError::Config(error)) => crate::misuse("connect", error),
        Err(error) => failed(args, &error),
        Ok(connected) if args.stdio => tunnel(args, connected),
        Ok(Connected { report, .. }) => crate::written(connected(args, &report)),
    }
}

/// The result of a dial that connected.
fn connected(args: &Args, report: &Report) -> io::Result<()> {
    let mut out = anstream::stdout();
    if args.json {
        writeln!(out, "{}", report.to_json())?;
        explain(args, report, &mut anstream::stderr(), width_of(io::stderr()))
    } else {
        writeln!(out, "{}", report.summary())?;
        explain(args, report, &mut out, width_of(io::stdout()))
    }
}

fn failed(args: &Args, error: &ConnectError) -> ExitCode {
    if args.json {
        // A result that nobody reads any more changes nothing: the dial has failed all the same.
        let _ = crate::written(writeln!(io::stdout(), "{}", error.to_json()));
    } else {
        crate::complain(error);
    }
    if let Some(report) = error.report() {
        let _ = explain(args, report, &mut anstream::stderr(), width_of(io::stderr()));
    }
    ExitCode::from(crate::FAILURE)
}

fn tunnel(args: &Args, connected: Connected) -> ExitCode {
    let mut stderr = anstream::stderr();
    let _ = writeln!(stderr, "{}", connected.report.summary());
    let _ = explain(args, &connected.report, &mut stderr, width_of(io::stderr()));
    match join_standard(connected.socket) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error)
            if error.side == Side::Output && error.source.kind() == ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(JoinError { side, source }) => {
            let side = match side {
                Side::Input => "standard input",
                Side::Output => "standard output",
                Side::Socket => "the connection broke",
            };
            crate::complain(format_args!("{side}: {source}"));
            ExitCode::from(crate::FAILURE)
        }
    }
}

/// Joins the socket to standard input and output.
fn join_standard(socket: TcpStream) -> Result<Joined, JoinError> {
    let at = |side| move |source| JoinError { side, source };
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(at(Side::Input))?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(at(Side::Output))?;
    // Whoever reads our output sees its end when `output` is closed, so it must be the only one.
    let null = OpenOptions::new().write(true).open("/dev/null").map_err(at(Side::Output))?;
    rustix::stdio::dup2_stdout(null).map_err(|e| at(Side::Output)(e.into()))?;
    join(socket, File::from(input), File::from(output))
}

fn explain(args: &Args, report: &Report, out: &mut dyn Write, width: usize) -> io::Result<()> {
    let timeline = report.timeline(width);
    if !args.explain || timeline.rows.is_empty() {
        return Ok(());
    }
    out.write_all(paint::timeline(&timeline).as_bytes())
}

/// The width of a terminal, or the customary one.
fn width_of(terminal: impl AsFd) -> usize {
    terminal_size::terminal_size_of(terminal).map_or(80, |(width, _)| width.0.into())
}

/// A line on a terminal while the dial runs, which may be half a minute; it is wiped out after.
struct Progress {
    shown: bool,
}

impl Progress {
    fn begin(args: &Args, plan: &Plan) -> Progress {
        let shown = io::stderr().is_terminal() && !args.json;
        if shown {
            let (host, deadline) = (&args.host, humantime::format_duration(args.deadline));
            let line = format!("Dialling {host}: {plan}, for {deadline} at most...");
            // A line that wraps could not be wiped out.
            let line: String =
                line.chars().take(width_of(io::stderr()).saturating_sub(1)).collect();
            let _ = write!(io::stderr(), "{line}");
        }
        Progress { shown }
    }

    fn end(self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from([&["connect"], line, &["mail.example"]].concat()).unwrap().args
    }

    #[test]
    fn without_options_everything_is_the_librarys_default() {
        let args = args(&[]);
        assert_eq!(args.config(), Config::default());
        assert_eq!(args.plan(), Ok(Plan::default()));
    }

    #[test]
    fn every_option_reaches_its_setting() {
        let line = "--attempt-delay 11ms --port-delay 12ms --patience 13ms --deadline 14s \
            --resolution-delay 15ms --strict --family prefer-ipv4 --source 192.0.2.1 --device eth0 \
            --mark 0x10 --port 465";
        let args = args(&line.split_whitespace().collect::<Vec<_>>());
        let mut expected = Config::default();
        expected.attempt_delay = Duration::from_millis(11);
        expected.port_delay = Duration::from_millis(12);
        expected.patience = Patience::Fixed(Duration::from_millis(13));
        expected.deadline = Duration::from_secs(14);
        expected.resolution_delay = Duration::from_millis(15);
        expected.strict = true;
        expected.families = mailport::Families::PreferIpv4;
        expected.source = Some("192.0.2.1".parse().unwrap());
        expected.device = Some("eth0".into());
        expected.mark = Some(16);
        assert_eq!(args.config(), expected);
        assert_eq!(args.plan(), Ok(Plan::submissions()));
    }
}
