//! A dial: one descriptor to watch, one call when it is readable.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::cell::OnceCell;
use std::ffi::{CString, c_char, c_int};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mailport::report::{Attempt, Report};
use mailport::{ConnectError, Service};

use crate::boundary::{Text, c_string, export};
use crate::connect::Wanted;
use crate::numbers::{MAILPORT_TLS_UNDECIDED, TlsNumber, of_tls};
use crate::options::Options;
use crate::status::{
    self, MAILPORT_ASK, MAILPORT_BUG, MAILPORT_FORKED, MAILPORT_INVALID, MAILPORT_NULL,
    MAILPORT_OK, MAILPORT_PENDING, MAILPORT_TAKEN, Status,
};

/// A dial under way: one descriptor for its whole life, and one call when it is readable. Free it
/// with mailport_dial_free(), which cancels what is not done.
#[derive(Debug)]
pub struct Dial {
    state: State,
    /// What the last turn gave. A final one stays for ever.
    status: Status,
    /// The process that the dial belongs to.
    process: u32,
    /// What the getters have been asked for since the last turn.
    pub(crate) told: Told,
}

#[derive(Debug)]
enum State {
    Running(Box<mailport::Dial>),
    /// Nothing could be begun: the sentence why, and a descriptor that is readable until it is
    /// told.
    Refused {
        sentence: String,
        bell: Bell,
    },
}

/// Two ends of a stream, one of them to watch.
#[derive(Debug)]
struct Bell {
    watched: UnixStream,
    _other: UnixStream,
}

impl Bell {
    /// A descriptor that is readable.
    fn ringing() -> io::Result<Bell> {
        let (watched, mut other) = UnixStream::pair()?;
        watched.set_nonblocking(true)?;
        other.write_all(&[0])?;
        Ok(Bell { watched, _other: other })
    }

    fn silence(&self) {
        // It fails where it is silent already.
        let _ = (&self.watched).read(&mut [0]);
    }
}

/// Strings that C borrows until the next turn, made when they are first wanted.
#[derive(Debug, Default)]
pub(crate) struct Told {
    report: OnceCell<Report>,
    pub(crate) attempts: OnceCell<Vec<crate::attempts::Words>>,
    pub(crate) lookups: OnceCell<Vec<CString>>,
    pub(crate) question: OnceCell<CString>,
    message: OnceCell<CString>,
    address: OnceCell<CString>,
    host: OnceCell<CString>,
    via: OnceCell<CString>,
    json: OnceCell<CString>,
}

impl Dial {
    /// Fails for want of descriptors only: whatever is wrong with the wish is the dial's verdict.
    fn start(wanted: Result<Wanted, String>) -> io::Result<Dial> {
        let started = wanted.and_then(|Wanted { target, plan, config, dialer }| {
            match dialer.with_plan(plan).with_config(config).start(&target) {
                Ok(dial) => Ok(Ok(State::Running(Box::new(dial)))),
                Err(ConnectError::Setup { source: error, .. }) => Ok(Err(error)),
                Err(error) => Err(error.to_string()),
            }
        });
        let state = match started {
            Ok(state) => state?,
            Err(sentence) => State::Refused { sentence, bell: Bell::ringing()? },
        };
        let (process, told) = (std::process::id(), Told::default());
        Ok(Dial { state, status: MAILPORT_PENDING, process, told })
    }

    /// The dial, where it may be used: in the process that it belongs to.
    pub(crate) fn usable(&self) -> Option<&Dial> {
        (self.process == std::process::id()).then_some(self)
    }

    /// The running dial beneath; `None` where nothing could be begun.
    pub(crate) fn running(&self) -> Option<&mailport::Dial> {
        match &self.state {
            State::Running(dial) => Some(dial),
            State::Refused { .. } => None,
        }
    }

    /// Does something to the running dial that is not a turn.
    pub(crate) fn running_mut(&mut self) -> Option<&mut mailport::Dial> {
        match &mut self.state {
            State::Running(dial) => Some(dial),
            State::Refused { .. } => None,
        }
    }

    /// Why this dial cannot do what changes it.
    pub(crate) fn refusal(&self) -> Option<Status> {
        self.usable().is_none().then_some(MAILPORT_FORKED)
    }

    /// One turn, which what `run` does begins.
    fn turn(&mut self, run: impl FnOnce(&mut mailport::Dial) -> mailport::Status) -> Status {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        if self.is_final() {
            return self.status;
        }
        self.told = Told::default();
        // What stays if the turn panics.
        self.status = MAILPORT_BUG;
        self.status = match &mut self.state {
            State::Refused { bell, .. } => {
                bell.silence();
                MAILPORT_INVALID
            }
            State::Running(dial) => match run(dial) {
                mailport::Status::Pending => MAILPORT_PENDING,
                mailport::Status::Asking => MAILPORT_ASK,
                mailport::Status::Connected => MAILPORT_OK,
                mailport::Status::Failed => status::of_report(&dial.report()),
                mailport::Status::Forked => MAILPORT_FORKED,
                _ => MAILPORT_BUG,
            },
        };
        self.status
    }

