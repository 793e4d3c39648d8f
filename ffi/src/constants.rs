//! The constants of C, and the names and Rust values that they name.
//!
//! They are integers of a fixed size instead of enums: a number that a C program makes up is then
//! unknown and nothing worse. 0 means that there is no value.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_char};

use mailport::machine::Answer;
use mailport::outcome::ViaError;
use mailport::report::{Greeting, LookupError, Reason, Stage};
use mailport::{Cleartext, Families, Family, Outcome, Tls};

use crate::boundary::export;

/// How TLS is used on a connection. The library does not speak TLS: the caller must.
pub type TlsNumber = i32;
/// Not connected yet.
pub const MAILPORT_TLS_UNDECIDED: TlsNumber = 0;
/// TLS from the first byte (RFC 8314 section 3.3), as on port 465.
pub const MAILPORT_TLS_IMPLICIT: TlsNumber = 1;
/// TLS after the STARTTLS command (RFC 3207). End the session if it is not offered, or fails.
pub const MAILPORT_TLS_STARTTLS: TlsNumber = 2;
/// No TLS. Only from a plan that was set with MAILPORT_CLEARTEXT_ALLOW.
pub const MAILPORT_TLS_CLEARTEXT: TlsNumber = 3;

/// Whether a plan may name a service without TLS.
pub type CleartextNumber = i32;
/// Such a plan is refused.
pub const MAILPORT_CLEARTEXT_REFUSE: CleartextNumber = 0;
/// Such a plan is accepted.
pub const MAILPORT_CLEARTEXT_ALLOW: CleartextNumber = 1;

/// An address family.
pub type FamilyNumber = i32;
/// Of an attempt: a proxy or a command was given the name. Of a service: it has both families.
pub const MAILPORT_FAMILY_NONE: FamilyNumber = 0;
/// IPv4.
pub const MAILPORT_FAMILY_IPV4: FamilyNumber = 4;
/// IPv6.
pub const MAILPORT_FAMILY_IPV6: FamilyNumber = 6;

/// Which address families are used, and which goes first.
pub type FamiliesNumber = i32;
/// Both, in the order of RFC 6724 section 6.
pub const MAILPORT_FAMILIES_ANY: FamiliesNumber = 0;
/// IPv4 only.
pub const MAILPORT_FAMILIES_ONLY_IPV4: FamiliesNumber = 1;
/// IPv6 only.
pub const MAILPORT_FAMILIES_ONLY_IPV6: FamiliesNumber = 2;
/// Both, IPv4 first.
pub const MAILPORT_FAMILIES_PREFER_IPV4: FamiliesNumber = 3;
/// Both, IPv6 first.
pub const MAILPORT_FAMILIES_PREFER_IPV6: FamiliesNumber = 4;

/// How an attempt ended.
pub type OutcomeNumber = i32;
/// The attempt is open, or there is no such attempt.
pub const MAILPORT_OUTCOME_NONE: OutcomeNumber = 0;
/// Connected, and this attempt won.
pub const MAILPORT_OUTCOME_CONNECTED: OutcomeNumber = 1;
/// The peer answered with a RST.
pub const MAILPORT_OUTCOME_RESET: OutcomeNumber = 2;
/// An ICMP hard error (RFC 1122 section 4.2.3.9), as from a firewall that rejects.
pub const MAILPORT_OUTCOME_ICMP_HARD: OutcomeNumber = 3;
/// An ICMP soft error (the same section): a routing problem of the path, not of the port.
pub const MAILPORT_OUTCOME_ICMP_SOFT: OutcomeNumber = 4;
/// No answer until the attempt was given up.
pub const MAILPORT_OUTCOME_TIMEOUT: OutcomeNumber = 5;
/// A local error: no route, a local firewall, no descriptors.
pub const MAILPORT_OUTCOME_LOCAL: OutcomeNumber = 6;
/// Accepted, then closed by the peer before the dial used the connection.
pub const MAILPORT_OUTCOME_CLOSED: OutcomeNumber = 7;
/// The proxy or the command failed: see mailport_dial_attempt_via_error().
pub const MAILPORT_OUTCOME_VIA: OutcomeNumber = 8;
/// Closed because another attempt won, or because the caller ended the dial.
pub const MAILPORT_OUTCOME_CANCELLED: OutcomeNumber = 9;

