//! A dial: one descriptor to watch, one call when it is readable.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::cell::OnceCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use mailport::internal::process_generation;
use mailport::report::{Attempt, Report};
use mailport::{Canceller, Service};

use crate::boundary::{Text, c_string, export};
use crate::connect::DialRequest;
use crate::constants::{MAILPORT_TLS_UNDECIDED, TlsNumber, from_tls};
use crate::failure::CallFailure;
use crate::options::Options;
use crate::report_text::{self, AttemptText};
use crate::status::{
    self, MAILPORT_ASK, MAILPORT_ERR_ALREADY_TAKEN, MAILPORT_ERR_BUSY, MAILPORT_ERR_FORKED,
    MAILPORT_ERR_INTERNAL, MAILPORT_ERR_INVALID, MAILPORT_ERR_NULL_POINTER, MAILPORT_OK,
    MAILPORT_PENDING, Status,
};

/// A dial under way: one descriptor for its whole life, and one call when it is readable. Free it
/// with mailport_dial_free(), which cancels it where it has not ended.
#[derive(Debug)]
pub struct Dial {
    /// The process that the dial belongs to.
    process: u64,
    descriptor: RawFd,
    /// `None` where the dial could not begin.
    canceller: Option<Canceller>,
    user_data: AtomicPtr<c_void>,
    /// Held during each call. Two threads in one dial are a mistake of the caller, which the second
    /// one is reported.
    inner: Mutex<Inner>,
}

/// What only one thread at a time may use.
#[derive(Debug)]
pub(crate) struct Inner {
    state: DialState,
    /// What the last turn returned. A final status never changes.
    status: Status,
    /// Why the dial failed.
    failure: Option<CallFailure>,
    /// What the getters have returned since the last turn.
    pub(crate) strings: Strings,
}

#[derive(Debug)]
enum DialState {
    Running(Box<mailport::Dial>),
    /// The dial could not begin: the message, and a descriptor that is readable until the first
    /// call of mailport_dial_process().
    Refused {
        failure: CallFailure,
        readable: Readable,
    },
}

/// A descriptor that is readable until it is silenced.
#[derive(Debug)]
struct Readable {
    watched: UnixStream,
    _other: UnixStream,
}

impl Readable {
    fn new() -> io::Result<Readable> {
        let (watched, mut other) = UnixStream::pair()?;
        watched.set_nonblocking(true)?;
        other.write_all(&[0])?;
        Ok(Readable { watched, _other: other })
    }

    fn silence(&self) {
        // It fails where it is silent already.
        let _ = (&self.watched).read(&mut [0]);
    }
}

/// Strings that C borrows until the next turn, made when they are first wanted.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    report: OnceCell<Report>,
    pub(crate) attempts: OnceCell<Vec<AttemptText>>,
    pub(crate) lookup: OnceCell<CString>,
    pub(crate) question: OnceCell<CString>,
    message: OnceCell<CString>,
    address: OnceCell<CString>,
    host: OnceCell<CString>,
    via: OnceCell<CString>,
    json: OnceCell<CString>,
}

/// `mailport_dial *`: a dial for a call that changes it. Another thread may cancel the dial
/// meanwhile, so it is no `&mut`.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct DialPointer<'a>(Option<&'a Dial>);

impl<'a> DialPointer<'a> {
    pub(crate) fn get(self) -> Option<&'a Dial> {
        self.0
    }
}

/// The body of a getter: it returns the neutral value for NULL, in a forked child, and where
/// another thread is in a call of the same dial.
macro_rules! read {
    ($neutral:expr; $dial:ident => $body:expr) => {
        $crate::boundary::export!($neutral; $dial => {
            $dial.read($neutral, |$dial: &$crate::dial::Inner| $body)
        })
    };
}
pub(crate) use read;

impl Dial {
    /// Fails only where this machine refuses what every dial needs: anything wrong with the request
    /// is what the dial then ends with.
    fn start(request: Result<DialRequest, CallFailure>) -> Result<Dial, CallFailure> {
        let started = request.and_then(|request| Ok(request.start()?));
        let (state, descriptor, canceller) = match started {
            Ok(mut dial) => {
                let canceller = dial.canceller()?;
                let descriptor = dial.descriptor()?.as_raw_fd();
                (DialState::Running(Box::new(dial)), descriptor, Some(canceller))
            }
            Err(failure) if failure.status == MAILPORT_ERR_INVALID => {
                let readable = Readable::new();
                let readable =
                    readable.map_err(|error| CallFailure::local("socketpair", &error))?;
                let descriptor = readable.watched.as_raw_fd();
                (DialState::Refused { failure, readable }, descriptor, None)
            }
            Err(failure) => return Err(failure),
        };
        let strings = Strings::default();
        let inner = Inner { state, status: MAILPORT_PENDING, failure: None, strings };
        Ok(Dial {
            process: process_generation(),
            descriptor,
            canceller,
            user_data: AtomicPtr::new(ptr::null_mut()),
            inner: Mutex::new(inner),
        })
    }

