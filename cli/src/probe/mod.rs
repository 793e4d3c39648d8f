//! `mailport probe`.

mod json;
mod list;
mod matrix;
mod progress;
mod survey;
mod table;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use mailport::machine::Machine;
use mailport::probe::Probed;
use mailport::report::svg::{self, Decision, Panel};
use mailport::{Dialer, Plan, ProbeError, Prober, Report, Target};

use self::list::{ListEntry, parse_list};
use self::progress::ProgressLine;
use self::survey::{Met, Seen, Survey, is_at_home};
use self::tls::{Sessions, TlsSession};
use crate::options::{DialOptions, TIMES};
use crate::{connect, svg_file, values};

/// Tries every service at every address of servers, and prints what a dial would choose
///
/// All are tried at once; a connection does not stop the others. Without --tls nothing is sent to a
/// server: each connection is closed once it is established. The choice of a dial is computed from the results
/// by the rules of a dial, with what the cache knows of earlier dials. The probe itself does not
/// change the cache.
///
/// For several hosts it also prints the two tables of the fallback paper's field test: servers by
/// kind, and how the first service of the plan was met.
///
/// Exit status: 0 a dial would reach every host; 1 it would not reach one, or with --tls the service
/// that it would reach has a fault, or the result could not be written; 2 the command line or a list
/// of hosts is wrong.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: mailport probe --tls mail.example.com")]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// The servers: names, or addresses
    ///
    /// An IPv6 address is written without brackets, and with its zone where it is link-local:
    /// fe80::1%eth0. A name outside ASCII is given as A-labels (xn--...).
    #[arg(value_name = "HOST", required_unless_present = "file")]
    hosts: Vec<Target>,

    /// Read further hosts from this file, one per line; - is standard input [default: none]
    ///
    /// The host may be followed by kind=WORD (such as ISP or Company; home for a server in a home,
    /// which the tables leave out) and user=WORD (the same user and server are counted once). A #
    /// starts a comment.
    #[arg(long, value_name = "FILE", help_heading = "What to try")]
    file: Option<PathBuf>,

    /// Check TLS, certificate and login of each service that connects [default: off]
    ///
    /// One SMTP session for each service: greeting, EHLO, STARTTLS or implicit TLS, the certificate
    /// (verified for the host with the system's certificates), AUTH, SIZE, and QUIT. No login and no
    /// mail. A sentence at the end names what keeps mail from leaving, and what to do. A session has
    /// 30s, for servers that pause before they greet. DANE is not checked.
    #[arg(long, help_heading = "What to try")]
    tls: bool,

    #[command(flatten)]
    options: DialOptions,

    /// How long to wait for each service at each address
    ///
    /// One that has not answered by then ends as timeout. At least 10ms. The look-up of a name has
    /// 30s, as in a dial.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    #[arg(help_heading = TIMES)]
    attempt_timeout: Duration,

    /// Print one JSON object and nothing else on standard output [default: off]
    ///
    /// Its keys are version, hosts and survey. A host has host, lookup, attempts (as in mailport
    /// connect), choice (null if a dial would not connect) and summary; with --tls also sessions and
    /// message. Times are in milliseconds.
    #[arg(long, help_heading = "What to print")]
    json: bool,

    /// Write a picture of every attempt to this file [default: off]
    ///
    /// SVG, for a browser or a bug report: for each host one bar for each attempt on a time scale,
    /// with its outcome, and what a dial would choose. An existing file is replaced.
    #[arg(long, value_name = "FILE", value_parser = svg_file::path)]
    #[arg(help_heading = "What to print")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let plan = match args.options.plan() {
        Ok(plan) => plan,
        Err(message) => return crate::misuse("probe", message),
    };
    let entries = match args.entries() {
        Ok(entries) if entries.is_empty() => return crate::misuse("probe", "no host is given"),
        Ok(entries) => entries,
        Err(message) => return crate::misuse("probe", message),
    };
    let sessions = match args.tls.then(Sessions::new).transpose() {
        Ok(sessions) => sessions,
        Err(message) => {
            crate::complain(message);
            return ExitCode::from(crate::FAILURE);
        }
    };
    let found = match args.probe(&plan, &entries, sessions) {
        Ok(found) => found,
        Err(ProbeError::Setup(error)) => {
            crate::complain(format_args!("cannot start to probe: {error}"));
            return ExitCode::from(crate::FAILURE);
        }
        Err(error) => return crate::misuse("probe", error),
    };
    let survey = (entries.len() > 1).then(|| found.survey(&plan, &entries));
    let drawn = args.svg.as_ref().is_none_or(|path| svg_file::write(path, &found.picture()));
    let written = crate::written(if args.json {
        writeln!(io::stdout(), "{}", json::to_json(&found.hosts, survey.as_ref()))
    } else {
        found.print(&plan, survey.as_ref())
    });
    if drawn && found.hosts.iter().all(ProbeFound::works) {
        written
    } else {
        ExitCode::from(crate::FAILURE)
    }
}

