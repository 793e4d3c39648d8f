//! The numbers that stand for words in C, and which is which.
//!
//! They are integers of a fixed size and no enums: a number that C makes up is then only unknown.
//! Zero always stands for nothing said.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_char};

use mailport::machine::Answer;
use mailport::outcome::ViaError;
use mailport::report::{Greeting, LookupError, Reason, Stage};
use mailport::{Cleartext, Families, Family, Outcome, Tls};

use crate::boundary::export;

/// How TLS is spoken on a connection. The library speaks none of it: the mode is a demand on
/// whoever uses the connection.
pub type TlsNumber = i32;
/// Nothing is connected, so nothing is demanded yet.
pub const MAILPORT_TLS_UNDECIDED: TlsNumber = 0;
/// TLS from the first byte (RFC 8314 section 3.3), as on port 465.
pub const MAILPORT_TLS_IMPLICIT: TlsNumber = 1;
/// TLS after the STARTTLS command (RFC 3207). End the session if it is not offered, or fails.
pub const MAILPORT_TLS_STARTTLS: TlsNumber = 2;
/// Cleartext. Only from a plan that was given with MAILPORT_CLEARTEXT_ALLOW.
pub const MAILPORT_TLS_NONE: TlsNumber = 3;

/// Whether a plan may name a service without TLS.
pub type CleartextNumber = i32;
/// A plan with such a service is refused.
pub const MAILPORT_CLEARTEXT_REFUSE: CleartextNumber = 0;
/// It is taken.
pub const MAILPORT_CLEARTEXT_ALLOW: CleartextNumber = 1;

/// An address family.
pub type FamilyNumber = i32;
/// None: of an attempt, a proxy or a command was given the name; of a service, it has both.
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

/// How an attempt ended. 1 to 5 are the cases of the fallback paper.
pub type OutcomeNumber = i32;
/// The connection stands, and won.
pub const MAILPORT_OUTCOME_CONNECTED: OutcomeNumber = 1;
/// The peer answered with a RST.
pub const MAILPORT_OUTCOME_RESET: OutcomeNumber = 2;
/// An ICMP hard error (RFC 1122 section 4.2.3.9), as from a firewall that says so.
pub const MAILPORT_OUTCOME_ICMP_HARD: OutcomeNumber = 3;
/// An ICMP soft error (the same section): routing trouble, which speaks of the path.
pub const MAILPORT_OUTCOME_ICMP_SOFT: OutcomeNumber = 4;
/// Silence until given up.
pub const MAILPORT_OUTCOME_TIMEOUT: OutcomeNumber = 5;
/// This machine said no: no route, a local firewall, no descriptors.
pub const MAILPORT_OUTCOME_LOCAL: OutcomeNumber = 6;
/// Accepted, then closed by the peer before the connection was used.
pub const MAILPORT_OUTCOME_CLOSED: OutcomeNumber = 7;
/// A proxy's reply.
pub const MAILPORT_OUTCOME_VIA: OutcomeNumber = 8;
/// Still in time when another attempt won, or given up by the caller's wish.
pub const MAILPORT_OUTCOME_CANCELLED: OutcomeNumber = 9;

/// How far an attempt came.
pub type StageNumber = i32;
/// The TCP handshake.
pub const MAILPORT_STAGE_CONNECT: StageNumber = 1;
/// What follows it before the connection counts: a proxy's reply, the greeting.
pub const MAILPORT_STAGE_CONFIRM: StageNumber = 2;

/// What the greeting wait saw.
pub type GreetingNumber = i32;
/// Nobody waited for a greeting.
pub const MAILPORT_GREETING_NOT_AWAITED: GreetingNumber = 0;
/// The first byte of one came, and is left in the socket.
pub const MAILPORT_GREETING_RECEIVED: GreetingNumber = 1;
/// Nothing came in the greeting wait's time: a server that pauses or, behind a tunnel that accepts first, a
/// port that is filtered.
pub const MAILPORT_GREETING_ABSENT: GreetingNumber = 2;

