//! The lines of a log: an event and its fields, as text or as JSON. Nothing that passes through the
//! relay is ever in them.

use std::fmt::{Display, Write};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(u64),
    Text(String),
}

impl Line {
    /// An event: `listening`, `joined`, `ended`, `refused` and so on.
    pub fn new(event: &'static str) -> Line {
        Line { event, fields: Vec::new() }
    }

    /// What happened.
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// The same line with a text.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Line {
        self.fields.push((name, Value::Text(value.to_string())));
        self
    }

    /// The same line with a number.
    #[must_use]
    pub fn count(mut self, name: &'static str, value: u64) -> Line {
        self.fields.push((name, Value::Number(value)));
        self
    }

    /// `joined session=3 client="127.0.0.1:4711" ...`, without an end of line.
    pub fn text(&self) -> String {
        let mut text = self.event.to_owned();
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Number(number) => write!(text, " {name}={number}"),
                Value::Text(value) if value.bytes().all(is_plain) && !value.is_empty() => {
                    write!(text, " {name}={value}")
                }
                Value::Text(value) => write!(text, " {name}={}", quoted(value)),
            };
        }
        text
    }

    /// One JSON object, with the time in milliseconds since 1970, without an end of line.
    pub fn json(&self, time_ms: u64) -> String {
        let mut text = format!("{{\"time_ms\":{time_ms},\"event\":{}", quoted(self.event));
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Number(number) => write!(text, ",{}:{number}", quoted(name)),
                Value::Text(value) => write!(text, ",{}:{}", quoted(name), quoted(value)),
            };
        }
        text.push('}');
        text
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'='
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let line = Line::new("failed").count("session", 3).with("client", "127.0.0.1:1");
        let line = line.with("why", "587 is \"silent\"\n");
        let expected = r#"failed session=3 client=127.0.0.1:1 why="587 is \"silent\"\n""#;
        assert_eq!(line.text(), expected);
        let json: serde_json::Value = serde_json::from_str(&line.json(7)).unwrap();
        assert_eq!((&json["time_ms"], &json["session"]), (&7.into(), &3.into()));
        assert_eq!(json["why"], "587 is \"silent\"\n");
    }
}
