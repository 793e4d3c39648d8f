//! The settings of dials.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, CString, c_char};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use mailport::config::MAX_DELAY;
use mailport::via::ViaParseError;
use mailport::{Config, ConfigError, Dialer, GreetingWait, Patience, Plan, Via};

use crate::boundary::{Text, bounded, export};
use crate::cache::Cache;
use crate::constants::{self, CleartextNumber, FamiliesNumber};
use crate::status::{MAILPORT_ERR_INVALID, MAILPORT_OK, Status};

/// The value of a time that restores its default, which for some times depends on the dial.
pub const MAILPORT_AUTOMATIC: i32 = -1;

/// The settings of dials. Each has a default that fits nearly every program. A dial copies them, so
/// they can be changed, used again and freed at any time.
///
/// A default can be restored: by NULL for a text or a cache, by MAILPORT_AUTOMATIC for a time, and
/// by its own value for any other number.
#[derive(Debug, Default)]
pub struct Options {
    pub(crate) plan: Option<Plan>,
    pub(crate) config: Config,
    pub(crate) sequential: bool,
    pub(crate) prefer_submission: bool,
    addresses: Option<Arc<[SocketAddr]>>,
    via: Option<Via>,
    cache: Option<mailport::Cache>,
    without_shared_cache: bool,
    /// Why the last setter failed; empty if it succeeded.
    message: CString,
}

impl Options {
    /// The dialer of these options.
    pub(crate) fn dialer(&self) -> Dialer {
        let mut dialer = Dialer::default();
        if let Some(addresses) = &self.addresses {
            dialer = dialer.with_addresses(Arc::clone(addresses));
        }
        if let Some(via) = &self.via {
            dialer = dialer.with_via(via.clone());
        }
        match &self.cache {
            Some(cache) => dialer.with_cache(cache.clone()),
            None if self.without_shared_cache => dialer.without_cache(),
            None => dialer,
        }
    }

    /// Carries out the change of a setter, or keeps the message why it cannot be.
    fn set(&mut self, change: Result<impl FnOnce(&mut Options), String>) -> Status {
        let (status, message) = match change {
            Ok(change) => {
                change(self);
                (MAILPORT_OK, CString::default())
            }
            Err(message) => (MAILPORT_ERR_INVALID, bounded(&message)),
        };
        self.message = message;
        status
    }

    /// Changes one setting, if it is valid by itself. Settings that contradict each other are
    /// refused by the dial: setters may be called in any order.
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
            Err(_) => return self.refuse(format!("a time of {ms} ms is negative")),
        };
        self.configure(|config| change(config, time))
    }

    /// Changes one setting that is text; `None` (NULL in C) is the default.
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

/// Returns new options with all defaults. Free them with mailport_options_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_new() -> Option<Box<Options>> {
    export!(None; => Some(Box::default()))
}

/// Frees options. It accepts NULL. Dials that were started with them go on.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_free(options: Option<Box<Options>>) {
    export!(nothing; options => drop(options));
}

/// Returns why the last setter failed; empty if it succeeded. Valid until the next setter is called.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_message(options: Option<&Options>) -> *const c_char {
    export!(c"".as_ptr(); options => options.message.as_ptr())
}

/// Sets the services to try, in order of preference: "587:starttls,25:starttls", each PORT:TLS or
/// PORT/FAMILY:TLS, or the name of a plan: submission, submissions, rfc8314, mew, symmetric. The
/// port that is given to a dial is then ignored. Default NULL: the port chooses the plan.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_plan(
    options: Option<&mut Options>,
    plan: Text,
    cleartext: CleartextNumber,
) -> Status {
    export!(status; options => options.text(plan, |options, plan| {
        let Some(cleartext) = constants::to_cleartext(cleartext) else {
            return options.refuse(format!("{cleartext} is not a MAILPORT_CLEARTEXT_ constant"));
        };
        let plan = plan.map(|plan| Plan::parse(plan, cleartext)).transpose();
        let plan = plan.map_err(|error| error.to_string());
        options.set(plan.map(|plan| |options: &mut Options| options.plan = plan))
    }))
}

/// Sets how long the whole dial may take, name look-ups included. Default 30,000 ms; at least the
/// attempt delay. The maximum of every time is 24 h.
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

/// Sets the delay before the next address of a service is tried in parallel while an attempt has no
/// answer (the Connection Attempt Delay of RFC 8305). Default 250 ms, at least 10 ms.
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

/// Sets the delay before the next service is tried in parallel while no attempt of a service has an
/// answer. Default 500 ms, at least 10 ms. Left at its default, it is 1,000 ms where the cache says
/// that the service has connected lately, and where the patience is set. A shorter one sends needless
/// SYNs to a later port.
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

