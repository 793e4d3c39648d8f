//! Bytes as decisions: each call takes some from the front, and zeros where none are left.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use mailport::outcome::Errno;
use mailport::{Family, Outcome, Tls};

pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| value(self))
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// At most 255 bytes, as text.
    pub(super) fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    pub(super) fn family(&mut self) -> Family {
        self.one_of(&Family::ALL)
    }

    pub(super) fn tls(&mut self) -> Tls {
        self.one_of(&[Tls::StartTls, Tls::Implicit, Tls::Cleartext])
    }

    /// One of sixteen, so that they meet again; now and then one that no resolver should give.
    pub(super) fn address(&mut self) -> SocketAddr {
        let choice = self.byte();
        let host = u16::from(choice & 7);
        let v6 = IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, host]);
        let ip = match choice >> 3 {
            0..=13 => IpAddr::from([192, 0, 2, choice & 7]),
            14..=27 => v6,
            28 => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x200 | host]),
            29 => IpAddr::from([0; 4]),
            30 => IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, host]),
            _ => {
                let scope = self.u32();
                let ip = [0xfe80, 0, 0, 0, 0, 0, 0, host].into();
                return SocketAddrV6::new(ip, self.u16(), 0, scope).into();
            }
        };
        SocketAddr::new(ip, host)
    }

    pub(super) fn outcome(&mut self) -> Outcome {
        self.one_of(&[
            Outcome::Reset,
            Outcome::IcmpHard,
            Outcome::IcmpSoft,
            Outcome::Timeout,
            Outcome::Local,
            Outcome::Closed,
            Outcome::Via,
            Outcome::Cancelled,
            Outcome::Connected,
        ])
    }

    /// Small numbers are the system's, and any other may be asked for.
    pub(super) fn errno(&mut self) -> Errno {
        match self.byte() {
            255 => Errno(self.u32().cast_signed()),
            number => Errno(number.into()),
        }
    }
}
