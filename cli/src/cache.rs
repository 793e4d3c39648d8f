//! `mailport cache`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use mailport::cache::{Remembered, Stamp, What};
use mailport::{Cache, Outcome, Target};
use serde::Serialize;

use crate::values;

/// Lists and clears the cache of earlier dials
///
/// For each network and server the cache keeps the last outcomes of its services, and the answers
/// that a user chose to remember. The cache only shortens waiting: it can be cleared at any time.
///
/// Exit status: 0 done; 1 the file could not be saved, or the result not written; 2 the command line
/// is wrong.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,

    /// The file of the cache [default: $XDG_CACHE_HOME/mailport/cache.json]
    ///
    /// Without XDG_CACHE_HOME it is in ~/.cache.
    #[arg(long, value_name = "FILE", value_parser = values::cache_file, global = true)]
    cache: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
enum Verb {
    /// Lists every entry
    List {
        /// Print one JSON array and nothing else [default: off]
        ///
        /// One object for each entry, with the keys network, interface, target, service, family,
        /// outcome, remembered (an answer), round_trip_ms, count, since, until and used. since and
        /// until are in milliseconds since 1970.
        #[arg(long)]
        json: bool,
    },
    /// Removes the entries of a server, in every network
    Forget {
        /// The server, as it was dialled
        #[arg(value_name = "HOST")]
        host: Target,
    },
    /// Removes every entry
    Clear,
    /// Prints the path of the file
    Path,
}

/// How long to wait until a change is saved: other processes may hold the lock of the file.
const FLUSH: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> ExitCode {
    let Some(path) = args.cache.clone().or_else(Cache::default_path) else {
        crate::complain(
            "no path for the cache: neither XDG_CACHE_HOME nor HOME is set (or use --cache FILE)",
        );
        return ExitCode::from(crate::FAILURE);
    };
    let cache = || Cache::open(&path);
    match &args.verb {
        Verb::List { json } => crate::written(list(&cache().list(), *json)),
        Verb::Forget { host } => {
            let cache = cache();
            let number = cache.forget(host);
            saved(&cache, &path, &format!("{} of {host} removed", entries(number)))
        }
        Verb::Clear => {
            let cache = cache();
            let number = cache.clear();
            saved(&cache, &path, &format!("{} removed", entries(number)))
        }
        Verb::Path => crate::written(writeln!(io::stdout(), "{}", path.display())),
    }
}

fn entries(number: usize) -> String {
    match number {
        1 => "1 entry".to_owned(),
        _ => format!("{number} entries"),
    }
}

/// Prints what was done, once it is saved.
fn saved(cache: &Cache, path: &std::path::Path, done: &str) -> ExitCode {
    if !cache.flush(FLUSH) {
        match cache.error() {
            Some(error) => crate::complain(error),
            None => crate::complain(format_args!("{}: not saved in time", path.display())),
        }
        return ExitCode::from(crate::FAILURE);
    }
    crate::written(writeln!(io::stdout(), "{done}"))
}

#[derive(Serialize)]
struct CacheObject {
    network: String,
    interface: String,
    target: String,
    service: String,
    family: Option<&'static str>,
    outcome: Option<&'static str>,
    remembered: Option<&'static str>,
    round_trip_ms: Option<f64>,
    count: u32,
    since: u64,
    until: u64,
    used: bool,
}

impl CacheObject {
    fn new(line: &Remembered) -> CacheObject {
        let (outcome, remembered) = match line.what {
            What::Outcome(outcome) => (Some(outcome.name()), None),
            What::RememberedAnswer(answer) => (None, Some(answer.name())),
        };
        CacheObject {
            network: line.place.network().key(),
            interface: line.place.network().label().to_owned(),
            target: line.place.target().to_owned(),
            service: line.service.to_string(),
            family: line.family.map(mailport::Family::name),
            outcome,
            remembered,
            round_trip_ms: line.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            count: line.count,
            since: line.since.0,
            until: line.until.0,
            used: line.is_used,
        }
    }
}