/// Sets how long an attempt without an answer may hold back the connection of a later service: at
/// least 10 ms, or MAILPORT_AUTOMATIC, the default: until a SYN that was sent while the path was good
/// has had no answer, and where the service has connected lately, at least 1,300 ms.
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

/// Sets how long to wait for the server's greeting before a connection counts as established: at
/// least 10 ms, 0 for no wait, or MAILPORT_AUTOMATIC, the default: no wait in a direct dial, 10 s
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

/// Sets whether the next service begins only when every attempt of the one before has failed or is
/// overdue, so that no SYN goes to a later port earlier: 0 for no, the default, any other number
/// for yes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_sequential(
    options: Option<&mut Options>,
    sequential: i32,
) -> Status {
    export!(status; options => {
        options.set(Ok(|options: &mut Options| options.sequential = sequential != 0))
    })
}

/// Sets whether port 587 is tried before port 25 where the program asks for 25: 0 for no, the
/// default, any other number for yes. It is for programs whose own default is 25, and has no effect
/// with a plan.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_prefer_submission(
    options: Option<&mut Options>,
    prefer: i32,
) -> Status {
    export!(status; options => {
        options.set(Ok(|options: &mut Options| options.prefer_submission = prefer != 0))
    })
}

/// Sets whether the dial stops with a question before it begins another service: 0 for no, the
/// default, any other number for yes. Such a dial is sequential. mailport_connect() refuses it,
/// because it cannot ask.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_ask(options: Option<&mut Options>, ask: i32) -> Status {
    export!(status; options => options.configure(|config| config.ask = ask != 0))
}

/// Sets whether a service that the cache has as bad is tried last, though never after one with
/// weaker TLS: 0 for no, the default, any other number for yes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_try_failed_last(
    options: Option<&mut Options>,
    try_failed_last: i32,
) -> Status {
    export!(status; options => options.configure(|config| {
        config.try_failed_last = try_failed_last != 0;
    }))
}

/// Sets which address families are used, and which goes first. Default MAILPORT_FAMILIES_ANY.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_families(
    options: Option<&mut Options>,
    families: FamiliesNumber,
) -> Status {
    export!(status; options => match constants::to_families(families) {
        Some(families) => options.configure(|config| config.families = families),
        None => options.refuse(format!("{families} is not a MAILPORT_FAMILIES_ constant")),
    })
}

/// Sets the addresses of the host, for a program with its own resolver: "192.0.2.1,2001:db8::1", in
/// the order in which they are tried, of both families, without ports; an IPv6 address may have a
/// zone, "fe80::1%eth0". The host of the dial is then not looked up, but still names it in messages
/// and in the cache, and is what TLS must verify. Through a proxy or a command the addresses are not
/// used. Default NULL: the host is looked up.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_addresses(
    options: Option<&mut Options>,
    addresses: Text,
) -> Status {
    export!(status; options => options.text(addresses, |options, text| {
        let addresses = text.map(|text| text.split(',').map(parse_address).collect()).transpose();
        options.set(addresses.map(|addresses| |options: &mut Options| options.addresses = addresses))
    }))
}

/// An address with its zone.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let bad = || format!("`{text}` is not an address: expected addresses separated by commas");
    match text.split_once('%') {
        None => Ok(SocketAddr::new(text.parse::<IpAddr>().map_err(|_| bad())?, 0)),
        Some((address, zone)) => {
            let address = address.parse::<Ipv6Addr>().map_err(|_| bad())?;
            let scope = mailport::internal::scope(zone).map_err(|error| error.to_string())?;
            Ok(SocketAddrV6::new(address, 0, 0, scope).into())
        }
    }
}

/// Sets the local address to connect from, such as "192.0.2.1"; the other family is then left out.
/// Default NULL: the kernel chooses.
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

/// Sets the local port to connect from, which the attempts of a dial then share. No address is tried
/// a second time while it is silent. Default 0: the kernel chooses.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_source_port(
    options: Option<&mut Options>,
    port: u16,
) -> Status {
    export!(status; options => options.configure(|config| config.source_port = port))
}

/// Sets the network interface that every attempt is bound to (SO_BINDTODEVICE). Default NULL: the
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

/// Sets the firewall mark of every packet (SO_MARK, needs CAP_NET_ADMIN). Default 0: none.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_mark(options: Option<&mut Options>, mark: u32) -> Status {
    export!(status; options => options.configure(|config| {
        config.mark = (mark != 0).then_some(mark);
    }))
}

/// Sets a SOCKS5 proxy, "socks5://[USER:PASSWORD@]HOST[:PORT]", or a command whose standard input
/// and output are the connection, "command:ssh -W [%h]:%p gateway.example". No shell reads it; %h is
/// the host, %p the port, %% a percent sign. Such a dial tries services one after the other and
/// waits for a greeting. No message contains the password, or the words after the program.
/// Default NULL: a direct dial.
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

