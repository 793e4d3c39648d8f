//! What `make install` leaves, and that a package can be built without a network.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::c::{library, output_of, repository};
use crate::common::{Port, open};

/// The files below a folder, from there on.
fn files(folder: &Path) -> Vec<String> {
    let listed = output_of(Command::new("find").args([".", "!", "-type", "d"]).current_dir(folder));
    let mut files: Vec<String> = listed.lines().map(|line| line[1..].to_owned()).collect();
    files.sort();
    files
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

/// A substitute for the command, which `tests/command` installs.
fn command(folder: &Path) -> PathBuf {
    script(folder, "command", "echo '.B mailport\\-connect(1)'")
}

/// Runs make, but for the minutes that it takes to build the command.
fn make(action: &str, folder: &Path, stage: &Path, command: &Path) {
    let rest =
        format!("case $* in *'-p mailport-cli'*) ;; *) exec {} \"$@\" ;; esac", env!("CARGO"));
    let cargo = script(folder, "cargo", &rest);
    let mut make = Command::new("make");
    make.args(["--no-print-directory", action, "PREFIX=/usr"]).current_dir(repository());
    make.arg(format!("DESTDIR={}", stage.display())).arg(format!("CARGO={}", cargo.display()));
    make.arg(format!("COMMAND={}", command.display()));
    make.arg(format!("C_LIBRARY={}", folder.join("c").display()));
    // Those of a make that runs the tests are not for this one.
    output_of(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
}

fn install(prefix: &str, command: &Path) {
    let mut install = Command::new(repository().join("ffi/install.sh"));
    install.arg("install").arg(library()).arg(command);
    output_of(install.env("PREFIX", prefix));
}

#[test]
fn what_is_installed_is_uninstalled() {
    let folder = tempfile::tempdir().expect("a folder");
    let (stage, command) = (folder.path().join("stage"), command(folder.path()));
    make("install", folder.path(), &stage, &command);
    // Each function opens the page that describes it.
    let of_function = |file: &String| file.contains("/man3/mailport_");
    let (functions, others): (Vec<_>, Vec<_>) = files(&stage).into_iter().partition(of_function);
    let symbols = include_str!("../../symbols.txt").lines().filter(|line| !line.starts_with('#'));
    let symbols = symbols.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let pages: Vec<_> = symbols.map(|name| format!("/usr/share/man/man3/{name}.3")).collect();
    assert_eq!(functions, pages);
    let of_connect = stage.join("usr/share/man/man3/mailport_connect.3");
    assert!(fs::read_to_string(of_connect).expect("a page").contains("mailport_connect"));
    assert_eq!(
        others,
        [
            "/usr/bin/mailport",
            "/usr/include/mailport.h",
            "/usr/lib/libmailport.a",
            "/usr/lib/libmailport.so",
            "/usr/lib/libmailport.so.0",
            concat!("/usr/lib/libmailport.so.", env!("CARGO_PKG_VERSION")),
            "/usr/lib/pkgconfig/mailport.pc",
            "/usr/share/bash-completion/completions/mailport",
            "/usr/share/fish/vendor_completions.d/mailport.fish",
            "/usr/share/man/man1/mailport-connect.1",
            "/usr/share/man/man1/mailport.1",
            "/usr/share/man/man3/mailport.3",
            "/usr/share/zsh/site-functions/_mailport",
        ]
    );
    make("uninstall", folder.path(), &stage, &command);
    assert_eq!(files(&stage), [""; 0]);
    // The folders that are left are those of any system.
    let left = output_of(Command::new("find").args(["usr", "-type", "d"]).current_dir(&stage));
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["usr", "usr/bin", "usr/include", "usr/lib", "usr/share", "usr/share/man"]);
}

#[test]
fn pkg_config_links_a_program_with_either_library_and_one_that_is_static_throughout() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("usr").display().to_string();
    install(&prefix, &command(folder.path()));
    let program = folder.path().join("connect");
    let open = open();
    for (flags, more, needs) in [
        (
            ["--cflags", "--libs"].as_slice(),
            [].as_slice(),
            ["libmailport.so.0", "libc.so"].as_slice(),
        ),
        (&["--static", "--cflags", "--libs"], &[], &["libc.so"]),
        (&["--static", "--cflags", "--libs"], &["-static"], &[]),
    ] {
        if flags.contains(&"--static") {
            // As on a system that has only this one.
            for name in ["libmailport.so", "libmailport.so.0"] {
                let _ = fs::remove_file(format!("{prefix}/lib/{name}"));
            }
        }
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.args(flags).arg("mailport");
        let words = output_of(pkg_config.env("PKG_CONFIG_PATH", format!("{prefix}/lib/pkgconfig")));
        let mut compile = Command::new("cc");
        compile.args(more).arg(repository().join("examples/c/connect.c"));
        compile.args(words.split_whitespace());
        compile.arg("-o").arg(&program).arg(format!("-Wl,-rpath,{prefix}/lib"));
        output_of(&mut compile);
        let dynamic = output_of(Command::new("readelf").arg("--dynamic").arg(&program));
        for name in ["libmailport.so.0", "libc.so"] {
            assert_eq!(dynamic.contains(name), needs.contains(&name), "{more:?}: {dynamic}");
        }
        let port = open.port().to_string();
        output_of(Command::new(&program).args(["127.0.0.1", &port]));
    }
}

