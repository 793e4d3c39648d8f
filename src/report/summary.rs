//! What both drawings of a report say, and how they cut it to fit.

use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

use super::{Attempt, Lookup, LookupError, Millis};
use crate::outcome::{Outcome, ViaError};
use crate::plan::Family;

/// A look-up faster than this is not worth a line.
const FAST_LOOKUP: Duration = Duration::from_millis(10);

/// Look-ups that were quick would only push the attempts down.
pub(super) fn worth_seeing(lookup: &Lookup, total: Duration) -> bool {
    let Some(ended) = lookup.ended else { return true };
    let failed = lookup.result.as_ref().is_err_and(|error| !error.says_there_is_none());
    failed || (ended >= FAST_LOOKUP && ended >= total / 20)
}

/// What a look-up gave.
pub(super) fn of_lookup(lookup: &Lookup) -> String {
    match &lookup.result {
        Ok(list) if list.len() == 1 => "1 address".to_owned(),
        Ok(list) => format!("{} addresses", list.len()),
        Err(LookupError::NoAddress) => "no address".to_owned(),
        // The system's words, which may be anything.
        Err(error) => error.to_string().replace(char::is_control, " "),
    }
}

/// The family as a column shows it; where a proxy or a command has the choice, `via`.
pub(super) fn family_of(family: Option<Family>) -> String {
    family.map_or_else(|| "via".to_owned(), |family| family.to_string())
}

/// The outcome in few words, and in all.
pub(super) fn notes(attempt: &Attempt) -> (String, String) {
    let Some(outcome) = attempt.outcome else {
        let open = "no answer yet".to_owned();
        return (open.clone(), open);
    };
    let again = if attempt.is_repeated() { "again, " } else { "" };
    let short = match (outcome, attempt.icmp, attempt.syns, attempt.errno) {
        (Outcome::Timeout, _, Some(1), _) => "timeout, 1 SYN".to_owned(),
        (Outcome::Timeout, _, Some(syns), _) => format!("timeout, {syns} SYNs"),
        (Outcome::Local, _, _, Some(errno)) => format!("local, {errno}"),
        (Outcome::Via, ..) => match attempt.via_error {
            Some(ViaError::Reply(code)) => format!("via, reply {code}"),
            Some(error) => format!("via, {}", error.name()),
            None => outcome.to_string(),
        },
        (Outcome::Connected, ..) => match attempt.held() {
            Duration::ZERO => outcome.to_string(),
            held => format!("{outcome}, held {}", Millis(held)),
        },
        (_, Some(icmp), ..) => match icmp.sender {
            Some(from) => format!("{outcome} from {from}"),
            None => outcome.to_string(),
        },
        _ => outcome.to_string(),
    };
    let short = format!("{again}{short}");
    let long = match (attempt.icmp, &attempt.note, attempt.via_error) {
        (Some(icmp), ..) => format!("{short} ({icmp})"),
        (_, Some(note), _) => format!("{short} ({note})"),
        (.., Some(error)) => format!("{short} ({error})"),
        _ => short.clone(),
    };
    (short, long)
}

/// A text without its middle, so that both ends of an address stay readable.
pub(super) fn shorten(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{start}…{end}")
}

/// A text without its end.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let kept = text.chars().take_while(|&c| {
        used += c.width().unwrap_or(0);
        used <= width
    });
    kept.chain(['…']).collect()
}

/// The columns that a text takes on a terminal: the message of a failed look-up may be in any
/// script.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}
