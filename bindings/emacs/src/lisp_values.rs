//! Questions, reports and errors as Lisp values: property lists of symbols, strings and numbers.

use std::io;
use std::time::Duration;

use emacs::{Env, FromLisp, IntoLisp, Result, Value};
use mailport::Outcome;
use mailport::machine::Question;
use mailport::report::{Attempt, End, format_host};
use mailport::{Config, Family, GreetingWait, Patience, Report};

/// A property list under construction.
struct Plist<'e> {
    env: &'e Env,
    items: Vec<Value<'e>>,
}

impl<'e> Plist<'e> {
    fn new(env: &'e Env) -> Plist<'e> {
        Plist { env, items: Vec::new() }
    }

    /// Adds a value under the keyword of this name.
    fn put(&mut self, name: &str, value: impl IntoLisp<'e>) -> Result<()> {
        self.items.push(self.env.intern(&format!(":{name}"))?);
        self.items.push(value.into_lisp(self.env)?);
        Ok(())
    }

    /// Adds the symbol of this name.
    fn put_symbol(&mut self, name: &str, symbol: &str) -> Result<()> {
        let symbol = self.env.intern(symbol)?;
        self.put(name, symbol)
    }

    fn done(self) -> Result<Value<'e>> {
        self.env.list(&self.items)
    }
}

/// Returns the pairs of an association list of strings.
pub(crate) fn pairs(mut list: Value<'_>) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    while list.is_not_nil() {
        let pair: Value = list.car()?;
        pairs.push((String::from_lisp(pair.car()?)?, String::from_lisp(pair.cdr()?)?));
        list = list.cdr()?;
    }
    Ok(pairs)
}

/// Returns t or nil.
pub(crate) fn boolean(env: &Env, value: bool) -> Result<Value<'_>> {
    env.intern(if value { "t" } else { "nil" })
}

/// Returns a string, or a cons of the symbol `error` and the error message.
pub(crate) fn string_or_error(env: &Env, result: io::Result<String>) -> Result<Value<'_>> {
    match result {
        Ok(text) => text.into_lisp(env),
        Err(error) => env.cons(env.intern("error")?, error.to_string()),
    }
}

/// Returns nil, or the error message.
pub(crate) fn error(env: &Env, result: io::Result<()>) -> Result<Value<'_>> {
    result.err().map(|error| error.to_string()).into_lisp(env)
}

/// Returns milliseconds with three decimal places.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

pub(crate) fn question<'e>(env: &'e Env, question: &Question) -> Result<Value<'e>> {
    let mut list = Plist::new(env);
    list.put("number", question.number)?;
    list.put("message", question.to_string())?;
    list.put("summary", question.summary())?;
    list.put("unavailable", question.unavailable.to_string())?;
    list.put("next", question.next.to_string())?;
    list.put("attempts", attempts(env, &question.attempts)?)?;
    list.done()
}

/// Returns a report, with an error that none of its attempts explains.
pub(crate) fn report<'e>(env: &'e Env, report: &Report, error: Option<&str>) -> Result<Value<'e>> {
    let mut list = Plist::new(env);
    list.put("host", report.host.as_str())?;
    list.put("summary", error.map_or_else(|| report.summary(), str::to_owned))?;
    list.put("elapsed", millis(report.elapsed))?;
    list.put_symbol("end", report.end.map_or("nil", end_name))?;
    if let Some(winner) = report.winner() {
        list.put("port", winner.service.port())?;
        list.put_symbol("tls", winner.service.tls().name())?;
        list.put("address", winner.address.map(format_host))?;
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
    list.put("address", attempt.address.map(format_host))?;
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

/// Returns the name of the symbol for an end.
fn end_name(end: End) -> &'static str {
    match end {
        End::Connected(_) => "connected",
        End::Exhausted => "exhausted",
        End::Timeout => "timeout",
        End::Unresolved => "unresolved",
        End::LocalResourceError => "local-resource-error",
        End::Via => "via",
        End::Declined => "declined",
        _ => "cancelled",
    }
}

/// Returns the default of each time of a dial, in seconds.
pub(crate) fn defaults(env: &Env) -> Result<Value<'_>> {
    let config = Config::default();
    let mut list = Plist::new(env);
    list.put("attempt-delay", config.attempt_delay.as_secs_f64())?;
    list.put("port-delay", config.port_delay.as_secs_f64())?;
    list.put("patience", Patience::LEAST.as_secs_f64())?;
    list.put("timeout", config.timeout.as_secs_f64())?;
    list.put("greeting-wait", GreetingWait::DEFAULT.as_secs_f64())?;
    list.done()
}
