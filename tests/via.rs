//! Dials through SOCKS5 proxies on real sockets, and what the command line takes for a way.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/through.rs"]
mod through;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use common::{Port, hasty, open, plan, refused, silent};
use mailport::cache::{Remembered, What};
use mailport::outcome::ViaError;
use mailport::report::{End, Greeting};
use mailport::{Cache, Config, ConnectError, Dialer, Families, GreetingWait, Outcome, Via};
use through::{Proxy, dialer, failed, note, outcomes, proxy, read_to_end, target, through};

/// What a proxy reads first of a client without a login, and of one with.
const HELLO: &[u8] = &[5, 1, 0];
const HELLO_WITH_LOGIN: &[u8] = &[5, 2, 0, 2];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 25];

/// Reads the hello and the request of a client without a login.
fn asked(mut stream: &TcpStream) -> u16 {
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello, HELLO);
    stream.write_all(&[5, 0]).unwrap();
    request(stream)
}

/// Reads a request for the target by its name.
fn request(mut stream: &TcpStream) -> u16 {
    let mut request = [0; 19];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request[..17], b"\x05\x01\0\x03\x0cmail.example");
    u16::from_be_bytes([request[17], request[18]])
}

/// A proxy that gives these answers to the requests, one each.
fn replying(replies: &'static [&'static [u8]]) -> Proxy {
    proxy(move |number, mut stream, requests| {
        requests.send(asked(&stream)).unwrap();
        stream.write_all(replies[number]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn a_greeting_in_the_segment_of_the_reply_is_for_the_reader() {
    let proxy = replying(&[b"\x05\0\0\x03\x03abc\0\x19220 ready\r\n"]);
    let connected = through(&proxy.url, &[587], &hasty()).unwrap();
    assert_eq!(read_to_end(&connected.stream), "220 ready\r\n");
    let report = &connected.report;
    assert_eq!(report.via.as_deref(), Some(&*proxy.url));
    assert_eq!(report.attempts[0].greeting, Some(Greeting::Received));
    assert!(report.attempts[0].address.is_none() && report.lookup.is_none());
    let reported = format!("connected to 587 through {} in ", proxy.url);
    assert!(report.summary().starts_with(&reported), "{}", report.summary());
}

#[test]
fn every_reply_that_is_a_failure_leads_to_the_next_service() {
    for code in [1, 2, 3, 4, 5, 6, 7, 8, 99] {
        let proxy = proxy(move |number, mut stream, requests| {
            requests.send(asked(&stream)).unwrap();
            let reply = if number == 0 { vec![5, code, 0, 1] } else { CONNECTED.to_vec() };
            stream.write_all(&[reply, b"220 ".to_vec()].concat()).unwrap();
        });
        let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
        let report = &connected.report;
        assert_eq!(outcomes(report), [Outcome::Via, Outcome::Connected]);
        assert_eq!(report.attempts[0].via_error, Some(ViaError::Reply(code)));
        assert_eq!(proxy.requests.iter().take(2).collect::<Vec<_>>(), [587, 25]);
        assert!(report.summary().contains(&format!("(reply {code})")), "{}", report.summary());
    }
}

#[test]
fn a_close_after_the_reply_and_before_a_greeting_leads_to_the_next_service() {
    let proxy = replying(&[CONNECTED, b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
}

#[test]
fn a_close_instead_of_a_reply_leads_to_the_next_service() {
    // As `ssh -D` has it.
    let proxy = replying(&[b"", b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "the proxy closed instead of replying");
}

#[test]
fn silence_behind_a_proxy_is_a_greet_pause() {
    let proxy = proxy(|_, mut stream, requests| {
        requests.send(asked(&stream)).unwrap();
        stream.write_all(CONNECTED).unwrap();
        thread::spawn(move || stream.read(&mut [0]));
    });
    let mut config = hasty();
    config.greeting_wait = GreetingWait::For(Duration::from_millis(30));
    let connected = through(&proxy.url, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Absent));
    config.greeting_wait = GreetingWait::Off;
    let connected = through(&proxy.url, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, None);
    assert_eq!(proxy.requests.try_iter().collect::<Vec<_>>(), [587, 587]);
}

#[test]
fn a_login_is_given_to_a_proxy_that_asks_and_shown_nowhere() {
    // The last answer of each to what it has read, and how the dial ends.
    for (method, status, end) in [
        (0, 0, None),
        (2, 0, None),
        (2, 1, Some(ViaError::Login)),
        (0xff, 0, Some(ViaError::Login)),
        (1, 0, Some(ViaError::Protocol)),
    ] {
        let proxy = proxy(move |_, mut stream, _| {
            let mut hello = [0; 4];
            stream.read_exact(&mut hello).unwrap();
            assert_eq!(hello, HELLO_WITH_LOGIN);
            stream.write_all(&[5, method]).unwrap();
            if method == 2 {
                let mut login = [0; 13];
                stream.read_exact(&mut login).unwrap();
                assert_eq!(&login, b"\x01\x04anne\x06s3cr3t");
                stream.write_all(&[1, status]).unwrap();
            }
            if end.is_none() {
                request(&stream);
                stream.write_all(&[CONNECTED, b"220 "].concat()).unwrap();
            }
        });
        let url = proxy.url.replace("//", "//anne:s3cr3t@");
        let dialer = dialer(&url);
        let result =
            dialer.clone().with_plan(plan(&[587, 25])).with_config(hasty()).connect(target());
        let report = match &result {
            Ok(connected) => &connected.report,
            Err(error) => error.report().unwrap(),
        };
        assert_eq!(report.attempts[0].via_error, end, "method {method}: {report:?}");
        let texts = format!("{dialer:?} {result:?} {}", report.summary());
        #[cfg(feature = "json")]
        let texts = texts + &report.to_json();
        assert!(!texts.contains("anne") && !texts.contains("s3cr3t"), "{texts}");
        if end.is_some() {
            assert_eq!((report.end, report.attempts.len()), (Some(End::Via), 1));
        }
    }
}

#[test]
fn an_empty_password_is_sent() {
    let proxy = proxy(|_, mut stream, _| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(&[5, 2]).unwrap();
        let mut login = [0; 7];
        stream.read_exact(&mut login).unwrap();
        assert_eq!(&login, b"\x01\x04anne\0");
        stream.write_all(&[1, 0]).unwrap();
        request(&stream);
        stream.write_all(&[CONNECTED, b"220 "].concat()).unwrap();
    });
    let url = proxy.url.replace("//", "//anne:@");
    assert!(through(&url, &[587], &hasty()).is_ok());
}

#[test]
fn a_proxy_that_wants_a_login_says_so() {
    let proxy = proxy(|_, mut stream, _| {
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(&[5, 0xff]).unwrap();
    });
    let report = failed(through(&proxy.url, &[587], &hasty()));
    let reported = format!("{} refuses the login: it requires a user and a password", proxy.url);
    assert!(report.summary().contains(&reported), "{}", report.summary());
}

#[test]
fn rubbish_and_half_a_frame_end_the_dial_with_what_was_wrong() {
    for (answer, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "begins with 0x48"),
        (b"", "without an answer"),
        (b"\x05", "in the middle"),
        (b"\x05\0\x05\0", "in the middle"),
        (b"\x05\0\x05\0\0\x01\x7f", "in the middle"),
        (b"\x05\0\x05\0\0\x02", "unknown kind 0x02"),
    ] {
        let proxy = proxy(move |_, mut stream, _| {
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(answer).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let report = failed(through(&proxy.url, &[587, 25], &hasty()));
        assert_eq!((report.end, report.attempts.len()), (Some(End::Via), 1), "{report:?}");
        assert_eq!(report.attempts[0].via_error, Some(ViaError::Protocol));
        assert!(report.summary().contains(part), "{}", report.summary());
    }
}

#[test]
fn a_reply_that_comes_byte_by_byte_is_one() {
    let proxy = proxy(|_, mut stream, requests| {
        stream.set_nodelay(true).unwrap();
        requests.send(asked(&stream)).unwrap();
        for byte in [CONNECTED, b"220 "].concat() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(through(&proxy.url, &[587], &hasty()).is_ok());
}

#[test]
fn a_proxy_that_says_nothing_is_reported_at_the_deadline() {
    let proxy = proxy(|_, stream, requests| {
        requests.send(0).unwrap();
        thread::spawn(move || (&stream).read_to_end(&mut Vec::new()));
    });
    let mut config = hasty();
    config.timeout = Duration::from_millis(100);
    let report = failed(through(&proxy.url, &[587, 25], &config));
    assert_eq!((report.end, outcomes(&report)), (Some(End::Timeout), vec![Outcome::Timeout]));
    assert!(note(&report, 0).contains("has accepted, and not replied"), "{report:?}");
    assert!(report.summary().contains("the proxy has accepted, and not replied"), "{report:?}");
}

#[test]
fn a_proxy_that_cannot_be_reached_ends_the_dial() {
    let closed = refused();
    let url = format!("socks5://127.0.0.1:{}", closed.port());
    let report = failed(through(&url, &[587, 25], &hasty()));
    assert_eq!((report.end, report.attempts.len()), (Some(End::Via), 1));
    assert_eq!(report.attempts[0].via_error, Some(ViaError::Unreachable));
    let reported = format!("{url} cannot be reached: {} is refused", closed.port());
    assert!(report.summary().contains(&reported), "{}", report.summary());
    assert_eq!(report.summary().matches("(after ").count(), 1, "{}", report.summary());
    // Silence is reported at the deadline, by either of the two dials that have it.
    let silent = silent();
    let mut config = hasty();
    config.timeout = Duration::from_millis(100);
    let url = format!("socks5://127.0.0.1:{}", silent.port());
    let report = failed(through(&url, &[587, 25], &config));
    assert_eq!(report.attempts.len(), 1);
    assert!(report.summary().contains("silent"), "{}", report.summary());
}

#[test]
fn the_proxys_name_is_looked_up_and_the_targets_is_not() {
    let proxy = replying(&[b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let resolver = mailport::Resolver::custom(|name| {
        assert_eq!(name, "proxy.example");
        Ok(vec!["127.0.0.1:0".parse().unwrap()])
    });
    let via: Via = proxy.url.replace("127.0.0.1", "proxy.example").parse().unwrap();
    let dialer = Dialer::default().with_via(via).with_resolver(resolver);
    assert!(dialer.clone().with_plan(plan(&[587])).with_config(hasty()).connect(target()).is_ok());
}

#[test]
fn what_no_way_can_do_is_found_before_the_first_packet() {
    let listener = open();
    let url = format!("socks5://127.0.0.1:{}", listener.port());
    let refused = |via: &str, host: &str, change: &dyn Fn(&mut Config)| {
        let mut config = hasty();
        change(&mut config);
        let result = dialer(via).with_plan(plan(&[587])).with_config(config.clone()).start(host);
        match result {
            Err(ConnectError::Config(error)) => error.to_string(),
            other => panic!("{via}: {other:?}"),
        }
    };
    for (via, host, change, part) in [
        (&*url, "fe80::1%lo", (|_| ()) as fn(&mut Config), "a zone of this machine"),
        (&url, "h.example", |c| c.families = Families::Ipv6, "the proxy `127.0.0.1`"),
        ("command:mailport-none", "h.example", |_| (), "no folder of PATH"),
        ("command:/etc/passwd", "h.example", |_| (), "cannot be executed"),
        ("command:cat", "h.example", |c| c.mark = Some(1), "the mark `1` cannot be used"),
        ("command:cat", "h.example", |c| c.families = Families::Ipv4, "choice of families"),
    ] {
        assert!(refused(via, host, &change).contains(part), "{via}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

/// The ports in the order of the attempts, of one dial through this with this cache.
fn remembered(cache: &Cache, url: &str, skip: bool) -> Vec<u16> {
    let mut config = hasty();
    config.try_failed_last = skip;
    let dialer = dialer(url).with_cache(cache.clone());
    // Names of this machine have a network, with or without routes.
    let target = "mail.localhost";
    let report = dialer
        .clone()
        .with_plan(plan(&[587, 25]))
        .with_config(config.clone())
        .connect(target)
        .unwrap()
        .report;
    assert_eq!(report.winner().unwrap().service.port(), 25);
    report.attempts.iter().map(|attempt| attempt.service.port()).collect()
}

#[test]
fn a_cache_keeps_apart_what_two_proxies_refused_and_changes_no_order() {
    let refusing = || {
        proxy(|_, mut stream, requests| {
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(&[5, 0]).unwrap();
            let mut request = [0; 21];
            stream.read_exact(&mut request).unwrap();
            let port = u16::from_be_bytes([request[19], request[20]]);
            requests.send(port).unwrap();
            let answer = if port == 587 { &b"\x05\x05\0\x01"[..] } else { CONNECTED };
            stream.write_all(&[answer, b"220 "].concat()).unwrap();
        })
    };
    let (one, other, cache) = (refusing(), refusing(), Cache::new());
    assert_eq!(remembered(&cache, &one.url, false), [587, 25]);
    let refused = |cache: &Cache| {
        let of_587 = |line: &Remembered| line.service.port() == 587 && line.is_used;
        cache.list().into_iter().filter(of_587).map(|line| line.what).collect::<Vec<_>>()
    };
    assert_eq!(refused(&cache), [What::Outcome(Outcome::Via)]);
    assert_eq!(remembered(&cache, &one.url, true), [587, 25], "a silent 25 would end the dial");
    assert_eq!(remembered(&cache, &other.url, true), [587, 25]);
    assert_eq!(refused(&cache).len(), 2, "another proxy, another network");
    let asked = |proxy: &Proxy| proxy.requests.try_iter().collect::<Vec<_>>();
    assert_eq!((asked(&one), asked(&other)), (vec![587, 25, 587, 25], vec![587, 25]));
}
