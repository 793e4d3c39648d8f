//! SOCKS5 as frames (RFC 1928, RFC 1929), without I/O: what a client sends, how much it wants to
//! read next, and what came of it.

mod server;

pub use server::{Mistake, Reply, Request, Server};

use std::fmt;
use std::net::IpAddr;

use crate::outcome::{Failure, Outcome, ViaError};
use crate::target::Host;

/// The port of a proxy that names none (RFC 1928 section 3).
pub const DEFAULT_PORT: u16 = 1080;
/// The longest user, password or name, in bytes: each has one byte for its length.
pub const MAX_FIELD: usize = 255;

/// The version of every frame but those of the login.
const VERSION: u8 = 5;
/// The version of the login's frames (RFC 1929 section 2).
const LOGIN_VERSION: u8 = 1;
/// The methods of RFC 1928 section 3.
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// The command CONNECT, and the kinds of address (RFC 1928 section 4).
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A user and a password. Neither is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Login {
    /// The user has 1 to 255 bytes, the password at most 255 (RFC 1929 section 2); `None` otherwise.
    /// The RFC has no empty password, but proxies do, and curl sends one.
    pub fn new(user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Option<Login> {
        let (user, password) = (user.into(), password.into());
        let fits = !user.is_empty() && user.len() <= MAX_FIELD && password.len() <= MAX_FIELD;
        fits.then_some(Login { user, password })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// The client's side of one exchange, from the first byte to the proxy's reply.
///
/// It wants exact counts of bytes and never one behind the reply: what follows there is the
/// server's. Send [`to_send`](Client::to_send), then read as much as it
/// [`wants`](Client::wants), until there is an [`end`](Client::end).
///
/// ```
/// use mailport::socks5::Client;
/// use mailport::target::Host;
///
/// let host = Host::Name("mail.example".into());
/// let mut client = Client::new(&host, 587, None).expect("a host that a proxy can look up");
/// assert_eq!(client.to_send(), [5, 1, 0]);
/// client.sent(3);
/// assert_eq!(client.wants(), 2);
/// client.take(&[5, 0]);
/// assert_eq!(client.to_send()[..5], [5, 1, 0, 3, 12]);
/// ```
pub struct Client {
    request: Vec<u8>,
    login: Option<Login>,
    frame: Frame,
    to_send: Vec<u8>,
    /// What has come of the frame so far.
    taken: Vec<u8>,
    /// How long the frame is, as far as it tells yet.
    length: usize,
    end: Option<Result<(), SocksError>>,
}

/// Without its bytes, which hold the login.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { frame, end, .. } = self;
        f.debug_struct("Client").field("frame", frame).field("end", end).finish_non_exhaustive()
    }
}

/// What the proxy says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Which method it chooses.
    Method,
    /// Whether the login is right.
    Login,
    /// Whether it has connected.
    Reply,
}

/// What follows when a frame has come as far as it was known to go.
enum Next {
    /// Another frame, of this length at least.
    Frame(Frame, usize),
    /// The rest of this one, which is this long altogether or at least.
    More(usize),
    Done,
}

impl Client {
    /// Asks a proxy for a connection to this port. The name goes as it is, without a final dot,
    /// and is looked up there. `None` for a host that cannot be asked for: one longer than
    /// [`MAX_FIELD`], or with a zone, which means nothing to another machine.
    pub fn new(host: &Host, port: u16, login: Option<Login>) -> Option<Client> {
        let mut request = vec![VERSION, CONNECT, 0];
        put_address(host, &mut request)?;
        request.extend(port.to_be_bytes());
        let to_send = match login {
            None => vec![VERSION, 1, NO_LOGIN],
            Some(_) => vec![VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
        };
        let (frame, length) = (Frame::Method, 2);
        Some(Client { request, login, frame, to_send, taken: Vec::new(), length, end: None })
    }

    /// What is to be sent before anything is read; empty where nothing is.
    pub fn to_send(&self) -> &[u8] {
        &self.to_send
    }

    /// This many bytes of it were sent.
    pub fn sent(&mut self, count: usize) {
        self.to_send.drain(..count.min(self.to_send.len()));
    }

    /// How many bytes to read next, at most 262; 0 at the end.
    pub fn wants(&self) -> usize {
        if self.end.is_some() { 0 } else { self.length - self.taken.len() }
    }

    /// Takes in what was read, and says how much of it: no more than was wanted.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let taken = &bytes[..self.wants().min(bytes.len())];
        self.taken.extend(taken);
        if self.taken.len() == self.length && !taken.is_empty() {
            self.read();
        }
        taken.len()
    }

