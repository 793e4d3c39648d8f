//! What a dial goes through instead of connecting by itself: a SOCKS5 proxy, or a command.

use std::fmt;
use std::str::FromStr;

use crate::socks5::{self, Login};
use crate::target::{Target, TargetError};

/// A proxy or a tunnel command, parsed once.
///
/// - `socks5://[USER:PASSWORD@]HOST[:PORT]` is a SOCKS5 proxy (RFC 1928), by default at port 1080.
///   It is given the target's name unresolved. User and password (RFC 1929) are percent-encoded
///   where they must be, an IPv6 address is in brackets, and nothing follows.
/// - `command:WORDS` is a command that is started for every connection, and whose standard input
///   and output are the connection. The words are quoted as in a shell, but no shell reads them
///   and nothing in them is expanded but `%h` (the target), `%p` (the port) and `%%` (a percent
///   sign), each within its word. The program is looked up in `PATH`.
///
/// What it prints, as any error does, names the proxy or the program and nothing else: neither
/// user nor password nor the command's other words, which may hold secrets, too.
///
/// ```
/// use mailport::Via;
///
/// let proxy: Via = "socks5://user:pass%20word@proxy.example".parse()?;
/// assert_eq!(proxy.to_string(), "socks5://proxy.example:1080");
/// let command: Via = "command:ssh -W '[%h]:%p' gateway.example".parse()?;
/// assert_eq!(command.to_string(), "command:ssh");
/// # Ok::<(), mailport::via::ViaParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Via(pub(crate) Kind);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Socks5 { proxy: Target, port: u16, login: Option<Login> },
    Command(Words),
}

/// The words of a command; the first is the program.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) program: String,
    arguments: Vec<Vec<Piece>>,
}

/// By the program alone.
impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Port,
}

impl Via {
    /// What tells one way out from another: more than may be shown, so it is only ever hashed.
    pub(crate) fn scope(&self) -> String {
        let Kind::Command(Words { arguments, .. }) = &self.0 else { return self.to_string() };
        let mut scope = self.to_string();
        for argument in arguments {
            scope.push('\0');
            for piece in argument {
                match piece {
                    Piece::Text(text) => scope.push_str(text),
                    Piece::Host => scope.push_str("%h"),
                    Piece::Port => scope.push_str("%p"),
                }
            }
        }
        scope
    }

    /// Whether it is a proxy on this machine, whose port another one may use next.
    pub(crate) fn is_here(&self) -> bool {
        matches!(&self.0, Kind::Socks5 { proxy, .. } if proxy.is_here())
    }

    /// Whether it has a user and a password, so that its text must not be seen by others.
    pub fn has_credentials(&self) -> bool {
        matches!(self.0, Kind::Socks5 { login: Some(_), .. })
    }
}

impl Words {
    /// All words, the program's first, for this target and port. No word is ever split again.
    pub(crate) fn filled_in(&self, host: &str, port: u16) -> Vec<String> {
        let fill = |pieces: &Vec<Piece>| {
            let pieces = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Host => host.to_owned(),
                Piece::Port => port.to_string(),
            });
            pieces.collect::<String>()
        };
        std::iter::once(self.program.clone()).chain(self.arguments.iter().map(fill)).collect()
    }
}

/// Without credentials, and a command by its program alone.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Socks5 { proxy, port, .. } if proxy.as_str().contains(':') => {
                write!(f, "socks5://[{proxy}]:{port}")
            }
            Kind::Socks5 { proxy, port, .. } => write!(f, "socks5://{proxy}:{port}"),
            Kind::Command(words) => write!(f, "command:{}", words.program),
        }
    }
}

/// As `Display` has it, for what others print of a dialer.
impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({self})")
    }
}

impl FromStr for Via {
    type Err = ViaParseError;

