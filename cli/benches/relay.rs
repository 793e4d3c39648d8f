//! The relay beside other programs that pass TCP connections on: the processor time and the system
//! calls of a session, sessions a second, the time added to the first byte, throughput, and the
//! memory of an idle session. `make bench-relay`, as root; programs that are missing are left out,
//! and named.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails and prints like a test"
)]
#![allow(clippy::cast_precision_loss, reason = "figures, not sums")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
const SESSIONS: usize = 100;
const CONCURRENT: usize = 64;
/// Sessions of each of these, one after the other.
const EACH: usize = 40;
const IDLE: usize = 500;
const BYTES: u64 = 400_000_000;
const CHUNK: usize = 64 * 1024;

const PROGRAMS: [&str; 10] = [
    "none",
    "mailport relay",
    "mailport relay, no cache",
    "mailport relay, by name",
    "mailport relay, 10,000 targets",
    "haproxy",
    "nginx",
    "rinetd",
    "simpleproxy",
    "socat",
];

fn main() {
    let (greeter, sink) = (server(greet), server(swallow));
    let folders = PROGRAMS.map(|_| tempfile::tempdir().unwrap());
    let start = |program, folder: &tempfile::TempDir| Proxy::start(program, greeter, folder.path());
    let mut fronts: Vec<_> =
        PROGRAMS.iter().zip(&folders).map(|(program, folder)| start(program, folder)).collect();
    // All of them in each round, so that they meet the same machine.
    let mut cpu = PROGRAMS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (front, cpu) in fronts.iter().zip(&mut cpu) {
            cpu.extend(front.as_ref().and_then(Proxy::cpu_a_session));
        }
    }
    println!(
        "| program | CPU a session, µs | system calls | sessions/s | first byte, µs | one stream, MB/s | \
         100 streams, MB/s | KiB an idle session |\n|---|---:|---:|---:|---:|---:|---:|---:|",
    );
    for (number, program) in PROGRAMS.into_iter().enumerate() {
        let Some(front) = fronts[number].take() else {
            println!("| {program}, not installed | | | | | | | |");
            continue;
        };
        let cpu = std::mem::take(&mut cpu[number]);
        if cpu.len() < ROUNDS && front.child.is_some() {
            println!("| {program}, fails | | | | | | | |");
            continue;
        }
        let cpu = median(cpu.into_iter());
        let calls = front.system_calls().map(|calls| format!("{calls:.1}")).unwrap_or_default();
        let first = median((0..200).map(|_| first_byte(front.port).as_secs_f64() * 1e6));
        let sessions = median((0..ROUNDS).map(|_| sessions(front.port)));
        let idle = front.idle().map(|kib| format!("{kib:.1}")).unwrap_or_default();
        drop(front);
        let Some(bulk) = Proxy::start(program, sink, folders[number].path()) else { continue };
        let (one, many) = (rounds(bulk.port, 1), rounds(bulk.port, 100));
        println!(
            "| {program} | {cpu:.0} | {calls} | {sessions:.0} | {first:.0} | {one} | {many} | {idle} |"
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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

/// What `make bench-setup` has unpacked.
fn unpacked(path: &str) -> Option<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers");
    all.join(path).canonicalize().ok()
}

/// Another program, unpacked or installed.
fn peer(name: &str) -> Command {
    let places = ["usr/sbin", "usr/bin"].map(|place| unpacked(&format!("{name}/{place}/{name}")));
    Command::new(places.into_iter().flatten().next().unwrap_or(name.into()))
}

/// Runs mailport, as the same process, where these are the only names.
fn with_hosts(folder: &Path, hosts: &str, mailport: &str) -> Command {
    let path = folder.join("hosts");
    fs::write(&path, hosts).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(path).arg(mailport);
    command
}

/// A program that passes connections on, at its own port.
struct Proxy {
    child: Option<Child>,
    port: u16,
}

impl Proxy {
    fn start(program: &str, to: u16, folder: &Path) -> Option<Proxy> {
        if program == "none" {
            return Some(Proxy { child: None, port: to });
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = match program {
            _ if program.starts_with("mailport relay") => {
                let mailport = env!("CARGO_BIN_EXE_mailport");
                let (mut command, host) = if program.ends_with("by name") {
                    (
                        with_hosts(folder, "127.0.0.1 mail.example.test\n", mailport),
                        "mail.example.test",
                    )
                } else {
                    (Command::new(mailport), "127.0.0.1")
                };
                let listen = format!("127.0.0.1:{port}={host}");
                command.args(["relay", "--listen", &listen, "--plan", &format!("{to}:starttls")]);
                command.args(["--max-sessions", "10000", "--max-sessions-per-client", "10000"]);
                command.arg("--control").arg(folder.join("control/relay.sock")).arg("--cache");
                if program.ends_with("10,000 targets") {
                    fill(&folder.join("full/cache.json"), 10_000);
                }
                match program {
                    "mailport relay, no cache" => command.arg("off"),
                    "mailport relay, 10,000 targets" => command.arg(folder.join("full/cache.json")),
                    _ => command.arg(folder.join("cache/cache.json")),
                };
                command
            }
            "nginx" => {
                let path = folder.join("nginx.conf");
                let module =
                    unpacked("libnginx-mod-stream/usr/lib/nginx/modules/ngx_stream_module.so");
                let module = module.unwrap_or("/usr/lib/nginx/modules/ngx_stream_module.so".into());
                let module = module.display();
                let text = format!(
                    "load_module {module};\ndaemon off;\nmaster_process off;\nerror_log /dev/null;\n\
                     pid {0}/pid;\nevents {{ worker_connections 4000; }}\n\
                     stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{to}; }} }}\n",
                    folder.display()
                );
                fs::write(&path, text).unwrap();
                let mut command = peer("nginx");
                command.arg("-c").arg(path);
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
                let mut command = peer("haproxy");
                command.arg("-db").arg("-f").arg(path);
                command
            }
            "rinetd" => {
                let path = folder.join("rinetd.conf");
                fs::write(&path, format!("127.0.0.1 {port} 127.0.0.1 {to}\n")).unwrap();
                let mut command = peer("rinetd");
                command.arg("-f").arg("-c").arg(path);
                command
            }
            "simpleproxy" => {
                let mut command = peer("simpleproxy");
                command.args(["-L", &format!("127.0.0.1:{port}")]);
                command.args(["-R", &format!("127.0.0.1:{to}")]);
                command
            }
            _ => {
                // It would end half a second after one side has.
                let mut command = peer("socat");
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

    /// The system calls of a session, at 64 at the same time, of the program and its children.
    fn system_calls(&self) -> Option<f64> {
        let process = self.child.as_ref()?.id();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-qq", "-p", &process.to_string()]);
        let strace = strace.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        // It is attached when the kernel says so.
        let status = format!("/proc/{process}/status");
        let is_traced = || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !is_traced() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        let served = self.serve(CONCURRENT * EACH);
        thread::sleep(Duration::from_millis(100));
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(strace.id().cast_signed()),
            nix::sys::signal::Signal::SIGINT,
        )
        .ok()?;
        let output = strace.wait_with_output().ok()?;
        served.ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let total = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
        let calls: f64 = total.split_whitespace().nth(3)?.parse().ok()?;
        Some(calls / (CONCURRENT * EACH) as f64)
    }

    /// Makes so many sessions, 64 at the same time. Fails where the program resets one, or does not
    /// serve it in time.
    fn serve(&self, sessions: usize) -> io::Result<()> {
        let serve = || {
            (0..sessions / CONCURRENT).try_for_each(|_| {
                let mut stream = greeting_of(self.port)?;
                stream.write_all(b"QUIT\r\n")?;
                let _ = stream.read(&mut [0; 8]);
                Ok(())
            })
        };
        thread::scope(|scope| {
            let all: Vec<_> = (0..CONCURRENT).map(|_| scope.spawn(serve)).collect();
            all.into_iter().try_for_each(|one| one.join().unwrap())
        })
    }

    /// The processor time of a session, at 64 at the same time, in microseconds, of the program and
    /// its children.
    fn cpu_a_session(&self) -> Option<f64> {
        let process = self.child.as_ref()?.id();
        let before = cpu_seconds(process);
        self.serve(CONCURRENT * EACH).ok()?;
        thread::sleep(Duration::from_millis(100));
        Some((cpu_seconds(process) - before) * 1e6 / (CONCURRENT * EACH) as f64)
    }

    /// What an idle session takes in private memory, of the program and its children.
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

/// The user and system time of a process and of its children, ended ones included.
fn cpu_seconds(process: u32) -> f64 {
    let of = |id: u32| -> f64 {
        let stat = fs::read_to_string(format!("/proc/{id}/schedstat")).unwrap_or_default();
        let own = stat.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
        let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let all = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        all.sum::<f64>().max(own.unwrap_or(0.0)) / 1e9
    };
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    children.chain([process]).map(of).sum()
}

/// A cache's file with so many targets, as `mailport` itself writes it.
fn fill(path: &Path, targets: usize) {
    let cache = mailport::Cache::open(path);
    let outcome = mailport::Outcome::Reset;
    for number in 0..targets {
        let target = format!("mail{number}.example.com").parse().unwrap();
        let place = mailport::Cache::place(&target, &mailport::Config::default(), None);
        let Some(place) = place else { return };
        let service = mailport::Plan::submission().services()[0];
        let family = Some(mailport::Family::Ipv4);
        let observation = mailport::machine::Observation {
            service,
            family,
            outcome,
            round_trip: None,
            provisional: false,
        };
        cache.learn(&place, &[observation]);
        if number % 500 == 0 {
            cache.flush(Duration::from_secs(5));
        }
    }
    cache.flush(Duration::from_secs(5));
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
    greeting_of(port).unwrap()
}

fn greeting_of(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_exact(&mut [0; 7])?;
    Ok(stream)
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