    /// What came of it; `None` before the end.
    pub fn end(&self) -> Option<Result<(), SocksError>> {
        self.end
    }

    /// What it is where the proxy closes the connection now.
    pub fn closed(&self) -> SocksError {
        match (self.frame, self.taken.len()) {
            (Frame::Reply, 0) => SocksError::Unanswered,
            (Frame::Method, 0) => SocksError::Closed { begun: false },
            _ => SocksError::Closed { begun: true },
        }
    }

    /// Reads a frame that is complete, as far as it tells how long it is.
    fn read(&mut self) {
        match self.next() {
            Ok(Next::Frame(frame, length)) => {
                (self.frame, self.length) = (frame, length);
                self.taken.clear();
            }
            Ok(Next::More(length)) => self.length = length,
            Ok(Next::Done) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(error)),
        }
    }

    fn next(&mut self) -> Result<Next, SocksError> {
        let (version, second) = (self.taken[0], self.taken[1]);
        let expected = if self.frame == Frame::Login { LOGIN_VERSION } else { VERSION };
        if version != expected {
            return Err(SocksError::Version { expected, got: version });
        }
        match (self.frame, second) {
            (Frame::Method, NO_LOGIN) | (Frame::Login, 0) => {
                self.to_send = std::mem::take(&mut self.request);
                // Of the reply, the first four bytes tell the kind of address.
                Ok(Next::Frame(Frame::Reply, 4))
            }
            (Frame::Method, USER_AND_PASSWORD) => {
                let none = SocksError::NoMethod { with_login: false };
                let Login { user, password } = self.login.as_ref().ok_or(none)?;
                self.to_send = vec![LOGIN_VERSION];
                put(user, &mut self.to_send);
                put(password, &mut self.to_send);
                Ok(Next::Frame(Frame::Login, 2))
            }
            (Frame::Method, NO_METHOD) => {
                Err(SocksError::NoMethod { with_login: self.login.is_some() })
            }
            (Frame::Method, method) => Err(SocksError::Method(method)),
            (Frame::Login, status) => Err(SocksError::Login(status)),
            (Frame::Reply, 0) => self.measure(),
            // A refusal may end here: some proxies say no more.
            (Frame::Reply, code) => Err(SocksError::Reply(code)),
        }
    }

    /// Finds out how long a reply is (RFC 1928 section 6), and whether it is complete.
    fn measure(&self) -> Result<Next, SocksError> {
        let address = match (self.taken[3], self.taken.get(4)) {
            (IPV4, _) => 4,
            (IPV6, _) => 16,
            (NAME, None) => return Ok(Next::More(5)),
            (NAME, Some(&length)) => 1 + usize::from(length),
            (kind, _) => return Err(SocksError::AddressKind(kind)),
        };
        let length = 4 + address + 2;
        Ok(if self.taken.len() == length { Next::Done } else { Next::More(length) })
    }
}

/// A field behind its length.
fn put(field: &[u8], frame: &mut Vec<u8>) {
    frame.extend(u8::try_from(field.len()));
    frame.extend(field);
}

/// An address as RFC 1928 section 5 writes it; `None` for one that it cannot.
fn put_address(host: &Host, frame: &mut Vec<u8>) -> Option<()> {
    match host {
        Host::Name(name) => {
            let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
            if name.is_empty() || name.len() > MAX_FIELD {
                return None;
            }
            frame.push(NAME);
            put(name, frame);
        }
        Host::Address(IpAddr::V4(v4)) => {
            frame.push(IPV4);
            frame.extend(v4.octets());
        }
        Host::Address(IpAddr::V6(v6)) => {
            frame.push(IPV6);
            frame.extend(v6.octets());
        }
        Host::Scoped(..) => return None,
    }
    Some(())
}