    fn from_str(text: &str) -> Result<Via, ViaParseError> {
        if let Some(words) = text.strip_prefix("command:") {
            return command(words).map(|words| Via(Kind::Command(words)));
        }
        match text.split_once("://") {
            Some(("socks5", rest)) => socks5(rest, text.len() - rest.len()).map(Via),
            Some((scheme, _)) => Err(ViaParseError::Scheme { hint: hint(scheme) }),
            None => Err(ViaParseError::Scheme { hint: hint(text.split(':').next().unwrap_or("")) }),
        }
    }
}

/// What to write instead of another scheme.
fn hint(scheme: &str) -> &'static str {
    match scheme {
        "socks5h" => "write socks5: the proxy always looks the name up",
        "socks" | "socks4" | "socks4a" => "SOCKS4 is not spoken; write socks5 if the proxy does",
        "http" | "https" => {
            "for an HTTP proxy, write command: and a program that connects through it"
        }
        "ssh" => "write command:ssh -W [%h]:%p and the gateway",
        _ => "write socks5://HOST:PORT or command: and the words of a command",
    }
}

/// Reads what follows `socks5://`, which begins at byte `at`.
fn socks5(text: &str, at: usize) -> Result<Kind, ViaParseError> {
    let (userinfo, authority, host_at) = match text.rsplit_once('@') {
        Some((userinfo, authority)) => (Some(userinfo), authority, at + userinfo.len() + 1),
        None => (None, text, at),
    };
    let login = userinfo.map(|userinfo| login(userinfo, at)).transpose()?;
    if let Some(extra) = authority.find(['/', '?', '#']) {
        return Err(ViaParseError::Extra { at: host_at + extra });
    }
    let bracketed = authority.strip_prefix('[');
    let (host, rest, host_at) = if let Some(inside) = bracketed {
        let (host, rest) = inside.split_once(']').ok_or(ViaParseError::Bracket { at: host_at })?;
        (host, rest, host_at + 1)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        (&authority[..end], &authority[end..], host_at)
    };
    let port_at = host_at + host.len() + usize::from(bracketed.is_some());
    let port = match rest.strip_prefix(':') {
        Some(_) if bracketed.is_none() && rest.matches(':').count() > 1 => {
            return Err(ViaParseError::NoBrackets { at: host_at });
        }
        Some(digits) => port(digits).ok_or(ViaParseError::Port { at: port_at + 1 })?,
        None if rest.is_empty() => socks5::DEFAULT_PORT,
        None => return Err(ViaParseError::Extra { at: port_at }),
    };
    if bracketed.is_some() && !host.contains(':') {
        return Err(ViaParseError::Host {
            at: host_at,
            reason: "only an IPv6 address is written in brackets",
        });
    }
    let proxy = host.parse::<Target>();
    let proxy =
        proxy.map_err(|error| ViaParseError::Host { at: host_at, reason: reason(&error) })?;
    Ok(Kind::Socks5 { proxy, port, login })
}

/// Digits only: no sign, no space.
fn port(digits: &str) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&port| is_number && port != 0)
}

/// Why the host was refused. It is not repeated: with an `@` left out it may be a user.
fn reason(error: &TargetError) -> &'static str {
    match error {
        TargetError::Empty => "there is none",
        TargetError::NotIdna { .. } => "it is not an internationalized domain name",
        TargetError::NoZone { .. } => "a link-local address needs its interface, as in %eth0",
        TargetError::TooLong { .. } => "it is too long",
        _ => "it is neither a name nor an address",
    }
}

fn login(userinfo: &str, at: usize) -> Result<Login, ViaParseError> {
    let (user, password) = userinfo.split_once(':').ok_or(ViaParseError::NoPassword { at })?;
    let password_at = at + user.len() + 1;
    let (user, password) = (decoded(user, at)?, decoded(password, password_at)?);
    if user.is_empty() || user.len() > socks5::MAX_FIELD {
        return Err(ViaParseError::Login { part: "user", at });
    }
    Login::new(user, password).ok_or(ViaParseError::Login { part: "password", at: password_at })
}

