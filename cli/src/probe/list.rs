//! Hosts listed in a text, one a line.

use std::fmt;

use mailport::Target;

/// One line of a list: a host, and what is known of the report that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListEntry {
    /// The host.
    pub(super) target: Target,
    /// What kind of server it is, in a word: `ISP`, `Company`. `home` for a server in a home.
    pub(super) kind: Option<String>,
    /// Who uses it, in a word.
    pub(super) user: Option<String>,
}

/// A host of which nothing more is known.
impl From<Target> for ListEntry {
    fn from(target: Target) -> ListEntry {
        ListEntry { target, kind: None, user: None }
    }
}

impl ListEntry {
    /// The server without what makes no difference: letter case and the final dot of a name, the
    /// spelling of an address.
    pub(super) fn server(&self) -> String {
        self.target.canonical()
    }
}

/// Why a list was refused; the caller's mistake, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListError {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// What is wrong; names the word.
    pub(super) reason: String,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Reads a list: on each line a host, and after it `kind=WORD` and `user=WORD` in any order, where
/// they are known. What follows a `#` at the beginning of a word is a comment.
pub(super) fn parse_list(text: &str) -> Result<Vec<ListEntry>, ListError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        entries.extend(parse_line(line).map_err(|reason| ListError { line: number + 1, reason })?);
    }
    Ok(entries)
}

/// The entry of a line; `None` for an empty line. The error names the word and what is wrong.
fn parse_line(line: &str) -> Result<Option<ListEntry>, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(host) = words.next() else { return Ok(None) };
    if host.starts_with("kind=") || host.starts_with("user=") {
        return Err(format!("`{host}`: the host comes first"));
    }
    let target = host.parse::<Target>().map_err(|error| error.to_string())?;
    let mut entry = ListEntry::from(target);
    for word in words {
        let wrong = |reason: &str| format!("`{word}`: {reason}");
        let (field, value) = match word.split_once('=') {
            Some(("kind", value)) => (&mut entry.kind, value),
            Some(("user", value)) => (&mut entry.user, value),
            _ => return Err(wrong("after the host, write kind=WORD or user=WORD")),
        };
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(wrong("a word is missing after the ="));
        }
        if field.replace(value.to_owned()).is_some() {
            return Err(wrong("this is said twice on the line"));
        }
    }
    Ok(Some(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_comments_and_words_in_any_order_are_read() {
        let text = "\u{feff}# servers\r\n\r\n  mail.example.com. kind=ISP user=a # known\n\
            MAIL.example.com user=b kind=home\n2001:db8::1\t#none\nfe80::1%eth0";
        let list = parse_list(text).unwrap();
        let hosts: Vec<&str> = list.iter().map(|entry| entry.target.as_str()).collect();
        assert_eq!(hosts, ["mail.example.com.", "MAIL.example.com", "2001:db8::1", "fe80::1%eth0"]);
        assert_eq!((list[0].kind.as_deref(), list[0].user.as_deref()), (Some("ISP"), Some("a")));
        assert_eq!((list[1].kind.as_deref(), list[1].user.as_deref()), (Some("home"), Some("b")));
        assert_eq!((&list[2].kind, &list[2].user), (&None, &None));
        assert_eq!(list[0].server(), list[1].server());
        assert_eq!(parse_list(""), Ok(Vec::new()));
        let same = parse_list("2001:db8::1\n2001:DB8:0::1\n::ffff:192.0.2.1\n192.0.2.1").unwrap();
        assert_eq!(same[0].server(), same[1].server());
        assert_eq!(same[2].server(), same[3].server());
    }

    #[test]
    fn an_error_names_the_line_and_the_word() {
        for (text, line, word, part) in [
            ("ok\n\nbad_.example:25", 3, "bad_.example:25", "without a port"),
            ("ok kind=ISP kind=ASP", 1, "kind=ASP", "twice"),
            ("ok kind=", 1, "kind=", "a word is missing"),
            ("# no\nok ISP", 2, "ISP", "write kind=WORD"),
            ("kind=ISP ok", 1, "kind=ISP", "the host comes first"),
            ("ok user=a\u{1b}[31m", 1, "user=a\u{1b}[31m", "a word is missing"),
        ] {
            let error = parse_list(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            let message = error.to_string();
            assert!(message.contains(part) && message.contains(word), "{message}");
        }
    }
}
