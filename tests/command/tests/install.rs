//! The command as `make install` leaves it; the C library beside it is installed by `ffi/tests`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mailport_command_tests::mailport;

fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn install(action: &str, library: &Path, stage: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ffi/install.sh");
    let mut install = Command::new(script);
    install.arg(action).arg(library).arg(mailport());
    output_of(install.env("DESTDIR", stage).env("PREFIX", "/usr"));
}

#[test]
fn the_command_is_installed_with_its_pages_and_completions_and_goes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (library, stage) = (folder.path().join("library"), folder.path().join("stage"));
    fs::create_dir(&library).unwrap();
    for name in [concat!("libmailport.so.", env!("CARGO_PKG_VERSION")), "libmailport.a"] {
        fs::write(library.join(name), "a substitute for the library").unwrap();
    }
    install("install", &library, &stage);
    let share = stage.join("usr/share");
    let text = |path: &str| fs::read_to_string(share.join(path)).unwrap();
    let version = output_of(Command::new(stage.join("usr/bin/mailport")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    // Each page that a page names, and no page that none names.
    let named = |page: &str| -> BTreeSet<String> {
        let text = text(&format!("man/man1/{page}.1")).replace('\\', "");
        let pages = text.split_whitespace().filter_map(|word| word.split_once("(1)"));
        pages.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("mailport")).collect()
    };
    let installed: BTreeSet<String> = fs::read_dir(share.join("man/man1"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap().replace(".1", ""))
        .collect();
    let all = installed.iter().flat_map(|page| named(page)).collect();
    assert_eq!(installed, all);
    for name in ["mailport-connect", "mailport-relay-nft", "mailport-cache-path"] {
        assert!(installed.contains(name), "{name} is not in {installed:?}");
    }
    for (shell, path) in [
        ("bash", "bash-completion/completions/mailport"),
        ("zsh", "zsh/site-functions/_mailport"),
        ("fish", "fish/vendor_completions.d/mailport.fish"),
    ] {
        let printed = output_of(Command::new(mailport()).args(["completions", shell]));
        assert!(text(path) == printed && printed.contains("connect"), "{shell}");
    }
    let other = share.join("man/man1/other.1");
    fs::write(&other, "another program's").unwrap();
    install("uninstall", &library, &stage);
    let left = output_of(Command::new("find").arg(&stage).args(["!", "-type", "d"]));
    assert_eq!(left.trim(), other.to_str().unwrap());
}
