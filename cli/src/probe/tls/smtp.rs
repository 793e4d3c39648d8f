//! Replies of SMTP (RFC 5321 section 4.2) and the capabilities of EHLO.
//!
//! docs/design.md says why no crate parses them.

use std::io::{self, ErrorKind, Read, Write};

use super::text::{clean, cut};

/// The longest line, in bytes; RFC 5321 section 4.5.3.1.5 allows 512.
const LINE: usize = 2048;
/// The most lines of a reply.
const LINES: usize = 100;
/// The most capabilities and mechanisms that are kept.
const MOST: usize = 32;

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SmtpReply {
    pub(super) code: u16,
    /// The texts of its lines, without the code.
    pub(super) lines: Vec<String>,
}

impl SmtpReply {
    /// The code and the text of all lines, cut as one line is.
    pub(super) fn text(&self) -> String {
        let text = format!("{} {}", self.code, self.lines.join(" "));
        cut(text.trim_end())
    }

    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum ReplyError {
    /// A line that is not of SMTP, or too many lines.
    NotSmtp(String),
    Io(io::Error),
}

impl From<io::Error> for ReplyError {
    fn from(error: io::Error) -> ReplyError {
        ReplyError::Io(error)
    }
}

/// One side of a conversation: lines go out, replies come in.
pub(super) struct SmtpClient<S> {
    stream: S,
    /// What was read and is not part of a reply yet.
    buffer: Vec<u8>,
}

impl<S: Read + Write> SmtpClient<S> {
    pub(super) fn new(stream: S) -> SmtpClient<S> {
        SmtpClient { stream, buffer: Vec::new() }
    }

    /// Sends a command and reads its reply.
    pub(super) fn command(&mut self, line: &str) -> Result<SmtpReply, ReplyError> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.stream.flush()?;
        self.reply()
    }

    pub(super) fn reply(&mut self) -> Result<SmtpReply, ReplyError> {
        let mut reply: Option<SmtpReply> = None;
        for _ in 0..LINES {
            let line = self.line()?;
            let Some((code, is_last, text)) = parse(&line) else {
                return Err(ReplyError::NotSmtp(clean(&line)));
            };
            let reply = reply.get_or_insert(SmtpReply { code, lines: Vec::new() });
            reply.lines.push(clean(text));
            if is_last {
                return Ok(reply.clone());
            }
        }
        Err(ReplyError::NotSmtp(format!("a reply of more than {LINES} lines")))
    }

    /// Whether the server has sent more than the replies that were asked for.
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// A line without its end; what comes before the end of the connection counts as one.
    fn line(&mut self) -> Result<Vec<u8>, ReplyError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > LINE {
                return Err(ReplyError::NotSmtp(clean(&self.buffer)));
            }
            let mut bytes = [0; LINE];
            match self.stream.read(&mut bytes) {
                Ok(0) if self.buffer.is_empty() => {
                    return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
                }
                Ok(0) => return Ok(std::mem::take(&mut self.buffer)),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not a whole line, and no more comes: the bytes so far may identify the protocol.
                Err(_) if is_foreign(&self.buffer) => {
                    return Err(ReplyError::NotSmtp(clean(&self.buffer)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a text cannot be the beginning of a reply.
fn is_foreign(start: &[u8]) -> bool {
    !start.is_empty() && start.iter().take(3).any(|byte| !byte.is_ascii_digit())
}

/// The code of a line, whether it is the last of its reply, and its text.
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    if !matches!(code[0], b'2'..=b'5') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, true, b"")),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// What a server offers in its reply to EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// The keywords, in capital letters.
    pub(super) keywords: Vec<String>,
    /// The mechanisms of AUTH (RFC 4954).
    pub(super) auth: Vec<String>,
    /// The largest message in bytes (RFC 1870); 0 means no limit is stated.
    pub(super) size: Option<u64>,
    pub(super) starttls: bool,
    /// A keyword in the place of another: some firewalls overwrite it with the letter X.
    pub(super) overwritten: Option<String>,
}

impl From<&SmtpReply> for Capabilities {
    fn from(reply: &SmtpReply) -> Capabilities {
        let mut found = Capabilities::default();
        // The first line is the name of the server.
        for line in reply.lines.iter().skip(1) {
            // Old clients and servers write AUTH=LOGIN.
            let line = line.replacen("AUTH=", "AUTH ", 1);
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next().map(str::to_ascii_uppercase) else { continue };
            match &*keyword {
                "STARTTLS" => found.starttls = true,
                "AUTH" => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        push(&mut found.auth, mechanism);
                    }
                }
                // A size that is not a number is as good as none.
                "SIZE" => found.size = words.next().map_or(Some(0), |size| size.parse().ok()),
                _ if is_overwritten(&keyword) => found.overwritten = Some(keyword.clone()),
                _ => {}
            }
            push(&mut found.keywords, keyword);
        }
        found
    }
}