/// How far an attempt has come.
pub type StageNumber = i32;
/// The TCP handshake.
pub const MAILPORT_STAGE_CONNECT: StageNumber = 1;
/// What must follow before the connection counts as established: a proxy's reply, the greeting.
pub const MAILPORT_STAGE_CONFIRM: StageNumber = 2;

/// The result of the greeting wait.
pub type GreetingNumber = i32;
/// There was no greeting wait.
pub const MAILPORT_GREETING_NOT_AWAITED: GreetingNumber = 0;
/// The first byte of a greeting came, and is still in the socket.
pub const MAILPORT_GREETING_RECEIVED: GreetingNumber = 1;
/// Nothing came within the greeting wait: a server that pauses or, behind a tunnel that accepts
/// before it connects, a filtered port.
pub const MAILPORT_GREETING_ABSENT: GreetingNumber = 2;

/// Why an attempt was started.
pub type ReasonNumber = i32;
/// The first address of the first service.
pub const MAILPORT_REASON_FIRST: ReasonNumber = 1;
/// Another attempt of the service failed.
pub const MAILPORT_REASON_FAILED: ReasonNumber = 2;
/// The attempt before it had no answer for the attempt delay.
pub const MAILPORT_REASON_ATTEMPT_DELAY: ReasonNumber = 3;
/// An address that arrived after the service had begun.
pub const MAILPORT_REASON_LATE_ADDRESS: ReasonNumber = 4;
/// The next service: an attempt of the one before was refused.
pub const MAILPORT_REASON_REFUSED: ReasonNumber = 5;
/// The next service: every attempt of the one before failed.
pub const MAILPORT_REASON_ALL_FAILED: ReasonNumber = 6;
/// The next service: the one before had no answer for the port delay.
pub const MAILPORT_REASON_PORT_DELAY: ReasonNumber = 7;
/// The next service: every attempt of the one before had failed or was overdue (sequential).
pub const MAILPORT_REASON_OVERDUE: ReasonNumber = 8;
/// The next service: the one before has no address of its family.
pub const MAILPORT_REASON_NO_ADDRESS: ReasonNumber = 9;
/// The next service: the cache has the one before as bad.
pub const MAILPORT_REASON_REMEMBERED: ReasonNumber = 10;
/// The same candidate again: it was closed in favour of another one, which failed.
pub const MAILPORT_REASON_AGAIN: ReasonNumber = 11;
/// The same candidate again: its first attempt has no answer.
pub const MAILPORT_REASON_SECOND_ATTEMPT: ReasonNumber = 12;
/// The same candidate again: a later service has connected, so the path is good now.
pub const MAILPORT_REASON_PROOF: ReasonNumber = 13;

/// What a proxy or a command did instead of connecting.
pub type ViaErrorNumber = i32;
/// The proxy tried to connect, and replied with a code (RFC 1928 section 6).
pub const MAILPORT_VIA_ERROR_REPLY: ViaErrorNumber = 1;
/// The proxy itself could not be reached.
pub const MAILPORT_VIA_ERROR_UNREACHABLE: ViaErrorNumber = 2;
/// The proxy refused the user and password, or requires them (RFC 1929).
pub const MAILPORT_VIA_ERROR_LOGIN: ViaErrorNumber = 3;
/// The proxy does not speak SOCKS5, or ended in the middle of its reply.
pub const MAILPORT_VIA_ERROR_PROTOCOL: ViaErrorNumber = 4;
/// The command could not be started.
pub const MAILPORT_VIA_ERROR_NOT_STARTED: ViaErrorNumber = 5;

