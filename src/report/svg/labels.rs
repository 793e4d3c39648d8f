//! Text that fits: into lines, into its column, into XML.

use crate::report::summary::{columns, cut};

/// The longest address shown in full, and the longest line of a note.
pub(super) const PLACE: usize = 39;
pub(super) const NOTE: usize = 34;

pub(super) fn width(text: &str, of_character: f64) -> f64 {
    float(columns(text)) * of_character
}

pub(super) fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// How many characters there is room for.
pub(super) fn chars(room: f64, of_character: f64) -> usize {
    (1..1000).take_while(|&count| float(count) * of_character <= room).count().max(1)
}

/// A text that XML can hold, on one line, written in the order in which it is read.
pub(super) fn clean(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
            || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
    };
    text.replace(bad, "\u{fffd}")
}

/// The text in lines of at most `limit` columns; a longer word has its own line, up to the
/// length of an address.
pub(super) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, limit.max(PLACE + 2));
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&word) <= limit => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The same number of lines, and the lines as even as they can be.
pub(super) fn even(text: &str, limit: usize) -> Vec<String> {
    let lines = wrap(text, limit);
    let narrower = (1..limit).map(|limit| wrap(text, limit));
    narrower.into_iter().find(|even| even.len() == lines.len()).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_evenly() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap(" ", 7), Vec::<String>::new());
        assert_eq!(even("aa bb cc dd", 8), ["aa bb", "cc dd"]);
        assert!(wrap(&"x".repeat(99), 7).iter().all(|line| columns(line) <= PLACE + 2));
    }

    #[test]
    fn a_text_loses_what_xml_has_no_room_for() {
        assert_eq!(clean("a\0b\u{ffff}c\u{202e}d\te"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e");
        assert_eq!(clean("bücher <&> \u{1f4ec}"), "bücher <&> \u{1f4ec}");
    }
}