    fn is_forked(&self) -> bool {
        self.process != process_generation()
    }

    /// What only one thread may use, or why this call may not.
    fn enter(&self) -> Result<MutexGuard<'_, Inner>, Status> {
        if self.is_forked() {
            return Err(MAILPORT_ERR_FORKED);
        }
        match self.inner.try_lock() {
            Ok(inner) => Ok(inner),
            // A turn that panicked has left MAILPORT_ERR_INTERNAL as the status.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(MAILPORT_ERR_BUSY),
        }
    }

    /// Whether a thread is in a call of this dial.
    fn is_busy(&self) -> bool {
        matches!(self.inner.try_lock(), Err(TryLockError::WouldBlock))
    }

    pub(crate) fn read<T>(&self, neutral: T, get: impl FnOnce(&Inner) -> T) -> T {
        self.enter().map_or(neutral, |inner| get(&inner))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Inner) -> Status) -> Status {
        self.enter().map_or_else(|refusal| refusal, |mut inner| change(&mut inner))
    }

    fn cancel(&self) -> Status {
        if self.is_forked() {
            return MAILPORT_ERR_FORKED;
        }
        if let Some(canceller) = &self.canceller {
            canceller.cancel();
        }
        MAILPORT_OK
    }
}

impl Inner {
    /// The running dial; `None` where none could begin.
    pub(crate) fn running(&self) -> Option<&mailport::Dial> {
        match &self.state {
            DialState::Running(dial) => Some(dial),
            DialState::Refused { .. } => None,
        }
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut mailport::Dial> {
        match &mut self.state {
            DialState::Running(dial) => Some(dial),
            DialState::Refused { .. } => None,
        }
    }

    /// One turn, which `run` begins.
    fn turn(&mut self, run: impl FnOnce(&mut mailport::Dial) -> mailport::Status) -> Status {
        if self.is_final() {
            return self.status;
        }
        self.strings = Strings::default();
        // The status that stays if the turn panics.
        self.status = MAILPORT_ERR_INTERNAL;
        self.status = match &mut self.state {
            DialState::Refused { failure, readable } => {
                readable.silence();
                failure.status
            }
            DialState::Running(dial) => match run(dial) {
                mailport::Status::Pending => MAILPORT_PENDING,
                mailport::Status::Asking => MAILPORT_ASK,
                mailport::Status::Connected => MAILPORT_OK,
                mailport::Status::Failed => {
                    let failure = dial.take().err().map(CallFailure::from);
                    let status = failure.as_ref().map(|failure| failure.status);
                    self.failure = failure;
                    status.unwrap_or(MAILPORT_ERR_INTERNAL)
                }
                mailport::Status::Forked => MAILPORT_ERR_FORKED,
                _ => MAILPORT_ERR_INTERNAL,
            },
        };
        self.status
    }

    fn is_final(&self) -> bool {
        self.status <= MAILPORT_OK
    }

    fn take(&mut self) -> Result<RawFd, Status> {
        if self.status != MAILPORT_OK {
            return Err(self.status);
        }
        let connected = self.running_mut().ok_or(MAILPORT_ERR_INVALID)?.take();
        let connected = connected.map_err(|_| MAILPORT_ERR_ALREADY_TAKEN)?;
        Ok(OwnedFd::from(connected.stream).into_raw_fd())
    }

    /// What the dial has done up to its last turn.
    pub(crate) fn report(&self) -> Option<&Report> {
        let dial = self.running()?;
        Some(self.strings.report.get_or_init(|| dial.report()))
    }

    fn winner(&self) -> Option<&Attempt> {
        self.report().and_then(Report::winner)
    }

    fn service(&self) -> Option<Service> {
        self.winner().map(|winner| winner.service)
    }

    fn message(&self) -> CString {
        match (&self.state, &self.failure, self.report()) {
            _ if !self.is_final() || self.status == MAILPORT_ERR_INTERNAL => {
                status::sentence(self.status).to_owned()
            }
            (DialState::Refused { failure, .. }, ..) | (_, Some(failure), _) => {
                failure.message.clone()
            }
            (DialState::Running(_), None, report) => {
                c_string(report.map(Report::summary).unwrap_or_default())
            }
        }
    }

    fn errno(&self) -> c_int {
        match (&self.state, &self.failure) {
            _ if !self.is_final() => 0,
            (DialState::Refused { failure, .. }, _) | (_, Some(failure)) => failure.errno,
            (DialState::Running(_), None) => 0,
        }
    }

    fn json(&self) -> CString {
        c_string(match (&self.state, self.report()) {
            (DialState::Refused { failure, .. }, _) => {
                Report::json_of_refusal(&failure.message.to_string_lossy())
            }
            (DialState::Running(_), report) => report.map(Report::to_json).unwrap_or_default(),
        })
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match &self.state {
            _ if self.is_final() => None,
            DialState::Running(running) => running.poll_timeout(),
            DialState::Refused { .. } => Some(Duration::ZERO),
        }
    }
}

/// Starts a dial and returns at once. Nothing is sent before the first call of
/// mailport_dial_process(). The host is a name or an address without brackets; it is what TLS must
/// verify. The port chooses the plan, as for mailport_connect(), unless the options have one. The
/// options may be NULL.
///
/// Host and options are copied. It fails for NULL and where this machine refuses a descriptor;
/// mailport_last_error_message() and mailport_last_error_errno() then say why. A host that cannot
/// be dialled, and settings that contradict each other, are the result of the first call of
/// mailport_dial_process(), as every error of the network is.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_start(
    host: Text,
    port: u16,
    options: Option<&Options>,
    out_dial: Option<&mut MaybeUninit<Option<Box<Dial>>>>,
) -> Status {
    let host = host.get();
    export!(recorded; host, out_dial => {
        let dial = Dial::start(DialRequest::new(host, port, options))?;
        out_dial.write(Some(Box::new(dial)));
        Ok(MAILPORT_OK)
    })
}

