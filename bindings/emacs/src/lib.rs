//! The dynamic module under mailport.el: a dial is an object of Lisp, and wakes Emacs by a pipe.
//!
//! Emacs calls in from its main thread, and nobody calls into Emacs from another one.
//!
//! - `call`: a dial from its start to the connection handed over
//! - `watch`: the thread that wakes Emacs when a dial can go on
//! - `door`: the local socket through which Emacs takes a connection
//! - `relay`: what joins the two then
//! - `settings`: plan and settings, as Lisp says them
//! - `kept`: what dials have learned
//! - `lisp`: questions, reports and errors, as Lisp reads them
//! - `words`: the line for the echo area
//! - `boundary`: the only unsafe code
#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a function of Lisp takes what was made for it, and always gives a result"
)]

mod boundary;
mod call;
mod door;
mod kept;
mod lisp;
mod options;
mod relay;
mod symbols;
mod watch;

use std::cell::RefCell;

use emacs::{Env, IntoLisp, Result, Value, defun};

use call::{Call, HandOff};
use lisp::Plist;

#[emacs::module(name = "mailport-module", mod_in_name = false)]
fn init(_: &Env) -> Result<()> {
    Ok(())
}

/// Return the version of this module, which mailport.el compares with its own.
#[defun]
fn version() -> Result<&'static str> {
    Ok(env!("CARGO_PKG_VERSION"))
}

/// Start to dial HOST by PLAN, and wake the pipe process PIPE when the dial can go on.
/// CLEARTEXT allows services without TLS.  SETTINGS is an alist of strings.
/// Return a dial, or a string that says what is wrong with the arguments.
#[defun]
fn start<'e>(
    env: &'e Env,
    pipe: Value<'e>,
    host: String,
    plan: String,
    cleartext: Value<'e>,
    settings: Value<'e>,
) -> Result<Value<'e>> {
    let settings = lisp::pairs(settings)?;
    match options::read(&host, &plan, cleartext.is_not_nil(), &settings) {
        Err(misuse) => misuse.into_lisp(env),
        Ok(wish) => {
            let channel = boundary::open_channel(env, pipe)?;
            match Call::start(&wish, channel) {
                Err(error) => error.to_string().into_lisp(env),
                Ok(call) => RefCell::new(call).into_lisp(env),
            }
        }
    }
}

/// Do what can be done for CALL now, without blocking, and say how it stands.
/// The answer is one of the symbols pending, asking, connected and failed.
#[defun]
fn process<'e>(env: &'e Env, call: &mut Call) -> Result<Value<'e>> {
    env.intern(call.process())
}

/// Return what CALL is doing, in one line.
#[defun]
fn progress(call: &Call) -> Result<String> {
    Ok(call.progress())
}

/// Return the question that CALL has stopped with as a property list, or nil.
#[defun]
fn question<'e>(env: &'e Env, call: &Call) -> Result<Option<Value<'e>>> {
    call.question().map(|question| lisp::question(env, &question)).transpose()
}

/// Answer question NUMBER of CALL with the string ANSWER, and for good with FOR-GOOD.
/// Return nil, and change nothing, where that question no longer stands.
#[defun]
fn answer<'e>(
    env: &'e Env,
    call: &mut Call,
    number: u32,
    answer: String,
    for_good: Value<'e>,
) -> Result<Value<'e>> {
    lisp::truth(env, call.answer(number, &answer, for_good.is_not_nil()))
}

/// Forget what was learned of HOST, or of every host if it is empty.
/// Return how many outcomes and answers that were, or a string that says what is wrong.
#[defun]
fn forget(env: &Env, host: String) -> Result<Value<'_>> {
    match kept::forget(&host) {
        Ok(count) => count.into_lisp(env),
        Err(error) => error.to_string().into_lisp(env),
    }
}

/// Have what was learned saved, and wait a moment for that.
#[defun]
fn flush() -> Result<()> {
    kept::flush();
    Ok(())
}

/// Return what CALL did so far as a property list.
#[defun]
fn report<'e>(env: &'e Env, call: &Call) -> Result<Value<'e>> {
    lisp::report(env, &call.report(), call.trouble())
}

/// Return what CALL did as a drawing of WIDTH columns.
#[defun]
fn timeline(call: &Call, width: usize) -> Result<String> {
    Ok(call.report().timeline(width).to_string())
}

/// Open a local socket for CALL and return its path.
/// `mailport-module-admit' or `mailport-module-cancel' removes it.
#[defun]
fn listen<'e>(env: &'e Env, call: &mut Call) -> Result<Value<'e>> {
    lisp::or_trouble(env, call.listen())
}

/// Take in the connection of this Emacs to the socket of CALL, and remove the socket.
/// Return nil, or a string that says what went wrong.
#[defun]
fn admit<'e>(env: &'e Env, call: &mut Call) -> Result<Value<'e>> {
    let admitted = call.admit();
    lisp::trouble(env, admitted)
}

/// Join the connection that CALL reached to the one that it admitted.
/// With DUP2, put it in the place of Emacs' own end instead.
/// Return nil, or a string that says what went wrong; both are closed then.
#[defun]
fn hand_over<'e>(env: &'e Env, call: &mut Call, dup2: Value<'e>) -> Result<Value<'e>> {
    let how = if dup2.is_not_nil() { HandOff::Dup2 } else { HandOff::Relay };
    let handed = call.hand_over(how);
    lisp::trouble(env, handed)
}

/// Close everything of CALL that was not handed over.  Its report stays.
#[defun]
fn cancel(call: &mut Call) -> Result<()> {
    call.cancel();
    Ok(())
}

/// Return what this module holds, as a property list: how many wakers and relays run.
#[defun]
fn census(env: &Env) -> Result<Value<'_>> {
    let mut list = Plist::new(env);
    list.put("wakers", watch::running())?;
    list.put("relays", relay::running())?;
    list.done()
}