/// Why an exchange gave no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SocksError {
    /// The version of another protocol.
    #[error("an answer begins with 0x{got:02x}, where SOCKS5 has 0x{expected:02x}")]
    Version {
        /// What the frame must begin with.
        expected: u8,
        /// What it began with.
        got: u8,
    },
    /// A method that was not offered.
    #[error("it chose the login method 0x{0:02x}, which was not offered")]
    Method(u8),
    /// None of the methods that were offered is enough.
    #[error("{}", if *.with_login { "it accepts no user and password" } else { "it requires a user and a password" })]
    NoMethod {
        /// Whether a user and a password were offered.
        with_login: bool,
    },
    /// The user or the password is wrong; not 0.
    #[error("it rejects this user and password (status {0})")]
    Login(u8),
    /// It tried to connect, and replied with this code (RFC 1928 section 6); not 0.
    #[error("reply {0}")]
    Reply(u8),
    /// A kind of address that RFC 1928 section 6 does not have.
    #[error("its reply has an address of the unknown kind 0x{0:02x}")]
    AddressKind(u8),
    /// It took the request and closed the connection instead of replying, which is how `ssh -D` says
    /// that it has not connected.
    #[error("the proxy closed instead of replying")]
    Unanswered,
    /// It closed the connection anywhere else before its reply was complete.
    #[error("{}", if *.begun { "it closed the connection in the middle" } else { "it closed the connection without an answer" })]
    Closed {
        /// Whether it had said anything.
        begun: bool,
    },
}

