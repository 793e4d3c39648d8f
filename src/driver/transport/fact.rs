//! What a look at a transport finds.

use std::io;
use std::time::Duration;

use crate::outcome::{Errno, Failure, Outcome};

/// Something that a look at a transport found, in the order in which it happened.
#[derive(Debug)]
pub(in crate::driver) enum Fact {
    /// The first stage is over.
    Connected { round_trip: Duration, syns: Option<u32> },
    /// The service is reached: nothing else has to happen before its connection can be used.
    Reached,
    /// The first byte of a greeting is there.
    Greeted,
    /// The attempt goes on, and has this note for people.
    Noted { note: String },
    /// The attempt has failed; the note is for people.
    Failed { failure: Failure, note: Option<String> },
}

impl Fact {
    pub(in crate::driver) fn failed(failure: Failure) -> Fact {
        Fact::Failed { failure, note: None }
    }

    /// Whether this machine lacks something for the moment.
    pub(in crate::driver) fn is_of_a_lack(error: &io::Error) -> bool {
        error.raw_os_error().map(Errno).is_some_and(Errno::is_local_resource_error)
    }

    /// This machine lacked something.
    pub(in crate::driver) fn local(error: &io::Error) -> Fact {
        let errno = Some(Errno(error.raw_os_error().unwrap_or(libc::ENOMEM)));
        Fact::failed(Failure { errno, ..Failure::new(Outcome::Local) })
    }
}
