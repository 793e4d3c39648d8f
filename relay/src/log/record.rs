//! One record of the log.

use std::fmt::{Display, Write};
use std::time::{Duration, UNIX_EPOCH};

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// The time, the event and its fields.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// One record: an event and its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(u64),
    Text(String),
}

impl LogRecord {
    /// A record of this event, without fields.
    pub fn new(event: &'static str) -> LogRecord {
        LogRecord { event, fields: Vec::new() }
    }

    /// The event: `listening`, `joined`, `ended`, `refused` and so on.
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// The same record with a text field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> LogRecord {
        self.fields.push((name, Value::Text(value.to_string())));
        self
    }

    /// The same record with a number field.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, value: u64) -> LogRecord {
        self.fields.push((name, Value::Number(value)));
        self
    }

    /// The line for this record, with its end, at this time since 1970.
    pub fn line(&self, format: LogFormat, time: Duration) -> String {
        let mut line = match format {
            LogFormat::Text => {
                let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + time);
                format!("{time} {}", self.text())
            }
            LogFormat::Json => self.json(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        };
        line.push('\n');
        line
    }

    /// `joined session=3 client="127.0.0.1:4711" ...`, without a time and without an end of line.
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
    fn a_record_is_one_line_for_any_values() {
        let record =
            LogRecord::new("failed").with_number("session", 3).with("client", "127.0.0.1:1");
        let record = record.with("reason", "587 is \"silent\"\n");
        let expected = r#"failed session=3 client=127.0.0.1:1 reason="587 is \"silent\"\n""#;
        assert_eq!(record.text(), expected);
        let line = record.line(LogFormat::Text, Duration::from_secs(1));
        assert_eq!(line, format!("1970-01-01T00:00:01Z {expected}\n"));
        let line = record.line(LogFormat::Json, Duration::from_millis(7));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["time_ms"], &json["session"]), (&7.into(), &3.into()));
        assert_eq!(json["reason"], "587 is \"silent\"\n");
    }
}
