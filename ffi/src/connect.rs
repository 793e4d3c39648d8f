//! A dial in one call, and what every dial is started with.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, OwnedFd};

use mailport::{Config, Dialer, Plan, Target};

use crate::boundary::{Text, export};
use crate::environment;
use crate::options::Options;
use crate::status::{self, MAILPORT_INVALID, MAILPORT_OK, Status};

/// Connects to a host and blocks until that is done, or cannot be: in place of a loop over
/// getaddrinfo(3) and connect(2). The descriptor blocks, as one from connect(2) does, and is closed
/// on exec; close it with close(2).
///
/// The port makes the plan: 587, 25 and 0 (none given) try 587 and fall back to 25, both with
/// STARTTLS; 465 is tried alone, with TLS from the first byte; any other is tried alone, with
/// STARTTLS. Options may be NULL. This call does not say which service was reached, so the TLS mode
/// must be the same whichever it is: a plan whose services differ in it is refused, and so is ask.
/// For a sentence on what happened, use mailport_dial_start() and mailport_dial_wait().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_connect(
    host: Text,
    port: u16,
    options: Option<&Options>,
    out_fd: Option<&mut MaybeUninit<c_int>>,
) -> Status {
    let host = Some(host).filter(|host| host.get().is_some());
    export!(status; host, out_fd => match connect(host, port, options) {
        Ok(descriptor) => {
            out_fd.write(descriptor);
            MAILPORT_OK
        }
        Err(status) => status,
    })
}

fn connect(host: Text, port: u16, options: Option<&Options>) -> Result<c_int, Status> {
    let wanted = Wanted::new(host, port, options).map_err(|_| MAILPORT_INVALID)?;
    let services = wanted.plan.services();
    if services.iter().any(|service| service.tls() != services[0].tls()) {
        return Err(MAILPORT_INVALID);
    }
    let Wanted { target, plan, config, dialer } = wanted;
    let connected =
        dialer.clone().with_plan(plan.clone()).with_config(config.clone()).connect(&target);
    let connected = connected.map_err(|error| status::of_error(&error))?;
    Ok(OwnedFd::from(connected.stream).into_raw_fd())
}

/// What a caller wants dialled, parsed.
pub(crate) struct Wanted {
    pub(crate) target: Target,
    pub(crate) plan: Plan,
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
}

impl Wanted {
    /// Fails with a sentence on the host, the plan, or the environment that leaves nothing of it.
    pub(crate) fn new(host: Text, port: u16, options: Option<&Options>) -> Result<Wanted, String> {
        let defaults = Options::default();
        let options = options.unwrap_or(&defaults);
        let host = host.get().unwrap_or_default();
        let host = host.to_str().map_err(|_| "the host is not UTF-8".to_owned())?;
        let target: Target = host.parse().map_err(|error| format!("{error}"))?;
        let plan = match &options.plan {
            Some(plan) => plan.clone(),
            None => {
                Plan::for_port((port > 0).then_some(port)).map_err(|error| error.to_string())?
            }
        };
        let plan = environment::narrow(plan)?;
        let plan = if options.sequential { plan.sequential() } else { plan };
        let (config, dialer) = (options.config.clone(), options.dialer());
        Ok(Wanted { target, plan, config, dialer })
    }
}
