//! The relay beside other programs that pass TCP connections on: sessions a second, throughput,
//! cache of an idle session, and the time added to the first byte. Programs that are missing are
//! left out, and named. `cargo bench -p mailport-cli --bench relay`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails and prints like a test"
)]
#![allow(clippy::cast_precision_loss, reason = "figures, not sums")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
const SESSIONS: usize = 100;
const IDLE: usize = 500;
const BYTES: u64 = 400_000_000;
const CHUNK: usize = 64 * 1024;

fn main() {
    let (greeter, sink) = (server(greet), server(swallow));
    println!(
        "| program | sessions/s | first byte, µs | one stream, MB/s | 100 streams, MB/s | KiB an idle session |\n\
         |---|---:|---:|---:|---:|---:|",
    );
    for program in [
        "none",
        "mailport relay",
        "mailport relay, no cache",
        "haproxy",
        "rinetd",
        "simpleproxy",
        "socat",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some(front) = Proxy::start(program, greeter, folder.path()) else {
            println!("| {program}, not installed | | | | | |");
            continue;
        };
        let first = median((0..200).map(|_| first_byte(front.port).as_secs_f64() * 1e6));
        let sessions = median((0..ROUNDS).map(|_| sessions(front.port)));
        let idle = front.idle();
        drop(front);
        let Some(bulk) = Proxy::start(program, sink, folder.path()) else { continue };
        let (one, many) = (rounds(bulk.port, 1), rounds(bulk.port, 100));
        let idle = idle.map(|kib| format!("{kib:.1}")).unwrap_or_default();
        println!("| {program} | {sessions:.0} | {first:.0} | {one} | {many} | {idle} |");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn server(serve: fn(TcpStream)) -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::Builder::new().stack_size(128 * 1024).spawn(move || serve(stream)).unwrap();
        }
    });
    port
}

fn greet(mut stream: TcpStream) {
    let _ = stream.write_all(b"220 x\r\n");
    let _ = stream.read(&mut [0; 64]);
}

/// Reads as many bytes as the first eight say, and answers then: not every program passes an end on
/// and keeps the other direction open.
fn swallow(mut stream: TcpStream) {
    let mut length = [0; 8];
    if stream.read_exact(&mut length).is_ok() {
        let mut left = usize::try_from(u64::from_le_bytes(length)).unwrap();
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            match stream.read(&mut buffer[..CHUNK.min(left)]) {
                Ok(count) if count > 0 => left -= count,
                _ => return,
            }
        }
        let _ = stream.write_all(b"!");
        let _ = stream.read(&mut [0]);
    }
}

/// A program that passes connections on, at a port of its own.
struct Proxy {
    child: Option<Child>,
    port: u16,
}

impl Proxy {
    fn start(program: &str, to: u16, folder: &std::path::Path) -> Option<Proxy> {
        if program == "none" {
            return Some(Proxy { child: None, port: to });
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = match program {
            "mailport relay" | "mailport relay, no cache" => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_mailport"));
                let (door, plan) = (format!("127.0.0.1:{port}"), format!("{to}:starttls"));
                command.args(["relay", "--listen", &door, "--to", "127.0.0.1", "--plan", &plan]);
                command.args(["--connections", "10000", "--per-client", "10000", "--control"]);
                command.arg(folder.join("control/relay.sock")).arg("--cache");
                match program {
                    "mailport relay" => command.arg(folder.join("cache/cache.json")),
                    _ => command.arg("off"),
                };
                command
            }
            "haproxy" => {
                let path = folder.join("haproxy.cfg");
                let text = format!(
                    "global\n nbthread 1\n maxconn 4000\ndefaults\n mode tcp\n option splice-auto\n \
                     timeout connect 9s\n timeout client 9m\n timeout server 9m\n\
                     listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{to}\n"
                );
                fs::write(&path, text).unwrap();
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(path);
                command
            }
            "rinetd" => {
                let path = folder.join("rinetd.conf");
                fs::write(&path, format!("127.0.0.1 {port} 127.0.0.1 {to}\n")).unwrap();
                let mut command = Command::new("rinetd");
                command.arg("-f").arg("-c").arg(path);
                command
            }
            "simpleproxy" => {
                let mut command = Command::new("simpleproxy");
                command.args(["-L", &format!("127.0.0.1:{port}")]);
                command.args(["-R", &format!("127.0.0.1:{to}")]);
                command
            }
            _ => {
                // It would end half a second after one side has.
                let mut command = Command::new("socat");
                command.args(["-t", "60"]);
                command
                    .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=4096"));
                command.arg(format!("TCP:127.0.0.1:{to}"));
                command
            }
        };
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let proxy = Proxy { child: Some(child.ok()?), port };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{program} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(200));
        Some(proxy)
    }

    /// What an idle session takes in private cache, of the program and its children.
    fn idle(&self) -> Option<f64> {
        let process = self.child.as_ref()?.id();
        let before = private_kib(process);
        let streams: Vec<TcpStream> = (0..IDLE).map(|_| greeted(self.port)).collect();
        let grown = private_kib(process).saturating_sub(before);
        drop(streams);
        thread::sleep(Duration::from_millis(500));
        Some(grown as f64 / IDLE as f64)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn private_kib(process: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap_or_default();
    let all = children.split_whitespace().filter_map(|id| id.parse().ok()).chain([process]);
    let of = |id: u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("Private_"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>()
    };
    all.map(of).sum()
}

fn greeted(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
    stream
}

fn first_byte(port: u16) -> Duration {
    let began = Instant::now();
    drop(greeted(port));
    began.elapsed()
}

/// Sessions one after the other, from the connect to the greeting.
fn sessions(port: u16) -> f64 {
    let began = Instant::now();
    for _ in 0..SESSIONS {
        drop(greeted(port));
    }
    SESSIONS as f64 / began.elapsed().as_secs_f64()
}

/// Megabytes a second, in so many streams at once; an error of a stream, where one fails.
fn throughput(port: u16, streams: u64) -> io::Result<f64> {
    let began = Instant::now();
    let stream = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let chunk = vec![7; CHUNK];
        let chunks = BYTES / streams / CHUNK as u64;
        stream.write_all(&(chunks * CHUNK as u64).to_le_bytes())?;
        for _ in 0..chunks {
            stream.write_all(&chunk)?;
        }
        stream.read_exact(&mut [0])
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..streams).map(|_| scope.spawn(stream)).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap())
    })?;
    Ok(BYTES as f64 / 1e6 / began.elapsed().as_secs_f64())
}

/// The median of some rounds, or why one of them failed.
fn rounds(port: u16, streams: u64) -> String {
    let all: io::Result<Vec<f64>> = (0..ROUNDS).map(|_| throughput(port, streams)).collect();
    match all {
        Ok(all) => format!("{:.0}", median(all.into_iter())),
        Err(error) => format!("fails: {error}"),
    }
}
