//! The dynamic module under mailport.el. A dial is a Lisp object, which a timer of Emacs processes.
//!
//! Emacs calls the module from its main thread. No other thread calls Emacs.
//!
//! - `dial`: a dial from its start until its connection is handed over
//! - `local_socket`: the local socket by which Emacs gets a connection
//! - `joined`: the thread that joins the two
//! - `settings`: the plan and the settings of a dial, parsed
//! - `files`: locks of the outbox
//! - `cache`: the caches that the dials share
//! - `lisp_values`: questions, reports and errors as Lisp values
//! - `progress`: the line in the echo area while a dial runs
#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a Lisp function takes the values that were made for it, and returns a result"
)]

mod cache;
mod dial;
mod files;
mod joined;
mod lisp_values;
mod local_socket;
mod progress;
mod settings;

use std::cell::RefCell;
use std::path::Path;

use emacs::{Env, IntoLisp, Result, Value, defun};

use dial::DialObject;
use files::FileLock;
use lisp_values as lisp;

/// The symbol by which Emacs recognises a module with a compatible licence (MIT or Apache-2.0).
mod licence {
    #![allow(unsafe_code, reason = "the macro exports a symbol under a fixed name")]

    emacs::plugin_is_GPL_compatible!();
}

#[emacs::module(name = "mailport-module", mod_in_name = false)]
fn init(_: &Env) -> Result<()> {
    Ok(())
}

/// Return the version of this module, which mailport.el compares with its own.
#[defun]
fn version() -> Result<&'static str> {
    Ok(env!("CARGO_PKG_VERSION"))
}

/// Start to dial HOST by PLAN.
/// CLEARTEXT allows services without TLS.  SETTINGS is an alist of strings.
/// Return a dial, or a string that says which argument is wrong.
#[defun]
fn start<'e>(
    env: &'e Env,
    host: String,
    plan: String,
    cleartext: Value<'e>,
    settings: Value<'e>,
) -> Result<Value<'e>> {
    let settings = lisp::pairs(settings)?;
    match settings::parse(&host, &plan, cleartext.is_not_nil(), &settings) {
        Err(message) => message.into_lisp(env),
        Ok(settings) => match DialObject::start(&settings) {
            Err(error) => error.to_string().into_lisp(env),
            Ok(dial) => RefCell::new(dial).into_lisp(env),
        },
    }
}

/// Process what has happened to DIAL, without blocking.
/// Return one of the symbols pending, asking, connected and failed.
#[defun]
fn process<'e>(env: &'e Env, dial: &mut DialObject) -> Result<Value<'e>> {
    env.intern(dial.process())
}

/// Return one line that says what DIAL is doing.
#[defun]
fn progress(dial: &DialObject) -> Result<String> {
    Ok(dial.progress())
}

/// Return the question of DIAL as a property list, or nil if there is none.
#[defun]
fn question<'e>(env: &'e Env, dial: &DialObject) -> Result<Option<Value<'e>>> {
    dial.question().map(|question| lisp::question(env, &question)).transpose()
}

/// Answer question NUMBER of DIAL with the string ANSWER, and keep the answer if REMEMBER.
/// Return nil, and change nothing, if that question no longer waits for an answer.
#[defun]
fn answer<'e>(
    env: &'e Env,
    dial: &mut DialObject,
    number: u32,
    answer: String,
    remember: Value<'e>,
) -> Result<Value<'e>> {
    lisp::boolean(env, dial.answer(number, &answer, remember.is_not_nil()))
}

/// Remove the cache's entries of HOST, or all entries if HOST is empty.
/// Return how many outcomes and answers were removed, or a string that says why it failed.
#[defun]
fn forget(env: &Env, host: String) -> Result<Value<'_>> {
    match cache::forget(&host) {
        Ok(count) => count.into_lisp(env),
        Err(error) => error.to_string().into_lisp(env),
    }
}

/// Save the cache's file, and wait a moment for that.
#[defun]
fn flush() -> Result<()> {
    cache::flush();
    Ok(())
}

/// Return the report of DIAL as a property list.
#[defun]
fn report<'e>(env: &'e Env, dial: &DialObject) -> Result<Value<'e>> {
    lisp::report(env, &dial.report(), dial.error())
}

/// Return the attempts of DIAL as a drawing of WIDTH columns.
#[defun]
fn timeline(dial: &DialObject, width: usize) -> Result<String> {
    Ok(dial.report().timeline(width).to_string())
}

/// Open a local socket for DIAL and return its path.
/// `mailport-module-accept' or `mailport-module-cancel' removes it.
#[defun]
fn listen<'e>(env: &'e Env, dial: &mut DialObject) -> Result<Value<'e>> {
    lisp::string_or_error(env, dial.listen())
}

/// Accept the connection of this Emacs to the socket of DIAL, and remove the socket.
/// Return nil, or a string that says why it failed.
#[defun]
fn accept<'e>(env: &'e Env, dial: &mut DialObject) -> Result<Value<'e>> {
    let accepted = dial.accept();
    lisp::error(env, accepted)
}

/// Join the connection that DIAL reached to the one that it accepted.
/// Return nil, or a string that says why it failed.  Both are closed then.
#[defun]
fn hand_over<'e>(env: &'e Env, dial: &mut DialObject) -> Result<Value<'e>> {
    let handed = dial.hand_over();
    lisp::error(env, handed)
}

/// Close every descriptor of DIAL that was not handed over.  Its report stays.
#[defun]
fn cancel(dial: &mut DialObject) -> Result<()> {
    dial.cancel();
    Ok(())
}

/// Return the number of connections that this module joins, each by a thread.
#[defun]
fn joined() -> Result<usize> {
    Ok(joined::running())
}

/// Return the default of each time of a dial in seconds, as a property list.
#[defun]
fn defaults(env: &Env) -> Result<Value<'_>> {
    lisp::defaults(env)
}

/// Lock FILE, and return the lock, or nil if another process has it.
/// With WAIT, wait for it.  Return a string if it cannot be locked.
/// The lock ends with this Emacs, or by `mailport-module-unlock'.
#[defun]
fn lock<'e>(env: &'e Env, file: String, wait: Value<'e>) -> Result<Value<'e>> {
    match FileLock::new(Path::new(&file), wait.is_not_nil()) {
        Ok(Some(lock)) => RefCell::new(lock).into_lisp(env),
        Ok(None) => lisp::boolean(env, false),
        Err(error) => error.to_string().into_lisp(env),
    }
}

/// Release LOCK.
#[defun]
fn unlock(lock: &mut FileLock) -> Result<()> {
    lock.unlock();
    Ok(())
}

/// Wait until the names in DIRECTORY are on disk.
/// Return nil, or a string that says why it failed.
#[defun]
fn sync_directory(env: &Env, directory: String) -> Result<Value<'_>> {
    lisp::error(env, files::sync_directory(Path::new(&directory)))
}
