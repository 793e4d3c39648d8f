//! A dial in one call.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, OwnedFd};

use mailport::{ConnectError, Dialer, Plan, Target};

use crate::boundary::{Text, export};
use crate::environment;
use crate::failure::CallFailure;
use crate::options::Options;
use crate::status::{MAILPORT_OK, Status};

/// Connects to a host and blocks until it is connected or has failed: a replacement for a loop over
/// getaddrinfo(3) and connect(2). The descriptor is blocking, as one from connect(2) is, and closed
/// on exec; close it with close(2).
///
/// The port chooses the plan: 587 and 0 (none given) try 587 and fall back to 25, and 25 tries 25
/// and falls back to 587, both with STARTTLS; 465, 993 and 995 are tried alone, with TLS from the
/// first byte; any other is tried alone, with STARTTLS. Options may be NULL. This call does not return which service was reached, so the TLS
/// mode must be the same for all: a plan whose services differ in it is refused, and so is ask.
///
/// mailport_last_error_message() and mailport_last_error_errno() say why it failed. The message
/// names each service that was tried and how it failed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_connect(
    host: Text,
    port: u16,
    options: Option<&Options>,
    out_fd: Option<&mut MaybeUninit<c_int>>,
) -> Status {
    let host = host.get();
    export!(recorded; host, out_fd => {
        let request = DialRequest::new(host, port, options)?;
        let services = request.dialer.plan().services();
        if services.iter().any(|service| service.tls() != services[0].tls()) {
            return Err(CallFailure::invalid(
                "the services of the plan differ in their TLS mode, and mailport_connect() does \
                 not return which one was reached: use mailport_dial_start()",
            ));
        }
        out_fd.write(request.connect()?);
        Ok(MAILPORT_OK)
    })
}

/// What a caller wants dialled, parsed.
#[derive(Debug)]
pub(crate) struct DialRequest {
    target: Target,
    dialer: Dialer,
}

impl DialRequest {
    /// Fails for a host that cannot be dialled, and where the environment leaves nothing of the
    /// plan.
    pub(crate) fn new(
        host: &CStr,
        port: u16,
        options: Option<&Options>,
    ) -> Result<DialRequest, CallFailure> {
        let defaults = Options::default();
        let options = options.unwrap_or(&defaults);
        let host = host.to_str().map_err(|_| CallFailure::invalid("the host is not UTF-8"))?;
        let target = host.parse::<Target>();
        let target = target.map_err(|error| CallFailure::invalid(&error.to_string()))?;
        let plan = match &options.plan {
            Some(plan) => Ok(plan.clone()),
            None => Plan::for_port((port > 0).then_some(port)),
        };
        let plan = plan.map_err(|error| CallFailure::invalid(&error.to_string()))?;
        let asked = options.plan.is_none() && options.prefer_submission;
        let plan = if asked { plan.prefer_submission() } else { plan };
        let plan = environment::narrow(plan).map_err(|message| CallFailure::invalid(&message))?;
        let plan = if options.sequential { plan.sequential() } else { plan };
        let dialer = options.dialer().with_plan(plan).with_config(options.config.clone());
        Ok(DialRequest { target, dialer })
    }

    pub(crate) fn start(&self) -> Result<mailport::Dial, ConnectError> {
        self.dialer.start(&self.target)
    }

    fn connect(&self) -> Result<c_int, ConnectError> {
        let connected = self.dialer.connect(&self.target)?;
        Ok(OwnedFd::from(connected.stream).into_raw_fd())
    }
}