/// Why a look-up returned no address.
pub type LookupErrorNumber = i32;
/// The name does not exist.
pub const MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME: LookupErrorNumber = 1;
/// The name service did not answer for now; trying again later may help.
pub const MAILPORT_LOOKUP_ERROR_TRY_AGAIN: LookupErrorNumber = 2;
/// Only addresses that no host can have, such as 0.0.0.0, which a filtering name service returns.
pub const MAILPORT_LOOKUP_ERROR_UNUSABLE: LookupErrorNumber = 3;
/// Not answered yet, or not by the end of the dial.
pub const MAILPORT_LOOKUP_ERROR_UNANSWERED: LookupErrorNumber = 4;
/// Any other failure.
pub const MAILPORT_LOOKUP_ERROR_FAILED: LookupErrorNumber = 5;
/// The name exists and has no address, or none of the families that the dial uses.
pub const MAILPORT_LOOKUP_ERROR_NO_ADDRESS: LookupErrorNumber = 6;
/// This machine lacked memory, threads or descriptors for the look-up.
pub const MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR: LookupErrorNumber = 7;
/// Too many look-ups of this process were unanswered for this one to begin.
pub const MAILPORT_LOOKUP_ERROR_BUSY: LookupErrorNumber = 8;

/// The answer to a question.
pub type AnswerNumber = i32;
/// Try the next service.
pub const MAILPORT_ANSWER_FALL_BACK: AnswerNumber = 1;
/// Try no other service, and wait for the attempts that are open; with none open, the same as
/// MAILPORT_ANSWER_GIVE_UP.
pub const MAILPORT_ANSWER_WAIT_ON: AnswerNumber = 2;
/// End the dial.
pub const MAILPORT_ANSWER_GIVE_UP: AnswerNumber = 3;

type NameTable = [(i32, &'static CStr)];

const TLS_NAMES: &NameTable = &[
    (MAILPORT_TLS_IMPLICIT, c"implicit"),
    (MAILPORT_TLS_STARTTLS, c"starttls"),
    (MAILPORT_TLS_CLEARTEXT, c"cleartext"),
];

const OUTCOME_NAMES: &NameTable = &[
    (MAILPORT_OUTCOME_CONNECTED, c"connected"),
    (MAILPORT_OUTCOME_RESET, c"reset"),
    (MAILPORT_OUTCOME_ICMP_HARD, c"icmp-hard"),
    (MAILPORT_OUTCOME_ICMP_SOFT, c"icmp-soft"),
    (MAILPORT_OUTCOME_TIMEOUT, c"timeout"),
    (MAILPORT_OUTCOME_LOCAL, c"local"),
    (MAILPORT_OUTCOME_CLOSED, c"closed"),
    (MAILPORT_OUTCOME_VIA, c"via"),
    (MAILPORT_OUTCOME_CANCELLED, c"cancelled"),
];

const STAGE_NAMES: &NameTable =
    &[(MAILPORT_STAGE_CONNECT, c"connect"), (MAILPORT_STAGE_CONFIRM, c"confirm")];

const REASON_NAMES: &NameTable = &[
    (MAILPORT_REASON_FIRST, c"first"),
    (MAILPORT_REASON_FAILED, c"failed"),
    (MAILPORT_REASON_ATTEMPT_DELAY, c"attempt-delay"),
    (MAILPORT_REASON_LATE_ADDRESS, c"late-address"),
    (MAILPORT_REASON_REFUSED, c"refused"),
    (MAILPORT_REASON_ALL_FAILED, c"all-failed"),
    (MAILPORT_REASON_PORT_DELAY, c"port-delay"),
    (MAILPORT_REASON_OVERDUE, c"overdue"),
    (MAILPORT_REASON_NO_ADDRESS, c"no-address"),
    (MAILPORT_REASON_REMEMBERED, c"remembered"),
    (MAILPORT_REASON_AGAIN, c"again"),
    (MAILPORT_REASON_SECOND_ATTEMPT, c"second-attempt"),
    (MAILPORT_REASON_PROOF, c"proof"),
];

const VIA_ERROR_NAMES: &NameTable = &[
    (MAILPORT_VIA_ERROR_REPLY, c"reply"),
    (MAILPORT_VIA_ERROR_UNREACHABLE, c"unreachable"),
    (MAILPORT_VIA_ERROR_LOGIN, c"login"),
    (MAILPORT_VIA_ERROR_PROTOCOL, c"protocol"),
    (MAILPORT_VIA_ERROR_NOT_STARTED, c"not-started"),
];

const LOOKUP_ERROR_NAMES: &NameTable = &[
    (MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME, c"no-such-name"),
    (MAILPORT_LOOKUP_ERROR_TRY_AGAIN, c"try-again"),
    (MAILPORT_LOOKUP_ERROR_UNUSABLE, c"unusable"),
    (MAILPORT_LOOKUP_ERROR_UNANSWERED, c"unanswered"),
    (MAILPORT_LOOKUP_ERROR_FAILED, c"failed"),
    (MAILPORT_LOOKUP_ERROR_NO_ADDRESS, c"no-address"),
    (MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR, c"local-resource-error"),
    (MAILPORT_LOOKUP_ERROR_BUSY, c"busy"),
];

fn name_in(names: &NameTable, number: i32) -> &'static CStr {
    let known = names.iter().find(|(known, _)| *known == number);
    known.map_or(c"", |(_, name)| name)
}

/// Returns the name of a TLS mode, as in plans and in JSON: "implicit", "starttls" or "cleartext"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_tls_name(tls: TlsNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(TLS_NAMES, tls).as_ptr())
}

