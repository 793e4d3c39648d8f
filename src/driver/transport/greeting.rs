//! The greeting wait's look at a connection: whether its server has sent something, without taking a byte.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use super::super::sys;
use crate::outcome::Errno;

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Neither a byte nor an end.
    Nothing,
    /// This byte is the first.
    Byte(u8),
    /// The connection has ended before its first byte.
    End(Option<Errno>),
}

/// Looks once. What is there stays there.
pub(super) fn listen(socket: BorrowedFd) -> Heard {
    let mut first = [0];
    match sys::peek(socket, &mut first) {
        Ok(0) => Heard::End(None),
        Ok(_) => Heard::Byte(first[0]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Heard::Nothing,
        Err(error) => Heard::End(error.raw_os_error().map(Errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_byte_is_looked_at_and_left_where_it_is() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(listen(ours.as_fd()), Heard::Nothing);
        theirs.write_all(b"220").unwrap();
        assert_eq!(listen(ours.as_fd()), Heard::Byte(b'2'));
        drop(theirs);
        assert_eq!(listen(ours.as_fd()), Heard::Byte(b'2'), "the end comes after what was said");
        let mut all = String::new();
        ours.read_to_string(&mut all).unwrap();
        assert_eq!((&*all, listen(ours.as_fd())), ("220", Heard::End(None)));
    }
}