impl SocksError {
    /// What this says of the service, or of the proxy itself.
    pub fn failure(self) -> Failure {
        Failure::from_via_error(match self {
            SocksError::Unanswered => return Failure::new(Outcome::Closed),
            SocksError::Reply(code) => ViaError::Reply(code),
            SocksError::NoMethod { .. } | SocksError::Login(_) => ViaError::Login,
            SocksError::Version { .. }
            | SocksError::Method(_)
            | SocksError::AddressKind(_)
            | SocksError::Closed { .. } => ViaError::Protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME_OF_MAIL: &[u8] = b"\x03\x0cmail.example";

    fn host(text: &str) -> Host {
        text.parse::<crate::Target>().unwrap().host().clone()
    }

    fn login() -> Option<Login> {
        Login::new("user", "secret")
    }

    /// What a client sends to a proxy that says this, and the result.
    fn exchange(client: &mut Client, says: &[u8]) -> (Vec<u8>, usize) {
        let (mut sent, mut taken) = (Vec::new(), 0);
        loop {
            sent.extend(client.to_send());
            client.sent(client.to_send().len());
            let wants = client.wants().min(says.len() - taken);
            if wants == 0 {
                return (sent, taken);
            }
            assert_eq!(client.take(&says[taken..taken + wants]), wants);
            taken += wants;
        }
    }

    fn end(login: Option<Login>, says: &[u8]) -> Option<Result<(), SocksError>> {
        let mut client = Client::new(&host("mail.example"), 587, login).unwrap();
        exchange(&mut client, says);
        client.end()
    }

    #[test]
    fn a_name_goes_unresolved_and_without_its_final_dot() {
        for name in ["mail.example", "mail.example."] {
            let mut client = Client::new(&host(name), 587, None).unwrap();
            let (sent, taken) =
                exchange(&mut client, b"\x05\0\x05\0\0\x01\x7f\0\0\x01\x02\x4b220 ");
            assert_eq!(sent, [b"\x05\x01\0\x05\x01\0", NAME_OF_MAIL, b"\x02\x4b"].concat());
            assert_eq!((client.end(), taken), (Some(Ok(())), 12), "the greeting is not ours");
        }
    }

    #[test]
    fn an_address_goes_as_one() {
        for (text, expected) in [
            ("192.0.2.1", &b"\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x01\0\x19"[..]),
            (
                "2001:db8::1",
                b"\x05\x01\0\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x19",
            ),
        ] {
            let mut client = Client::new(&host(text), 25, None).unwrap();
            assert_eq!(exchange(&mut client, b"\x05\0").0, expected);
        }
    }

    #[test]
    fn what_a_proxy_cannot_be_asked_for_is_no_exchange() {
        assert!(Client::new(&host("fe80::1%eth0"), 25, None).is_none(), "a zone of ours");
        assert!(Client::new(&Host::Name("a".repeat(255)), 25, None).is_some());
        assert!(Client::new(&Host::Name("a".repeat(256)), 25, None).is_none());
        assert!(Client::new(&Host::Name(".".into()), 25, None).is_none());
    }

    #[test]
    fn a_login_is_sent_only_when_it_is_asked_for() {
        let mut client = Client::new(&host("mail.example"), 587, login()).unwrap();
        let (sent, _) = exchange(&mut client, b"\x05\x02\x01\0");
        let auth = b"\x05\x02\0\x02\x01\x04user\x06secret\x05\x01\0";
        assert_eq!(sent, [auth, NAME_OF_MAIL, b"\x02\x4b"].concat());
        let mut client = Client::new(&host("mail.example"), 587, login()).unwrap();
        let (sent, _) = exchange(&mut client, b"\x05\0");
        assert!(!sent.windows(6).any(|bytes| bytes == b"secret"), "no login was wanted");
    }

    #[test]
    fn every_kind_of_address_in_a_reply_is_read_to_its_end() {
        let name = [b"\x03\xff".to_vec(), vec![b'a'; 255]].concat();
        let v6 = [b"\x04".to_vec(), vec![0; 16]].concat();
        for address in [b"\x01\0\0\0\0".to_vec(), b"\x03\0".to_vec(), name, v6] {
            let reply = [b"\x05\0\x05\0\0", &address[..], b"\0\0"].concat();
            for cut in 0..reply.len() {
                assert_eq!(end(None, &reply[..cut]), None, "cut at {cut}");
            }
            assert_eq!(end(None, &reply), Some(Ok(())));
        }
        assert_eq!(end(None, b"\x05\0\x05\0\0\x02"), Some(Err(SocksError::AddressKind(2))));
    }

    #[test]
    fn every_refusal_is_reported_with_what_it_says() {
        let refused = |login, says: &[u8]| {
            let error = end(login, says).expect("an end").expect_err("a refusal");
            (error.failure().via_error.expect("its own"), error.to_string())
        };
        for code in 1..=255 {
            assert_eq!(refused(None, &[5, 0, 5, code, 0, 1]).0, ViaError::Reply(code));
        }
        for (login, says, via, part) in [
            (None, &b"HT"[..], ViaError::Protocol, "begins with 0x48"),
            (None, b"\x04\x5a", ViaError::Protocol, "begins with 0x04"),
            (None, b"\x05\x01", ViaError::Protocol, "method 0x01"),
            (None, b"\x05\xff", ViaError::Login, "requires a user"),
            (None, b"\x05\x02", ViaError::Login, "requires a user"),
            (login(), b"\x05\xff", ViaError::Login, "accepts no user"),
            (login(), b"\x05\x02\x05\0", ViaError::Protocol, "has 0x01"),
            (login(), b"\x05\x02\x01\x01", ViaError::Login, "status 1"),
            (None, b"\x05\0\x04\0\0\x01", ViaError::Protocol, "begins with 0x04"),
        ] {
            let (error, words) = refused(login, says);
            assert_eq!(error, via, "{says:?}");
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn an_end_in_the_middle_is_the_proxys_and_one_instead_of_a_reply_the_services() {
        for (says, closed) in [
            (&b""[..], SocksError::Closed { begun: false }),
            (b"\x05", SocksError::Closed { begun: true }),
            (b"\x05\0", SocksError::Unanswered),
            (b"\x05\0\x05", SocksError::Closed { begun: true }),
        ] {
            let mut client = Client::new(&host("mail.example"), 587, None).unwrap();
            exchange(&mut client, says);
            assert_eq!(client.closed(), closed);
            assert_eq!(closed.failure().is_refusal(), closed == SocksError::Unanswered);
        }
    }

    #[test]
    fn a_login_is_bounded_and_never_shown() {
        assert!(Login::new("", "p").is_none() && Login::new("u", "").is_some());
        assert!(Login::new("u", "p".repeat(255)).is_some());
        assert!(Login::new("u".repeat(256), "p").is_none());
        let client = Client::new(&host("mail.example"), 587, login()).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
    }
}
