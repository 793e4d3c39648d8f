//! Bytes as what a SOCKS5 proxy says to a client.

use mailport::socks5::{Client, Login, SocksError};
use mailport::target::Host;

use super::bytes::Bytes;

/// A client reads exactly its frames, however they are cut, and ends as a plain reading of all
/// bytes does.
pub fn socks(data: &[u8]) {
    let mut bytes = Bytes(data);
    let choice = bytes.byte();
    let login = (choice & 1 != 0).then(|| Login::new("user", "password").unwrap());
    let step = usize::from(choice >> 1 & 7) + 1;
    let (has_login, said) = (login.is_some(), bytes.0);
    let mut client = Client::new(&Host::Name("mail.example".into()), 587, login).unwrap();
    let mut taken = 0;
    loop {
        let count = client.to_send().len();
        client.sent(count);
        let wants = client.wants();
        assert_eq!(wants == 0, client.end().is_some());
        assert!(wants <= 262);
        let next = &said[taken..said.len().min(taken + step)];
        let count = client.take(next);
        assert_eq!(count, next.len().min(wants), "as much as is wanted");
        taken += count;
        if count == 0 {
            break;
        }
    }
    assert_eq!(client.end().map(|end| (end, taken)), expected(said, has_login));
    if client.end().is_none() {
        match client.closed() {
            SocksError::Closed { begun } => assert_eq!(begun, taken > 0),
            // Between two frames, and behind those of the login.
            other => assert!(other == SocksError::Unanswered && matches!(taken, 2 | 4)),
        }
    }
}

/// The result, and after how many bytes: the frames of RFC 1928 and RFC 1929 in a row.
fn expected(said: &[u8], has_login: bool) -> Option<(Result<(), SocksError>, usize)> {
    let frame = |at: usize, length: usize| said.get(at..at + length);
    let wrong = |expected, got, at| Some((Err(SocksError::Version { expected, got }), at));
    let method = frame(0, 2)?;
    let at = match (method[0], method[1]) {
        (5, 0) => 2,
        (5, 2) if has_login => match frame(2, 2)? {
            [1, 0] => 4,
            [1, status] => return Some((Err(SocksError::Login(*status)), 4)),
            other => return wrong(1, other[0], 4),
        },
        (5, 2 | 255) => return Some((Err(SocksError::NoMethod { with_login: has_login }), 2)),
        (5, other) => return Some((Err(SocksError::Method(other)), 2)),
        (other, _) => return wrong(5, other, 2),
    };
    let head = frame(at, 4)?;
    let length = match (head[0], head[1], head[3]) {
        (5, 0, 1) => 10,
        (5, 0, 4) => 22,
        (5, 0, 3) => 7 + usize::from(frame(at, 5)?[4]),
        (5, 0, kind) => return Some((Err(SocksError::AddressKind(kind)), at + 4)),
        (5, code, _) => return Some((Err(SocksError::Reply(code)), at + 4)),
        (other, ..) => return wrong(5, other, at + 4),
    };
    frame(at, length).map(|_| (Ok(()), at + length))
}
