//! The report of a dial, field by field.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::SocketAddr;
use std::time::Duration;

use mailport::Service;
use mailport::outcome::ViaError;
use mailport::report::{Attempt, End, Lookup, Reason};

use crate::boundary::{c_string, export};
use crate::dial::Dial;
use crate::numbers::{self, FamilyNumber, GreetingNumber, LookupErrorNumber};
use crate::numbers::{MAILPORT_FAMILY_NONE, MAILPORT_GREETING_NOT_AWAITED, MAILPORT_TLS_UNDECIDED};
use crate::numbers::{OutcomeNumber, ProxyErrorNumber, ReasonNumber, StageNumber, TlsNumber};

/// The strings of one attempt.
#[derive(Debug)]
pub(crate) struct Words {
    address: CString,
    icmp: CString,
    router: CString,
    proxy: CString,
    note: CString,
    reason: CString,
    reason_service: CString,
}

impl Words {
    fn new(attempt: &Attempt) -> Words {
        let icmp = attempt.icmp;
        let router = icmp.and_then(|icmp| icmp.sender);
        Words {
            address: address_of(attempt),
            icmp: icmp.map(|icmp| c_string(icmp.to_string())).unwrap_or_default(),
            router: router.map(|from| c_string(from.to_string())).unwrap_or_default(),
            proxy: attempt.via_error.map(|error| c_string(error.to_string())).unwrap_or_default(),
            note: attempt.note.as_deref().map(c_string).unwrap_or_default(),
            reason: c_string(attempt.reason.to_string()),
            reason_service: service_before(attempt.reason)
                .map(|service| c_string(service.to_string()))
                .unwrap_or_default(),
        }
    }
}

/// The service that a reason speaks of.
fn service_before(reason: Reason) -> Option<Service> {
    match reason {
        Reason::Refused(service)
        | Reason::AllFailed(service)
        | Reason::PortDelay(service)
        | Reason::Overdue(service)
        | Reason::NoAddress(service)
        | Reason::Remembered(service) => Some(service),
        _ => None,
    }
}

/// The address without its port, but with its zone.
pub(crate) fn address_of(attempt: &Attempt) -> CString {
    let text = |address| match address {
        SocketAddr::V6(v6) if v6.scope_id() > 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        address => address.ip().to_string(),
    };
    attempt.address.map(|address| c_string(text(address))).unwrap_or_default()
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Dial {
    fn attempt(&self, index: u32) -> Option<&Attempt> {
        self.usable()?.report()?.attempts.get(usize::try_from(index).ok()?)
    }

    /// One of the strings of an attempt; empty where there is no such attempt.
    fn words(&self, index: u32, pick: impl FnOnce(&Words) -> &CStr) -> *const c_char {
        let words = |dial: &Dial| {
            let attempts = dial.report().map(|report| &*report.attempts).unwrap_or_default();
            attempts.iter().map(Words::new).collect()
        };
        let all = self.usable().map(|dial| dial.told.attempts.get_or_init(|| words(dial)));
        let of_it = all.and_then(|all| all.get(usize::try_from(index).ok()?));
        of_it.map_or(c"", pick).as_ptr()
    }

    fn lookup(&self, index: u32) -> Option<&Lookup> {
        self.usable()?.report()?.lookup.as_ref().filter(|_| index == 0)
    }
}

/// How many attempts the dial has made, one for each address of each service that it came to. They
/// are counted from 0, in the order in which they were started. The getters below give 0 or an empty
/// string for one that there is not, and -1 where 0 would say something. What they say of a dial that
/// has not ended is as of when it was last processed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempts(dial: Option<&Dial>) -> u32 {
    export!(0; dial => {
        let report = dial.usable().and_then(Dial::report);
        report.map_or(0, |report| u32::try_from(report.attempts.len()).unwrap_or(u32::MAX))
    })
}

/// Which attempt won; -1 until the dial has ended with MAILPORT_OK.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_winner(dial: Option<&Dial>) -> i32 {
    export!(-1; dial => match dial.usable().and_then(Dial::report).and_then(|report| report.end) {
        Some(End::Connected(index)) => i32::try_from(index).unwrap_or(-1),
        _ => -1,
    })
}

