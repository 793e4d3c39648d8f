//! How a cache treats its file and other processes that use it: a dial never fails for it, and no process
//! loses what another has learned.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]
#![allow(unsafe_code, reason = "fork is unsafe, and is what is tested")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, hasty, open, plan, refused};
use mailport::cache::What;
use mailport::{Cache, Dialer, Outcome, Plan};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, mkfifo};
use serde_json::Value;
use tempfile::TempDir;

const MAILPORT: &str = env!("CARGO_BIN_EXE_mailport");

fn mailport(program: impl AsRef<Path>, args: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).stdin(Stdio::null()).env("XDG_CACHE_HOME", "/proc/none");
    command.env_remove("CLICOLOR_FORCE");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A port that refuses, a port that is open, and a folder.
struct Scene {
    refused: socket2::Socket,
    open: std::net::TcpListener,
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { refused: refused(), open: open(), folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("cache.json")
    }

    /// The arguments of a dial that falls back, and remembers it in this file.
    fn dial(&self, file: &Path) -> Vec<String> {
        let plan = format!("{}:starttls,{}:starttls", self.refused.port(), self.open.port());
        let file = file.to_str().unwrap();
        ["connect", "--cache", file, "--plan", &plan, "127.0.0.1"].map(str::to_owned).to_vec()
    }

    /// Dials with a cache in this file; however that fares, the dial connects.
    fn connects(&self, file: &Path) {
        let args = self.dial(file);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.has_connected(&mailport(MAILPORT, &args).output().unwrap());
    }

    fn has_connected(&self, output: &Output) {
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), stderr), (Some(0), ""), "{:?}", output.status);
        assert!(stdout.contains(&format!("connected to {}", self.open.port())), "{stdout}");
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// What the command lists of a file.
fn listed(file: &Path) -> Vec<Value> {
    let args = ["cache", "list", "--json", "--cache", file.to_str().unwrap()];
    let output = mailport(MAILPORT, &args).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Waits until a process has saved: the command goes after 50 ms, though its file is slow.
fn until_listed(file: &Path, scene: &Scene) -> Vec<Value> {
    // On a busy disk, which is slow each time, that takes many processes.
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        scene.connects(file);
        let lines = listed(file);
        if !lines.is_empty() {
            return lines;
        }
    }
    panic!("nothing was ever saved");
}