/// Percent-decoded (RFC 3986 section 2.1). What RFC 3986 section 3.2.1 wants encoded must be: a
/// `/` there may as well be the end of the host, with everything behind it misplaced.
fn decoded(text: &str, at: usize) -> Result<Vec<u8>, ViaParseError> {
    let mut bytes = text.bytes().enumerate();
    let mut decoded = Vec::new();
    while let Some((index, byte)) = bytes.next() {
        let at = at + index;
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|(_, b)| char::from(b).to_digit(16));
                let (high, low) = (digit(), digit());
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                let value = value.and_then(|value| u8::try_from(value).ok());
                value.ok_or(ViaParseError::Percent { at })?
            }
            b'/' | b'?' | b'#' | b'[' | b']' | b'@' | b':' | 0..=0x20 | 0x7f => {
                return Err(ViaParseError::NotEncoded { at });
            }
            byte => byte,
        });
    }
    Ok(decoded)
}

fn command(text: &str) -> Result<Words, ViaParseError> {
    if text.contains('\0') {
        return Err(ViaParseError::Program { reason: "it has a NUL byte" });
    }
    let words = shlex::split(text).ok_or(ViaParseError::Quote)?;
    let mut templates = words.iter().enumerate().map(|(index, word)| template(word, index + 1));
    let program = match templates.next().transpose()?.as_deref() {
        None | Some([]) => return Err(ViaParseError::NoProgram),
        Some([Piece::Text(program)]) => program.clone(),
        Some(_) => return Err(ViaParseError::Program { reason: "%h and %p are for its words" }),
    };
    if program.contains(char::is_control) {
        return Err(ViaParseError::Program { reason: "it has a control character" });
    }
    Ok(Words { program, arguments: templates.collect::<Result<_, _>>()? })
}