impl Args {
    /// The hosts of the command line, then those of the file.
    fn entries(&self) -> Result<Vec<ListEntry>, String> {
        let mut entries: Vec<ListEntry> = self.hosts.iter().cloned().map(ListEntry::from).collect();
        if let Some(path) = &self.file {
            let mut text = String::new();
            let (name, read) = if path.as_os_str() == "-" {
                ("standard input".to_owned(), io::stdin().read_to_string(&mut text).map(drop))
            } else {
                let read = fs::read_to_string(path).map(|contents| text = contents);
                (path.display().to_string(), read)
            };
            read.map_err(|error| format!("{name}: {error}"))?;
            entries.extend(parse_list(&text).map_err(|error| format!("{name}, {error}"))?);
        }
        Ok(entries)
    }

    /// Probes every server once, however often it is named.
    fn probe(
        &self,
        plan: &Plan,
        entries: &[ListEntry],
        mut sessions: Option<Sessions>,
    ) -> Result<All, ProbeError> {
        let mut places = BTreeMap::new();
        let mut targets = Vec::new();
        for entry in entries {
            places.entry(entry.server()).or_insert_with(|| {
                targets.push(entry.target.clone());
                targets.len() - 1
            });
        }
        let config = self.options.config();
        let dialer = Dialer::new().with_plan(plan.clone()).with_config(config.clone());
        let dialer = self.options.with_cache(dialer);
        let prober = Prober::new(dialer).with_attempt_timeout(self.attempt_timeout);
        let mut line = ProgressLine::begin(self.attempt_timeout, targets.len(), self.json);
        let mut hosts: Vec<ProbeFound> = Vec::new();
        // A host that cannot be dialled is refused before anything is sent to another one.
        for target in &targets {
            Machine::new(target, plan, &config, Instant::now())
                .map_err(|source| ProbeError::Host { host: target.as_str().to_owned(), source })?;
        }
        let at_once = if sessions.is_some() { HOSTS_WITH_SESSIONS } else { targets.len() };
        for part in targets.chunks(at_once) {
            let found = prober.run_and_hand_over(
                part,
                |progress| line.show(progress),
                |host, service, address, stream| {
                    if let (Some(sessions), Ok(socket)) = (&mut sessions, stream.into_tcp()) {
                        sessions.start(host, &part[host], service, address, socket);
                    }
                },
            )?;
            line.finish_part();
            if let Some(sessions) = &sessions {
                line.show_sessions(sessions.count(), tls::LIMIT);
            }
            let mut ended = sessions.as_mut().map(Sessions::wait);
            let order = |session: &TlsSession| {
                plan.services().iter().position(|service| *service == session.service())
            };
            for (host, probed) in found.into_iter().enumerate() {
                let forecast = probed.forecast(plan, &config, Instant::now())?;
                let sessions = ended.as_mut().map(|ended| {
                    let of_host = ended.extract_if(.., |(of, _)| *of == host);
                    let mut of_host: Vec<_> = of_host.map(|(_, session)| session).collect();
                    of_host.sort_by_key(order);
                    of_host
                });
                hosts.push(ProbeFound { probed, forecast, sessions });
            }
        }
        line.end();
        Ok(All { hosts, places })
    }
}

