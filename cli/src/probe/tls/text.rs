//! Text from servers, made safe for a terminal.

/// The longest text that is kept, in characters.
pub(super) const LONGEST: usize = 200;

/// A text without control and formatting characters, which could move the cursor or reorder what is
/// shown; cut at [`LONGEST`].
pub(super) fn clean(bytes: &[u8]) -> String {
    // No character has more than four bytes: the rest of a long text is not even decoded.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * (LONGEST + 1))]);
    let text = text.trim_end_matches(['\r', '\n']);
    cut(text).chars().map(shown).collect()
}

/// The beginning of a text, [`LONGEST`] characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        // Direction marks, line separators, invisible characters.
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_stays() {
        assert_eq!(clean(b"220 \x1b[31mred\x07\x9b\r\n"), "220 \u{fffd}[31mred\u{fffd}\u{fffd}");
        assert_eq!(clean("a\u{202e}b\u{85}c\td".as_bytes()), "a\u{fffd}b\u{fffd}c d");
        assert_eq!(clean("Grüße, 世界".as_bytes()), "Grüße, 世界");
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = clean("ü".repeat(100_000).as_bytes());
        assert_eq!((long.chars().count(), long.ends_with("ü…")), (LONGEST + 1, true));
        assert_eq!(clean("x".repeat(LONGEST).as_bytes()).len(), LONGEST);
    }
}
