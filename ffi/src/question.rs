//! The question with which a dial stops, where the option ask is set.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::c_char;

use mailport::Service;
use mailport::machine::Question;

use crate::boundary::{c_string, export};
use crate::constants::{
    AnswerNumber, FamilyNumber, MAILPORT_FAMILY_NONE, MAILPORT_TLS_UNDECIDED, TlsNumber,
    from_family, from_tls, to_answer,
};
use crate::dial::{Dial, DialPointer, Inner, read};
use crate::status::{MAILPORT_ERR_INVALID, MAILPORT_ERR_STALE, MAILPORT_OK, Status};

impl Inner {
    fn question(&self) -> Option<Question> {
        self.running()?.question()
    }

    fn answer(&mut self, question: u32, answer: AnswerNumber, remember: Remember) -> Status {
        let Some(answer) = to_answer(answer) else { return MAILPORT_ERR_INVALID };
        let answered = self.running_mut().map(|dial| match remember {
            Remember::Yes => dial.answer_and_remember(question, answer),
            Remember::No => dial.answer(question, answer),
        });
        match answered {
            Some(Ok(())) => MAILPORT_OK,
            Some(Err(_)) | None => MAILPORT_ERR_STALE,
        }
    }
}

/// Whether later dials get the same answer.
#[derive(Debug, Clone, Copy)]
enum Remember {
    Yes,
    No,
}

/// Returns the number of the question that waits for an answer; 0 for none. Numbers begin with 1
/// and are not used twice in a dial. The attempts of the dial say what has failed so far.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_id(dial: Option<&Dial>) -> u32 {
    read!(0; dial => dial.question().map_or(0, |question| question.number))
}

/// Returns the question as a sentence: "587 is silent. Fall back to 25 (STARTTLS)?" Empty for none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_message(dial: Option<&Dial>) -> *const c_char {
    read!(c"".as_ptr(); dial => dial.question().map_or(c"".as_ptr(), |question| {
        dial.strings.question.get_or_init(|| c_string(question.to_string())).as_ptr()
    }))
}

/// Returns the port of the service that is not available; 0 while there is no question.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_current_port(dial: Option<&Dial>) -> u16 {
    read!(0; dial => dial.question().map_or(0, |question| question.unavailable.port()))
}

/// Returns the only family of that service; MAILPORT_FAMILY_NONE where it has both, and while there
/// is no question.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_current_family(dial: Option<&Dial>) -> FamilyNumber {
    read!(MAILPORT_FAMILY_NONE; dial => {
        from_family(dial.question().and_then(|question| question.unavailable.family()))
    })
}

/// Returns the port of the service that would be tried next; 0 while there is no question.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_port(dial: Option<&Dial>) -> u16 {
    read!(0; dial => dial.question().map_or(0, |question| question.next.port()))
}

/// Returns the TLS mode of that next service; MAILPORT_TLS_UNDECIDED while there is no question.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_tls(dial: Option<&Dial>) -> TlsNumber {
    read!(MAILPORT_TLS_UNDECIDED; dial => {
        let next = dial.question().map(|question| question.next);
        next.map(Service::tls).map_or(MAILPORT_TLS_UNDECIDED, from_tls)
    })
}

/// Returns the only family of that next service; MAILPORT_FAMILY_NONE where it has both, and while
/// there is no question.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_question_next_family(dial: Option<&Dial>) -> FamilyNumber {
    read!(MAILPORT_FAMILY_NONE; dial => {
        from_family(dial.question().and_then(|question| question.next.family()))
    })
}

/// Answers a question, by its number. The dial goes on when it is processed next, for which its
/// descriptor is readable at once. It fails with MAILPORT_ERR_STALE where that question no longer
/// waits for an answer.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_answer(
    dial: DialPointer,
    question: u32,
    answer: AnswerNumber,
) -> Status {
    let dial = dial.get();
    export!(status; dial => dial.change(|dial| dial.answer(question, answer, Remember::No)))
}

/// Answers as mailport_dial_answer() does, and remembers the answer for this network, host and next
/// service, for 30 days: later dials with the same cache do not ask. Without a cache, and where the
/// network is not known, the answer holds for this dial only.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_dial_answer_and_remember(
    dial: DialPointer,
    question: u32,
    answer: AnswerNumber,
) -> Status {
    let dial = dial.get();
    export!(status; dial => dial.change(|dial| dial.answer(question, answer, Remember::Yes)))
}
