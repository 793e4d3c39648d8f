//! A table as the text of a file, and back: JSON.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::table::{CacheEntry, KnownTarget, RememberedAnswer};
use super::{Network, Place, Stamp, Table};
use crate::machine::Answer;
use crate::outcome::Outcome;
use crate::plan::{Family, Service};
use crate::target::Target;

/// Counts up when a key changes its meaning or goes.
const VERSION: u64 = 1;

/// How the text of every version begins; the number follows, and then [`PLACES`].
const START: &[u8] = b"{\"version\":";
const PLACES: &[u8] = b",\"places\":[";

/// Whether the number of the version is followed by the places, as far as there is text.
fn has_places(text: &[u8]) -> bool {
    let rest = text.get(START.len()..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &rest[digits..];
    digits > 0 && rest.starts_with(PLACES) || PLACES.starts_with(rest)
}

/// The outcomes that an observation may have.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Connected,
    Outcome::Reset,
    Outcome::IcmpHard,
    Outcome::IcmpSoft,
    Outcome::Timeout,
    Outcome::Closed,
    Outcome::Via,
];

#[derive(Serialize)]
struct CacheText {
    version: u64,
    places: Vec<PlaceText>,
}

#[derive(Serialize)]
struct PlaceText {
    network: String,
    label: String,
    target: String,
    outcomes: Vec<OutcomeText>,
    answers: Vec<AnswerText>,
}

/// Times are in milliseconds since 1970, the round trip in microseconds.
#[derive(Serialize)]
struct OutcomeText {
    service: String,
    family: Option<String>,
    outcome: String,
    when: u64,
    until: u64,
    round_trip: Option<u64>,
    count: u32,
}

#[derive(Serialize)]
struct AnswerText {
    service: String,
    answer: String,
    when: u64,
    until: u64,
}

impl Table {
    /// The text that a file keeps. Never much more than a megabyte.
    pub(crate) fn to_text(&self) -> String {
        let places = self.places.iter().map(|(place, known)| PlaceText::new(place, known));
        let file = CacheText { version: VERSION, places: places.collect() };
        serde_json::to_string(&file).expect("every key of a cache is a string") + "\n"
    }

    /// Whether text is a cache of any version, whole or damaged: mailport replaces nothing else. An
    /// empty file and one of zeros count as well, which is what a loss of power leaves.
    pub(crate) fn is_recognised(text: &[u8]) -> bool {
        let starts = text.starts_with(START) || START.starts_with(text);
        starts && has_places(text)
            || text.iter().all(|&byte| byte == 0)
            || Whole::parse(text).is_some()
    }

    /// Whether a file is of a version to come: it holds what this one would lose.
    pub(crate) fn is_of_the_future(text: &[u8]) -> bool {
        Whole::parse(text).is_some_and(|file| file.version > VERSION)
    }

    /// The table that a file keeps, as far as it can be understood. Text of another version, and
    /// text that is not a cache, is an empty table; within ours, what makes no sense is left out.
    pub(crate) fn from_text(text: &[u8], now: Stamp) -> Table {
        let mut table = Table::default();
        let file = Whole::parse(text).filter(|file| file.version == VERSION);
        // More is none of ours.
        let places = file.iter().flat_map(|file| &file.places).take(Table::MAX_PLACES);
        table.places.extend(places.filter_map(read_place));
        table.tidy(now);
        table
    }
}

impl PlaceText {
    fn new(place: &Place, known: &KnownTarget) -> PlaceText {
        let outcomes = known.outcomes.iter().map(|((service, family), entry)| OutcomeText {
            service: service.to_string(),
            family: family.map(|family| family.name().to_owned()),
            outcome: entry.outcome.name().to_owned(),
            when: entry.when.0,
            until: entry.until.0,
            round_trip: entry.round_trip.and_then(|time| u64::try_from(time.as_micros()).ok()),
            count: entry.count,
        });
        let answers = known.answers.iter().map(|(service, remembered)| AnswerText {
            service: service.to_string(),
            answer: remembered.answer.name().to_owned(),
            when: remembered.when.0,
            until: remembered.until.0,
        });
        PlaceText {
            network: place.network().key(),
            label: place.network().label().to_owned(),
            target: place.target().to_owned(),
            outcomes: outcomes.collect(),
            answers: answers.collect(),
        }
    }
}

