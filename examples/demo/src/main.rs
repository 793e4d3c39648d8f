//! One mail over three networks, all of them on this machine: the submission port is open, is
//! refused, is silent. `make demo` runs it; it needs no privileges, no network and no
//! configuration, and fails if a message does not arrive.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mailport::Stream;
use mailport::{Cleartext, Config, Plan, Service, Target, Tls};
use socket2::{Domain, Socket, Type};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match show(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What becomes of the submission port.
#[derive(Clone, Copy)]
enum Fate {
    Open,
    Refused,
    Silent,
}

/// The whole demo.
pub(crate) fn show(out: &mut impl Write) -> Result<()> {
    let place = Place::find()?;
    let scenes = [
        (Fate::Open, "The submission port is open", "from the office"),
        (Fate::Refused, "The submission port is refused", "from a train"),
        (Fate::Silent, "The submission port is silent", "from a hotel"),
    ];
    for (number, (fate, title, subject)) in scenes.into_iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        scene(out, &place, fate, &format!("{}. {title}", number + 1), subject)?;
    }
    Ok(())
}

/// One network: dials, shows what happened, and sends a mail over the socket won.
fn scene(
    out: &mut impl Write,
    place: &Place,
    fate: Fate,
    title: &str,
    subject: &str,
) -> Result<()> {
    let submission = place.ports()?;
    let smtp = place.ports()?;
    let (submission_port, smtp_port) = (submission.port, smtp.port);
    let (arrived, arrivals) = mpsc::channel();
    let serve = |ports: Ports| {
        for socket in ports.sockets {
            let arrived = arrived.clone();
            thread::spawn(move || server(&socket.into(), &arrived));
        }
    };
    let _keep: Option<Vec<Socket>> = match fate {
        Fate::Open => {
            serve(submission.listening(8)?);
            None
        }
        // Bound and not listening: the kernel refuses for it, and no other program gets the port.
        Fate::Refused => Some(submission.sockets),
        Fate::Silent => Some(submission.listening(0)?.filled()?),
    };
    serve(smtp.listening(8)?);

    writeln!(out, "{title}: {submission_port} plays 587, {smtp_port} plays 25")?;
    out.flush()?;
    let services =
        [Service::new(submission_port, Tls::StartTls)?, Service::new(smtp_port, Tls::StartTls)?];
    let plan = Plan::new(services, Cleartext::Refuse)?;
    let connected = mailport::Dialer::new()
        .with_plan(plan.clone())
        .with_config(Config::default())
        .connect(&place.target)?;
    writeln!(out, "   {}", connected.report.summary())?;
    for line in connected.report.timeline(77).to_string().lines() {
        writeln!(out, "   {line}")?;
    }
    send(connected.stream, subject)?;
    let Arrival { port, subject } = await_mail(&arrivals)?;
    writeln!(out, "   The server on port {port} received the mail \"{subject}\"")?;
    Ok(())
}

/// Where the demo takes place: the addresses of `localhost`, IPv6 among them if there is any.
struct Place {
    target: Target,
    addresses: Vec<IpAddr>,
}

