//! What a program in C may set about its dials.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use mailport::config::MAX_DELAY;
use mailport::via::ViaParseError;
use mailport::{Config, ConfigError, Dialer, GreetingWait, Patience, Plan, Via};

use crate::boundary::{Text, c_string, export};
use crate::cache::Cache;
use crate::numbers::{self, CleartextNumber, FamiliesNumber};
use crate::status::{MAILPORT_INVALID, MAILPORT_OK, Status};

/// In place of a time: the default, which for some times depends on the dial.
pub const MAILPORT_AUTOMATIC: i32 = -1;

/// The settings of dials. Without any, everything has its default, which is right for nearly
/// everybody. A dial copies what it needs, so they can be changed, used again and freed at any time.
///
/// What was set can be taken back: NULL in place of a text or a cache sets the default again,
/// MAILPORT_AUTOMATIC does in place of a time, and any other number is set to its default.
#[derive(Debug, Default)]
pub struct Options {
    pub(crate) plan: Option<Plan>,
    pub(crate) config: Config,
    via: Option<Via>,
    cache: Option<mailport::Cache>,
    /// Why the last setter failed; empty if it did not.
    message: CString,
}

impl Options {
    /// What starts the dials that have these options.
    pub(crate) fn dialer(&self) -> Dialer {
        let mut dialer = Dialer::default();
        if let Some(via) = &self.via {
            dialer = dialer.with_via(via.clone());
        }
        if let Some(cache) = &self.cache {
            dialer = dialer.with_cache(cache.clone());
        }
        dialer
    }

    /// Carries out what a setter found, or says why not.
    fn set(&mut self, change: Result<impl FnOnce(&mut Options), String>) -> Status {
        let (status, message) = match change {
            Ok(change) => {
                change(self);
                (MAILPORT_OK, CString::default())
            }
            Err(message) => (MAILPORT_INVALID, c_string(message)),
        };
        self.message = message;
        status
    }

    /// Changes one setting, if a dial could work with it. Settings that contradict each other are
    /// the dial's to refuse: here they may come in any order.
    fn configure(&mut self, change: impl Fn(&mut Config)) -> Status {
        let mut alone = Config::default();
        change(&mut alone);
        let checked = match alone.check() {
            Ok(()) | Err(ConfigError::TimeoutBelowAttemptDelay { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        self.set(checked.map(|()| |options: &mut Options| change(&mut options.config)))
    }

    /// Changes one setting that is a time in milliseconds; `None` is the default.
    fn time(&mut self, ms: i32, change: impl Fn(&mut Config, Option<Duration>)) -> Status {
        let time = match u64::try_from(ms) {
            Ok(ms) => Some(Duration::from_millis(ms)),
            Err(_) if ms == MAILPORT_AUTOMATIC => None,
            Err(_) => return self.refuse(format!("a time of {ms} ms is below zero")),
        };
        self.configure(|config| change(config, time))
    }

    /// Changes one setting that is text; `None`, which is NULL in C, is the default.
    fn text(
        &mut self,
        text: Text,
        change: impl FnOnce(&mut Options, Option<&str>) -> Status,
    ) -> Status {
        match text.get().map(CStr::to_str).transpose() {
            Ok(text) => change(self, text),
            Err(_) => self.refuse("the text is not UTF-8".to_owned()),
        }
    }

    fn refuse(&mut self, message: String) -> Status {
        self.set(Err::<fn(&mut Options), _>(message))
    }
}

/// Options that all have their defaults. Free them with mailport_options_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_new() -> Option<Box<Options>> {
    export!(None; => Some(Box::default()))
}

/// Frees options. Dials that were started with them go on.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_free(options: Option<Box<Options>>) {
    export!(nothing; options => drop(options));
}

/// Why the last setter failed; empty if it did not, and until the next one is called.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_message(options: Option<&Options>) -> *const c_char {
    export!(c"".as_ptr(); options => options.message.as_ptr())
}

/// The services to try, in order of preference: "587:starttls,25:starttls", each PORT:TLS or
/// PORT/FAMILY:TLS, or the name of a plan: submission, submissions, rfc8314, mew, symmetric. A port
/// that is given to a dial then counts for nothing. Default NULL: the port makes the plan.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_plan(
    options: Option<&mut Options>,
    plan: Text,
    cleartext: CleartextNumber,
) -> Status {
    export!(status; options => options.text(plan, |options, plan| {
        let Some(cleartext) = numbers::to_cleartext(cleartext) else {
            return options.refuse(format!("{cleartext} is no MAILPORT_CLEARTEXT number"));
        };
        let plan = plan.map(|plan| Plan::parse(plan, cleartext)).transpose();
        let plan = plan.map_err(|error| error.to_string());
        options.set(plan.map(|plan| |options: &mut Options| options.plan = plan))
    }))
}

