//! Sessions as text.

use std::fmt::Write as _;
use std::time::SystemTime;

use mailport::internal::Millis;
use mailport::report::{Attempt, format_host};
use mailport::{Outcome, Report};

use super::certificate::{Certificate, Problem};
use super::fault::Date;
use super::session::TlsSession;
use super::smtp::Capabilities;

/// The line of the matrix: how far the session came, and what stopped it.
pub(in super::super) fn stage(session: &TlsSession) -> String {
    let stage = session.stage.name();
    match &session.fault {
        Some(fault) => format!("reached {stage}, {}", fault.name()),
        None => format!("reached {stage}"),
    }
}

/// What a session found, each line with its newline.
pub(in super::super) fn details(session: &TlsSession) -> String {
    let mut text = format!("  {} at {}\n", session.service, format_host(session.address));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {name:<11} {value}");
    };
    if let Some(greeting) = &session.greeting {
        let after = session.greeted.map(Millis).map(|after| format!(", after {after}"));
        line("greeting", &format!("{}{}", greeting.text(), after.unwrap_or_default()));
    }
    if let Some(found) = &session.before {
        line("without TLS", &offers(found, true));
    }
    if let Some(handshake) = &session.handshake {
        line("TLS", &format!("{}, {}", handshake.version, certificate(&handshake.certificate)));
    }
    if let Some(found) = &session.after {
        line("with TLS", &offers(found, false));
    }
    line("stage", &stage(session));
    text
}

fn offers(found: &Capabilities, with_starttls: bool) -> String {
    let mut parts = Vec::new();
    if with_starttls {
        parts.push(if found.starttls { "STARTTLS" } else { "no STARTTLS" }.to_owned());
    }
    parts.push(login(found));
    match found.size {
        Some(0) => parts.push("SIZE without a limit".to_owned()),
        Some(size) => parts.push(format!("SIZE {size}")),
        None => {}
    }
    parts.join(", ")
}

fn login(found: &Capabilities) -> String {
    match &*found.auth {
        [] => "no AUTH".to_owned(),
        mechanisms => format!("AUTH {}", mechanisms.join(" ")),
    }
}

fn certificate(certificate: &Certificate) -> String {
    let names = certificate.names.join(", ");
    let (issuer, from) = (&certificate.issuer, Date(certificate.not_before));
    let until = Date(certificate.not_after);
    let problems: Vec<&str> = certificate.problems.iter().map(Problem::name).collect();
    let verified = match &*problems {
        [] => "verified".to_owned(),
        _ => format!("not verified ({})", problems.join(", ")),
    };
    format!("certificate for {names} by {issuer} from {from} until {until}, {verified}")
}

/// The sentence of a host: what keeps mail from leaving by the service that a dial would choose, or
/// why it would choose none, and what to do; or that it works. `None` where this service has no
/// session.
pub(in super::super) fn sentence(
    host: &str,
    sessions: &[TlsSession],
    forecast: &Report,
    now: SystemTime,
) -> Option<String> {
    let Some(winner) = forecast.winner() else { return Some(no_connection(forecast)) };
    let chosen = winner.service;
    let session = sessions.iter().find(|session| session.service == chosen)?;
    let port = chosen.port();
    let Some(fault) = &session.fault else { return Some(works(session)) };
    let others = sessions.iter().filter(|other| other.service != chosen && other.fault.is_none());
    let others: Vec<String> = others.map(|other| other.service.to_string()).collect();
    let instead = match &*others {
        [] => String::new(),
        _ => format!("; {} works", others.join(", ")),
    };
    Some(format!("{port} is open, but {}{instead}", fault.explain(host, port, now)))
}

/// Why no service connects, and what to do. docs/troubleshooting.md has each of these sentences.
fn no_connection(forecast: &Report) -> String {
    // Of each service, the attempt that explains most; in the order in which they were tried.
    let mut services: Vec<&Attempt> = Vec::new();
    for attempt in &forecast.attempts {
        if services.iter().all(|known| known.service != attempt.service) {
            services.extend(forecast.telling_of(attempt.service));
        }
    }
    let ends: Vec<String> = services.iter().map(|attempt| end(attempt)).collect();
    let has = |outcome| services.iter().any(|attempt| attempt.outcome == Some(outcome));
    let advice = if services.is_empty() {
        return "no port was tried, because the server has no address: check its name and the name \
                service of this network"
            .to_owned();
    } else if has(Outcome::IcmpHard) || has(Outcome::Timeout) {
        let is_tried = services.iter().any(|attempt| attempt.service.port() == 465);
        let other_port = if is_tried { "" } else { "port 465 (--plan 465:implicit), " };
        format!(
            "a firewall blocks mail on this network or at the server, or the server is down; try \
             {other_port}another network or a tunnel (mailport connect --via)"
        )
    } else if has(Outcome::Reset) || has(Outcome::Closed) {
        "no mail server listens there; check the server name, and use the port that the provider \
         names"
            .to_owned()
    } else if has(Outcome::IcmpSoft) {
        "the network has no path to the server now; try again later or from another network"
            .to_owned()
    } else {
        "check the network settings, the firewall and the limits of this machine".to_owned()
    };
    format!("no port connects ({}): {advice}", ends.join(", "))
}

