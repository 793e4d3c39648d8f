//! The report of a dial, field by field.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_char, c_int};

use mailport::outcome::ViaError;
use mailport::report::{Attempt, End, Lookup};

use crate::constants::{
    self, FamilyNumber, GreetingNumber, LookupErrorNumber, MAILPORT_FAMILY_NONE,
    MAILPORT_GREETING_NOT_AWAITED, MAILPORT_OUTCOME_NONE, MAILPORT_TLS_UNDECIDED, OutcomeNumber,
    ReasonNumber, StageNumber, TlsNumber, ViaErrorNumber,
};
use crate::dial::{Dial, Inner, read};
use crate::report_text::{AttemptText, lookup_message, micros};

impl Inner {
    fn attempt(&self, index: u32) -> Option<&Attempt> {
        self.report()?.attempts.get(usize::try_from(index).ok()?)
    }

    /// One of the strings of an attempt; empty where there is no such attempt.
    fn attempt_text(&self, index: u32, pick: impl FnOnce(&AttemptText) -> &CStr) -> *const c_char {
        let all = self.strings.attempts.get_or_init(|| {
            let attempts = self.report().map(|report| &*report.attempts).unwrap_or_default();
            attempts.iter().map(AttemptText::new).collect()
        });
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        all.get(index).map_or(c"", pick).as_ptr()
    }

    fn lookup(&self, index: u32) -> Option<&Lookup> {
        self.report()?.lookup.as_ref().filter(|_| index == 0)
    }
}

/// Returns how many attempts the dial has made. Attempts are numbered from 0, in the order in which
/// they were started. For a number that no attempt has, the getters below return 0 or an empty
/// string, and -1 where 0 is a value. While the dial has not ended they describe its last turn.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_count(dial: Option<&Dial>) -> u32 {
    read!(0; dial => {
        let report = dial.report();
        report.map_or(0, |report| u32::try_from(report.attempts.len()).unwrap_or(u32::MAX))
    })
}

/// Returns the number of the attempt that won; -1 until the dial has ended with MAILPORT_OK.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_winner(dial: Option<&Dial>) -> i32 {
    read!(-1; dial => match dial.report().and_then(|report| report.end) {
        Some(End::Connected(index)) => i32::try_from(index).unwrap_or(-1),
        _ => -1,
    })
}

/// Returns the port of an attempt.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_port(dial: Option<&Dial>, attempt: u32) -> u16 {
    read!(0; dial => dial.attempt(attempt).map_or(0, |attempt| attempt.service.port()))
}

/// Returns the TLS mode of its service.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_tls(dial: Option<&Dial>, attempt: u32) -> TlsNumber {
    read!(MAILPORT_TLS_UNDECIDED; dial => {
        let tls = dial.attempt(attempt).map(|attempt| attempt.service.tls());
        tls.map_or(MAILPORT_TLS_UNDECIDED, constants::from_tls)
    })
}

/// Returns the only family of its service, as in "587/ipv4:starttls"; MAILPORT_FAMILY_NONE where the
/// service has both.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_service_family(
    dial: Option<&Dial>,
    attempt: u32,
) -> FamilyNumber {
    read!(MAILPORT_FAMILY_NONE; dial => {
        constants::from_family(dial.attempt(attempt).and_then(|attempt| attempt.service.family()))
    })
}

/// Returns the family of its address.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_family(dial: Option<&Dial>, attempt: u32) -> FamilyNumber {
    read!(MAILPORT_FAMILY_NONE; dial => {
        constants::from_family(dial.attempt(attempt).and_then(|attempt| attempt.family))
    })
}

/// Returns its address, without the port; empty where a proxy or a command was given the name.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_address(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.address))
}

/// Returns how far it has come.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_stage(dial: Option<&Dial>, attempt: u32) -> StageNumber {
    read!(0; dial => dial.attempt(attempt).map_or(0, |attempt| constants::from_stage(attempt.stage)))
}

/// Returns when it was started, in microseconds from the start of the dial, as every time of an
/// attempt; -1 where there is no such attempt.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_started_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    read!(-1; dial => dial.attempt(attempt).map_or(-1, |attempt| micros(attempt.started)))
}

/// Returns when its connection was established; -1 if it was not.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_connected_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    read!(-1; dial => {
        dial.attempt(attempt).and_then(|attempt| attempt.connected).map_or(-1, micros)
    })
}

/// Returns when it ended; while it is open, the time of the last turn of the dial.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_ended_us(dial: Option<&Dial>, attempt: u32) -> i64 {
    read!(-1; dial => dial.attempt(attempt).map_or(-1, |attempt| micros(attempt.ended)))
}

/// Returns how it ended; MAILPORT_OUTCOME_NONE while it is open.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_outcome(
    dial: Option<&Dial>,
    attempt: u32,
) -> OutcomeNumber {
    read!(MAILPORT_OUTCOME_NONE; dial => {
        let outcome = dial.attempt(attempt).and_then(|attempt| attempt.outcome);
        outcome.map_or(MAILPORT_OUTCOME_NONE, constants::from_outcome)
    })
}

/// Returns the error of the system, an errno(3) number; 0 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_errno(dial: Option<&Dial>, attempt: u32) -> c_int {
    read!(0; dial => {
        dial.attempt(attempt).and_then(|attempt| attempt.errno).map_or(0, |errno| errno.0)
    })
}