    fn is_final(&self) -> bool {
        self.status <= MAILPORT_OK
    }

    fn take(&mut self) -> Result<RawFd, Status> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if self.status != MAILPORT_OK {
            return Err(self.status);
        }
        let connected = self.running_mut().ok_or(MAILPORT_INVALID)?.take();
        connected
            .map(|connected| OwnedFd::from(connected.stream).into_raw_fd())
            .map_err(|_| MAILPORT_TAKEN)
    }

    /// What the dial has done up to its last turn.
    pub(crate) fn report(&self) -> Option<&Report> {
        let dial = self.running()?;
        Some(self.told.report.get_or_init(|| dial.report()))
    }

    fn winner(&self) -> Option<&Attempt> {
        self.report().and_then(Report::winner)
    }

    fn service(&self) -> Option<Service> {
        self.winner().map(|winner| winner.service)
    }

    fn sentence(&self) -> CString {
        match &self.state {
            _ if !self.is_final() => status::sentence(self.status).to_owned(),
            State::Refused { sentence, .. } => c_string(sentence.clone()),
            State::Running(_) if self.status == MAILPORT_BUG => {
                status::sentence(MAILPORT_BUG).to_owned()
            }
            State::Running(dial) => c_string(self.report().unwrap_or(&dial.report()).summary()),
        }
    }
}

/// Starts a dial and returns at once; nothing is sent before it is processed. The host is a name or
/// an address without brackets. The port makes the plan, as for mailport_connect(), unless the
/// options have one; the options may be NULL.
///
/// Host and options are copied. It fails only for NULL and where this machine has no descriptors
/// for it. A host that cannot be one, or settings that contradict each other, are what
/// mailport_dial_process() then says, like everything that the network has to say.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_start(
    host: Text,
    port: u16,
    options: Option<&Options>,
    out_dial: Option<&mut MaybeUninit<Option<Box<Dial>>>>,
) -> Status {
    let host = Some(host).filter(|host| host.get().is_some());
    export!(status; host, out_dial => match Dial::start(Wanted::new(host, port, options)) {
        Ok(dial) => {
            out_dial.write(Some(Box::new(dial)));
            MAILPORT_OK
        }
        Err(_) => status::MAILPORT_SYSTEM,
    })
}

/// Ends a dial: cancels what is not done and closes whatever it has open, at once, but for a
/// descriptor that was taken. It never waits. In a forked child it closes the child's copies and
/// leaves the parent's dial alone.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_free(dial: Option<Box<Dial>>) {
    export!(nothing; dial => drop(dial));
}

/// The descriptor to watch for reading, and for nothing else; -1 in a forked child. It is the same
/// until the dial is freed, may be watched level-triggered or edge-triggered, and is silent once
/// the dial has ended. Neither read from it nor close it.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_fd(dial: Option<&mut Dial>) -> c_int {
    export!(-1; dial => match &mut dial.state {
        State::Running(running) => running.descriptor().map_or(-1, |fd| fd.as_raw_fd()),
        State::Refused { bell, .. } => bell.watched.as_raw_fd(),
    })
}

/// In how many milliseconds the dial must be processed at the latest, if the descriptor is not
/// readable before; -1 for never. It may be ignored: the time is in the descriptor, too.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_timeout_ms(dial: Option<&Dial>) -> c_int {
    export!(-1; dial => dial.usable().map_or(-1, |dial| {
        let timeout = match &dial.state {
            _ if dial.is_final() => None,
            State::Running(running) => running.poll_timeout(),
            State::Refused { .. } => Some(Duration::ZERO),
        };
        // Rounded up, so that whoever sleeps this long does not come too early.
        let ms = timeout.map(|timeout| timeout.as_micros().div_ceil(1000));
        ms.map_or(-1, |ms| c_int::try_from(ms).unwrap_or(c_int::MAX))
    }))
}

/// Does what can be done now, without ever blocking: MAILPORT_PENDING (wait for the descriptor),
/// MAILPORT_ASK (a question stands), MAILPORT_OK (connected: mailport_dial_take_fd()), or why there
/// is no connection. The last two are for ever.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_process(dial: Option<&mut Dial>) -> Status {
    export!(status; dial => dial.turn(mailport::Dial::process))
}

