//! What a proxy or a tunnel command said or did instead of connecting.

use std::fmt;

/// Why a proxy or a command gave no connection; the reason of [`Outcome::Via`](super::Outcome).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ViaError {
    /// The proxy tried to connect, and replied with this code (RFC 1928 section 6), which is not 0.
    Reply(u8),
    /// The proxy itself could not be reached.
    Unreachable,
    /// The proxy refused the login, or wants one that it was not given (RFC 1929).
    Login,
    /// The proxy does not speak SOCKS5, or ended in the middle of its reply.
    Protocol,
    /// The command could not be started.
    NotStarted,
}

impl ViaError {
    /// Whether this says that the service is not there: the proxy's "connection refused" and "not
    /// allowed by ruleset" (RFC 1928 section 6).
    pub fn is_refusal(self) -> bool {
        matches!(self, ViaError::Reply(2 | 5))
    }

    /// Whether the proxy or the command itself failed, which says nothing about a service and would be the
    /// same for the next.
    pub fn is_of_the_way(self) -> bool {
        !matches!(self, ViaError::Reply(_))
    }

    /// The word used in JSON: `reply`, `unreachable`, `login`, `protocol` or `not-started`.
    pub fn name(self) -> &'static str {
        match self {
            ViaError::Reply(_) => "reply",
            ViaError::Unreachable => "unreachable",
            ViaError::Login => "login",
            ViaError::Protocol => "protocol",
            ViaError::NotStarted => "not-started",
        }
    }

    /// The code of a reply.
    pub fn code(self) -> Option<u8> {
        match self {
            ViaError::Reply(code) => Some(code),
            _ => None,
        }
    }
}

/// In words, as of a proxy: `says connection refused (reply 5)`.
impl fmt::Display for ViaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ViaError::Reply(code) => write!(f, "says {} (reply {code})", reply(*code)),
            ViaError::Unreachable => f.write_str("cannot be reached"),
            ViaError::Login => f.write_str("refuses the login"),
            ViaError::Protocol => f.write_str("does not speak SOCKS5"),
            ViaError::NotStarted => f.write_str("cannot be started"),
        }
    }
}

/// The replies of RFC 1928 section 6.
fn reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "something that SOCKS5 does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refused_and_not_allowed_speak_of_the_service() {
        let refusals: Vec<u8> = (0..=255).filter(|&c| ViaError::Reply(c).is_refusal()).collect();
        assert_eq!(refusals, [2, 5]);
        assert!(!ViaError::Login.is_refusal() && ViaError::Login.is_of_the_way());
        assert!(!ViaError::Reply(1).is_of_the_way());
    }

    #[test]
    fn a_reply_is_reported_with_its_code() {
        assert_eq!(ViaError::Reply(5).to_string(), "says connection refused (reply 5)");
        assert!(ViaError::Reply(99).to_string().ends_with("(reply 99)"));
    }
}
