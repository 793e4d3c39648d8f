//! What `make install` leaves, and that a package can be built without a network.

use std::fs;
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

/// Stands for the command, which its own tests run.
fn command(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join("command");
    fs::write(&path, "#!/bin/sh\necho '.B mailport\\-connect(1)'\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

fn install(action: &str, stage: &Path, prefix: &str, command: &Path) {
    let mut install = Command::new(repository().join("ffi/install.sh"));
    install.arg(action).arg(library()).arg(command);
    output_of(install.env("DESTDIR", stage).env("PREFIX", prefix));
}

#[test]
fn what_is_installed_is_uninstalled() {
    let folder = tempfile::tempdir().expect("a folder");
    let (stage, command) = (folder.path().join("stage"), command(folder.path()));
    install("install", &stage, "/usr", &command);
    assert_eq!(
        files(&stage),
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
    install("uninstall", &stage, "/usr", &command);
    assert_eq!(files(&stage), [""; 0]);
}

#[test]
fn pkg_config_links_a_program_with_either_library() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("usr").display().to_string();
    install("install", Path::new(""), &prefix, &command(folder.path()));
    let program = folder.path().join("connect");
    let open = open();
    for flags in [["--cflags", "--libs"].as_slice(), &["--static", "--cflags", "--libs"]] {
        let is_static = flags.contains(&"--static");
        if is_static {
            // As on a system that has only this one.
            for name in ["libmailport.so", "libmailport.so.0"] {
                fs::remove_file(format!("{prefix}/lib/{name}")).expect("removed");
            }
        }
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.args(flags).arg("mailport");
        let words = output_of(pkg_config.env("PKG_CONFIG_PATH", format!("{prefix}/lib/pkgconfig")));
        let mut compile = Command::new("cc");
        compile.arg(repository().join("examples/c/connect.c")).args(words.split_whitespace());
        compile.arg("-o").arg(&program).arg(format!("-Wl,-rpath,{prefix}/lib"));
        output_of(&mut compile);
        let needed = output_of(Command::new("readelf").arg("--dynamic").arg(&program));
        assert_eq!(needed.contains("libmailport.so.0"), !is_static, "{needed}");
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