/// How an attempt failed, in a few words.
fn end(attempt: &Attempt) -> String {
    let port = attempt.service.port();
    let from = || {
        let sender = attempt.icmp.and_then(|icmp| icmp.sender);
        sender.map_or_else(String::new, |sender| format!(" by {sender}"))
    };
    match attempt.outcome {
        Some(Outcome::Reset) => format!("{port} is refused"),
        Some(Outcome::IcmpHard) => format!("{port} is filtered{}", from()),
        Some(Outcome::IcmpSoft) => format!("{port} is reported unreachable{}", from()),
        Some(Outcome::Local) => {
            let errno = attempt.errno.map_or_else(String::new, |errno| format!(": {errno}"));
            format!("{port} cannot be tried{errno}")
        }
        Some(Outcome::Closed) => format!("{port} is closed at once"),
        _ => format!("{port} is silent"),
    }
}

fn works(session: &TlsSession) -> String {
    let port = session.service.port();
    if !session.service_is_smtp() && session.handshake.is_none() {
        return format!(
            "{port} connects; what follows is not examined, for this is no port of SMTP"
        );
    }
    let tls = match &session.handshake {
        Some(handshake) => {
            let until = Date(handshake.certificate.not_after);
            format!("{}, certificate verified until {until}", handshake.version)
        }
        None => "no TLS".to_owned(),
    };
    let login = match session.after.as_ref().or(session.before.as_ref()) {
        None => String::new(),
        // Only on port 25 is this no fault.
        Some(found) if found.auth.is_empty() => {
            ", no AUTH: without a login it may take mail for its own users only".to_owned()
        }
        Some(found) => format!(", {}", login(found)),
    };
    format!("{port} works: {tls}{login}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailport::machine::Query;
    use mailport::outcome::{Errno, Failure, Icmp};
    use mailport::probe::{LookedUp, Probed};
    use mailport::report::LookupError;
    use mailport::{Family, Plan};

    use super::*;
    use crate::scene::{Fate, V4, forecast, probed};

    #[test]
    fn without_a_connection_the_sentence_says_why_and_what_to_do() {
        let icmp = Icmp { family: Family::Ipv4, kind: 3, code: 13, sender: Some(V4) };
        let fails = |outcome| Fate::Fails(Failure::new(outcome));
        let filtered = Fate::Fails(Failure { icmp: Some(icmp), ..Failure::new(Outcome::IcmpHard) });
        let local =
            Failure { errno: Some(Errno(libc::ENETUNREACH)), ..Failure::new(Outcome::Local) };
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/troubleshooting.md");
        let page = std::fs::read_to_string(path).unwrap();
        for (plan, first, second, facts, advice) in [
            (
                "submission",
                filtered,
                Fate::Silent(3),
                "587 is filtered by 192.0.2.1, 25 is silent",
                "try port 465 (--plan 465:implicit), another network or a tunnel",
            ),
            (
                "submission",
                fails(Outcome::Reset),
                fails(Outcome::Reset),
                "587 is refused, 25 is refused",
                "no mail server listens there; ",
            ),
            (
                "submission",
                fails(Outcome::IcmpSoft),
                fails(Outcome::IcmpSoft),
                "587 is reported unreachable, 25 is reported unreachable",
                "the network has no path to the server now; ",
            ),
            (
                "587:starttls",
                Fate::Fails(local),
                Fate::Fails(local),
                "587 cannot be tried: ENETUNREACH",
                "check the network settings, the firewall and the limits of this machine",
            ),
            (
                "465:implicit",
                Fate::Silent(3),
                Fate::Silent(3),
                "465 is silent",
                "try another network or a tunnel",
            ),
        ] {
            let plan: Plan = plan.parse().unwrap();
            let fates = [(587, V4, first), (465, V4, first), (25, V4, second)];
            let forecast = forecast(&probed("192.0.2.1", &plan, &fates), &plan);
            let sentence = sentence("192.0.2.1", &[], &forecast, SystemTime::now()).unwrap();
            let start = format!("no port connects ({facts}): ");
            assert!(sentence.starts_with(&start) && sentence.contains(advice), "{sentence}");
            let advice = sentence.strip_prefix(&start).unwrap().split(';').next().unwrap();
            assert!(page.contains(advice), "docs/troubleshooting.md: {advice}");
        }
        let answer = LookedUp::new(
            Query::Authority,
            &Family::ALL,
            Some(Duration::ZERO),
            Err(LookupError::NoSuchName),
        );
        let probed = Probed::new("mail.example".parse().unwrap(), vec![answer], Vec::new());
        let forecast = forecast(&probed, &Plan::default());
        let sentence = sentence("mail.example", &[], &forecast, SystemTime::now()).unwrap();
        assert!(page.contains(sentence.split(':').next().unwrap()), "{sentence}");
    }
}