/// How many hosts are probed at once with `--tls`: each of their services has a session, which is a
/// thread and a descriptor.
const HOSTS_WITH_SESSIONS: usize = 16;

/// What was found of a host.
struct ProbeFound {
    probed: Probed,
    forecast: Report,
    /// With `--tls`, in the order of the plan.
    sessions: Option<Vec<TlsSession>>,
}

impl ProbeFound {
    /// Whether a dial would connect, and, with `--tls`, mail could be sent by what it reaches.
    fn works(&self) -> bool {
        let Some(winner) = self.forecast.winner() else { return false };
        let of_it = |session: &&TlsSession| session.service() == winner.service;
        self.sessions().iter().find(of_it).is_none_or(TlsSession::works)
    }

    /// With `--tls`, what to do.
    fn sentence(&self) -> Option<String> {
        let (host, sessions) = (self.probed.target.as_str(), self.sessions.as_deref()?);
        tls::sentence(host, sessions, &self.forecast, SystemTime::now())
    }

    fn sessions(&self) -> &[TlsSession] {
        self.sessions.as_deref().unwrap_or_default()
    }
}

/// What was found, in the order in which servers were first named.
struct All {
    hosts: Vec<ProbeFound>,
    /// The index in `hosts` of each server.
    places: BTreeMap<String, usize>,
}

impl All {
    fn survey(&self, plan: &Plan, entries: &[ListEntry]) -> Survey {
        let seen = entries.iter().filter_map(|entry| {
            let ProbeFound { probed, forecast, .. } =
                &self.hosts[*self.places.get(&entry.server())?];
            let (at_home, met) = (is_at_home(probed), Met::new(plan, forecast));
            Some(Seen { entry: entry.clone(), at_home, met })
        });
        Survey::new(&seen.collect::<Vec<_>>())
    }

    fn print(&self, plan: &Plan, survey: Option<&Survey>) -> io::Result<()> {
        let mut out = anstream::stdout();
        let width = connect::width_of(io::stdout());
        for (index, found) in self.hosts.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{}", found.probed.summary(&found.forecast))?;
            out.write_all(matrix::host(found, plan, width).as_bytes())?;
            for session in found.sessions() {
                out.write_all(tls::details(session).as_bytes())?;
            }
            if let Some(sentence) = found.sentence() {
                writeln!(out, "{sentence}")?;
            }
        }
        match survey {
            Some(survey) => write!(out, "\n{}", table::survey(survey)),
            None => Ok(()),
        }
    }

    fn picture(&self) -> String {
        let panel = |found: &ProbeFound| {
            let ProbeFound { probed, forecast, .. } = found;
            let mut attempts = probed.attempts.clone();
            for attempt in &mut attempts {
                let of_it = |session: &&TlsSession| session.is_of(attempt);
                attempt.note = found.sessions().iter().find(of_it).map(tls::stage);
            }
            let chosen = forecast.winner().map(|winner| winner.service.port());
            let words = match chosen {
                Some(port) => {
                    let after = humantime::format_duration(millis(forecast.elapsed));
                    format!("a dial would be connected to {port} after {after}")
                }
                None => "a dial would not connect".to_owned(),
            };
            let at = if chosen.is_some() { forecast.elapsed } else { probed.elapsed() };
            Panel {
                title: found.sentence().unwrap_or_else(|| probed.summary(forecast)),
                host: probed.target.to_string(),
                lookup: probed.lookup(),
                attempts,
                decision: Some(Decision { at, words, winner: probed.chosen(forecast) }),
            }
        };
        svg::draw(&self.hosts.iter().map(panel).collect::<Vec<_>>())
    }
}

/// A time in whole milliseconds, at least one.
fn millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1))
}