/// Waits for at most timeout_ms (-1: for ever) until something can be done, and does it, as
/// mailport_dial_process() would. It gives MAILPORT_PENDING when the time is over, after a signal,
/// and whenever there is more to do: call it until it gives something else. While a question stands
/// it waits until that is withdrawn, so answer first.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_wait(dial: Option<&mut Dial>, timeout_ms: c_int) -> Status {
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    export!(status; dial => dial.turn(|running| running.wait(timeout)))
}

/// Gives the connection of a dial that has ended with MAILPORT_OK, once; close it with close(2). It
/// does not block, is closed on exec, and nothing was sent on it. Otherwise the status of the dial,
/// or MAILPORT_TAKEN.
///
/// Ask mailport_dial_tls() which TLS mode must be spoken, and verify the certificate against the
/// host that was dialled.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_take_fd(
    dial: Option<&mut Dial>,
    out_fd: Option<&mut MaybeUninit<c_int>>,
) -> Status {
    export!(status; dial, out_fd => match dial.take() {
        Ok(descriptor) => {
            out_fd.write(descriptor);
            MAILPORT_OK
        }
        Err(status) => status,
    })
}

/// The port that was reached; 0 until the dial has ended with MAILPORT_OK.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_port(dial: Option<&Dial>) -> u16 {
    export!(0; dial => dial.usable().and_then(Dial::service).map_or(0, Service::port))
}

/// The TLS mode that must be spoken on the connection; MAILPORT_TLS_UNDECIDED until the dial has
/// ended with MAILPORT_OK. Ask this, never the port.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_tls(dial: Option<&Dial>) -> TlsNumber {
    export!(MAILPORT_TLS_UNDECIDED; dial => {
        let service = dial.usable().and_then(Dial::service);
        service.map_or(MAILPORT_TLS_UNDECIDED, |service| of_tls(service.tls()))
    })
}

/// The address that was reached, without its port; empty until the dial has ended with
/// MAILPORT_OK, and where a proxy or a command was given the name.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_address(dial: Option<&Dial>) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.usable().map_or(c"".as_ptr(), |dial| {
        let address = || dial.winner().map(crate::attempts::address_of).unwrap_or_default();
        dial.told.address.get_or_init(address).as_ptr()
    }))
}

/// One sentence for people: what the dial did and how it ended, in success and failure alike.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_message(dial: Option<&Dial>) -> *const c_char {
    export!(status::sentence(MAILPORT_NULL).as_ptr(); dial => match dial.usable() {
        Some(dial) => dial.told.message.get_or_init(|| dial.sentence()).as_ptr(),
        None => status::sentence(MAILPORT_FORKED).as_ptr(),
    })
}

/// The error number that stands for a dial that failed, as in errno(3): the system's of the attempt
/// that says most, or ETIMEDOUT where that was silent; 0 where none fits. For programs that show
/// one; mailport_dial_message() says more.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_errno(dial: Option<&Dial>) -> c_int {
    export!(0; dial => {
        let report = dial.usable().filter(|dial| dial.status < MAILPORT_OK).and_then(Dial::report);
        report.and_then(Report::errno).map_or(0, |errno| errno.0)
    })
}

/// The report as one JSON object on one line, as `mailport connect --json` prints it; complete once
/// the dial has ended.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_json(dial: Option<&Dial>) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.usable().map_or(c"".as_ptr(), |dial| {
        let json = || match &dial.state {
            State::Refused { sentence, .. } => Report::json_of_refusal(sentence),
            State::Running(running) => dial.report().unwrap_or(&running.report()).to_json(),
        };
        dial.told.json.get_or_init(|| c_string(json())).as_ptr()
    }))
}

/// The host that was dialled, as it was given; empty where it could not be one.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_host(dial: Option<&Dial>) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.usable().map_or(c"".as_ptr(), |dial| {
        let host = || dial.report().map(|report| c_string(&*report.host)).unwrap_or_default();
        dial.told.host.get_or_init(host).as_ptr()
    }))
}

/// The proxy or the command that the dial went through, without its password; empty for none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_via(dial: Option<&Dial>) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.usable().map_or(c"".as_ptr(), |dial| {
        let via = || dial.report().and_then(|report| report.via.as_deref()).map(c_string);
        dial.told.via.get_or_init(|| via().unwrap_or_default()).as_ptr()
    }))
}

/// From the start of the dial to its end, in microseconds; while it has not ended, to when it was
/// last processed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_elapsed_us(dial: Option<&Dial>) -> i64 {
    export!(0; dial => {
        let report = dial.usable().and_then(Dial::report);
        report.map_or(0, |report| crate::attempts::micros(report.elapsed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_moves_between_threads_and_several_use_options_and_cache() {
        fn moves<T: Send>() {}
        fn is_read_by_several<T: Sync>() {}
        moves::<Dial>();
        moves::<Options>();
        is_read_by_several::<Options>();
        moves::<crate::cache::Cache>();
        is_read_by_several::<crate::cache::Cache>();
    }
}