/// Sets the cache. The options and their dials keep their own handle to it. Default NULL: the shared
/// cache of the process, mailport_cache_shared().
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

/// Sets whether dials without another cache use the shared cache of the process,
/// mailport_cache_shared(). 0 turns it off, for a program that dials for several users. Default 1.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_options_set_shared_cache(
    options: Option<&mut Options>,
    on: i32,
) -> Status {
    export!(status; options => {
        options.set(Ok(|options: &mut Options| options.without_shared_cache = on == 0))
    })
}

/// The longest time in milliseconds fits into the argument of a setter.
const _: () = assert!(MAX_DELAY.as_millis() < i32::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &Options) -> &str {
        options.message.to_str().expect("UTF-8")
    }

    #[test]
    fn new_options_are_the_library_s_defaults() {
        let options = Options::default();
        assert_eq!((options.config, options.plan), (Config::default(), None));
    }

    #[test]
    fn every_setter_changes_its_setting_and_restores_the_default() {
        let mut options = Options::default();
        let all = [
            mailport_options_set_attempt_delay_ms(Some(&mut options), 11),
            mailport_options_set_port_delay_ms(Some(&mut options), 12),
            mailport_options_set_patience_ms(Some(&mut options), 13),
            mailport_options_set_timeout_ms(Some(&mut options), 14),
            mailport_options_set_greeting_wait_ms(Some(&mut options), 16),
            mailport_options_set_sequential(Some(&mut options), 1),
            mailport_options_set_prefer_submission(Some(&mut options), 1),
            mailport_options_set_ask(Some(&mut options), 1),
            mailport_options_set_try_failed_last(Some(&mut options), 1),
            mailport_options_set_shared_cache(Some(&mut options), 0),
            mailport_options_set_families(Some(&mut options), 3),
            mailport_options_set_mark(Some(&mut options), 16),
        ];
        assert_eq!(all, [MAILPORT_OK; 12]);
        let mut expected = Config::default();
        expected.attempt_delay = Duration::from_millis(11);
        expected.port_delay = Duration::from_millis(12);
        expected.patience = Patience::Fixed(Duration::from_millis(13));
        expected.timeout = Duration::from_millis(14);
        expected.greeting_wait = GreetingWait::For(Duration::from_millis(16));
        (expected.ask, expected.try_failed_last) = (true, true);
        assert!(options.sequential && options.prefer_submission && options.without_shared_cache);
        expected.families = mailport::Families::PreferIpv4;
        expected.mark = Some(16);
        assert_eq!(options.config, expected);
        mailport_options_set_greeting_wait_ms(Some(&mut options), 0);
        assert_eq!(options.config.greeting_wait, GreetingWait::Off);
        restore_defaults(&mut options);
        assert_eq!(options.config, Config::default());
    }

    /// Text is restored in `ffi/tests/c/options.c`: only C can make it.
    fn restore_defaults(options: &mut Options) {
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
            mailport_options_set_prefer_submission,
            mailport_options_set_ask,
            mailport_options_set_try_failed_last,
            mailport_options_set_families,
        ] {
            assert_eq!(set(Some(&mut *options), 0), MAILPORT_OK);
        }
        assert_eq!(mailport_options_set_mark(Some(&mut *options), 0), MAILPORT_OK);
    }

    #[test]
    fn a_setter_that_fails_changes_nothing_and_has_a_message_until_the_next() {
        let mut options = Options::default();
        for (ms, words) in [(9, "too short"), (i32::MAX, "too long"), (-2, "negative")] {
            let status = mailport_options_set_port_delay_ms(Some(&mut options), ms);
            assert_eq!(status, MAILPORT_ERR_INVALID);
            assert!(message(&options).contains(words), "{}", message(&options));
        }
        assert_eq!(mailport_options_set_families(Some(&mut options), 5), MAILPORT_ERR_INVALID);
        assert!(message(&options).starts_with("5 is not a "));
        assert_eq!(options.config, Config::default());
        assert_eq!(mailport_options_set_sequential(Some(&mut options), 0), MAILPORT_OK);
        assert_eq!(message(&options), "");
    }

    #[test]
    fn settings_that_depend_on_each_other_may_be_set_in_any_order() {
        let mut options = Options::default();
        assert_eq!(mailport_options_set_timeout_ms(Some(&mut options), 100), MAILPORT_OK);
        assert!(options.config.check().is_err(), "the default attempt delay is longer");
        assert_eq!(mailport_options_set_attempt_delay_ms(Some(&mut options), 50), MAILPORT_OK);
        assert_eq!(options.config.check(), Ok(()));
    }
}