/// Whether a device has written over a keyword: `XXXXXXXX`, `XXXXXXXA`.
fn is_overwritten(keyword: &str) -> bool {
    let end = keyword.trim_start_matches('X');
    keyword.len() - end.len() >= 4 && end.len() <= 1
}

fn push(list: &mut Vec<String>, word: String) {
    if list.len() < MOST && !list.contains(&word) {
        list.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says this to every command.
    struct Script(io::Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn client(text: impl Into<Vec<u8>>) -> SmtpClient<Script> {
        SmtpClient::new(Script(io::Cursor::new(text.into())))
    }

    fn not_smtp(text: impl Into<Vec<u8>>) -> String {
        match client(text).reply() {
            Err(ReplyError::NotSmtp(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_has_one_line_or_more() {
        let mut client = client("220 ready\r\n250-a.example\r\n250-SIZE 10\n250 \r\n250\r\n");
        assert_eq!(client.reply().unwrap().text(), "220 ready");
        let reply = client.command("EHLO x").unwrap();
        assert_eq!(
            (reply.code, &*reply.lines),
            (250, &["a.example", "SIZE 10", ""].map(str::to_owned)[..])
        );
        assert!(client.has_more());
        assert_eq!(client.reply().unwrap().text(), "250");
        assert!(!client.has_more());
        let ended = client.reply().unwrap_err();
        assert!(matches!(ended, ReplyError::Io(error) if error.kind() == ErrorKind::UnexpectedEof));
    }

    #[test]
    fn what_is_not_smtp_is_shown_in_part() {
        assert_eq!(not_smtp("HTTP/1.1 400 Bad Request\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(not_smtp("SSH-2.0-OpenSSH_9.2"), "SSH-2.0-OpenSSH_9.2");
        assert_eq!(not_smtp("* OK IMAP4rev1 ready\r\n"), "* OK IMAP4rev1 ready");
        assert_eq!(not_smtp("120 soon\r\n"), "120 soon");
        assert_eq!(not_smtp("2\u{e4}0 x\r\n"), "2\u{e4}0 x");
        assert_eq!(not_smtp("\x16\x03\x01\x1b[2J\r\n"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}[2J");
        assert!(not_smtp("x".repeat(1_000_000)).chars().count() <= 201);
        // A reply of 1 MB ends after its first lines, or in its first line.
        let line = format!("250-{}\r\n", "x".repeat(500));
        assert!(not_smtp(line.repeat(2000)).contains("more than 100 lines"));
        let mut long = client(format!("220 {}\r\n", "x".repeat(1_000_000)));
        assert!(matches!(long.reply(), Err(ReplyError::NotSmtp(text)) if text.len() < 250));
        assert!(long.buffer.len() <= 2 * LINE);
    }

    #[test]
    fn a_reply_is_one_text_of_bounded_length() {
        let reply = client("554-no\r\n554 see\x1b[2J https://a.example/\r\n").reply().unwrap();
        assert_eq!(reply.text(), "554 no see\u{fffd}[2J https://a.example/");
        let line = format!("554-{}\r\n", "x".repeat(150));
        let reply = client(line.repeat(50) + "554 end\r\n").reply().unwrap();
        assert_eq!((reply.lines.len(), reply.text().chars().count()), (51, 201));
    }

    #[test]
    fn capabilities_are_read_as_servers_write_them() {
        let mut client = client(
            "250-mail.example\r\n250-size 1024\r\n250-STARTTLS\r\n250-AUTH PLAIN login\r\n\
             250-AUTH=PLAIN CRAM-MD5\r\n250-XXXXXXXA\r\n250 XXXXXXXX\r\n250-a\r\n250 SIZE\r\n",
        );
        let found = Capabilities::from(&client.reply().unwrap());
        assert_eq!(found.auth, ["PLAIN", "LOGIN", "CRAM-MD5"]);
        assert_eq!((found.size, found.starttls), (Some(1024), true));
        assert_eq!(found.overwritten.as_deref(), Some("XXXXXXXX"));
        assert_eq!(Capabilities::from(&client.reply().unwrap()).size, Some(0));
        for (line, overwritten, size) in [
            ("XXXXXXXA", true, None),
            ("XXXX", true, None),
            ("XCLIENT NAME", false, None),
            ("XXX", false, None),
            ("SIZE 18446744073709551616", false, None),
            ("SIZE many", false, None),
        ] {
            let mut client = self::client(format!("250-a\r\n250 {line}\r\n"));
            let found = Capabilities::from(&client.reply().unwrap());
            assert_eq!((found.overwritten.is_some(), found.size), (overwritten, size), "{line}");
        }
        let many = format!("250-a\r\n{}250 END\r\n", "250-AUTH A B C\r\n".repeat(90));
        let mut client = self::client(many);
        assert_eq!(Capabilities::from(&client.reply().unwrap()).auth.len(), 3);
    }
}
