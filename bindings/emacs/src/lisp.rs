//! Questions, reports and errors, as Lisp reads them: property lists of plain values.

use std::io;
use std::time::Duration;

use emacs::{Env, FromLisp, IntoLisp, Result, Value};
use mailport::Outcome;
use mailport::machine::Question;
use mailport::report::{Attempt, End};
use mailport::{Family, Report};

/// A property list under construction.
pub(crate) struct Plist<'e> {
    env: &'e Env,
    items: Vec<Value<'e>>,
}

impl<'e> Plist<'e> {
    pub(crate) fn new(env: &'e Env) -> Plist<'e> {
        Plist { env, items: Vec::new() }
    }

    /// Adds a value under the keyword of this name.
    pub(crate) fn put(&mut self, name: &str, value: impl IntoLisp<'e>) -> Result<()> {
        self.items.push(self.env.intern(&format!(":{name}"))?);
        self.items.push(value.into_lisp(self.env)?);
        Ok(())
    }

    /// Adds the symbol of this name.
    fn put_symbol(&mut self, name: &str, symbol: &str) -> Result<()> {
        let symbol = self.env.intern(symbol)?;
        self.put(name, symbol)
    }

    pub(crate) fn done(self) -> Result<Value<'e>> {
        self.env.list(&self.items)
    }
}

/// The pairs of an association list of strings.
pub(crate) fn pairs(mut list: Value<'_>) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    while list.is_not_nil() {
        let pair: Value = list.car()?;
        pairs.push((String::from_lisp(pair.car()?)?, String::from_lisp(pair.cdr()?)?));
        list = list.cdr()?;
    }
    Ok(pairs)
}

pub(crate) fn truth(env: &Env, truth: bool) -> Result<Value<'_>> {
    env.intern(if truth { "t" } else { "nil" })
}

/// A string, or a cons of the symbol `error` and what went wrong.
pub(crate) fn or_trouble(env: &Env, result: io::Result<String>) -> Result<Value<'_>> {
    match result {
        Ok(text) => text.into_lisp(env),
        Err(error) => env.cons(env.intern("error")?, error.to_string()),
    }
}

/// What went wrong, or nil.
pub(crate) fn trouble(env: &Env, result: io::Result<()>) -> Result<Value<'_>> {
    result.err().map(|error| error.to_string()).into_lisp(env)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

pub(crate) fn question<'e>(env: &'e Env, question: &Question) -> Result<Value<'e>> {
    let mut list = Plist::new(env);
    list.put("number", question.number)?;
    list.put("words", question.to_string())?;
    list.put("summary", question.summary())?;
    list.put("unavailable", question.unavailable.to_string())?;
    list.put("next", question.next.to_string())?;
    list.put("attempts", attempts(env, &question.attempts)?)?;
    list.done()
}

/// A report, and what failed besides the network.
pub(crate) fn report<'e>(
    env: &'e Env,
    report: &Report,
    trouble: Option<&str>,
) -> Result<Value<'e>> {
    let mut list = Plist::new(env);
    list.put("host", report.host.as_str())?;
    list.put("summary", trouble.map_or_else(|| report.summary(), str::to_owned))?;
    list.put("elapsed", millis(report.elapsed))?;
    list.put_symbol("end", report.end.map_or("nil", end))?;
    if let Some(winner) = report.winner() {
        list.put("port", winner.service.port())?;
        list.put_symbol("tls", winner.service.tls().name())?;
        list.put("address", winner.address.map(|address| address.ip().to_string()))?;
        list.put_symbol("family", winner.family.map_or("nil", Family::name))?;
    }
    list.put("attempts", attempts(env, &report.attempts)?)?;
    list.done()
}

fn attempts<'e>(env: &'e Env, attempts: &[Attempt]) -> Result<Value<'e>> {
    let all = attempts.iter().map(|one| attempt(env, one)).collect::<Result<Vec<Value>>>()?;
    env.list(&all)
}

fn attempt<'e>(env: &'e Env, attempt: &Attempt) -> Result<Value<'e>> {
    let mut list = Plist::new(env);
    list.put("port", attempt.service.port())?;
    list.put_symbol("tls", attempt.service.tls().name())?;
    list.put_symbol("family", attempt.family.map_or("nil", Family::name))?;
    list.put("address", attempt.address.map(|address| address.ip().to_string()))?;
    list.put("started", millis(attempt.started))?;
    list.put("ended", millis(attempt.ended))?;
    list.put_symbol("outcome", attempt.outcome.map_or("nil", Outcome::name))?;
    list.put("errno", attempt.errno.map(|errno| errno.to_string()))?;
    list.put("sender", attempt.icmp.and_then(|icmp| icmp.sender).map(|sender| sender.to_string()))?;
    list.put("syns", attempt.syns)?;
    list.put("note", attempt.note.clone())?;
    list.put("reason", attempt.reason.to_string())?;
    list.done()
}

/// The symbol that an end is told by.
fn end(end: End) -> &'static str {
    match end {
        End::Connected(_) => "connected",
        End::Exhausted => "exhausted",
        End::Timeout => "deadline",
        End::Unresolved => "unresolved",
        End::LocalResourceError => "local-resource-error",
        End::Via => "via",
        End::Declined => "declined",
        _ => "cancelled",
    }
}
