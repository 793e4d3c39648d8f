//! A report drawn for people: one line an attempt, all on one scale of time.

use std::fmt;
use std::time::Duration;

use super::format_host;
use super::summary::{columns, cut, family_of, notes, of_lookup, shorten, worth_seeing};
use super::{Attempt, Lookup, Millis, Report};
use crate::outcome::Outcome;

/// The narrowest that a timeline is drawn; a smaller width is taken for this one.
pub const MIN_WIDTH: usize = 40;

/// A bar that has room to be wide is no wider than this: a longer one tells no more.
const WIDEST_BAR: usize = 48;
/// What is given up, in this order, until the notes fit: width of the bars, then the times.
const SHAPES: [Shape; 3] = [
    Shape { bar: 16, times: true },
    Shape { bar: 10, times: true },
    Shape { bar: 10, times: false },
];
/// Where even that is not enough, the notes are cut.
const NARROWEST: Shape = Shape { bar: 8, times: false };

/// A dial drawn in text: what [`Report::timeline`] gives. Its `Display` is the whole drawing; the
/// parts are separate so that the caller can colour them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timeline {
    /// The line above the rows: the scale of the bars, and the headings of the times.
    pub axis: String,
    /// One row for each slow look-up and each attempt, in the order in which they began.
    pub rows: Vec<Row>,
}

/// One line of a [`Timeline`]. Its parts are padded: written one after the other they are the
/// line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Port, family and address; `look-up` in place of the address of a name look-up.
    pub label: String,
    /// From where it began to where it ended: `├──●` connected, `├──●┄┄┤` connected and then held
    /// back, `├──×` failed, `├┄┄┤` silent until it was given up. At least one character wide.
    pub bar: String,
    /// When it began, from the start of the dial, and how long it took; empty where the width
    /// leaves no room.
    pub times: String,
    /// The outcome and what is known of it.
    pub note: String,
    /// How the attempt ended; `None` for a look-up.
    pub outcome: Option<Outcome>,
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        f.write_str(&self.axis)?;
        self.rows.iter().try_for_each(|row| write!(f, "\n{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}{}", self.label, self.bar, self.times, self.note)
    }
}

impl Report {
    /// The dial as a drawing of at most `width` columns (at least [`MIN_WIDTH`]), without a
    /// newline at its end: the scale, then one line for each attempt, and for each look-up that
    /// took time worth seeing. Empty where there was neither.
    pub fn timeline(&self, width: usize) -> Timeline {
        let ends = self.attempts.iter().map(|attempt| attempt.ended);
        let total = ends.fold(self.elapsed, Duration::max);
        let lookups = self.lookup.iter().filter(|lookup| worth_seeing(lookup, total));
        let spans: Vec<Span> = lookups
            .map(|lookup| Span::from_lookup(lookup, total))
            .chain(self.attempts.iter().map(|attempt| Span::from_attempt(attempt, &self.host)))
            .collect();
        if spans.is_empty() {
            return Timeline::default();
        }
        let layout = Layout::new(&spans, width.max(MIN_WIDTH));
        let rows = spans.iter().map(|span| layout.row(span, total)).collect();
        Timeline { axis: layout.axis(total), rows }
    }
}

/// What is to be drawn on one line.
struct Span {
    port: String,
    family: String,
    place: String,
    began: Duration,
    connected: Option<Duration>,
    ended: Duration,
    outcome: Option<Outcome>,
    /// Ended by us, without an answer.
    silent: bool,
    short: String,
    long: String,
}

impl Span {
    fn from_attempt(attempt: &Attempt, host: &str) -> Span {
        let place = attempt.address.map_or_else(|| host.to_owned(), format_host);
        let (short, long) = notes(attempt);
        Span {
            port: attempt.service.port().to_string(),
            family: family_of(attempt.family),
            place,
            began: attempt.started,
            connected: attempt.connected,
            ended: attempt.ended,
            outcome: attempt.outcome,
            silent: matches!(attempt.outcome, None | Some(Outcome::Timeout | Outcome::Cancelled)),
            short,
            long,
        }
    }

    fn from_lookup(lookup: &Lookup, total: Duration) -> Span {
        let note = of_lookup(lookup);
        Span {
            port: String::new(),
            family: "name".to_owned(),
            place: "look-up".to_owned(),
            began: Duration::ZERO,
            connected: None,
            ended: lookup.ended.unwrap_or(total),
            outcome: None,
            silent: lookup.ended.is_none(),
            short: note.clone(),
            long: note,
        }
    }