fn template(word: &str, number: usize) -> Result<Vec<Piece>, ViaParseError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        let expanded = if c == '%' { chars.next() } else { Some('%') };
        let piece = match expanded {
            // A percent sign that was written twice, or no percent sign at all.
            Some('%') => {
                text.push(c);
                continue;
            }
            Some('h') => Piece::Host,
            Some('p') => Piece::Port,
            found => return Err(ViaParseError::Expansion { word: number, found }),
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(piece);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Why a text is no [`Via`]: what is wrong, and where, in bytes from 0. The text itself is never
/// repeated, for it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViaParseError {
    /// Neither `socks5://` nor `command:`.
    #[error("this is no proxy and no command: {hint}")]
    Scheme {
        /// What to write.
        hint: &'static str,
    },
    /// The proxy's host.
    #[error("the proxy's host, at byte {at}: {reason}")]
    Host {
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An IPv6 address that is not in brackets.
    #[error("the proxy's host, at byte {at}: write an IPv6 address in brackets")]
    NoBrackets {
        /// Where it begins.
        at: usize,
    },
    /// A bracket that is not closed.
    #[error("the bracket at byte {at} is not closed")]
    Bracket {
        /// Its position in bytes.
        at: usize,
    },
    /// The proxy's port.
    #[error("the proxy's port, at byte {at}, is not a number from 1 to 65535")]
    Port {
        /// Where it begins.
        at: usize,
    },
    /// Something behind host and port.
    #[error("nothing may follow the proxy's host and port, but at byte {at} something does")]
    Extra {
        /// Where it begins.
        at: usize,
    },
    /// A user without a password.
    #[error(
        "the user at byte {at} has no password: write USER:PASSWORD@HOST (RFC 1929), or USER:@HOST"
    )]
    NoPassword {
        /// Where the user begins.
        at: usize,
    },
    /// A user or a password of a length that RFC 1929 does not allow.
    #[error("the {part}, at byte {at}, must have {} bytes (RFC 1929)", if *part == "user" { "1 to 255" } else { "at most 255" })]
    Login {
        /// `user` or `password`.
        part: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// A percent sign without two hexadecimal digits behind it.
    #[error("the % at byte {at} is not followed by two hexadecimal digits; itself it is %25")]
    Percent {
        /// Its position in bytes.
        at: usize,
    },
    /// A byte in a user or a password that must be percent-encoded.
    #[error("the character at byte {at} must be percent-encoded in a user or a password")]
    NotEncoded {
        /// Its position in bytes.
        at: usize,
    },
    /// A command without a program.
    #[error("the command has no program")]
    NoProgram,
    /// A program that cannot be one.
    #[error("the command's program: {reason}")]
    Program {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A quote that is not closed, or a backslash at the end.
    #[error("the command has a quote that is not closed, or ends with a backslash")]
    Quote,
    /// A percent sign that does not begin `%h`, `%p` or `%%`.
    #[error(
        "word {word} of the command: {} cannot be expanded, only %h (host), %p (port) and %% (%)",
        .found.map_or("a final %".to_owned(), |found| format!("%{}", found.escape_default()))
    )]
    Expansion {
        /// Which word, the program being 1.
        word: usize,
        /// What follows the percent sign, if anything does.
        found: Option<char>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Via {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn message(text: &str) -> String {
        text.parse::<Via>().expect_err(text).to_string()
    }

    fn words(text: &str) -> Vec<String> {
        match via(text).0 {
            Kind::Command(words) => words.filled_in("mail.example", 587),
            Kind::Socks5 { .. } => panic!("a proxy"),
        }
    }

    #[test]
    fn two_commands_of_one_program_are_two_ways() {
        let scope = |text: &str| text.parse::<Via>().unwrap().scope();
        let to = |gateway: &str| scope(&format!("command:ssh -W %h:%p {gateway}"));
        assert_ne!(to("one.example"), to("two.example"));
        assert_eq!(to("one.example"), scope("command:ssh  -W '%h:%p' one.example"));
        assert_ne!(scope("command:ssh a b"), scope("command:ssh 'a b'"));
        assert!(!scope("socks5://user:secret@proxy.example").contains("secret"));
    }

    #[test]
    fn a_proxy_is_named_with_its_port_and_without_its_login() {
        for (text, shown, login) in [
            ("socks5://proxy.example", "socks5://proxy.example:1080", false),
            ("socks5://192.0.2.1:9050", "socks5://192.0.2.1:9050", false),
            ("socks5://[2001:db8::1]", "socks5://[2001:db8::1]:1080", false),
            ("socks5://[fe80::1%eth0]:1", "socks5://[fe80::1%eth0]:1", false),
            ("socks5://user:secret@proxy.example:1", "socks5://proxy.example:1", true),
        ] {
            let via = via(text);
            assert_eq!((via.to_string(), via.has_credentials()), (shown.to_owned(), login));
            assert_eq!(format!("{via:?}"), format!("Via({shown})"));
        }
    }

    #[test]
    fn a_login_is_percent_decoded() {
        let expected = Login::new("us er", b"\xff:/@%".to_vec());
        match via("socks5://us%20er:%FF%3a%2F%40%25@proxy.example").0 {
            Kind::Socks5 { login, .. } => assert!(login == expected),
            Kind::Command(_) => panic!("a command"),
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_its_place() {
        for (text, part) in [
            ("", "write socks5://"),
            ("proxy.example:1080", "write socks5://"),
            ("socks4://proxy.example", "SOCKS4"),
            ("socks5h://proxy.example", "write socks5:"),
            ("http://proxy.example", "HTTP"),
            ("ssh:gateway", "command:ssh -W"),
            ("socks5://", "byte 9: there is none"),
            ("socks5://:1080", "byte 9: there is none"),
            ("socks5://u:p@", "byte 13: there is none"),
            ("socks5://-pröxy.example", "internationalized"),
            ("socks5://a b", "neither a name"),
            ("socks5://fe80::1", "write an IPv6 address in brackets"),
            ("socks5://[fe80::1]", "%eth0"),
            ("socks5://[::1", "byte 9 is not closed"),
            ("socks5://[proxy.example]", "only an IPv6 address"),
            ("socks5://[::1]1080", "byte 14"),
            ("socks5://h:", "port, at byte 11"),
            ("socks5://h:0", "port, at byte 11"),
            ("socks5://h:+1", "port, at byte 11"),
            ("socks5://h:65536", "port, at byte 11"),
            ("socks5://h/", "nothing may follow"),
            ("socks5://h:1080/x", "byte 15"),
            ("socks5://h?x", "nothing may follow"),
            ("socks5://user@h", "has no password"),
            ("socks5://:p@h", "the user, at byte 9"),
            ("socks5://u:%zz@h", "% at byte 11"),
            ("socks5://u:%2", "port, at byte 11"),
            ("socks5://u:%2@h", "% at byte 11"),
            ("socks5://u:a/b@h", "byte 12 must be percent-encoded"),
            ("socks5://u:a@b@h", "byte 12 must be percent-encoded"),
            ("socks5://u:a:b@h", "byte 12 must be percent-encoded"),
        ] {
            let message = message(text);
            assert!(message.contains(part), "{text}: {message}");
        }
        let long = "x".repeat(256);
        assert!(message(&format!("socks5://{long}:p@h")).contains("1 to 255 bytes"));
        assert!(message(&format!("socks5://u:{long}@h")).contains("at most 255 bytes"));
        assert!("socks5://u:@h".parse::<Via>().unwrap().has_credentials());
    }

    #[test]
    fn no_mistake_repeats_what_may_be_secret() {
        for text in [
            "socks5://user:secret",
            "socks5://user:secret/host",
            "socks5://user:sec%ret@host",
            "socks5://user:secret@host:port",
            "socks5://user:secret@ho st",
            "socks6://user:secret@host",
            "secret",
            "command:x 'secret",
            "command:x secret%z",
        ] {
            let error = text.parse::<Via>().expect_err(text);
            assert!(!format!("{error} {error:?}").contains("sec"), "{error}");
        }
    }

    #[test]
    fn a_command_is_split_as_by_a_shell_that_expands_nothing() {
        assert_eq!(
            words(r#"command:ssh -W '[%h]:%p' "a b" c\ d '$HOME' `x` 100%% ~ '' "#),
            ["ssh", "-W", "[mail.example]:587", "a b", "c d", "$HOME", "`x`", "100%", "~", ""]
        );
        assert_eq!(words("command:nc"), ["nc"], "it may know the way by itself");
        assert_eq!(words("command:x %h%p%%h"), ["x", "mail.example587%h"]);
    }

    #[test]
    fn a_command_is_shown_by_its_program_alone() {
        let via = via("command:/usr/bin/tunnel --token secret");
        assert_eq!(
            format!("{via} {via:?}"),
            "command:/usr/bin/tunnel Via(command:/usr/bin/tunnel)"
        );
        assert!(!via.has_credentials());
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (text, part) in [
            ("command:", "no program"),
            ("command:  ", "no program"),
            ("command:''", "no program"),
            ("command:%h", "%h and %p are for its words"),
            ("command:a%p", "%h and %p are for its words"),
            ("command:a\u{7}", "control character"),
            ("command:a \0", "NUL"),
            ("command:a 'b", "not closed"),
            ("command:a \\", "backslash"),
            ("command:a b %d", "word 3 of the command: %d"),
            ("command:a %", "a final %"),
            ("command:a %\u{1b}", "%\\u{1b}"),
        ] {
            let message = message(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn no_target_can_be_taken_for_an_option() {
        for text in ["-h", "-oProxyCommand=x", "--", "-1", "-::1"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