/// Returns the name of a outcome, as in JSON, such as "icmp-hard"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_outcome_name(outcome: OutcomeNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(OUTCOME_NAMES, outcome).as_ptr())
}

/// Returns the name of a stage: "connect" or "confirm"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_stage_name(stage: StageNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(STAGE_NAMES, stage).as_ptr())
}

/// Returns the name of a reason, such as "port-delay"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_reason_name(reason: ReasonNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(REASON_NAMES, reason).as_ptr())
}

/// Returns the name of a via error, as in JSON, such as "not-started"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_via_error_name(via_error: ViaErrorNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(VIA_ERROR_NAMES, via_error).as_ptr())
}

/// Returns the name of a look-up error, such as "not-found"; empty for any other
/// number. It is valid for the life of the process.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_lookup_error_name(lookup_error: LookupErrorNumber) -> *const c_char {
    export!(c"".as_ptr(); => name_in(LOOKUP_ERROR_NAMES, lookup_error).as_ptr())
}

pub(crate) fn from_tls(tls: Tls) -> TlsNumber {
    match tls {
        Tls::Implicit => MAILPORT_TLS_IMPLICIT,
        Tls::StartTls => MAILPORT_TLS_STARTTLS,
        Tls::Cleartext => MAILPORT_TLS_CLEARTEXT,
    }
}

pub(crate) fn to_cleartext(number: CleartextNumber) -> Option<Cleartext> {
    match number {
        MAILPORT_CLEARTEXT_REFUSE => Some(Cleartext::Refuse),
        MAILPORT_CLEARTEXT_ALLOW => Some(Cleartext::Allow),
        _ => None,
    }
}

pub(crate) fn from_family(family: Option<Family>) -> FamilyNumber {
    match family {
        None => MAILPORT_FAMILY_NONE,
        Some(Family::Ipv4) => MAILPORT_FAMILY_IPV4,
        Some(Family::Ipv6) => MAILPORT_FAMILY_IPV6,
    }
}