/// What a distribution's builder does: the crates beside the source, and no way to get others.
#[test]
fn the_library_builds_offline_from_vendored_crates() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    // Needs no network either where the crates were fetched before, as for this test.
    let mut vendor = Command::new(env!("CARGO"));
    vendor.args(["vendor", "--locked", "--offline", "--quiet"]).arg(path("vendor"));
    output_of(vendor.current_dir(repository()));
    let sources = format!(
        "[source.crates-io]\nreplace-with = \"vendor\"\n[source.vendor]\ndirectory = {:?}\n",
        path("vendor")
    );
    fs::create_dir(path("home")).expect("a folder");
    fs::write(path("home/config.toml"), sources).expect("written");
    let mut build = Command::new(repository().join("ffi/link.sh"));
    build.arg(path("c")).env("CARGO_HOME", path("home")).env("CARGO_TARGET_DIR", path("target"));
    output_of(build.env("CARGO_NET_OFFLINE", "true").env("CARGO", env!("CARGO")));
    assert!(path("c/libmailport.so").exists());
}

/// A staged `ffi/install.sh install`, and whether it succeeded.
fn staged(stage: &Path, command: &Path, cargo: &Path, target: &Path) -> (bool, String) {
    let mut install = Command::new(repository().join("ffi/install.sh"));
    install.arg("install").arg(library()).arg(command);
    install.env("DESTDIR", stage).env("PREFIX", "/usr");
    let output = install.env("CARGO", cargo).env("CARGO_TARGET_DIR", target).output().expect("sh");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_command_for_another_machine_is_installed_with_pages_of_one_for_this() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let foreign = script(folder.path(), "foreign", "exit 126");
    // A substitute for cargo, which makes the command for this machine.
    fs::create_dir_all(path("target/release")).expect("a folder");
    let made = command(folder.path());
    let build = "test -z \"${CARGO_BUILD_TARGET-}\" && mv \"$(dirname \"$0\")/command\" \
                 \"$CARGO_TARGET_DIR/release/mailport\"";
    let cargo = script(folder.path(), "cargo", build);
    assert!(made.exists());
    let (is_installed, said) = staged(&path("stage"), &foreign, &cargo, &path("target"));
    assert!(is_installed, "{said}");
    let installed = files(&path("stage"));
    assert!(installed.contains(&"/usr/share/man/man1/mailport-connect.1".to_owned()));
    let read = |name: &str| fs::read(path("stage").join(name)).expect("installed");
    assert_eq!(read("usr/bin/mailport"), fs::read(&foreign).expect("a script"));
    assert!(read("usr/share/man/man1/mailport.1").starts_with(b".B mailport"));
}

#[test]
fn an_install_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let foreign = script(folder.path(), "foreign", "exit 126");
    let (is_installed, _) = staged(&path("stage"), &foreign, Path::new("false"), &path("target"));
    assert!(!is_installed && !path("stage").exists());
    // A file in the place of a directory, which is found after others were copied.
    fs::create_dir_all(path("stage/usr/share")).expect("a folder");
    fs::write(path("stage/usr/share/zsh"), "").expect("written");
    let command = command(folder.path());
    let (is_installed, said) =
        staged(&path("stage"), &command, Path::new("false"), &path("target"));
    assert!(!is_installed && said.contains("zsh"), "{said}");
    assert_eq!(files(&path("stage")), ["/usr/share/zsh"]);
    let left =
        output_of(Command::new("find").args(["usr", "-type", "d"]).current_dir(path("stage")));
    assert_eq!(left, "usr\nusr/share\n");
    // A directory in the place of the last file, into which a rename would put it.
    let last = path("other/usr/share/zsh/site-functions/_mailport");
    fs::create_dir_all(&last).expect("a folder");
    let (is_installed, said) =
        staged(&path("other"), &command, Path::new("false"), &path("target"));
    assert!(!is_installed && said.contains("_mailport is a directory"), "{said}");
    assert_eq!(files(&path("other")), [""; 0]);
}

/// Another library of Rust, which has the standard library's symbols, too.
const OTHER: &str = "#[unsafe(no_mangle)] pub extern \"C\" fn other() -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    i32::from(std::panic::catch_unwind(|| panic!(\"caught\")).is_err())
}";
const BOTH: &str = "#include <mailport.h>
int other(void);
int main(void)
{
    int fd;
    return other() == 1 && mailport_connect(\"\", 0, 0, &fd) == MAILPORT_ERR_INVALID ? 0 : 1;
}";

#[test]
fn a_program_links_with_two_static_libraries_of_rust() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("other.rs"), OTHER).expect("written");
    fs::write(path("both.c"), BOTH).expect("written");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=staticlib", "-o"]).arg(path("libother.a"));
    output_of(rustc.arg(path("other.rs")));
    let (ours, other) = (library().join("libmailport.a"), path("libother.a"));
    for flag in ["-O2", "-flto"] {
        for libraries in [[&ours, &other], [&other, &ours]] {
            let mut cc = Command::new("cc");
            cc.args([flag, "-I"]).arg(repository().join("include")).arg(path("both.c"));
            cc.args(libraries).args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-o"]);
            output_of(cc.arg(path("both")));
            output_of(&mut Command::new(path("both")));
        }
    }
    let names = output_of(Command::new("nm").args(["-g", "--defined-only"]).arg(&ours));
    let names: Vec<&str> = names.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert!(names.iter().all(|name| name.starts_with("mailport_")), "{names:?}");
}
