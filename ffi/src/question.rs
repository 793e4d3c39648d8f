//! The question that a dial stops with, where the user is to be asked.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::c_char;

use mailport::Service;
use mailport::machine::Question;

use crate::boundary::{c_string, export};
use crate::dial::Dial;
use crate::numbers::{
    AnswerNumber, FamilyNumber, MAILPORT_FAMILY_NONE, MAILPORT_TLS_UNDECIDED, TlsNumber, of_family,
    of_tls, to_answer,
};
use crate::status::{MAILPORT_INVALID, MAILPORT_OK, MAILPORT_STALE, Status};

impl Dial {
    fn question(&self) -> Option<Question> {
        self.usable()?.running()?.question()
    }

    fn answer(&mut self, question: u32, answer: AnswerNumber, for_good: bool) -> Status {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let Some(answer) = to_answer(answer) else { return MAILPORT_INVALID };
        let answered = self.running_mut().map(|dial| {
            if for_good {
                dial.answer_and_remember(question, answer)
            } else {
                dial.answer(question, answer)
            }
        });
        match answered {
            Some(Ok(())) => MAILPORT_OK,
            Some(Err(_)) | None => MAILPORT_STALE,
        }
    }
}

/// The number of the question that stands, from 1 on, never used twice in a dial; 0 for none. Its
/// attempts so far are those of the dial.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question(dial: Option<&Dial>) -> u32 {
    export!(0; dial => dial.question().map_or(0, |question| question.number))
}

/// The question in words: "587 is silent. Fall back to 25 (STARTTLS)?" Empty for none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_message(dial: Option<&Dial>) -> *const c_char {
    export!(c"".as_ptr(); dial => dial.question().map_or(c"".as_ptr(), |question| {
        dial.told.question.get_or_init(|| c_string(question.to_string())).as_ptr()
    }))
}

/// The port of the service that is not available; 0 while no question stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_unavailable_port(dial: Option<&Dial>) -> u16 {
    export!(0; dial => dial.question().map_or(0, |question| question.unavailable.port()))
}

/// The only family of that service; MAILPORT_FAMILY_NONE where it has both, and while no question
/// stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_unavailable_family(dial: Option<&Dial>) -> FamilyNumber {
    export!(MAILPORT_FAMILY_NONE; dial => {
        of_family(dial.question().and_then(|question| question.unavailable.family()))
    })
}

/// The port of the service that would come next; 0 while no question stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_port(dial: Option<&Dial>) -> u16 {
    export!(0; dial => dial.question().map_or(0, |question| question.next.port()))
}

/// The TLS mode that would hold there; MAILPORT_TLS_UNDECIDED while no question stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_tls(dial: Option<&Dial>) -> TlsNumber {
    export!(MAILPORT_TLS_UNDECIDED; dial => {
        let next = dial.question().map(|question| question.next);
        next.map(Service::tls).map_or(MAILPORT_TLS_UNDECIDED, of_tls)
    })
}

/// The only family of that next service; MAILPORT_FAMILY_NONE where it has both, and while no
/// question stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_family(dial: Option<&Dial>) -> FamilyNumber {
    export!(MAILPORT_FAMILY_NONE; dial => {
        of_family(dial.question().and_then(|question| question.next.family()))
    })
}

/// Answers a question, by its number. The dial then goes on when it is processed, for which its
/// descriptor is readable at once. MAILPORT_STALE where that question no longer stands.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_answer(
    dial: Option<&mut Dial>,
    question: u32,
    answer: AnswerNumber,
) -> Status {
    export!(status; dial => dial.answer(question, answer, false))
}

/// Answers as mailport_dial_answer(), and remembers the answer for this network, host and next
/// service, for 30 days: later dials with the same cache do not ask. Without a cache, or where the
/// network is not known, it counts for this dial only.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_answer_and_remember(
    dial: Option<&mut Dial>,
    question: u32,
    answer: AnswerNumber,
) -> Status {
    export!(status; dial => dial.answer(question, answer, true))
}