    /// The last character of the bar.
    fn mark(&self) -> char {
        match self.outcome {
            Some(Outcome::Connected) => '●',
            Some(_) if !self.silent => '×',
            _ => '┤',
        }
    }

    /// How long it took to connect or, where it did not, to end.
    fn took(&self) -> Duration {
        self.connected.unwrap_or(self.ended).saturating_sub(self.began)
    }
}

#[derive(Clone, Copy)]
struct Shape {
    bar: usize,
    times: bool,
}

/// The widths of the columns.
struct Layout {
    port: usize,
    place: usize,
    bar: usize,
    /// Widths of the two times, where they are shown.
    times: Option<(usize, usize)>,
    note: usize,
}

const BEGAN: &str = "start";
const TOOK: &str = "took";

impl Layout {
    fn new(spans: &[Span], width: usize) -> Layout {
        let widest = |of: &dyn Fn(&Span) -> usize| spans.iter().map(of).max().unwrap_or(0);
        let port = widest(&|s| s.port.len());
        // An address of full length would leave nothing for the rest: see `shorten`.
        let place = widest(&|s| columns(&s.place)).min(width * 3 / 10);
        let short = widest(&|s| columns(&s.short));
        let began = widest(&|s| columns(&Millis(s.began).to_string())).max(BEGAN.len());
        let took = widest(&|s| columns(&Millis(s.took()).to_string())).max(TOOK.len());
        // Each column but the label's has its gap on its left: 1 or 2.
        let right_of_label = width - (port + 1 + "IPv6".len() + 1 + place);
        let for_notes = |shape: Shape| {
            let times = if shape.times { 2 + began + 2 + took } else { 0 };
            right_of_label.saturating_sub(1 + shape.bar + times + 2)
        };
        let fits = SHAPES.into_iter().find(|&shape| short <= for_notes(shape));
        let shape = fits.unwrap_or(NARROWEST);
        let limit = for_notes(shape);
        let note = widest(&|s| columns(s.note(limit))).min(limit);
        let bar = (shape.bar + limit - note).min(WIDEST_BAR);
        Layout { port, place, bar, times: shape.times.then_some((began, took)), note }
    }

    fn row(&self, span: &Span, total: Duration) -> Row {
        let place = shorten(&span.place, self.place);
        let times = self.times.map_or_else(String::new, |(began, took)| {
            let (start, length) = (Millis(span.began).to_string(), Millis(span.took()).to_string());
            format!("  {start:>began$}  {length:>took$}")
        });
        Row {
            label: format!(
                "{:>port$} {} {place:<width$} ",
                span.port,
                span.family,
                port = self.port,
                width = self.place
            ),
            bar: bar(span, self.bar, total),
            times,
            note: format!("  {}", cut(span.note(self.note), self.note)),
            outcome: span.outcome,
        }
    }

    fn axis(&self, total: Duration) -> String {
        let label = self.port + 1 + "IPv6".len() + 1 + self.place + 1;
        let mut scale = vec![' '; self.bar];
        // The marks that matter more are written later, over the others.
        if self.bar >= 30 {
            put(&mut scale, self.bar / 2, &Millis(total / 2).to_string());
        }
        let end = Millis(total).to_string();
        put(&mut scale, self.bar.saturating_sub(end.len()), &end);
        put(&mut scale, 0, "0");
        let scale: String = scale.into_iter().collect();
        let times = self
            .times
            .map_or_else(String::new, |(began, took)| format!("  {BEGAN:>began$}  {TOOK:>took$}"));
        format!("{:label$}{scale}{times}", "").trim_end().to_owned()
    }
}

impl Span {
    fn note(&self, limit: usize) -> &str {
        if columns(&self.long) <= limit { &self.long } else { &self.short }
    }
}

/// A bar in `cells` characters, the width of `total`.
fn bar(span: &Span, cells: usize, total: Duration) -> String {
    let first = cell(span.began, cells, total).min(cells - 1);
    let last = cell(span.ended, cells, total).clamp(first, cells - 1);
    let connected = span.connected.map(|at| cell(at, cells, total).clamp(first, last));
    let held = connected.filter(|&at| at < last);
    let body = if span.silent && connected.is_none() { '┄' } else { '─' };
    let drawn = (0..cells).map(|at| match at {
        _ if at < first || at > last => ' ',
        _ if held == Some(at) => '●',
        _ if at == last && held.is_some() && span.outcome == Some(Outcome::Connected) => '┤',
        _ if at == last => span.mark(),
        _ if held.is_some_and(|connected| at > connected) => '┄',
        _ if at == first => '├',
        _ => body,
    });
    drawn.collect()
}