/// What every version of the file has, in any order and spacing.
struct Whole {
    version: u64,
    places: Vec<Value>,
}

impl Whole {
    // As a value, not as one type of each part: that is less code.
    fn parse(text: &[u8]) -> Option<Whole> {
        if is_deep(text) {
            return None;
        }
        let Value::Object(mut file) = serde_json::from_slice(text).ok()? else { return None };
        let version = file.get("version")?.as_u64()?;
        let Value::Array(places) = file.remove("places")? else { return None };
        Some(Whole { version, places })
    }
}

/// Whether a text nests more than a cache does, which has five levels: to read it would take more
/// stack than a thread of the program may have.
fn is_deep(text: &[u8]) -> bool {
    const MOST: usize = 16;
    let (mut open, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'[' | b'{' if !is_quoted => open += 1,
            b']' | b'}' if !is_quoted => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MOST {
            return true;
        }
    }
    false
}

fn text<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str()
}

fn list<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    let list = of.get(key).and_then(Value::as_array);
    list.into_iter().flatten().take(Table::MAX_OF_PLACE)
}

/// When something happened, and until when it is used.
fn times(of: &Value) -> Option<(Stamp, Stamp)> {
    let time = |key| of.get(key)?.as_u64().map(Stamp);
    Some((time("when")?, time("until")?))
}

fn read_place(of: &Value) -> Option<(Place, KnownTarget)> {
    let target: Target = text(of, "target")?.parse().ok()?;
    let network = Network::written(text(of, "network")?, text(of, "label")?)?;
    let mut known = KnownTarget::default();
    known.outcomes.extend(list(of, "outcomes").filter_map(read_outcome));
    known.answers.extend(list(of, "answers").filter_map(read_answer));
    Some((Place::new(network, &target), known))
}

fn read_outcome(of: &Value) -> Option<((Service, Option<Family>), CacheEntry)> {
    let service = text(of, "service")?.parse::<Service>().ok()?.over_both();
    let family = match of.get("family")? {
        Value::Null => None,
        name => Some(Family::ALL.into_iter().find(|family| Some(family.name()) == name.as_str())?),
    };
    let name = text(of, "outcome")?;
    let outcome = OUTCOMES.into_iter().find(|outcome| outcome.name() == name)?;
    let (when, until) = times(of)?;
    let round_trip = match of.get("round_trip")? {
        Value::Null => None,
        time => Some(Duration::from_micros(time.as_u64()?)),
    };
    let count = of.get("count")?.as_u64()?.try_into().ok()?;
    let entry = CacheEntry { outcome, when, until, round_trip, count };
    (until.since(when) <= Table::LONGEST_LIFE).then_some(((service, family), entry))
}