/// Returns 4 for an ICMP error (RFC 792), 6 for an ICMPv6 error (RFC 4443), 0 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_version(dial: Option<&Dial>, attempt: u32) -> i32 {
    read!(0; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(0, |icmp| icmp.version().into())
    })
}

/// Returns the type of that ICMP error; -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_type(dial: Option<&Dial>, attempt: u32) -> i32 {
    read!(-1; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(-1, |icmp| icmp.kind.into())
    })
}

/// Returns the code of that ICMP error; -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_code(dial: Option<&Dial>, attempt: u32) -> i32 {
    read!(-1; dial => {
        let icmp = dial.attempt(attempt).and_then(|attempt| attempt.icmp);
        icmp.map_or(-1, |icmp| icmp.code.into())
    })
}

/// Returns that ICMP error as text; empty where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.icmp_message))
}

/// Returns the address of the router or host that sent it; empty where it is not known.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_icmp_sender(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.icmp_sender))
}

/// Returns why the proxy or the command failed, where the outcome is MAILPORT_OUTCOME_VIA; otherwise
/// 0.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_via_error(
    dial: Option<&Dial>,
    attempt: u32,
) -> ViaErrorNumber {
    read!(0; dial => {
        let error = dial.attempt(attempt).and_then(|attempt| attempt.via_error);
        error.map_or(0, constants::from_via_error)
    })
}

/// Returns the code of the proxy's reply (RFC 1928 section 6); -1 where there was none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_via_error_code(dial: Option<&Dial>, attempt: u32) -> i32 {
    read!(-1; dial => {
        let error = dial.attempt(attempt).and_then(|attempt| attempt.via_error);
        error.and_then(ViaError::code).map_or(-1, i32::from)
    })
}

/// Returns the same as text, such as "says connection refused (reply 5)"; empty where there was
/// none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_via_error_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.via_error_message))
}

/// Returns further text, such as the standard error of a command; empty for none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_note(dial: Option<&Dial>, attempt: u32) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.note))
}

/// Returns the result of the greeting wait.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_greeting(
    dial: Option<&Dial>,
    attempt: u32,
) -> GreetingNumber {
    read!(MAILPORT_GREETING_NOT_AWAITED; dial => {
        constants::from_greeting(dial.attempt(attempt).and_then(|attempt| attempt.greeting))
    })
}

/// Returns how many SYNs were sent; -1 where that is not known.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_syns(dial: Option<&Dial>, attempt: u32) -> i32 {
    read!(-1; dial => {
        let syns = dial.attempt(attempt).and_then(|attempt| attempt.syns);
        syns.map_or(-1, |syns| i32::try_from(syns).unwrap_or(i32::MAX))
    })
}

/// Returns why it was started.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason(dial: Option<&Dial>, attempt: u32) -> ReasonNumber {
    read!(0; dial => {
        dial.attempt(attempt).map_or(0, |attempt| constants::from_reason(attempt.reason))
    })
}

/// Returns the same as text, such as "587 was refused".
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason_message(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.reason_message))
}

/// Returns the service that the reason is about, as in a plan: "587:starttls". Empty for a reason
/// that is about none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_attempt_reason_service(
    dial: Option<&Dial>,
    attempt: u32,
) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.attempt_text(attempt, |text| &text.reason_service))
}

/// Returns 1 if the dial looks up a name, and 0 for an address and through a proxy or a command.
/// The number of the look-up is 0.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_count(dial: Option<&Dial>) -> u32 {
    read!(0; dial => u32::from(dial.lookup(0).is_some()))
}

/// Returns 1 if the look-up was slow or failed temporarily, so that one look-up of each family was
/// started beside it; 0 otherwise.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_hedged(dial: Option<&Dial>, lookup: u32) -> i32 {
    read!(0; dial => dial.lookup(lookup).map_or(0, |lookup| i32::from(lookup.hedged)))
}

/// Returns when it ended, in microseconds from the start of the dial; -1 if it has not.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_ended_us(dial: Option<&Dial>, lookup: u32) -> i64 {
    read!(-1; dial => dial.lookup(lookup).and_then(|lookup| lookup.ended).map_or(-1, micros))
}

/// Returns how many addresses it found, of both families; -1 where it failed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_addresses(dial: Option<&Dial>, lookup: u32) -> i32 {
    read!(-1; dial => {
        let count = dial.lookup(lookup).and_then(|lookup| lookup.result.as_ref().ok());
        count.map_or(-1, |list| i32::try_from(list.len()).unwrap_or(i32::MAX))
    })
}

/// Returns why it failed; 0 where it did not.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_error(
    dial: Option<&Dial>,
    lookup: u32,
) -> LookupErrorNumber {
    read!(0; dial => {
        let error = dial.lookup(lookup).and_then(|lookup| lookup.result.as_ref().err());
        error.map_or(0, constants::from_lookup_error)
    })
}

/// Returns the same as text; empty where it did not fail.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_lookup_message(dial: Option<&Dial>, lookup: u32) -> *const c_char {
    read!(c"".as_ptr(); dial => {
        let message = |lookup| dial.strings.lookup.get_or_init(|| lookup_message(lookup));
        dial.lookup(lookup).map_or(c"".as_ptr(), |lookup| message(lookup).as_ptr())
    })
}
