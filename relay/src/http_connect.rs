//! HTTP CONNECT (RFC 9110 section 9.3.6), without I/O: what a client of a proxy asks for.

use mailport::target::Target;

/// The most that a client may send before its header ends.
pub const MAX_HEADER: usize = 8 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// The header is longer than [`MAX_HEADER`].
    TooLong,
    /// It is not a request of HTTP/1.
    Malformed,
    /// A method other than CONNECT.
    Method,
    /// A host that is not valid.
    Host,
}

impl HttpError {
    /// The status code and its reason phrase.
    pub fn status(self) -> &'static str {
        match self {
            HttpError::TooLong => "431 Request Header Fields Too Large",
            HttpError::Malformed | HttpError::Host => "400 Bad Request",
            HttpError::Method => "405 Method Not Allowed",
        }
    }

    /// What is wrong, in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            HttpError::TooLong => "the header is longer than 8 KiB",
            HttpError::Malformed => "this is not a request of HTTP/1.1",
            HttpError::Method => "only CONNECT is supported",
            HttpError::Host => "the host is not valid",
        }
    }
}

/// What a client asks for, by a host and a port.
pub type HttpRequest = Result<(Target, u16), HttpError>;

/// Reads a request as its bytes come.
#[derive(Debug, Default)]
pub struct HttpConnect {
    header: Vec<u8>,
}

impl HttpConnect {
    /// Takes in bytes, and returns how many belong to the header: what follows it is for the server.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            self.header.push(*byte);
            if self.header.ends_with(b"\r\n\r\n") || self.header.len() >= MAX_HEADER {
                return index + 1;
            }
        }
        bytes.len()
    }

    /// The request; `None` until its header has ended.
    pub fn request(&self) -> Option<HttpRequest> {
        let method = b"CONNECT ";
        if !self.header.starts_with(&method[..method.len().min(self.header.len())]) {
            let line = self.header.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let is_method =
                line.iter().take_while(|byte| **byte != b' ').all(u8::is_ascii_uppercase);
            return Some(Err(if is_method { HttpError::Method } else { HttpError::Malformed }));
        }
        if self.header.ends_with(b"\r\n\r\n") {
            return Some(self.parse());
        }
        (self.header.len() >= MAX_HEADER).then_some(Err(HttpError::TooLong))
    }

    fn parse(&self) -> HttpRequest {
        let line = self.header.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| HttpError::Malformed)?;
        let mut words = line.split(' ').skip(1);
        let (Some(authority), Some(version), None) = (words.next(), words.next(), words.next())
        else {
            return Err(HttpError::Malformed);
        };
        if !version.starts_with("HTTP/1.") {
            return Err(HttpError::Malformed);
        }
        let (host, port) = authority.rsplit_once(':').ok_or(HttpError::Malformed)?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_| HttpError::Malformed)?;
        if !is_number || port == 0 {
            return Err(HttpError::Malformed);
        }
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if literal.is_none() && host.contains(':') {
            return Err(HttpError::Malformed);
        }
        let target = literal.unwrap_or(host).parse().map_err(|_| HttpError::Host)?;
        Ok((target, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> (Option<HttpRequest>, usize) {
        let mut connect = HttpConnect::default();
        let taken = connect.take(text.as_bytes());
        (connect.request(), taken)
    }

    #[test]
    fn a_request_ends_with_its_header_and_nothing_behind_it_is_taken() {
        let header = "CONNECT mail.example:587 HTTP/1.1\r\nHost: mail.example:587\r\n\r\n";
        let expected = Ok(("mail.example".parse().unwrap(), 587));
        assert_eq!(request(header), (Some(expected.clone()), header.len()));
        assert_eq!(request(&format!("{header}EHLO x\r\n")), (Some(expected.clone()), header.len()));
        let mut connect = HttpConnect::default();
        for byte in header.bytes() {
            assert_eq!(connect.request(), None);
            assert_eq!(connect.take(&[byte]), 1);
        }
        assert_eq!(connect.request(), Some(expected));
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        let (end, _) = request("CONNECT [2001:db8::1]:25 HTTP/1.0\r\n\r\n");
        assert_eq!(end, Some(Ok(("2001:db8::1".parse().unwrap(), 25))));
    }

    #[test]
    fn what_is_not_connect_is_refused() {
        for (text, error) in [
            ("GET / HTTP/1.1\r\n\r\n", HttpError::Method),
            ("GET", HttpError::Method),
            ("EHLO x\r\n", HttpError::Method),
            ("\u{16}\u{3}\u{1}", HttpError::Malformed),
            ("CONNECT mail.example HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("CONNECT mail.example:587\r\n\r\n", HttpError::Malformed),
            ("CONNECT mail.example:587 SMTP\r\n\r\n", HttpError::Malformed),
            ("CONNECT mail.example:+7 HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("CONNECT mail.example:0 HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("CONNECT ::1:25 HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("CONNECT a b:25 HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("CONNECT -:25 HTTP/1.1\r\n\r\n", HttpError::Host),
        ] {
            assert_eq!(request(text).0, Some(Err(error)), "{text:?}");
        }
        let long = format!("CONNECT x:25 HTTP/1.1\r\nX: {}", "y".repeat(MAX_HEADER));
        assert_eq!(request(&long), (Some(Err(HttpError::TooLong)), MAX_HEADER));
    }
}