/// How long the whole dial may take, name look-ups included. Default 30,000 ms; at least the
/// attempt delay, at most 24 h, as every time.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_timeout_ms(
    options: Option<&mut Options>,
    ms: i32,
) -> Status {
    export!(status; options => options.time(ms, |config, time| {
        config.timeout = time.unwrap_or(Config::default().timeout);
    }))
}

/// How long an attempt may be silent before the next address of its service is tried besides (the
/// Connection Attempt Delay of RFC 8305). Default 250 ms, at least 10 ms.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_attempt_delay_ms(
    options: Option<&mut Options>,
    ms: i32,
) -> Status {
    export!(status; options => options.time(ms, |config, time| {
        config.attempt_delay = time.unwrap_or(Config::default().attempt_delay);
    }))
}

/// How long every live attempt of a service may be silent before the next service is tried besides.
/// Default 1,000 ms, at least 10 ms. Shorter sends SYNs to a later port that was not needed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_port_delay_ms(
    options: Option<&mut Options>,
    ms: i32,
) -> Status {
    export!(status; options => options.time(ms, |config, time| {
        config.port_delay = time.unwrap_or(Config::default().port_delay);
    }))
}

/// How long a silent attempt may hold back the connection of a later service: at least 10 ms, or
/// MAILPORT_AUTOMATIC, the default: 1,300 ms, or a second and two round trips if that is longer.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_patience_ms(
    options: Option<&mut Options>,
    ms: i32,
) -> Status {
    export!(status; options => options.time(ms, |config, time| {
        config.patience = time.map_or(Patience::Automatic, Patience::Fixed);
    }))
}

/// How long a connection is waited upon for the server's first byte before it counts: at least
/// 10 ms, 0 for not at all, or MAILPORT_AUTOMATIC, the default: not at all in a direct dial, 10 s
/// through a proxy or a command. With a greeting wait services are tried one after the other.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_greeting_wait_ms(
    options: Option<&mut Options>,
    ms: i32,
) -> Status {
    export!(status; options => options.time(ms, |config, time| {
        config.greeting_wait = match time {
            None => GreetingWait::Automatic,
            Some(Duration::ZERO) => GreetingWait::Off,
            Some(time) => GreetingWait::For(time),
        };
    }))
}

/// Whether the next service waits until every attempt of the one before has failed or is overdue,
/// so that no SYN goes to a later port any sooner: 0 for no, the default, any other number for yes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_sequential(
    options: Option<&mut Options>,
    sequential: i32,
) -> Status {
    export!(status; options => options.configure(|config| config.sequential = sequential != 0))
}

/// Whether the dial stops with a question before it begins another service: 0 for no, the default,
/// any other number for yes. Such a dial is sequential. mailport_connect() refuses it, for nobody could
/// answer.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_ask(options: Option<&mut Options>, ask: i32) -> Status {
    export!(status; options => options.configure(|config| config.ask = ask != 0))
}

/// Whether a service that is remembered as bad is tried last instead of first, though never after
/// one of weaker TLS: 0 for no, the default, any other number for yes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_try_failed_last(
    options: Option<&mut Options>,
    skip: i32,
) -> Status {
    export!(status; options => options.configure(|config| config.try_failed_last = skip != 0))
}

/// Which address families are used, and which goes first. Default MAILPORT_FAMILIES_ANY.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_families(
    options: Option<&mut Options>,
    families: FamiliesNumber,
) -> Status {
    export!(status; options => match numbers::to_families(families) {
        Some(families) => options.configure(|config| config.families = families),
        None => options.refuse(format!("{families} is no MAILPORT_FAMILIES number")),
    })
}

/// The address of this machine to connect from, such as "192.0.2.1"; the other family is then left
/// out. Default NULL: the kernel chooses.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_source(
    options: Option<&mut Options>,
    address: Text,
) -> Status {
    export!(status; options => options.text(address, |options, text| {
        let Some(text) = text else { return options.configure(|config| config.source = None) };
        match text.parse() {
            Ok(address) => options.configure(|config| config.source = Some(address)),
            Err(_) => options.refuse(format!("`{text}` is not an address to connect from")),
        }
    }))
}

/// The network interface that every attempt is bound to (SO_BINDTODEVICE). Default NULL: the
/// kernel chooses.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_device(
    options: Option<&mut Options>,
    device: Text,
) -> Status {
    export!(status; options => options.text(device, |options, text| {
        options.configure(|config| config.device = text.map(str::to_owned))
    }))
}

/// The firewall mark of every packet (SO_MARK, needs CAP_NET_ADMIN). Default 0: none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_mark(options: Option<&mut Options>, mark: u32) -> Status {
    export!(status; options => options.configure(|config| {
        config.mark = (mark != 0).then_some(mark);
    }))
}