fn list(lines: &[Remembered], json: bool) -> io::Result<()> {
    let mut out = io::stdout();
    if json {
        let objects: Vec<CacheObject> = lines.iter().map(CacheObject::new).collect();
        let text = serde_json::to_string(&objects).expect("every key of an entry is a string");
        return writeln!(out, "{text}");
    }
    if lines.is_empty() {
        return writeln!(out, "the cache is empty");
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Stamp::default().plus(since_1970);
    writeln!(out, "{}", table(lines, now))
}

/// One line for each entry, however long, so that it can be searched.
fn table(lines: &[Remembered], now: Stamp) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')))
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["target", "service", "family", "what", "age", "used for", "network"]);
    for line in lines {
        let since = rough(now.since(line.since));
        let used = if line.is_used { rough(line.until.since(now)) } else { "expired".to_owned() };
        let network = line.place.network();
        let network = format!("{} {}", network.label(), &network.key()[..4]);
        let family = line.family.map_or_else(|| "-".to_owned(), |family| family.to_string());
        table.add_row([
            line.place.target().to_owned(),
            line.service.to_string(),
            family,
            words(line),
            since,
            used,
            network,
        ]);
    }
    table.trim_fmt()
}

/// The content of an entry, in words.
fn words(line: &Remembered) -> String {
    let what = match line.what {
        What::Outcome(outcome) => outcome.name(),
        What::RememberedAnswer(answer) => return format!("answered {}", answer.name()),
    };
    match line.round_trip {
        Some(time) if line.what == What::Outcome(Outcome::Connected) => {
            format!("{what} in {:.1} ms", time.as_secs_f64() * 1000.0)
        }
        _ if line.count > 1 => format!("{what}, {} times", line.count),
        _ => what.to_owned(),
    }
}

/// Formats a time in its largest unit.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ ..3600 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use mailport::cache::{Change, Network, Place, Table as Remembering};
    use mailport::machine::{Answer, Observation};
    use mailport::{Family, Plan};

    use super::*;

    #[test]
    fn a_line_says_what_happened_and_for_how_long_it_counts() {
        let now = Stamp(1_800_000_000_000);
        let host = "mail.example".parse().unwrap();
        let place = Place::new(Network::this_machine(""), &host);
        let [first, second] = [0, 1].map(|index| Plan::submission().services()[index]);
        let mut remembering = Remembering::default();
        let learned = |outcome, family| {
            let round_trip = Some(Duration::from_millis(40));
            let observation = Observation {
                service: first,
                family: Some(family),
                outcome,
                round_trip,
                provisional: false,
            };
            Change::Learned { place: place.clone(), observation, at: now }
        };
        remembering.apply(&learned(Outcome::Reset, Family::Ipv6), now);
        remembering.apply(&learned(Outcome::Reset, Family::Ipv6), now);
        remembering.apply(&learned(Outcome::Connected, Family::Ipv4), now);
        let answer = Answer::FallBack;
        let remembered =
            Change::RememberedAnswer { place: place.clone(), service: second, answer, at: now };
        remembering.apply(&remembered, now);
        let at = now.plus(Duration::from_secs(90));
        let text = table(&remembering.list(at), at);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let rows: Vec<String> = text.lines().map(words).collect();
        let network = format!("this machine {}", &place.network().key()[..4]);
        assert_eq!(rows[0], "target service family what age used for network");
        for (row, expected) in rows[2..].iter().zip([
            "587:starttls IPv6 reset, 2 times 1 min 8 min",
            "587:starttls IPv4 connected in 40.0 ms 1 min 8 min",
            "25:starttls - answered fall-back 1 min 29 days",
        ]) {
            assert_eq!(*row, format!("mail.example {expected} {network}"));
        }
        let later = now.plus(Remembering::LIFE);
        assert_eq!(table(&remembering.list(later), later).matches(" expired ").count(), 2);
    }

    #[test]
    fn a_time_is_formatted_in_its_largest_unit() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3600, "1 h"),
            (2 * 86_400 - 1, "47 h"),
            (30 * 86_400, "30 days"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), words);
        }
    }
}
