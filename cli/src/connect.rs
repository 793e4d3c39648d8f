//! `mailport connect`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use mailport::join::{JoinError, Joined, Side, join};
use mailport::{
    Config, ConnectError, Connected, Dialer, GreetingWait, Plan, Report, Stream, Target,
};

use unicode_width::UnicodeWidthChar as _;

use crate::ask::Terminal;
use crate::options::{DialOptions, TIMES};
use crate::{svg_file, terminal, values, via};

/// Dials a mail server once, and prints which port was reached and why
///
/// Nothing is sent to the server. The user of the connection must require the TLS mode of the
/// service that was reached (implicit or starttls).
///
/// Exit status: 0 connected; 1 not connected, or the result could not be written, or with --stdio
/// the connection broke later; 2 the command line is wrong.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: mailport connect --explain mail.example.com")]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Args {
    /// The server: a name, or an address
    ///
    /// An IPv6 address is written without brackets, and with its zone where it is link-local:
    /// fe80::1%eth0. A name outside ASCII is given as A-labels (xn--...).
    #[arg(value_name = "HOST")]
    host: Target,

    #[command(flatten)]
    options: DialOptions,

    /// How long the whole dial may take, including the look-up of the name
    ///
    /// After this time the best connection made so far is used; without one, the dial has failed.
    /// At least the attempt delay.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    timeout: Duration,

    /// Ask on the terminal before another service is tried [default: off]
    ///
    /// No packet is sent to the next service before the answer, and the timeouts stop until then.
    /// The question is withdrawn if an earlier service connects after all. The dial is then
    /// sequential. A second prompt asks whether to remember the answer for 30 days (mailport cache
    /// list shows it, mailport cache forget removes it).
    #[arg(long, help_heading = "What to try")]
    ask: bool,

    /// How long to wait for the server's greeting before a connection counts
    ///
    /// The default is 10s with --via and off without it: proxies and tunnels may accept before they
    /// have connected. If the server closes before its first byte, the next service is tried. If it
    /// is silent for this time, the connection counts as established. Services are tried one after
    /// the other. Set a time for a local port that ssh -L or stunnel forwards. At least 10ms. With
    /// implicit TLS there is no greeting to wait for.
    #[arg(long, value_name = "TIME", default_value = "automatic", value_parser = values::greeting_wait)]
    #[arg(help_heading = TIMES)]
    greeting_wait: GreetingWait,

    /// Go through a SOCKS5 proxy or a command [default: MAILPORT_VIA, or none]
    ///
    /// socks5://HOST:PORT is a proxy (RFC 1928), which looks the name up itself; families, source
    /// address, interface and mark then apply to the connection to the proxy. command: and words is
    /// a command whose standard input and output are the connection, such as "command:ssh -W
    /// '[%h]:%p' GATEWAY": the words are split as in a shell but not run by one, and %h and %p are
    /// replaced by host and port (%% by a percent sign). @FILE reads the first line of that file.
    ///
    /// A user and a password for the proxy (socks5://USER:PASSWORD@HOST, RFC 1929, percent-encoded)
    /// are read from a file that only its owner may read, or from the environment variable
    /// MAILPORT_VIA. They are refused in this option, where other users can see them. MAILPORT_VIA is
    /// used only if this option is not given; an empty value means none.
    #[arg(long, value_name = "VIA", help_heading = "Where to connect from")]
    via: Option<String>,

    /// Draw every attempt on a time scale, with its outcome [default: off]
    ///
    /// One bar for each attempt: ├──● connected, ├──× failed, ├┄┄┤ no answer until it was given up.
    /// The drawing goes to standard output, also if the dial fails; with --json or --stdio, to
    /// standard error.
    #[arg(long, help_heading = "What to print")]
    explain: bool,

    /// Print one JSON object and nothing else on standard output [default: off]
    ///
    /// Its keys are version, connected, elapsed_ms, summary, error and attempts, whether the dial
    /// connected or not. Times are in milliseconds. Nothing is printed if the command line is wrong
    /// (exit status 2).
    #[arg(long, help_heading = "What to print")]
    json: bool,

    /// Write a picture of every attempt to this file [default: off]
    ///
    /// SVG, for a browser or a bug report: one bar for each attempt on a time scale, with its
    /// outcome. It is written whether the dial connects or not, and replaces an existing file.
    #[arg(long, value_name = "FILE", value_parser = svg_file::path)]
    #[arg(help_heading = "What to print")]
    svg: Option<PathBuf>,

    /// Join the connection to standard input and output [default: off]
    ///
    /// For the tunnel command of a mail client. It runs until both ends have closed: the end of
    /// standard input is passed to the server, and what the server still sends is printed. Messages
    /// go to standard error.
    #[arg(long, conflicts_with = "json", help_heading = "What to print")]
    stdio: bool,
}