/// The port of an attempt.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_port(dial: Option<&Dial>, attempt: u32) -> u16 {
    export!(0; dial => dial.attempt(attempt).map_or(0, |attempt| attempt.service.port()))
}

/// The TLS mode that its service demands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_tls(dial: Option<&Dial>, attempt: u32) -> TlsNumber {
    export!(MAILPORT_TLS_UNDECIDED; dial => {
        let tls = dial.attempt(attempt).map(|attempt| attempt.service.tls());
        tls.map_or(MAILPORT_TLS_UNDECIDED, numbers::of_tls)
    })
}

/// The only family of its service, as in "587/ipv4:starttls"; MAILPORT_FAMILY_NONE where the service
/// has both.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_service_family(
    dial: Option<&Dial>,
    attempt: u32,
) -> FamilyNumber {
    export!(MAILPORT_FAMILY_NONE; dial => {
        numbers::of_family(dial.attempt(attempt).and_then(|attempt| attempt.service.family()))
    })
}

/// The family of its address.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_family(dial: Option<&Dial>, attempt: u32) -> FamilyNumber {
    export!(MAILPORT_FAMILY_NONE; dial => {
        numbers::of_family(dial.attempt(attempt).and_then(|attempt| attempt.family))
    })
}

/// Its address, without the port; empty where a proxy or a command was given the name.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_address(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.address))
}

/// How far it came.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_stage(dial: Option<&Dial>, attempt: u32) -> StageNumber {
    export!(0; dial => dial.attempt(attempt).map_or(0, |attempt| numbers::of_stage(attempt.stage)))
}

/// When it was started, in microseconds from the start of the dial, as every time of an attempt;
/// -1 where there is no such attempt.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_started_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    export!(-1; dial => dial.attempt(attempt).map_or(-1, |attempt| micros(attempt.started)))
}

/// When its connection could be used; -1 if it never came so far.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_connected_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    export!(-1; dial => {
        dial.attempt(attempt).and_then(|attempt| attempt.connected).map_or(-1, micros)
    })
}

/// When it ended; while it is open, when the dial was last processed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_ended_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    export!(-1; dial => dial.attempt(attempt).map_or(-1, |attempt| micros(attempt.ended)))
}

/// How it ended.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_outcome(
    dial: Option<&Dial>,
    attempt: u32,
) -> OutcomeNumber {
    export!(0; dial => {
        dial.attempt(attempt).and_then(|attempt| attempt.outcome).map_or(0, numbers::of_outcome)
    })
}

/// The system's error, an errno(3) number; 0 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_errno(dial: Option<&Dial>, attempt: u32) -> c_int {
    export!(0; dial => {
        dial.attempt(attempt).and_then(|attempt| attempt.errno).map_or(0, |errno| errno.0)
    })
}

/// 4 for an ICMP error (RFC 792), 6 for an ICMPv6 error (RFC 4443), 0 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_version(dial: Option<&Dial>, attempt: u32) -> i32 {
    export!(0; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(0, |icmp| icmp.version().into())
    })
}

/// The type of that ICMP error; -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_type(dial: Option<&Dial>, attempt: u32) -> i32 {
    export!(-1; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(-1, |icmp| icmp.kind.into())
    })
}

/// The code of that ICMP error; -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_code(dial: Option<&Dial>, attempt: u32) -> i32 {
    export!(-1; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(-1, |icmp| icmp.code.into())
    })
}

/// What that ICMP error says, in words; empty where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.icmp))
}

/// The address of the router that sent it; empty where it is not known.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_from(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.router))
}

/// What the proxy or the command did, where the outcome is MAILPORT_OUTCOME_VIA; otherwise 0.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_proxy_error(
    dial: Option<&Dial>,
    attempt: u32,
) -> ProxyErrorNumber {
    export!(0; dial => {
        let error = dial.attempt(attempt).and_then(|attempt| attempt.via_error);
        error.map_or(0, numbers::of_proxy_error)
    })
}