/// Frees a dial. It cancels what has not ended and closes everything that is open, except a
/// descriptor that was taken. It accepts NULL and does not block. In a forked child it closes the
/// child's copies and leaves the parent's dial alone. Stop watching the descriptor first.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_free(dial: Option<Box<Dial>>) {
    export!(nothing; dial => {
        if dial.is_forked() {
            // A thread of the parent may have been in a call, and does not exist here: its lock is
            // never released, and what it was changing is not whole.
            if dial.is_busy() {
                std::mem::forget(dial);
            }
            return;
        }
        // Another thread in a call is a mistake of the caller. It leaves when it is cancelled.
        if dial.is_busy() {
            dial.cancel();
            drop(dial.inner.lock().unwrap_or_else(PoisonError::into_inner));
        }
        drop(dial);
    });
}

/// Cancels a dial. Any thread may call it at any time before mailport_dial_free(), also while
/// another one is in mailport_dial_wait(), which then returns. The dial ends with
/// MAILPORT_ERR_CANCELLED at its next turn, for which its descriptor is readable. A dial that has
/// ended stays as it is.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_cancel(dial: DialPointer) -> Status {
    let dial = dial.get();
    export!(status; dial => dial.cancel())
}

/// Returns the descriptor to watch for reading, and for nothing else; -1 in a forked child. It is
/// the same until the dial is freed, may be watched level-triggered or edge-triggered, and is not
/// readable after the dial has ended. Do not read from it or close it, and remove it from the loop
/// before mailport_dial_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_fd(dial: Option<&Dial>) -> c_int {
    export!(-1; dial => if dial.is_forked() { -1 } else { dial.descriptor })
}

/// Returns in how many milliseconds the dial must be processed at the latest if the descriptor is
/// not readable before; -1 for no limit. A loop may ignore it: the descriptor has a timer inside.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_poll_timeout_ms(dial: Option<&Dial>) -> c_int {
    read!(-1; dial => {
        // Rounded up, so that a caller that sleeps this long does not wake too early.
        let ms = dial.poll_timeout().map(|timeout| timeout.as_micros().div_ceil(1000));
        ms.map_or(-1, |ms| c_int::try_from(ms).unwrap_or(c_int::MAX))
    })
}

/// Does what can be done now, without blocking. Returns MAILPORT_PENDING (wait for the descriptor),
/// MAILPORT_ASK (there is a question to answer), MAILPORT_OK (connected: mailport_dial_take_fd()),
/// or why there is no connection. The last two are final: later calls return the same status.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_process(dial: DialPointer) -> Status {
    let dial = dial.get();
    export!(status; dial => dial.change(|dial| dial.turn(mailport::Dial::process)))
}

/// Waits for at most timeout_ms (-1: no limit) until something can be done, and does it, as
/// mailport_dial_process() would. It returns MAILPORT_PENDING when the time is over, after a
/// signal, and whenever there is more to do: call it until it returns something else. While there
/// is a question it waits until the question is withdrawn, so answer first.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_wait(dial: DialPointer, timeout_ms: c_int) -> Status {
    let dial = dial.get();
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    export!(status; dial => dial.change(|dial| dial.turn(|running| running.wait(timeout))))
}