impl Place {
    fn find() -> Result<Place> {
        let looked_up = ("localhost", 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let looked_up = looked_up.unwrap_or_default();
        let named: Vec<IpAddr> = looked_up.iter().map(SocketAddr::ip).collect();
        let both = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let usable = |a: &IpAddr| both.contains(a) && TcpListener::bind((*a, 0)).is_ok();
        if !named.is_empty() && named.iter().all(usable) {
            let addresses = both.into_iter().filter(|a| named.contains(a)).collect();
            return Ok(Place { target: "localhost".parse()?, addresses });
        }
        // A machine whose `localhost` is something else, or has an address that it cannot use.
        Ok(Place { target: "127.0.0.1".parse()?, addresses: vec![Ipv4Addr::LOCALHOST.into()] })
    }

    /// A port that is free on every address.
    fn ports(&self) -> Result<Ports> {
        for _ in 0..100 {
            let mut ports = Ports { port: 0, sockets: Vec::new() };
            let bound: io::Result<()> =
                self.addresses.iter().try_for_each(|&address| ports.bind(address));
            match bound {
                Ok(()) => return Ok(ports),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err("no port is free on both 127.0.0.1 and ::1".into())
    }
}

/// One port, bound on every address of the place.
struct Ports {
    port: u16,
    sockets: Vec<Socket>,
}

impl Ports {
    /// The first address chooses the port, the others follow.
    fn bind(&mut self, address: IpAddr) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address((address, 0).into()), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SocketAddr::new(address, self.port).into())?;
        self.port = socket.local_addr()?.as_socket().map_or(0, |bound| bound.port());
        self.sockets.push(socket);
        Ok(())
    }

    fn listening(self, backlog: i32) -> io::Result<Ports> {
        self.sockets.iter().try_for_each(|socket| socket.listen(backlog))?;
        Ok(self)
    }

    /// Connects and never accepts, until a connection stays pending: Linux drops every SYN to a
    /// listener with a full backlog, which is what a firewall does that says nothing.
    fn filled(mut self) -> Result<Vec<Socket>> {
        for index in 0..self.sockets.len() {
            let address = self.sockets[index].local_addr()?;
            let domain = address.domain();
            let pending = (0..16).find_map(|_| {
                let socket = Socket::new(domain, Type::STREAM, None).ok()?;
                let result = socket.connect_timeout(&address, Duration::from_millis(50));
                self.sockets.push(socket);
                result.is_err().then_some(())
            });
            pending.ok_or("the backlog of a listener does not fill up")?;
        }
        Ok(self.sockets)
    }
}

/// A mail that a server took.
struct Arrival {
    port: u16,
    subject: String,
}

/// Serves one connection after the other, for as long as the demo runs.
fn server(listener: &TcpListener, arrived: &mpsc::Sender<Arrival>) {
    for stream in listener.incoming().flatten() {
        let port = stream.local_addr().map_or(0, |address| address.port());
        // A connection that ends early was one that lost the race.
        if let Ok(Some(subject)) = session(&stream) {
            let _ = arrived.send(Arrival { port, subject });
        }
    }
}

/// The server's side of an SMTP session; gives the subject of its mail.
fn session(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut to = stream;
    let mut subject = None;
    let mut in_data = false;
    to.write_all(b"220 demo ESMTP\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let reply = match &*line {
            "." if in_data => {
                in_data = false;
                "250 taken"
            }
            text if in_data => {
                subject = subject.or_else(|| text.strip_prefix("Subject: ").map(str::to_owned));
                continue;
            }
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        to.write_all(format!("{reply}\r\n").as_bytes())?;
        if line == "QUIT" {
            break;
        }
    }
    Ok(subject)
}

/// The client's side: hands over one mail.
fn send(stream: Stream, subject: &str) -> Result<()> {
    let socket = stream.into_tcp().map_err(|_| "not a TCP connection")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut replies = BufReader::new(socket.try_clone()?).lines();
    let mut to = socket;
    let mut expect = |code: &str| -> Result<()> {
        let reply = replies.next().ok_or("the server closed the connection")??;
        if reply.starts_with(code) {
            Ok(())
        } else {
            Err(format!("the server says {reply}").into())
        }
    };
    expect("220")?;
    to.write_all(b"EHLO localhost\r\n")?;
    expect("250")?;
    // A real client does STARTTLS here, as `Connected::service` demands, verifies the name that
    // its user configured, and goes no further if any of this fails. There are no certificates in
    // a demo.
    for (command, code) in [
        ("MAIL FROM:<traveller@demo.example>", "250"),
        ("RCPT TO:<friend@demo.example>", "250"),
        ("DATA", "354"),
    ] {
        to.write_all(format!("{command}\r\n").as_bytes())?;
        expect(code)?;
    }
    to.write_all(format!("Subject: {subject}\r\n\r\nHello!\r\n.\r\n").as_bytes())?;
    expect("250")?;
    to.write_all(b"QUIT\r\n")?;
    expect("221")
}

fn await_mail(arrivals: &Receiver<Arrival>) -> Result<Arrival> {
    let arrival = arrivals.recv_timeout(Duration::from_secs(10));
    arrival.map_err(|_| "the mail did not arrive".into())
}