/// Goes through a SOCKS5 proxy, "socks5://[USER:PASSWORD@]HOST[:PORT]", or a command whose standard
/// input and output are the connection, "command:ssh -W [%h]:%p gateway.example". No shell reads it;
/// %h is the host, %p the port, %% a percent sign. Such a dial tries services one after the other,
/// and waits for a greeting. No message ever has the password, or the words after the program.
/// Default NULL: the dial connects by itself.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_via(options: Option<&mut Options>, via: Text) -> Status {
    export!(status; options => options.text(via, |options, text| {
        let via = text.map(str::parse).transpose();
        let via = via.map_err(|error: ViaParseError| error.to_string());
        options.set(via.map(|via| |options: &mut Options| options.via = via))
    }))
}

/// Uses a cache, of which the options and their dials keep a handle of their own; NULL is none,
/// the default.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_cache(
    options: Option<&mut Options>,
    cache: Option<&Cache>,
) -> Status {
    let cache = cache.map(|cache| cache.cache.clone());
    export!(status; options => {
        options.set(Ok(|options: &mut Options| options.cache = cache))
    })
}

/// The longest time in milliseconds fits into what a setter takes.
const _: () = assert!(MAX_DELAY.as_millis() < i32::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &Options) -> &str {
        options.message.to_str().expect("UTF-8")
    }

    #[test]
    fn options_without_a_setter_are_the_library_s_defaults() {
        let options = Options::default();
        assert_eq!((options.config, options.plan), (Config::default(), None));
    }

    #[test]
    fn every_setter_reaches_its_setting_and_takes_it_back() {
        let mut options = Options::default();
        let all = [
            mailport_options_set_attempt_delay_ms(Some(&mut options), 11),
            mailport_options_set_port_delay_ms(Some(&mut options), 12),
            mailport_options_set_patience_ms(Some(&mut options), 13),
            mailport_options_set_timeout_ms(Some(&mut options), 14),
            mailport_options_set_greeting_wait_ms(Some(&mut options), 16),
            mailport_options_set_sequential(Some(&mut options), 1),
            mailport_options_set_ask(Some(&mut options), 1),
            mailport_options_set_try_failed_last(Some(&mut options), 1),
            mailport_options_set_families(Some(&mut options), 3),
            mailport_options_set_mark(Some(&mut options), 16),
        ];
        assert_eq!(all, [MAILPORT_OK; 10]);
        let mut expected = Config::default();
        expected.attempt_delay = Duration::from_millis(11);
        expected.port_delay = Duration::from_millis(12);
        expected.patience = Patience::Fixed(Duration::from_millis(13));
        expected.timeout = Duration::from_millis(14);
        expected.greeting_wait = GreetingWait::For(Duration::from_millis(16));
        (expected.sequential, expected.ask, expected.try_failed_last) = (true, true, true);
        expected.families = mailport::Families::PreferIpv4;
        expected.mark = Some(16);
        assert_eq!(options.config, expected);
        mailport_options_set_greeting_wait_ms(Some(&mut options), 0);
        assert_eq!(options.config.greeting_wait, GreetingWait::Off);
        take_back(&mut options);
        assert_eq!(options.config, Config::default());
    }

    /// Text is taken back in `ffi/tests/c/options.c`, for only C makes it.
    fn take_back(options: &mut Options) {
        for set in [
            mailport_options_set_attempt_delay_ms,
            mailport_options_set_port_delay_ms,
            mailport_options_set_patience_ms,
            mailport_options_set_timeout_ms,
            mailport_options_set_greeting_wait_ms,
        ] {
            assert_eq!(set(Some(&mut *options), MAILPORT_AUTOMATIC), MAILPORT_OK);
        }
        for set in [
            mailport_options_set_sequential,
            mailport_options_set_ask,
            mailport_options_set_try_failed_last,
            mailport_options_set_families,
        ] {
            assert_eq!(set(Some(&mut *options), 0), MAILPORT_OK);
        }
        assert_eq!(mailport_options_set_mark(Some(&mut *options), 0), MAILPORT_OK);
    }

    #[test]
    fn a_setter_that_fails_changes_nothing_and_says_why_until_the_next() {
        let mut options = Options::default();
        for (ms, words) in [(9, "too short"), (i32::MAX, "too long"), (-2, "below zero")] {
            let status = mailport_options_set_port_delay_ms(Some(&mut options), ms);
            assert_eq!(status, MAILPORT_INVALID);
            assert!(message(&options).contains(words), "{}", message(&options));
        }
        assert_eq!(mailport_options_set_families(Some(&mut options), 5), MAILPORT_INVALID);
        assert!(message(&options).starts_with("5 is no "));
        assert_eq!(options.config, Config::default());
        assert_eq!(mailport_options_set_sequential(Some(&mut options), 0), MAILPORT_OK);
        assert_eq!(message(&options), "");
    }

    #[test]
    fn settings_that_belong_together_may_come_in_any_order() {
        let mut options = Options::default();
        assert_eq!(mailport_options_set_timeout_ms(Some(&mut options), 100), MAILPORT_OK);
        assert!(options.config.check().is_err(), "the default attempt delay is longer");
        assert_eq!(mailport_options_set_attempt_delay_ms(Some(&mut options), 50), MAILPORT_OK);
        assert_eq!(options.config.check(), Ok(()));
    }
}