/// Transfers the connection of a dial that has ended with MAILPORT_OK to the caller, once; close it
/// with close(2). It is non-blocking and closed on exec, and nothing was sent on it. Otherwise it
/// returns the status of the dial, or MAILPORT_ERR_ALREADY_TAKEN.
///
/// mailport_dial_tls() returns the TLS mode that the caller must use. Verify the certificate
/// against the host that was dialled.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_take_fd(
    dial: DialPointer,
    out_fd: Option<&mut MaybeUninit<c_int>>,
) -> Status {
    let dial = dial.get();
    export!(status; dial, out_fd => dial.change(|dial| match dial.take() {
        Ok(descriptor) => {
            out_fd.write(descriptor);
            MAILPORT_OK
        }
        Err(status) => status,
    }))
}

/// Attaches a pointer of the caller to a dial. mailport never reads what it points to.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_set_user_data(dial: DialPointer, user_data: *mut c_void) -> Status {
    let dial = dial.get();
    export!(status; dial => {
        dial.user_data.store(user_data, Ordering::Release);
        MAILPORT_OK
    })
}

/// Returns the pointer that mailport_dial_set_user_data() has attached; NULL where there is none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_user_data(dial: Option<&Dial>) -> *mut c_void {
    export!(ptr::null_mut(); dial => dial.user_data.load(Ordering::Acquire))
}

/// Returns the port that was reached; 0 until the dial has ended with MAILPORT_OK.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_port(dial: Option<&Dial>) -> u16 {
    read!(0; dial => dial.service().map_or(0, Service::port))
}

/// Returns the TLS mode that the caller must use on the connection; MAILPORT_TLS_UNDECIDED until
/// the dial has ended with MAILPORT_OK. Use this, never the port.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_tls(dial: Option<&Dial>) -> TlsNumber {
    read!(MAILPORT_TLS_UNDECIDED; dial => {
        dial.service().map_or(MAILPORT_TLS_UNDECIDED, |service| from_tls(service.tls()))
    })
}

/// Returns the address that was reached, without its port. It is empty until the dial has ended
/// with MAILPORT_OK, and where a proxy or a command was given the name.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_address(dial: Option<&Dial>) -> *const c_char {
    read!(c"".as_ptr(); dial => {
        let address = || dial.winner().map(report_text::address).unwrap_or_default();
        dial.strings.address.get_or_init(address).as_ptr()
    })
}

/// Returns one sentence for people: what the dial did and how it ended, in success and in failure.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_message(dial: Option<&Dial>) -> *const c_char {
    let of = |status| status::sentence(status).as_ptr();
    export!(of(MAILPORT_ERR_NULL_POINTER); dial => match dial.enter() {
        Ok(dial) => dial.strings.message.get_or_init(|| dial.message()).as_ptr(),
        Err(status) => of(status),
    })
}

/// Returns the errno(3) number that describes a failed dial best: the system's number of the
/// attempt that explains the failure, ETIMEDOUT where that attempt was silent, EINVAL for a host or
/// a setting that cannot be used; 0 where none fits. mailport_dial_message() says more.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_errno(dial: Option<&Dial>) -> c_int {
    read!(0; dial => dial.errno())
}

/// Returns the report as one JSON object on one line, as `mailport connect --json` prints it. It is
/// complete once the dial has ended.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_json(dial: Option<&Dial>) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.strings.json.get_or_init(|| dial.json()).as_ptr())
}

/// Returns the host as it was given to mailport_dial_start(); empty where it cannot be dialled.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_host(dial: Option<&Dial>) -> *const c_char {
    read!(c"".as_ptr(); dial => {
        let host = || dial.report().map(|report| c_string(&*report.host)).unwrap_or_default();
        dial.strings.host.get_or_init(host).as_ptr()
    })
}

/// Returns the proxy or the command that the dial went through, without its password; empty for a
/// direct dial.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_via(dial: Option<&Dial>) -> *const c_char {
    read!(c"".as_ptr(); dial => {
        let via = || dial.report().and_then(|report| report.via.as_deref()).map(c_string);
        dial.strings.via.get_or_init(|| via().unwrap_or_default()).as_ptr()
    })
}

/// Returns the time from the start of the dial to its end, in microseconds; while it has not ended,
/// to its last turn.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_elapsed_us(dial: Option<&Dial>) -> i64 {
    read!(0; dial => dial.report().map_or(0, |report| report_text::micros(report.elapsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_moves_between_threads_and_several_use_options_and_cache() {
        fn moves<T: Send>() {}
        fn is_shared<T: Sync>() {}
        moves::<Dial>();
        is_shared::<Dial>();
        moves::<Options>();
        is_shared::<Options>();
        moves::<crate::cache::Cache>();
        is_shared::<crate::cache::Cache>();
    }
}