pub(crate) fn to_families(number: FamiliesNumber) -> Option<Families> {
    match number {
        MAILPORT_FAMILIES_ANY => Some(Families::Any),
        MAILPORT_FAMILIES_ONLY_IPV4 => Some(Families::Ipv4),
        MAILPORT_FAMILIES_ONLY_IPV6 => Some(Families::Ipv6),
        MAILPORT_FAMILIES_PREFER_IPV4 => Some(Families::PreferIpv4),
        MAILPORT_FAMILIES_PREFER_IPV6 => Some(Families::PreferIpv6),
        _ => None,
    }
}

pub(crate) fn from_outcome(outcome: Outcome) -> OutcomeNumber {
    match outcome {
        Outcome::Connected => MAILPORT_OUTCOME_CONNECTED,
        Outcome::Reset => MAILPORT_OUTCOME_RESET,
        Outcome::IcmpHard => MAILPORT_OUTCOME_ICMP_HARD,
        Outcome::IcmpSoft => MAILPORT_OUTCOME_ICMP_SOFT,
        Outcome::Timeout => MAILPORT_OUTCOME_TIMEOUT,
        Outcome::Local => MAILPORT_OUTCOME_LOCAL,
        Outcome::Closed => MAILPORT_OUTCOME_CLOSED,
        Outcome::Via => MAILPORT_OUTCOME_VIA,
        Outcome::Cancelled => MAILPORT_OUTCOME_CANCELLED,
        _ => MAILPORT_OUTCOME_NONE,
    }
}

pub(crate) fn from_stage(stage: Stage) -> StageNumber {
    match stage {
        Stage::Connect => MAILPORT_STAGE_CONNECT,
        Stage::Confirm => MAILPORT_STAGE_CONFIRM,
    }
}

pub(crate) fn from_greeting(greeting: Option<Greeting>) -> GreetingNumber {
    match greeting {
        None => MAILPORT_GREETING_NOT_AWAITED,
        Some(Greeting::Received) => MAILPORT_GREETING_RECEIVED,
        Some(Greeting::Absent) => MAILPORT_GREETING_ABSENT,
    }
}

pub(crate) fn from_reason(reason: Reason) -> ReasonNumber {
    match reason {
        Reason::First => MAILPORT_REASON_FIRST,
        Reason::Failed => MAILPORT_REASON_FAILED,
        Reason::AttemptDelay => MAILPORT_REASON_ATTEMPT_DELAY,
        Reason::LateAddress => MAILPORT_REASON_LATE_ADDRESS,
        Reason::Refused(_) => MAILPORT_REASON_REFUSED,
        Reason::AllFailed(_) => MAILPORT_REASON_ALL_FAILED,
        Reason::PortDelay(_) => MAILPORT_REASON_PORT_DELAY,
        Reason::Overdue(_) => MAILPORT_REASON_OVERDUE,
        Reason::NoAddress(_) => MAILPORT_REASON_NO_ADDRESS,
        Reason::Remembered(_) => MAILPORT_REASON_REMEMBERED,
        Reason::Again => MAILPORT_REASON_AGAIN,
        Reason::SecondAttempt => MAILPORT_REASON_SECOND_ATTEMPT,
        Reason::Proof(_) => MAILPORT_REASON_PROOF,
        // That of a probe, which no dial has.
        _ => 0,
    }
}

pub(crate) fn from_via_error(error: ViaError) -> ViaErrorNumber {
    match error {
        ViaError::Reply(_) => MAILPORT_VIA_ERROR_REPLY,
        ViaError::Unreachable => MAILPORT_VIA_ERROR_UNREACHABLE,
        ViaError::Login => MAILPORT_VIA_ERROR_LOGIN,
        ViaError::Protocol => MAILPORT_VIA_ERROR_PROTOCOL,
        ViaError::NotStarted => MAILPORT_VIA_ERROR_NOT_STARTED,
        _ => 0,
    }
}