fn read_answer(of: &Value) -> Option<(Service, RememberedAnswer)> {
    let name = text(of, "answer")?;
    let answer = Answer::ALL.into_iter().find(|answer| answer.name() == name)?;
    let (when, until) = times(of)?;
    let remembered = RememberedAnswer { answer, when, until };
    let is_sane = until.since(when) <= Table::ANSWER_LIFETIME;
    Some((text(of, "service")?.parse().ok()?, remembered)).filter(|_| is_sane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Change;
    use crate::machine::Observation;
    use crate::plan::Plan;

    const NOW: Stamp = Stamp(1_800_000_000_000);

    fn place(host: &str) -> Place {
        Place::new(Network::this_machine(""), &host.parse().unwrap())
    }

    fn filled() -> Table {
        let mut table = Table::default();
        let (plan, rtt) = (Plan::submission(), Some(Duration::from_micros(1234)));
        for (index, outcome) in OUTCOMES.into_iter().enumerate() {
            let family = [Some(Family::Ipv6), Some(Family::Ipv4), None][index % 3];
            let observation = Observation {
                service: plan.services()[0],
                family,
                outcome,
                round_trip: rtt,
                provisional: false,
            };
            let place = place(&format!("mail{index}.example"));
            table.apply(&Change::Learned { place: place.clone(), observation, at: NOW }, NOW);
            let service = plan.services()[1].over(Family::Ipv4);
            let answer = Answer::ALL[index % 3];
            table.apply(&Change::RememberedAnswer { place, service, answer, at: NOW }, NOW);
        }
        table
    }

    #[test]
    fn a_table_comes_back_from_its_text() {
        let table = filled();
        assert_eq!(table.list(NOW).len(), 14);
        assert_eq!(Table::from_text(table.to_text().as_bytes(), NOW), table);
    }

    #[test]
    fn text_of_another_version_and_nonsense_is_an_empty_table() {
        let text = filled().to_text();
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        assert_ne!(newer, text);
        assert!(Table::is_of_the_future(newer.as_bytes()));
        for text in [&text, "", "{\"version\":2", "{\"version\":0}", "{\"version\":\"2\"}"] {
            assert!(!Table::is_of_the_future(text.as_bytes()), "{text}");
        }
        for text in [&newer, "", "{", "null", "[]", "\0\0\0", &text[..text.len() / 2]] {
            assert_eq!(Table::from_text(text.as_bytes(), NOW), Table::default(), "{text}");
        }
        assert_eq!(Table::from_text(b"\xff\xfe", NOW), Table::default());
    }

    #[test]
    fn text_that_nests_deeply_is_read_on_no_stack() {
        let levels = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(!is_deep(levels(16).as_bytes()) && is_deep(levels(17).as_bytes()));
        let quoted = format!(r#"{{"a":"{}\"[","b":[]}}"#, "[".repeat(99));
        assert!(!is_deep(quoted.as_bytes()));
        let hidden = format!(r#"{{"a":"{}","b":{}}}"#, "]".repeat(99), levels(99));
        assert!(is_deep(hidden.as_bytes()));
        assert!(!is_deep(filled().to_text().as_bytes()));
    }

    #[test]
    fn a_cache_is_recognised_whole_and_damaged_and_nothing_else_is() {
        let text = filled().to_text();
        let later = text.replacen("\"version\":1", "\"version\":27", 1);
        for end in [0, 1, 5, 11, 12, 13, 20, 24, 100, text.len()] {
            assert!(Table::is_recognised(&text.as_bytes()[..end]), "{}", &text[..end]);
        }
        for ours in [&*later, "\0\0\0", "{ \"places\": [], \"version\": 1 }"] {
            assert!(Table::is_recognised(ours.as_bytes()), "{ours}");
        }
        for other in ["hello", "{}", "null", "[]", "{\"version\":2,\"name\":\"x\"}", "\0x", " "] {
            assert!(!Table::is_recognised(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_the_rest_is_kept() {
        let text = filled().to_text();
        for (part, nonsense) in [
            (r#""target":"mail3.example""#, r#""target":"mail\u001b[2J""#),
            (r#""outcome":"timeout""#, r#""outcome":"local""#),
            (r#""service":"587:starttls""#, r#""service":"0:starttls""#),
            (r#""family":"ipv6""#, r#""family":"ipv5""#),
            (r#""label":"this machine""#, r#""label":"\u001b[2J""#),
            (r#""answer":"give-up""#, r#""answer":"maybe""#),
            (r#""until":1800000600000"#, r#""until":18446744073709551615"#),
        ] {
            let broken = text.replacen(part, nonsense, 1);
            assert_ne!(broken, text, "{part}");
            let left = Table::from_text(broken.as_bytes(), NOW).list(NOW).len();
            assert!((11..14).contains(&left), "{nonsense}: {left}");
        }
    }

    #[test]
    fn the_largest_table_is_well_below_what_is_read() {
        let mut table = Table::default();
        for host in 0..Table::MAX_PLACES {
            let place = place(&format!("{host}.{}", "a.".repeat(120)));
            for port in 1..=32 {
                let service = format!("{}:implicit", 60_000 + port).parse().unwrap();
                let (family, rtt) = (Some(Family::Ipv6), Some(Duration::from_secs(100)));
                let outcome = Outcome::Connected;
                let observation =
                    Observation { service, family, outcome, round_trip: rtt, provisional: false };
                table.apply(&Change::Learned { place: place.clone(), observation, at: NOW }, NOW);
                let answer = Answer::FallBack;
                let place = place.clone();
                table.apply(&Change::RememberedAnswer { place, service, answer, at: NOW }, NOW);
            }
        }
        assert_eq!(table.list(NOW).len(), Table::MAX_PLACES * 64);
        assert!(table.to_text().len() < 3 << 20, "{}", table.to_text().len());
    }
}