/// Why an attempt was started.
pub type ReasonNumber = i32;
/// The first address of the first service.
pub const MAILPORT_REASON_FIRST: ReasonNumber = 1;
/// Another attempt of the service failed.
pub const MAILPORT_REASON_FAILED: ReasonNumber = 2;
/// The attempt before it was silent for the attempt delay.
pub const MAILPORT_REASON_ATTEMPT_DELAY: ReasonNumber = 3;
/// An address that arrived after the service had begun.
pub const MAILPORT_REASON_LATE_ADDRESS: ReasonNumber = 4;
/// The next service: an attempt of the one before was refused.
pub const MAILPORT_REASON_REFUSED: ReasonNumber = 5;
/// The next service: every attempt of the one before failed.
pub const MAILPORT_REASON_ALL_FAILED: ReasonNumber = 6;
/// The next service: the one before was silent for the port delay.
pub const MAILPORT_REASON_PORT_DELAY: ReasonNumber = 7;
/// The next service: every attempt of the one before had failed or was overdue (sequential).
pub const MAILPORT_REASON_OVERDUE: ReasonNumber = 8;
/// The next service: the one before has no address of its family.
pub const MAILPORT_REASON_NO_ADDRESS: ReasonNumber = 9;
/// The next service: the one before is remembered as bad.
pub const MAILPORT_REASON_REMEMBERED: ReasonNumber = 10;
/// The same candidate again: it was closed for another one, and that failed.
pub const MAILPORT_REASON_AGAIN: ReasonNumber = 11;

/// What a proxy or a command did instead of connecting.
pub type ProxyErrorNumber = i32;
/// The proxy tried to connect, and replied with a code (RFC 1928 section 6).
pub const MAILPORT_PROXY_ERROR_REPLY: ProxyErrorNumber = 1;
/// The proxy itself could not be reached.
pub const MAILPORT_PROXY_ERROR_UNREACHABLE: ProxyErrorNumber = 2;
/// The proxy refused the login, or wants one that it was not given (RFC 1929).
pub const MAILPORT_PROXY_ERROR_LOGIN: ProxyErrorNumber = 3;
/// The proxy does not speak SOCKS5, or ended in the middle of its reply.
pub const MAILPORT_PROXY_ERROR_PROTOCOL: ProxyErrorNumber = 4;
/// The command could not be started.
pub const MAILPORT_PROXY_ERROR_NOT_STARTED: ProxyErrorNumber = 5;

/// Why a look-up gave no address.
pub type LookupErrorNumber = i32;
/// The name does not exist.
pub const MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME: LookupErrorNumber = 1;
/// The name service failed temporarily or did not answer; trying again later may help.
pub const MAILPORT_LOOKUP_ERROR_TRY_AGAIN: LookupErrorNumber = 2;
/// Only addresses that no host can have, such as 0.0.0.0, which a filtering name service gives.
pub const MAILPORT_LOOKUP_ERROR_UNUSABLE: LookupErrorNumber = 3;
/// Not answered yet, or by the end of the dial.
pub const MAILPORT_LOOKUP_ERROR_UNANSWERED: LookupErrorNumber = 4;
/// Any other failure.
pub const MAILPORT_LOOKUP_ERROR_FAILED: LookupErrorNumber = 5;
/// The name exists and has no address, or none of the families that the dial uses.
pub const MAILPORT_LOOKUP_ERROR_NO_ADDRESS: LookupErrorNumber = 6;
/// This machine lacked memory, threads or descriptors for the look-up.
pub const MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR: LookupErrorNumber = 7;
/// Too many look-ups of this process were unanswered for this one to begin.
pub const MAILPORT_LOOKUP_ERROR_BUSY: LookupErrorNumber = 8;

/// What the user says to a question.
pub type AnswerNumber = i32;
/// Begin the next service.
pub const MAILPORT_ANSWER_FALL_BACK: AnswerNumber = 1;
/// Begin no other service, and wait on for the attempts that are open; with none open, the same as
/// to give up.
pub const MAILPORT_ANSWER_WAIT_ON: AnswerNumber = 2;
/// End the dial.
pub const MAILPORT_ANSWER_GIVE_UP: AnswerNumber = 3;

/// The word of a TLS mode in plans and in JSON: "implicit", "starttls" or "none"; empty for any
/// other number. It is there for ever.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_tls_name(tls: TlsNumber) -> *const c_char {
    let name = match tls {
        MAILPORT_TLS_IMPLICIT => c"implicit",
        MAILPORT_TLS_STARTTLS => c"starttls",
        MAILPORT_TLS_NONE => c"none",
        _ => c"",
    };
    export!(c"".as_ptr(); => name.as_ptr())
}

/// The word of an outcome in JSON, such as "icmp-hard"; empty for a number that is none. It is
/// there for ever.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_outcome_name(outcome: OutcomeNumber) -> *const c_char {
    export!(c"".as_ptr(); => outcome_name(outcome).as_ptr())
}