pub(crate) fn from_lookup_error(error: &LookupError) -> LookupErrorNumber {
    match error {
        LookupError::NoSuchName => MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME,
        LookupError::NoAddress => MAILPORT_LOOKUP_ERROR_NO_ADDRESS,
        LookupError::LocalResourceError(_) | LookupError::NoThread(_) => {
            MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR
        }
        LookupError::Busy => MAILPORT_LOOKUP_ERROR_BUSY,
        LookupError::TryAgain => MAILPORT_LOOKUP_ERROR_TRY_AGAIN,
        LookupError::Unusable(_) => MAILPORT_LOOKUP_ERROR_UNUSABLE,
        LookupError::Unanswered => MAILPORT_LOOKUP_ERROR_UNANSWERED,
        // A later kind is a failure as well.
        _ => MAILPORT_LOOKUP_ERROR_FAILED,
    }
}

pub(crate) fn to_answer(number: AnswerNumber) -> Option<Answer> {
    match number {
        MAILPORT_ANSWER_FALL_BACK => Some(Answer::FallBack),
        MAILPORT_ANSWER_WAIT_ON => Some(Answer::WaitOn),
        MAILPORT_ANSWER_GIVE_UP => Some(Answer::GiveUp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        use Outcome::{
            Cancelled, Closed, Connected, IcmpHard, IcmpSoft, Local, Reset, Timeout, Via,
        };
        use ViaError::{Login, NotStarted, Protocol, Reply, Unreachable};
        let all = [Connected, Reset, IcmpHard, IcmpSoft, Timeout, Local, Closed, Via, Cancelled];
        assert_eq!(all.len(), OUTCOME_NAMES.len());
        for outcome in all {
            let name = name_in(OUTCOME_NAMES, from_outcome(outcome));
            assert_eq!(name.to_bytes(), outcome.name().as_bytes());
        }
        for tls in [Tls::Implicit, Tls::StartTls, Tls::Cleartext] {
            assert_eq!(name_in(TLS_NAMES, from_tls(tls)).to_bytes(), tls.name().as_bytes());
        }
        for error in [Reply(5), Unreachable, Login, Protocol, NotStarted] {
            let name = name_in(VIA_ERROR_NAMES, from_via_error(error));
            assert_eq!(name.to_bytes(), error.name().as_bytes());
        }
    }

    #[test]
    fn every_constant_has_the_name_that_its_own_name_says() {
        let source = include_str!("constants.rs");
        for (prefix, names) in [
            ("MAILPORT_OUTCOME_", OUTCOME_NAMES),
            ("MAILPORT_STAGE_", STAGE_NAMES),
            ("MAILPORT_REASON_", REASON_NAMES),
            ("MAILPORT_VIA_ERROR_", VIA_ERROR_NAMES),
            ("MAILPORT_LOOKUP_ERROR_", LOOKUP_ERROR_NAMES),
        ] {
            let start = format!("pub const {prefix}");
            let constants = source.lines().filter_map(|line| line.strip_prefix(&start));
            let constants = constants.filter_map(|line| line.strip_suffix(';')?.split_once(": "));
            for (constant, value) in constants {
                let (_, number) = value.split_once(" = ").expect("a value");
                let name = name_in(names, number.parse().expect("a number"));
                let expected = constant.to_lowercase().replace('_', "-");
                let expected = if expected == "none" { "" } else { &expected };
                assert_eq!(name.to_str(), Ok(expected), "{prefix}{constant}");
            }
        }
    }

    #[test]
    fn a_number_that_c_makes_up_is_unknown_and_nothing_worse() {
        for number in [i32::MIN, -1, 0, 99, i32::MAX] {
            assert!(to_families(number).is_none() || number == MAILPORT_FAMILIES_ANY);
            assert_eq!(to_answer(number), None);
            assert!(to_cleartext(number).is_none() || number == MAILPORT_CLEARTEXT_REFUSE);
            for names in [TLS_NAMES, OUTCOME_NAMES, STAGE_NAMES, REASON_NAMES, VIA_ERROR_NAMES] {
                assert_eq!(name_in(names, number), c"");
            }
        }
    }
}