#[test]
fn a_dial_leaves_a_private_file_in_a_private_folder_and_nothing_else() {
    let scene = Scene::new();
    let folder = scene.folder.path().join("a/b");
    let file = folder.join("cache.json");
    let lines = until_listed(&file, &scene);
    assert_eq!((mode(&folder), mode(&folder.join("..")), mode(&file)), (0o700, 0o700, 0o600));
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(names, ["cache.json", "cache.json.lock"].map(str::to_owned).into());
    assert_eq!(mode(&folder.join("cache.json.lock")), 0o600);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line = |port| {
        let service = Value::from(format!("{port}:starttls"));
        lines.iter().find(|line| line["service"] == service).unwrap()
    };
    let (bad, good) = (line(scene.refused.port()), line(scene.open.port()));
    assert_eq!((&bad["outcome"], &good["outcome"]), (&"reset".into(), &"connected".into()));
    assert_eq!((&bad["target"], &bad["family"]), (&"127.0.0.1".into(), &"ipv4".into()));
    assert_eq!((&bad["interface"], &bad["used"]), (&"this machine".into(), &true.into()));
    let ten_minutes = bad["until"].as_u64().unwrap() - bad["since"].as_u64().unwrap();
    assert_eq!((ten_minutes, &bad["round_trip_ms"]), (600_000, &Value::Null));
    assert!(good["round_trip_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_second_dial_begins_both_ports_at_once() {
    let scene = Scene::new();
    until_listed(&scene.file(), &scene);
    let mut args = scene.dial(&scene.file());
    args.push("--json".to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = mailport(MAILPORT, &args).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reason = value["attempts"][1]["reason"].as_str().unwrap();
    let expected = format!("{} is remembered", scene.refused.port());
    assert!(reason.contains(&expected), "{reason}");
    // Skipped, it is not tried at all.
    let output =
        mailport(MAILPORT, &[&args[..], &["--try-failed-last"]].concat()).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["attempts"].as_array().unwrap().len(), 1, "{value}");
    assert_eq!(value["attempts"][0]["port"], scene.open.port());
}

#[test]
fn a_probe_uses_the_cache_for_its_forecast_and_teaches_it_nothing() {
    let scene = Scene::new();
    let before = until_listed(&scene.file(), &scene);
    let text_before = fs::read(scene.file()).unwrap();
    let plan = format!("{}:starttls,{}:starttls", scene.refused.port(), scene.open.port());
    let prober = |cache| {
        let dialer = Dialer::new().with_plan(plan.parse::<Plan>().unwrap()).with_config(hasty());
        let found = mailport::Prober::new(dialer.with_cache(cache))
            .run(&["127.0.0.1".parse().unwrap()], |_| ());
        found.unwrap().remove(0).hints
    };
    assert_eq!(prober(Cache::open(scene.file())).bad.len(), 1);
    assert!(prober(Cache::new()).bad.is_empty());
    let file = scene.file();
    let args = ["probe", "--cache", file.to_str().unwrap(), "--plan", &plan, "127.0.0.1"];
    assert!(mailport(MAILPORT, &args).output().unwrap().status.success());
    assert_eq!((listed(&file).len(), fs::read(&file).unwrap()), (before.len(), text_before));
}

#[test]
fn a_damaged_cache_is_an_empty_cache_and_is_replaced() {
    let scene = Scene::new();
    let deep = format!("{{\"version\":1,\"places\":{}", "[".repeat(100_000));
    let cases: [&[u8]; 7] = [
        b"",
        b"{",
        b"\0\0\0\0",
        br#"{"version":1,"places":[{"network":7}]}"#,
        br#"{"version":0,"places":[],"more":true}"#,
        br#"{"version":99,"places":"#,
        deep.as_bytes(),
    ];
    for case in cases {
        fs::write(scene.file(), case).unwrap();
        assert!(listed(&scene.file()).is_empty());
        assert_eq!(until_listed(&scene.file(), &scene).len(), 2);
    }
    assert_eq!(mode(&scene.file()), 0o600);
}

#[test]
fn a_file_that_is_not_a_cache_is_left_unchanged() {
    let scene = Scene::new();
    let long = "x".repeat(5 << 20);
    for text in [b"\xff\xfe".as_slice(), b"Dear Kazu", b"{\"version\":1}", long.as_bytes()] {
        fs::write(scene.file(), text).unwrap();
        scene.connects(&scene.file());
        assert!(listed(&scene.file()).is_empty());
        let file = scene.file();
        let args = ["cache", "clear", "--cache", file.to_str().unwrap()];
        let cleared = mailport(MAILPORT, &args).output().unwrap();
        let said = String::from_utf8_lossy(&cleared.stderr);
        assert!(!cleared.status.success() && said.contains("is not a cache"), "{said}");
        assert_eq!(fs::read(scene.file()).unwrap(), text);
    }
}

#[test]
fn a_file_of_a_later_version_is_left_to_it_until_it_is_cleared() {
    let scene = Scene::new();
    let later = r#"{"version":99,"places":[],"more":true}"#;
    fs::write(scene.file(), later).unwrap();
    scene.connects(&scene.file());
    scene.connects(&scene.file());
    assert!(listed(&scene.file()).is_empty());
    let file = scene.file();
    let cache = |args: &[&str]| {
        let args = [&["cache", "--cache", file.to_str().unwrap()], args].concat();
        let output = mailport(MAILPORT, &args).output().unwrap();
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (code, words) = cache(&["forget", "127.0.0.1"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("cache.json: a later version of mailport has written it"), "{words}");
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), later);
    assert_eq!(cache(&["clear"]), (Some(0), String::new()));
    assert_eq!(until_listed(&scene.file(), &scene).len(), 2);
}

#[test]
fn something_other_than_a_file_is_left_unchanged() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    let [subfolder, link, dangling, pipe] =
        ["folder", "link", "dangling", "pipe"].map(|name| folder.join(name));
    fs::create_dir(&subfolder).unwrap();
    let letter = folder.join("letter");
    fs::write(&letter, "Dear Kazu").unwrap();
    symlink("letter", &link).unwrap();
    symlink("nowhere", &dangling).unwrap();
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let full = PathBuf::from("/dev/full");
    for path in [&subfolder, &link, &dangling, &pipe, &full] {
        scene.connects(path);
        scene.connects(path);
        assert!(listed(path).is_empty(), "{}", path.display());
    }
    assert!(subfolder.is_dir() && link.is_symlink() && dangling.is_symlink());
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(fs::metadata(&full).unwrap().file_type().is_char_device());
    assert_eq!(fs::read_to_string(&letter).unwrap(), "Dear Kazu");
    assert!(!scene.names().contains("nowhere"));
    assert!(!Path::new("/dev/full.lock").exists());
    assert!(!scene.names().iter().any(|name| name.contains(".lock")), "{:?}", scene.names());
}

#[test]
fn without_a_place_for_a_file_a_dial_connects_all_the_same() {
    let scene = Scene::new();
    let file = folder_below_a_file(&scene);
    for path in [Path::new("/proc/none/cache.json"), Path::new("/proc/cache.json"), &file] {
        scene.connects(path);
        assert!(listed(path).is_empty());
    }
    let args = scene.dial(Path::new("/"));
    let args: Vec<&str> =
        [&["connect"], &args[3..].iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let homeless = |args: &[&str]| {
        let mut command = mailport(MAILPORT, args);
        command.env_remove("XDG_CACHE_HOME").env_remove("HOME").output().unwrap()
    };
    scene.has_connected(&homeless(&args));
    let output = homeless(&["cache", "path"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("neither XDG_CACHE_HOME nor HOME"));
}

fn folder_below_a_file(scene: &Scene) -> PathBuf {
    let file = scene.folder.path().join("file");
    fs::write(&file, "").unwrap();
    file.join("cache.json")
}

#[test]
fn a_cache_that_may_not_be_read_or_written_is_an_empty_one() {
    // Root may do everything, so these are run as the user nobody, who can reach neither this folder's
    // parents nor the program where it was built.
    let scene = Scene::new();
    let place = scene.folder.path();
    fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
    let program = place.join("mailport");
    // By another process: a descriptor for writing that another test's child holds until its exec
    // would keep the program from being run.
    assert!(Command::new("cp").arg(MAILPORT).arg(&program).status().unwrap().success());
    let own = fs::metadata("/proc/self").unwrap();
    let is_root = own.uid() == 0;
    let (uid, gid) = if is_root { (65534, 65534) } else { (own.uid(), own.gid()) };
    let run = |args: &[&str]| {
        let mut command = mailport(&program, args);
        if is_root {
            command.uid(uid).gid(gid);
        }
        command.output().unwrap()
    };
    let own = |path: &Path, mode: u32| {
        chown(path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let connects = |file: &Path| {
        let args = scene.dial(file);
        scene.has_connected(&run(&args.iter().map(String::as_str).collect::<Vec<_>>()));
        let list = run(&["cache", "list", "--cache", file.to_str().unwrap()]);
        assert_eq!(text(&list.stdout), "the cache is empty\n");
        run(&["cache", "clear", "--cache", file.to_str().unwrap()])
    };
    let unreadable = place.join("unreadable");
    fs::create_dir(&unreadable).unwrap();
    own(&unreadable, 0o700);
    let file = unreadable.join("cache.json");
    fs::write(&file, "secret").unwrap();
    own(&file, 0);
    let cleared = connects(&file);
    assert_eq!(cleared.status.code(), Some(1));
    assert!(text(&cleared.stderr).contains("cache.json: Permission denied"));
    own(&file, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), "secret", "it was not replaced");

    let read_only = place.join("read-only");
    fs::create_dir(&read_only).unwrap();
    own(&read_only, 0o500);
    assert_eq!(connects(&read_only.join("cache.json")).status.code(), Some(1));
    own(&read_only, 0o700);
    assert_eq!(fs::read_dir(&read_only).unwrap().count(), 0);
}

#[test]
fn on_a_full_disk_the_old_cache_stays_and_the_dial_connects() {
    let scene = Scene::new();
    let before = until_listed(&scene.file(), &scene);
    let text_before = fs::read(scene.file()).unwrap();
    let args = scene.dial(&scene.file());
    // No file may grow, which is an error like that of a full disk. The signal that goes with it is
    // not ignored here: it must not end the program either.
    let mut command = mailport("sh", &["-c", "ulimit -f 0; exec \"$0\" \"$@\"", MAILPORT]);
    let output = command.args(&args).output().unwrap();
    assert_eq!(output.status.signal(), None);
    scene.has_connected(&output);
    assert_eq!((listed(&scene.file()), fs::read(scene.file()).unwrap()), (before, text_before));
    assert!(!scene.names().contains("cache.json.new"), "{:?}", scene.names());
}

#[test]
fn what_is_forgotten_stays_forgotten_and_the_rest_stays() {
    let scene = Scene::new();
    let file = scene.file();
    until_listed(&file, &scene);
    // A reader that runs all the time, and knows what is in the file.
    let reader = Cache::open(&file);
    assert_eq!(reader.list().len(), 2);
    let path = file.to_str().unwrap();
    let run = |args: &[&str]| {
        let output = mailport(MAILPORT, &[args, &["--cache", path]].concat()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
        text(&output.stdout).to_owned()
    };
    assert_eq!(run(&["cache", "path"]), format!("{path}\n"));
    assert_eq!(run(&["cache", "forget", "mail.example"]), "0 entries of mail.example removed\n");
    assert_eq!(run(&["cache", "forget", "127.0.0.1"]), "2 entries of 127.0.0.1 removed\n");
    assert_eq!(run(&["cache", "list"]), "the cache is empty\n");
    // What the reader learns next does not bring it back, and it learns of the forgetting.
    let dialer = Dialer::default().with_cache(reader.clone());
    let other = "127.0.0.2";
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    dialer.clone().with_plan(plan(&[listener.port()])).with_config(hasty()).connect(other).unwrap();
    assert!(reader.flush(Duration::from_secs(30)));
    let targets =
        |lines: &[Value]| lines.iter().map(|l| l["target"].to_string()).collect::<Vec<_>>();
    assert_eq!(targets(&listed(&file)), [r#""127.0.0.2""#]);
    assert_eq!(reader.list().len(), 1);
    let list = run(&["cache", "list"]);
    assert!(list.contains(" connected ") && list.contains(" 9 min "), "{list}");
    assert_eq!(run(&["cache", "clear"]), "1 entry removed\n");
    assert!(listed(&file).is_empty());
}

// ---- their own processes: this program again, with one test and a task ----------------------

const TASK: &str = "MAILPORT_CACHE_TASK";

/// Runs one test of this program as its own process, which finds this task.
fn with_task(test: &str, task: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(TASK, task);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

/// A port, on every address, that takes any number of connections: no queue of its gets full.
fn accepting() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.port();
    thread::spawn(move || listener.incoming().for_each(drop));
    port
}

/// Dials 127.x.y.z with a cache in a file: `FILE NUMBER PORT`.
fn dial_by_number(task: &str) -> Cache {
    let cache = Cache::open(task.split(' ').next().unwrap());
    dial_with(cache.clone(), task);
    cache
}

fn dial_with(cache: Cache, task: &str) {
    let [_, number, port] = task.split(' ').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let (number, port): (u16, u16) = (number.parse().unwrap(), port.parse().unwrap());
    let [high, low] = number.to_be_bytes();
    let target = format!("127.1.{high}.{low}");
    let dialer = Dialer::default().with_cache(cache).with_plan(plan(&[port]));
    dialer.with_config(hasty()).connect(&target).unwrap();
}

#[test]
fn many_processes_at_once_lose_nothing_of_each_other() {
    const NAME: &str = "many_processes_at_once_lose_nothing_of_each_other";
    if let Some(task) = task() {
        assert!(dial_by_number(&task).flush(Duration::from_secs(120)), "never saved");
        return;
    }
    let processes = std::env::var("MAILPORT_SOAK_PROCESSES").ok();
    let processes: u16 = processes.map_or(20, |number| number.parse().expect("a number"));
    let port = accepting();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.json");
    let children: Vec<Child> = (0..processes)
        .map(|number| with_task(NAME, &format!("{} {number} {port}", file.display())))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let targets: BTreeSet<String> =
        Cache::open(&file).list().iter().map(|line| line.place.target().to_owned()).collect();
    assert_eq!(targets.len(), usize::from(processes));
}

#[test]
fn processes_that_are_killed_while_they_save_leave_a_whole_file_and_no_lock() {
    const NAME: &str = "processes_that_are_killed_while_they_save_leave_a_whole_file_and_no_lock";
    if let Some(task) = task() {
        for number in 0.. {
            dial_by_number(&task.replace(" N ", &format!(" {} ", number % 200)));
        }
    }
    let port = accepting();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.json");
    let task = format!("{} N {port}", file.display());
    let mut seen = 0;
    for round in 0..25u64 {
        let mut children = [(); 4].map(|()| with_task(NAME, &task));
        // From the very first steps of a process to the middle of its saving; at first, until
        // a process has saved something, however busy the machine is.
        thread::sleep(Duration::from_millis(20 + 7 * round));
        common::wait_until(|| round > 0 || file.exists());
        for child in &mut children {
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
        if let Ok(text) = fs::read(&file) {
            serde_json::from_slice::<Value>(&text).expect("a whole file");
            let now = Cache::open(&file).list().len();
            assert!(now >= seen, "{now} of {seen}");
            seen = now;
        }
    }
    assert!(seen > 0, "a process has saved something");
    let last = dial_by_number(&format!("{} 999 {port}", file.display()));
    assert!(last.flush(Duration::from_secs(30)), "the lock is free");
    assert!(!folder.path().join("cache.json.new").exists());
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "the file and its lock");
}

/// A process that remembers something and then returns from `main`, while the next save is not due
/// for a second. A busy machine may need longer than the 50 ms that `exit` waits for.
#[test]
fn what_a_process_remembers_before_it_exits_is_saved() {
    const NAME: &str = "what_a_process_remembers_before_it_exits_is_saved";
    if let Some(task) = task() {
        let cache = dial_by_number(&task);
        assert!(cache.flush(Duration::from_secs(120)), "never saved");
        dial_with(cache, &task.replace(" 1 ", " 2 "));
        return;
    }
    let port = accepting();
    let is_saved = || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache.json");
        let task = format!("{} 1 {port}", file.display());
        assert!(with_task(NAME, &task).wait().unwrap().success());
        let lines = Cache::open(&file).list();
        let targets = lines.iter().map(|line| line.place.target());
        assert!(targets.clone().any(|target| target == "127.1.0.1"), "{lines:?}");
        targets.clone().any(|target| target == "127.1.0.2")
    };
    assert!((0..20).any(|_| is_saved()), "never saved at the end");
}

#[test]
fn a_forked_child_goes_on_with_the_cache_and_waits_for_no_thread_it_has_not() {
    const NAME: &str = "a_forked_child_goes_on_with_the_cache_and_waits_for_no_thread_it_has_not";
    if task().is_none() {
        // In a process where no other test holds any lock.
        assert!(with_task(NAME, "fork").wait().unwrap().success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (refused, open) = (refused(), open());
    let services = plan(&[refused.port(), open.port()]);
    let cache = Cache::open(folder.path().join("cache.json"));
    let dialer = Dialer::default().with_cache(cache.clone());
    let target = "127.0.0.1".parse().unwrap();
    dialer.clone().with_plan(services.clone()).with_config(hasty()).connect(&target).unwrap();
    let place = Cache::place(&target, &hasty(), None).unwrap();
    assert_eq!(cache.hints(&place, &services).bad.len(), 1);
    // The cache is always in use, and its thread is always saving.
    for _ in 0..2 {
        let (cache, place) = (cache.clone(), place.clone());
        thread::spawn(move || {
            loop {
                cache.remember_answer(
                    &place,
                    "25:starttls".parse().unwrap(),
                    mailport::machine::Answer::WaitOn,
                );
                cache.list();
            }
        });
    }
    for turn in 0..40 {
        // SAFETY: the child calls only this crate, which is what is under test, and ends with
        // `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => {
                let until = Instant::now() + Duration::from_secs(60);
                let status = loop {
                    match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
                        WaitStatus::StillAlive => {
                            if Instant::now() > until {
                                kill(child, Signal::SIGKILL).unwrap();
                                panic!("a child hangs in turn {turn}");
                            }
                            thread::sleep(Duration::from_millis(1));
                        }
                        status => break status,
                    }
                };
                assert_eq!(status, WaitStatus::Exited(child, 0), "in turn {turn}");
            }
            ForkResult::Child => {
                let dialled = dialer
                    .clone()
                    .with_plan(services.clone())
                    .with_config(hasty())
                    .connect(&target)
                    .is_ok();
                let knows = cache.hints(&place, &services).bad.len() == 1;
                let saved = cache.flush(Duration::from_secs(30));
                let code = i32::from(!dialled) + 2 * i32::from(!knows) + 4 * i32::from(!saved);
                // SAFETY: ends the child without running the parent's clean-up.
                unsafe { libc::_exit(code) };
            }
        }
    }
}

#[test]
fn a_cache_without_a_file_has_nothing_to_save() {
    let (refused, open) = (refused(), open());
    let cache = Cache::new();
    let dialer = Dialer::default().with_cache(cache.clone());
    let services = plan(&[refused.port(), open.port()]);
    dialer.clone().with_plan(services.clone()).with_config(hasty()).connect("127.0.0.1").unwrap();
    let outcomes: Vec<What> = cache.list().iter().map(|line| line.what).collect();
    assert!(outcomes.contains(&What::Outcome(Outcome::Reset)), "{outcomes:?}");
    assert!(cache.flush(Duration::ZERO), "there is nothing to wait for");
}