/// The cell that a time falls into.
fn cell(time: Duration, cells: usize, total: Duration) -> usize {
    let total = total.as_nanos().max(1);
    let scaled = time.as_nanos().saturating_mul(cells as u128) / total;
    usize::try_from(scaled).unwrap_or(cells)
}

fn put(line: &mut [char], at: usize, text: &str) {
    for (place, c) in line.iter_mut().skip(at).zip(text.chars()) {
        *place = c;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::{Errno, Icmp};
    use crate::plan::{Family, Service, Tls};
    use crate::report::{End, LookupError, Reason, Stage};

    const MS: Duration = Duration::from_millis(1);

    fn attempt(address: &str, outcome: Outcome, started: Duration, ended: Duration) -> Attempt {
        let address: SocketAddr = address.parse().unwrap();
        Attempt {
            service: Service::new(address.port(), Tls::StartTls).unwrap(),
            family: Some(Family::from(address.ip())),
            address: Some(address),
            stage: Stage::Connect,
            started,
            connected: None,
            ended,
            outcome: Some(outcome),
            errno: None,
            icmp: None,
            via_error: None,
            note: None,
            greeting: None,
            syns: None,
            reason: Reason::First,
        }
    }

    fn report(attempts: Vec<Attempt>, lookup: Option<Lookup>, elapsed: Duration) -> Report {
        let (host, end) = ("mail.example".into(), End::Exhausted);
        Report { host, via: None, attempts, lookup, end: Some(end), elapsed }
    }

    fn silent_then_open() -> Report {
        let mut silent = attempt("192.0.2.1:587", Outcome::Timeout, 100 * MS, 1400 * MS);
        silent.syns = Some(2);
        let mut open = attempt("192.0.2.1:25", Outcome::Connected, 1100 * MS, 1400 * MS);
        open.connected = Some(1140 * MS);
        let result = Ok(vec!["192.0.2.1:0".parse().unwrap()]);
        let slow = Lookup { hedged: false, ended: Some(100 * MS), result };
        report(vec![silent, open], Some(slow), 1400 * MS)
    }

    fn filtered() -> Report {
        let mut filtered = attempt("192.0.2.1:587", Outcome::IcmpHard, Duration::ZERO, 40 * MS);
        filtered.icmp = Some(Icmp {
            family: Family::Ipv4,
            kind: 3,
            code: 13,
            sender: Some("203.0.113.1".parse().unwrap()),
        });
        let open = attempt("192.0.2.1:25", Outcome::Connected, 40 * MS, 80 * MS);
        report(vec![filtered, open], None, 80 * MS)
    }

    fn drawn(report: &Report, width: usize) -> Vec<String> {
        report.timeline(width).to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_dial_is_drawn_on_one_scale() {
        assert_eq!(
            drawn(&silent_then_open(), 80),
            [
                "                   0              1.40 s   start    took",
                "    name look-up   ├┤                     0.0 ms  100 ms  1 address",
                "587 IPv4 192.0.2.1  ├┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┤  100 ms  1.30 s  timeout, 2 SYNs",
                " 25 IPv4 192.0.2.1                 ├●┄┄┤  1.10 s   40 ms  connected, held 260 ms",
            ]
        );
    }

    #[test]
    fn meanings_then_times_give_way_to_the_router() {
        assert_eq!(
            drawn(&filtered(), 130),
            [
                "                   0                  80 ms   start   took",
                "587 IPv4 192.0.2.1 ├───────────×             0.0 ms  40 ms  icmp-hard from 203.0.113.1 (communication administratively prohibited)",
                " 25 IPv4 192.0.2.1             ├──────────●   40 ms  40 ms  connected",
            ]
        );
        assert_eq!(
            drawn(&filtered(), 80),
            [
                "                   0            80 ms   start   took",
                "587 IPv4 192.0.2.1 ├────────×          0.0 ms  40 ms  icmp-hard from 203.0.113.1",
                " 25 IPv4 192.0.2.1          ├───────●   40 ms  40 ms  connected",
            ]
        );
        assert_eq!(
            drawn(&filtered(), 64),
            [
                "                   0           80 ms",
                "587 IPv4 192.0.2.1 ├───────×          icmp-hard from 203.0.113.1",
                " 25 IPv4 192.0.2.1         ├───────●  connected",
            ]
        );
        assert_eq!(drawn(&filtered(), 0), drawn(&filtered(), MIN_WIDTH));
        assert_eq!(
            drawn(&filtered(), MIN_WIDTH),
            [
                "                   0  80 ms",
                "587 IPv4 192.0.2.1 ├───×     icmp-hard …",
                " 25 IPv4 192.0.2.1     ├──●  connected",
            ]
        );
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        assert_eq!(report(Vec::new(), None, MS).timeline(80).to_string(), "");
    }

    #[test]
    fn a_look_up_that_failed_or_hangs_is_shown_however_quick() {
        let failed = (Some(MS), LookupError::TryAgain, "temporary failure of the name service");
        let hangs = (None, LookupError::Unanswered, "not answered");
        for (ended, error, words) in [failed, hangs] {
            let lookup = Lookup { hedged: false, ended, result: Err(error) };
            let timeline = report(Vec::new(), Some(lookup), 30_000 * MS).timeline(80);
            let notes: Vec<&str> = timeline.rows.iter().map(|row| row.note.trim()).collect();
            assert_eq!(notes, [words]);
            assert!(timeline.rows.iter().all(|row| row.outcome.is_none()));
        }
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<(u32, u16)>()
                .prop_map(|(ip, port)| (std::net::Ipv4Addr::from(ip), port.max(1)).into()),
            any::<(u128, u16)>()
                .prop_map(|(ip, port)| (std::net::Ipv6Addr::from(ip), port.max(1)).into()),
        ]
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(vec![
            Outcome::Connected,
            Outcome::Reset,
            Outcome::IcmpHard,
            Outcome::IcmpSoft,
            Outcome::Timeout,
            Outcome::Local,
            Outcome::Closed,
            Outcome::Cancelled,
        ])
    }

    prop_compose! {
        fn any_attempt()(
            address in any_address(),
            outcome in any_outcome(),
            started in 0..40_000_000_u64,
            lasted in prop_oneof![0..2_000_u64, 0..100_000_000_000_u64],
            icmp in any::<Option<(u8, u8, Option<std::net::IpAddr>)>>(),
            syns in any::<Option<u32>>(),
            errno in any::<Option<i32>>(),
        ) -> Attempt {
            let family = Family::from(address.ip());
            Attempt {
                icmp: icmp.map(|(kind, code, from)| Icmp { family, kind, code, sender: from }),
                syns,
                errno: errno.map(Errno),
                ..attempt(
                    &address.to_string(),
                    outcome,
                    Duration::from_micros(started),
                    Duration::from_micros(started + lasted),
                )
            }
        }
    }

    prop_compose! {
        fn any_lookup()(
            hedged in any::<bool>(),
            ended in any::<Option<u32>>(),
            words in prop::option::of(".{1,90}"),
        ) -> Lookup {
            let ended = ended.map(|us| Duration::from_micros(us.into()));
            let result = words.map_or(Ok(Vec::new()), |words| Err(LookupError::Failed(words)));
            Lookup { hedged, ended, result }
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked_for_and_every_attempt_is_seen(
            attempts in prop::collection::vec(any_attempt(), 0..20),
            lookup in prop::option::of(any_lookup()),
            elapsed in prop_oneof![0..2_000_u64, 0..100_000_000_000_u64],
            width in 0..200_usize,
        ) {
            let report = report(attempts, lookup, Duration::from_micros(elapsed));
            let timeline = report.timeline(width);
            for line in timeline.to_string().lines() {
                prop_assert!(columns(line) <= width.max(MIN_WIDTH), "{width}: {line:?}");
            }
            let of_attempts = timeline.rows.iter().filter(|row| row.outcome.is_some());
            prop_assert_eq!(of_attempts.clone().count(), report.attempts.len());
            for row in &timeline.rows {
                prop_assert!(!row.bar.trim().is_empty());
                // What a look-up failed with is the system's, and may say nothing.
                prop_assert!(row.outcome.is_none() || !row.note.trim().is_empty());
            }
        }
    }
}