impl Args {
    fn config(&self) -> Config {
        let mut config = self.options.config();
        config.timeout = self.timeout;
        config.ask = self.ask;
        config.greeting_wait = self.greeting_wait;
        config
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let plan = match args.options.plan() {
        Ok(plan) => plan,
        Err(message) => return crate::misuse("connect", message),
    };
    let mut dialer = match via::read(args.via.as_deref()) {
        Ok(Some(via)) => Dialer::default().with_via(via),
        Ok(None) => Dialer::default(),
        Err(message) => return crate::misuse("connect", message),
    };
    dialer = args.options.with_cache(dialer);
    let terminal = match args.ask.then(Terminal::open).transpose() {
        Ok(terminal) => terminal,
        Err(error) => {
            return crate::misuse(
                "connect",
                format_args!("--ask has no terminal to ask on: {error}"),
            );
        }
    };
    let dialer = dialer.with_plan(plan.clone()).with_config(args.config());
    let mut progress = DialProgress::begin(args, &plan);
    let result = match terminal {
        Some(mut terminal) => terminal.dial(&dialer, &args.host, || progress.end()),
        None => dialer.connect(&args.host),
    };
    progress.end();
    match result {
        Err(ConnectError::Config(error)) => crate::misuse("connect", error),
        Err(error) => failed(args, &error),
        Ok(connected) if args.stdio => tunnel(args, connected),
        Ok(Connected { report, .. }) => {
            let drawn = draw(args, &report);
            let status = crate::written(connected(args, &report));
            if drawn { status } else { ExitCode::from(crate::FAILURE) }
        }
    }
}

/// Whether the picture was drawn, where one is wanted.
fn draw(args: &Args, report: &Report) -> bool {
    args.svg.as_ref().is_none_or(|path| svg_file::write(path, &report.to_svg()))
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
        // A result that is no longer read changes nothing: the dial has failed all the same.
        let _ = crate::written(writeln!(io::stdout(), "{}", error.to_json()));
    } else {
        crate::complain(error);
    }
    if let Some(report) = error.report() {
        draw(args, report);
        // A drawing that is no longer read changes nothing either.
        let _ = if args.json || args.stdio {
            explain(args, report, &mut anstream::stderr(), width_of(io::stderr()))
        } else {
            explain(args, report, &mut anstream::stdout(), width_of(io::stdout()))
        };
    }
    ExitCode::from(crate::FAILURE)
}

fn tunnel(args: &Args, connected: Connected) -> ExitCode {
    let mut stderr = anstream::stderr();
    let _ = writeln!(stderr, "{}", connected.report.summary());
    let _ = explain(args, &connected.report, &mut stderr, width_of(io::stderr()));
    // Now, for a mail client may end its session by ending this process.
    draw(args, &connected.report);
    match join_standard(connected.stream) {
        Ok(_) => ExitCode::SUCCESS,
        // The mail client has what it needed, and has closed: with the last bytes unread where it
        // gave us a socket.
        Err(JoinError { side: Side::Output | Side::Input, source })
            if matches!(source.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
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
fn join_standard(socket: Stream) -> Result<Joined, JoinError> {
    let at = |side| move |source| JoinError { side, source };
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(at(Side::Input))?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(at(Side::Output))?;
    // The reader of our output sees its end when `output` is closed, so it must be the only one.
    let null = OpenOptions::new().write(true).open("/dev/null").map_err(at(Side::Output))?;
    rustix::stdio::dup2_stdout(null).map_err(|e| at(Side::Output)(e.into()))?;
    join(socket, File::from(input), Output(output.into()))
}

/// Standard output. Where that is a socket, and the same one as standard input, closing it would
/// not show the end to its reader.
struct Output(File);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Ok(output) = self.0.as_fd().try_clone_to_owned() {
            // It fails for what is no socket, and where the other end has gone.
            let _ = TcpStream::from(output).shutdown(Shutdown::Write);
        }
    }
}

fn explain(args: &Args, report: &Report, out: &mut dyn Write, width: usize) -> io::Result<()> {
    let timeline = report.timeline(width);
    if !args.explain || timeline.rows.is_empty() {
        return Ok(());
    }
    out.write_all(terminal::timeline(&timeline).as_bytes())
}

/// The width of a terminal, or the customary one.
pub(crate) fn width_of(terminal: impl AsFd) -> usize {
    terminal_size::terminal_size_of(terminal).map_or(80, |(width, _)| width.0.into())
}

/// A line on a terminal while the dial runs, which may be half a minute; it is cleared at the end.
struct DialProgress {
    shown: bool,
}

impl DialProgress {
    fn begin(args: &Args, plan: &Plan) -> DialProgress {
        let shown = io::stderr().is_terminal() && !args.json;
        if shown {
            let (host, timeout) = (&args.host, humantime::format_duration(args.timeout));
            let line = format!("Dialling {host}: {plan}, for {timeout} at most...");
            // A line that wraps could not be cleared.
            let mut left = width_of(io::stderr()).saturating_sub(1);
            let fits = |c: &char| {
                let width = c.width().unwrap_or(0);
                let fits = width <= left;
                left = left.saturating_sub(width);
                fits
            };
            let line: String = line.chars().take_while(fits).collect();
            let _ = write!(io::stderr(), "{line}");
        }
        DialProgress { shown }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mailport::Patience;

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
        assert_eq!(args.options.plan(), Ok(Plan::default()));
    }

    #[test]
    fn every_option_reaches_its_setting() {
        let line = "--attempt-delay 11ms --port-delay 12ms --patience 13ms --timeout 14s \
            --sequential --try-failed-last --family prefer-ipv4 --source 192.0.2.1 --device eth0 \
            --mark 0x10 --port 465 --greeting-wait 17s";
        let args = args(&line.split_whitespace().collect::<Vec<_>>());
        let mut expected = Config::default();
        expected.attempt_delay = Duration::from_millis(11);
        expected.port_delay = Duration::from_millis(12);
        expected.patience = Patience::Fixed(Duration::from_millis(13));
        expected.timeout = Duration::from_secs(14);
        expected.try_failed_last = true;
        expected.families = mailport::Families::PreferIpv4;
        expected.source = Some("192.0.2.1".parse().unwrap());
        expected.device = Some("eth0".into());
        expected.mark = Some(16);
        expected.greeting_wait = GreetingWait::For(Duration::from_secs(17));
        assert_eq!(args.config(), expected);
        assert_eq!(args.options.plan(), Ok(Plan::submissions()));
    }
}
