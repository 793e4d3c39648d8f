//! Each program of this package reaches a server on loopback; those that send a message do so with
//! STARTTLS and with implicit TLS, and with nothing less.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tokio::net::TcpSocket;

const SENDERS: [&str; 2] = [env!("CARGO_BIN_EXE_lettre"), env!("CARGO_BIN_EXE_mail_send")];
const HOST: &str = "127.0.0.1";

/// What a server does that matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    StartTls,
    Implicit,
    /// It offers no STARTTLS.
    Stripped,
}

/// Writes what a client must trust, and gives what a server for `name` needs.
fn certificate(folder: &Path, name: &str) -> Arc<ServerConfig> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_text = authority.self_signed(&authority_key).unwrap().pem();
    fs::write(folder.join("authority.pem"), authority_text).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// A submission server for one client: its port, and the message that it was given under TLS.
fn server(kind: Kind, tls: Arc<ServerConfig>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, receive) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let secure = |stream| StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
        // A client that gives up ends the session, and nothing was received.
        let received = match kind {
            Kind::Implicit => session(&mut BufReader::new(secure(stream)), "", true),
            Kind::Stripped => session(&mut BufReader::new(stream), "", true),
            Kind::StartTls => {
                let mut plain = BufReader::new(stream);
                session(&mut plain, "250-STARTTLS\r\n", true).and_then(|_| {
                    session(&mut BufReader::new(secure(plain.into_inner())), "", false)
                })
            }
        };
        if let Ok(Some(message)) = received {
            send.send(message).unwrap();
        }
    });
    (port, receive)
}

/// Speaks SMTP until the client quits, with the message; or until STARTTLS, without one.
fn session<S: Read + Write>(
    client: &mut BufReader<S>,
    offer: &str,
    greets: bool,
) -> io::Result<Option<String>> {
    let say = |client: &mut BufReader<S>, text: &str| {
        client.get_mut().write_all(text.as_bytes())?;
        client.get_mut().flush()
    };
    if greets {
        say(client, "220 mail.example ESMTP\r\n")?;
    }
    let (mut message, mut in_data) = (String::new(), false);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if in_data {
            in_data = line != ".\r\n";
            message += &line;
            if !in_data {
                say(client, "250 accepted\r\n")?;
            }
            continue;
        }
        match line.split_whitespace().next().unwrap_or_default() {
            "EHLO" => say(client, &format!("250-mail.example\r\n{offer}250 8BITMIME\r\n"))?,
            "STARTTLS" if !offer.is_empty() => {
                say(client, "220 go ahead\r\n")?;
                return Ok(None);
            }
            "MAIL" if !offer.is_empty() => say(client, "530 STARTTLS first\r\n")?,
            "MAIL" | "RCPT" => say(client, "250 well\r\n")?,
            "DATA" => {
                in_data = true;
                say(client, "354 go on\r\n")?;
            }
            "QUIT" => {
                say(client, "221 bye\r\n")?;
                return Ok(Some(message));
            }
            _ => say(client, "500 what?\r\n")?,
        }
    }
}

/// Runs a program that sends a message, and gives how it ended.
fn send(program: &str, plan: &str, trusted: &Path) -> Output {
    let mut child = Command::new(program)
        .args([HOST, "a@example.com", "b@example.org", plan])
        .env("SSL_CERT_FILE", trusted.join("authority.pem"))
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Hello.\n").unwrap();
    child.wait_with_output().unwrap()
}

/// A port that refuses for as long as the socket lives: bound, and not listening.
fn refused() -> (TcpSocket, u16) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = held.local_addr().unwrap().port();
    (held, port)
}

#[test]
fn a_message_is_sent_with_starttls_after_a_fallback() {
    for program in SENDERS {
        let folder = TempDir::new().unwrap();
        let (port, message) = server(Kind::StartTls, certificate(folder.path(), HOST));
        let (_held, refused) = refused();
        let output = send(program, &format!("{refused}:starttls,{port}:starttls"), folder.path());
        assert!(output.status.success(), "{program}: {output:?}");
        let message = message.recv().expect("a message under TLS");
        assert!(message.contains("Hello.") && message.contains("a@example.com"), "{message}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(&format!("{refused} is refused")), "{printed}");
    }
}

#[test]
fn a_message_is_sent_with_implicit_tls() {
    for program in SENDERS {
        let folder = TempDir::new().unwrap();
        let (port, message) = server(Kind::Implicit, certificate(folder.path(), HOST));
        let output = send(program, &format!("{port}:implicit"), folder.path());
        assert!(output.status.success(), "{program}: {output:?}");
        assert!(message.recv().expect("a message under TLS").contains("Hello."));
    }
}

#[test]
fn nothing_is_sent_without_starttls() {
    for program in SENDERS {
        let folder = TempDir::new().unwrap();
        let (port, message) = server(Kind::Stripped, certificate(folder.path(), HOST));
        let output = send(program, &format!("{port}:starttls"), folder.path());
        assert!(!output.status.success(), "{program}: {output:?}");
        assert!(message.recv().is_err(), "the server was given a message");
    }
}

#[test]
fn nothing_is_sent_to_a_server_with_the_certificate_of_another_host() {
    for program in SENDERS {
        for (kind, mode) in [(Kind::StartTls, "starttls"), (Kind::Implicit, "implicit")] {
            let folder = TempDir::new().unwrap();
            let (port, message) = server(kind, certificate(folder.path(), "other.example"));
            let output = send(program, &format!("{port}:{mode}"), folder.path());
            assert!(!output.status.success(), "{program}, {mode}: {output:?}");
            assert!(message.recv().is_err(), "the server was given a message");
        }
    }
}

#[test]
fn tokio_and_async_io_dial_and_fall_back() {
    let (_held, refused) = refused();
    let greets = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = greets.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in greets.incoming() {
            stream.unwrap().write_all(b"220 ready\r\n").unwrap();
        }
    });
    let plan = format!("{refused}:starttls,{port}:starttls");
    let run = |program: &str, hosts: &[&str]| {
        let output = Command::new(program).arg(&plan).args(hosts).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let connected = format!("connected to {port}");
    let printed = run(env!("CARGO_BIN_EXE_tokio"), &[HOST, HOST, "127.0.0.3"]);
    assert_eq!(printed.matches(&connected).count(), 2, "{printed}");
    assert_eq!(printed.matches("220 ready").count(), 2, "{printed}");
    assert!(printed.contains("127.0.0.3: "), "{printed}");
    let printed = run(env!("CARGO_BIN_EXE_async_io"), &[HOST]);
    assert!(printed.contains(&connected), "{printed}");
}