fn outcome_name(outcome: OutcomeNumber) -> &'static CStr {
    match outcome {
        MAILPORT_OUTCOME_CONNECTED => c"connected",
        MAILPORT_OUTCOME_RESET => c"reset",
        MAILPORT_OUTCOME_ICMP_HARD => c"icmp-hard",
        MAILPORT_OUTCOME_ICMP_SOFT => c"icmp-soft",
        MAILPORT_OUTCOME_TIMEOUT => c"timeout",
        MAILPORT_OUTCOME_LOCAL => c"local",
        MAILPORT_OUTCOME_CLOSED => c"closed",
        MAILPORT_OUTCOME_VIA => c"proxy",
        MAILPORT_OUTCOME_CANCELLED => c"cancelled",
        _ => c"",
    }
}

pub(crate) fn of_tls(tls: Tls) -> TlsNumber {
    match tls {
        Tls::Implicit => MAILPORT_TLS_IMPLICIT,
        Tls::StartTls => MAILPORT_TLS_STARTTLS,
        Tls::Cleartext => MAILPORT_TLS_NONE,
    }
}

pub(crate) fn to_cleartext(number: CleartextNumber) -> Option<Cleartext> {
    match number {
        MAILPORT_CLEARTEXT_REFUSE => Some(Cleartext::Refuse),
        MAILPORT_CLEARTEXT_ALLOW => Some(Cleartext::Allow),
        _ => None,
    }
}

pub(crate) fn of_family(family: Option<Family>) -> FamilyNumber {
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

pub(crate) fn of_outcome(outcome: Outcome) -> OutcomeNumber {
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
        _ => 0,
    }
}

pub(crate) fn of_stage(stage: Stage) -> StageNumber {
    match stage {
        Stage::Connect => MAILPORT_STAGE_CONNECT,
        Stage::Confirm => MAILPORT_STAGE_CONFIRM,
    }
}

pub(crate) fn of_greeting(greeting: Option<Greeting>) -> GreetingNumber {
    match greeting {
        None => MAILPORT_GREETING_NOT_AWAITED,
        Some(Greeting::Received) => MAILPORT_GREETING_RECEIVED,
        Some(Greeting::Absent) => MAILPORT_GREETING_ABSENT,
    }
}

pub(crate) fn of_reason(reason: Reason) -> ReasonNumber {
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
        // A probe's, which no dial has.
        _ => 0,
    }
}

pub(crate) fn of_proxy_error(error: ViaError) -> ProxyErrorNumber {
    match error {
        ViaError::Reply(_) => MAILPORT_PROXY_ERROR_REPLY,
        ViaError::Unreachable => MAILPORT_PROXY_ERROR_UNREACHABLE,
        ViaError::Login => MAILPORT_PROXY_ERROR_LOGIN,
        ViaError::Protocol => MAILPORT_PROXY_ERROR_PROTOCOL,
        ViaError::NotStarted => MAILPORT_PROXY_ERROR_NOT_STARTED,
        _ => 0,
    }
}

pub(crate) fn of_lookup_error(error: &LookupError) -> LookupErrorNumber {
    match error {
        LookupError::NoSuchName => MAILPORT_LOOKUP_ERROR_NO_SUCH_NAME,
        LookupError::NoAddress => MAILPORT_LOOKUP_ERROR_NO_ADDRESS,
        LookupError::LocalResourceError(_) => MAILPORT_LOOKUP_ERROR_LOCAL_RESOURCE_ERROR,
        LookupError::Busy => MAILPORT_LOOKUP_ERROR_BUSY,
        LookupError::TryAgain => MAILPORT_LOOKUP_ERROR_TRY_AGAIN,
        LookupError::Unusable(_) => MAILPORT_LOOKUP_ERROR_UNUSABLE,
        LookupError::Unanswered => MAILPORT_LOOKUP_ERROR_UNANSWERED,
        // A later kind is a failure, too.
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
    fn the_paper_s_cases_are_their_numbers_and_words_are_those_of_json() {
        use Outcome::{
            Cancelled, Closed, Connected, IcmpHard, IcmpSoft, Local, Reset, Timeout, Via,
        };
        let all = [Connected, Reset, IcmpHard, IcmpSoft, Timeout, Local, Closed, Via, Cancelled];
        for (outcome, expected) in all.into_iter().zip(1..) {
            let number = of_outcome(outcome);
            assert_eq!(number, expected);
            assert_eq!(outcome_name(number).to_bytes(), outcome.name().as_bytes());
        }
    }

    #[test]
    fn a_number_that_c_makes_up_is_only_unknown() {
        for number in [i32::MIN, -1, 99, i32::MAX] {
            assert_eq!(to_families(number), None);
            assert_eq!(to_answer(number), None);
            assert_eq!(to_cleartext(number), None);
            assert_eq!(outcome_name(number), c"");
        }
    }
}
