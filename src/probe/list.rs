//! Hosts listed in text, one a line.

use crate::target::Target;

/// One line of a list: a host, and what is known of the report that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The host.
    pub target: Target,
    /// What kind of server it is, in a word: `ISP`, `Company`. `home` for a server in a home.
    pub kind: Option<String>,
    /// Who uses it, in a word.
    pub user: Option<String>,
}

/// A host of which nothing more is known.
impl From<Target> for Entry {
    fn from(target: Target) -> Entry {
        Entry { target, kind: None, user: None }
    }
}

impl Entry {
    /// The server without what makes no difference: letter case and the final dot of a name, the
    /// spelling of an address.
    pub fn server(&self) -> String {
        self.target.canonical()
    }
}

/// Why a list was refused; the caller's mistake, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
#[non_exhaustive]
pub struct ListError {
    /// The line, counted from 1.
    pub line: usize,
    /// The word.
    pub word: String,
    /// What is wrong with it; names it.
    pub reason: String,
}

/// Reads a list: on each line a host, and after it `kind=WORD` and `user=WORD` in any order, where
/// they are known. What follows a `#` at the beginning of a word is a comment.
///
/// ```
/// let list = mailport::probe::parse_list("# ours\nmail.example.com kind=ISP user=kazu\n192.0.2.1")?;
/// assert_eq!(list[0].kind.as_deref(), Some("ISP"));
/// let error = mailport::probe::parse_list("mail.example.com king=ISP").unwrap_err();
/// assert_eq!(error.to_string(), "line 1: `king=ISP`: after the host, write kind=WORD or user=WORD");
/// # Ok::<(), mailport::probe::ListError>(())
/// ```
pub fn parse_list(text: &str) -> Result<Vec<Entry>, ListError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = parse_line(line).map_err(|(word, reason)| {
            let word = word.to_owned();
            ListError { line: number + 1, word, reason }
        })?;
        entries.extend(entry);
    }
    Ok(entries)
}

/// The entry of a line; `None` where there is none. An error is a word and what is wrong with it.
fn parse_line(line: &str) -> Result<Option<Entry>, (&str, String)> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(host) = words.next() else { return Ok(None) };
    if host.starts_with("kind=") || host.starts_with("user=") {
        return Err((host, format!("`{host}`: the host comes first")));
    }
    let target = host.parse::<Target>().map_err(|error| (host, error.to_string()))?;
    let mut entry = Entry::from(target);
    for word in words {
        let wrong = |reason: &str| (word, format!("`{word}`: {reason}"));
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
            ("bücher.example", 1, "bücher.example", "xn--bcher-kva.example"),
            ("ok user=a\u{1b}[31m", 1, "user=a\u{1b}[31m", "a word is missing"),
        ] {
            let error = parse_list(text).unwrap_err();
            assert_eq!((error.line, &*error.word), (line, word), "{text}");
            let message = error.to_string();
            assert!(message.contains(part) && message.contains(word), "{message}");
        }
    }
}