/// The code of the proxy's reply (RFC 1928 section 6); -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_proxy_code(dial: Option<&Dial>, attempt: u32) -> i32 {
    export!(-1; dial => {
        let error = dial.attempt(attempt).and_then(|attempt| attempt.via_error);
        error.and_then(ViaError::code).map_or(-1, i32::from)
    })
}

/// The same in words, such as "says connection refused (reply 5)"; empty where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_proxy_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.proxy))
}

/// What else was heard, such as a command's standard error; empty for nothing.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_note(dial: Option<&Dial>, attempt: u32) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.note))
}

/// What the greeting wait saw.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_greeting(
    dial: Option<&Dial>,
    attempt: u32,
) -> GreetingNumber {
    export!(MAILPORT_GREETING_NOT_AWAITED; dial => {
        numbers::of_greeting(dial.attempt(attempt).and_then(|attempt| attempt.greeting))
    })
}

/// How many SYNs were sent; -1 where the kernel does not tell.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_syns(dial: Option<&Dial>, attempt: u32) -> i32 {
    export!(-1; dial => {
        let syns = dial.attempt(attempt).and_then(|attempt| attempt.syns);
        syns.map_or(-1, |syns| i32::try_from(syns).unwrap_or(i32::MAX))
    })
}

/// Why it was started.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason(dial: Option<&Dial>, attempt: u32) -> ReasonNumber {
    export!(0; dial => {
        dial.attempt(attempt).map_or(0, |attempt| numbers::of_reason(attempt.reason))
    })
}

/// The same in words, such as "587 was refused".
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.reason))
}

/// The service that the reason speaks of, as it stands in a plan: "587:starttls". Empty for a reason
/// that speaks of none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason_service(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.words(attempt, |words| &words.reason_service))
}

/// How many name look-ups there were: 1, and 0 for an address or through a proxy or a command.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookups(dial: Option<&Dial>) -> u32 {
    export!(0; dial => {
        let report = dial.usable().and_then(Dial::report);
        report.map_or(0, |report| u32::from(report.lookup.is_some()))
    })
}

/// Returns 1 if the look-up was slow or failed temporarily, so that one look-up of each family was
/// started beside it, and 0 otherwise.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_hedged(dial: Option<&Dial>, lookup: u32) -> i32 {
    export!(0; dial => dial.lookup(lookup).map_or(0, |lookup| i32::from(lookup.hedged)))
}

/// When it ended, in microseconds from the start of the dial; -1 if it had not by the end of that.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_ended_us(dial: Option<&Dial>, lookup: u32) -> i64 {
    export!(-1; dial => dial.lookup(lookup).and_then(|lookup| lookup.ended).map_or(-1, micros))
}

/// How many addresses there are, of both families; -1 where it failed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_addresses(dial: Option<&Dial>, lookup: u32) -> i32 {
    export!(-1; dial => {
        let count = dial.lookup(lookup).and_then(|lookup| lookup.result.as_ref().ok());
        count.map_or(-1, |list| i32::try_from(list.len()).unwrap_or(i32::MAX))
    })
}

/// Why it failed; 0 where it did not.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_error(
    dial: Option<&Dial>,
    lookup: u32,
) -> LookupErrorNumber {
    export!(0; dial => {
        let error = dial.lookup(lookup).and_then(|lookup| lookup.result.as_ref().err());
        error.map_or(0, numbers::of_lookup_error)
    })
}

/// The same in words; empty where it did not.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_message(dial: Option<&Dial>, lookup: u32) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.usable().map_or(c"".as_ptr(), |dial| {
        let messages = || {
            let lookups = dial.report().and_then(|report| report.lookup.as_ref());
            let message = |lookup: &Lookup| lookup.result.as_ref().err().map(ToString::to_string);
            lookups.iter().map(|lookup| c_string(message(lookup).unwrap_or_default())).collect()
        };
        let all: &Vec<CString> = dial.told.lookups.get_or_init(messages);
        let index = usize::try_from(lookup).unwrap_or(usize::MAX);
        all.get(index).map_or(c"".as_ptr(), |message| message.as_ptr())
    }))
}
