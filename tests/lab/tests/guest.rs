//! The C library in processes and networks that it did not choose, where only root can make them: PID
//! namespaces, other users, modules of the name service, a program that replaces connect(2).
//!
//! Needs root (or a user namespace with several users), /dev/net/tun, and what `make setup` installs.

#[path = "../../common/c.rs"]
mod c;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use c::{output_of, program, repository};
use mailport_lab::greeters::Greeters;
use mailport_lab::real::Lab;
use mailport_lab::scenario::V4;
use mailport_lab::tunnels::Tunnel;
use mailport_lab::{Fate, Network};

const USER: u32 = 12345;

fn lab() -> Lab {
    let network = Network::new(Duration::from_millis(1)).address(V4, Fate::Open);
    Lab::start(network).expect("a lab (needs root and /dev/net/tun)")
}

/// A port of the lab's client that is open, and the plan of it.
fn open(lab: &Lab) -> (TcpListener, String) {
    let listener = lab.client(|| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let port = listener.local_addr().expect("bound").port();
    (listener, format!("{port}:starttls"))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn an_init_process_keeps_no_zombie_and_knows_a_child_of_its_own_number() {
    let (lab, init) = (lab(), program("ffi/tests/guest/init.c", &[]));
    let (_listener, plan) = open(&lab);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(init).arg(plan);
    lab.client(|| output_of(&mut command));
}

#[test]
fn a_look_up_has_room_for_a_module_of_the_name_service_beside_thread_local_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(path("libnss_guest.so.2"));
    output_of(cc.arg(repository().join("ffi/tests/guest/nss_guest.c")));
    fs::write(path("nsswitch.conf"), "hosts: guest\n").expect("written");
    let (lab, guest) = (lab(), program("ffi/tests/guest/threads.c", &[]));
    let (_listener, plan) = open(&lab);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/nsswitch.conf && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(path("nsswitch.conf"));
    command.arg(guest).args(["any.name.example", &plan]).env("LD_LIBRARY_PATH", folder.path());
    lab.client(|| output_of(&mut command));
}

#[test]
fn a_look_up_of_a_user_who_may_have_no_more_threads_names_the_limit() {
    let (lab, guest) = (lab(), program("ffi/tests/guest/threads.c", &[]));
    lab.client(|| output_of(&mut Command::new(guest)));
}

#[test]
fn a_command_of_a_user_who_may_have_no_more_processes_names_the_limit() {
    let (lab, guest) = (lab(), program("ffi/tests/guest/processes.c", &[]));
    lab.client(|| output_of(&mut Command::new(guest)));
}

/// An administrator may forbid files in memory that can be executed, which ours cannot.
#[test]
fn where_memory_may_not_be_executed_the_errors_of_a_command_are_kept() {
    let (lab, guest) = (lab(), program("ffi/tests/guest/errors.c", &[]));
    for level in ["1", "2"] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
        command.args(["echo \"$0\" >/proc/sys/vm/memfd_noexec && exec \"$1\"", level]).arg(&guest);
        lab.client(|| output_of(&mut command));
    }
}

/// Every path below a directory, with its owner.
fn owners(directory: &Path) -> Vec<(String, u32)> {
    let listed = output_of(Command::new("find").arg(directory).args(["-printf", "%P %U\n"]));
    let mut owners: Vec<(String, u32)> = listed
        .lines()
        .map(|line| line.rsplit_once(' ').expect("a path and a number"))
        .map(|(path, owner)| (path.to_owned(), owner.parse().expect("a number")))
        .collect();
    owners.sort();
    owners
}

/// A kind of home, and what makes it of a directory.
type Kind<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn root_with_the_home_of_a_user_creates_and_changes_nothing_there() {
    let command = mailport_lab::command::mailport();
    let lab = lab();
    let (_listener, plan) = open(&lab);
    let connect = |home: &Path| {
        let mut command = Command::new(command);
        command.args(["connect", "127.0.0.1", "--plan", &plan]).env_remove("XDG_CACHE_HOME");
        let output = lab.client(|| command.env("HOME", home).output().expect("it runs"));
        assert!(output.status.success(), "{}", printed(&output));
    };
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let kinds: [Kind; 5] = [
        ("an empty home", &|_| ()),
        ("a cache directory of the user's", &|home| {
            fs::create_dir(home.join(".cache")).expect("a directory");
            chown(home.join(".cache"), Some(USER), Some(USER)).expect("root");
        }),
        ("a cache directory that root has made before", &|home| {
            fs::create_dir(home.join(".cache")).expect("a directory");
        }),
        ("a link of the user's to a directory of root's", &|home| {
            symlink(elsewhere.path(), home.join(".cache")).expect("a link");
            let link = home.join(".cache").into_os_string();
            output_of(Command::new("chown").args(["-h", &USER.to_string()]).arg(link));
        }),
        ("a link of root's to a directory of root's", &|home| {
            symlink(elsewhere.path(), home.join(".cache")).expect("a link");
        }),
    ];
    for (kind, prepare) in kinds {
        let home = tempfile::tempdir().expect("a temporary folder");
        chown(home.path(), Some(USER), Some(USER)).expect("root");
        prepare(home.path());
        let before = owners(home.path());
        connect(home.path());
        assert_eq!(owners(home.path()), before, "{kind}");
        assert_eq!(owners(elsewhere.path()).len(), 1, "{kind}");
    }
    // In root's own home the cache is kept.
    let home = tempfile::tempdir().expect("a temporary folder");
    connect(home.path());
    let file = home.path().join(".cache/mailport/cache.json");
    assert_eq!(fs::metadata(file).expect("the cache").uid(), 0);
}

/// It hands out addresses of 224.0.0.0/8 for names, and connects for them.
#[test]
fn behind_proxychains_a_dial_connects_as_curl_does() {
    let lab = lab();
    lab.hosts(&[("mail.example.test", V4)]).expect("the lab's own file");
    let servers = [587, 25].map(|port| ((V4, port).into(), Duration::ZERO));
    let _greeters = Greeters::start(&lab, &servers).expect("servers");
    let _proxy = Tunnel::microsocks(&lab, 1080, None).expect("microsocks");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = folder.path().join("proxychains.conf");
    let text =
        "strict_chain\nproxy_dns\nremote_dns_subnet 224\n[ProxyList]\nsocks5 127.0.0.1 1080\n";
    fs::write(&settings, text).expect("written");
    // It looks into the hosts file first, which must not have the name.
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").expect("written");
    let run = |guest: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/hosts && exec proxychains4 -q -f \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(&hosts).arg(&settings);
        command.arg(guest).args(arguments);
        printed(&lab.client(|| command.output().expect("unshare")))
    };
    // The server says no more than its greeting, for which it waits until the time is over.
    let curl = ["-v", "--max-time", "5", "telnet://mail.example.test:587"];
    let said = run(Path::new("curl"), &curl);
    assert!(said.contains("Trying 224.") && said.contains("Connected to mail.example"), "{said}");
    let [poll, connect] =
        ["poll", "connect"].map(|name| program(&format!("examples/c/{name}.c"), &[]));
    let said = run(&poll, &["mail.example.test"]);
    assert!(said.starts_with("connected to 587 over IPv4"), "{said}");
    let said = run(&connect, &["mail.example.test", "587"]);
    assert_eq!(said, "connected to mail.example.test\n");
    lab.set(V4, 587, Fate::Reset);
    let said = run(&poll, &["mail.example.test"]);
    assert!(said.contains("connected to 25 over IPv4"), "{said}");
}
