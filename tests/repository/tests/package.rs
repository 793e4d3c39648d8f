//! What is published is complete by itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The crates that are published, with their directories.
const CRATES: [(&str, &str); 3] =
    [("mailport", "."), ("mailport-relay", "relay"), ("mailport-cli", "cli")];

/// The files of a package.
fn files(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--locked", "--offline", "--package", name])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("paths").lines().map(str::to_owned).collect()
}

/// The links of a page, and whether each is a picture.
fn links(page: &str) -> Vec<(bool, &str)> {
    let parts: Vec<&str> = page.split("](").collect();
    let pairs = parts.windows(2).filter_map(|pair| {
        let is_picture = pair[0].rsplit_once('[').is_some_and(|(before, _)| before.ends_with('!'));
        Some((is_picture, pair[1].split(')').next()?))
    });
    pairs.collect()
}

#[test]
fn each_crate_has_its_readme_and_licences_and_what_the_readme_links_to() {
    for (name, directory) in CRATES {
        let files = files(name);
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"] {
            assert!(files.contains(file), "{name} has no {file}");
        }
        let path = Path::new(ROOT).join(directory).join("README.md");
        let readme = fs::read_to_string(path).expect("a README");
        for (is_picture, link) in links(&readme) {
            let is_elsewhere = link.starts_with("https://");
            assert!(!is_picture || is_elsewhere, "{name}: {link} shows in the repository only");
            let file = link.split('#').next().unwrap_or_default();
            assert!(is_elsewhere || files.contains(file), "{name}: {link} is not in the package");
        }
    }
}

#[test]
fn each_crate_says_where_its_documentation_is() {
    for (name, directory) in CRATES {
        let path = Path::new(ROOT).join(directory).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("a manifest");
        for key in ["description", "documentation", "readme", "keywords", "categories"] {
            assert!(manifest.contains(&format!("\n{key} = ")), "{name} lacks {key}");
        }
    }
}

#[test]
fn the_example_for_async_io_is_that_of_the_documentation() {
    let read = |path| fs::read_to_string(Path::new(ROOT).join(path)).expect("a file");
    let (library, example) = (read("src/lib.rs"), read("examples/async/async_io.rs"));
    let (_, block) = library.split_once("//! ```ignore\n").expect("the example");
    let (block, _) = block.split_once("//! ```\n").expect("its end");
    let code: String = block
        .lines()
        .map(|line| line.strip_prefix("//! ").unwrap_or("").to_owned() + "\n")
        .collect();
    assert!(example.contains(&code), "{code}");
}

/// The Debian package and the C library state the same versions of symbols.
#[test]
fn debian_s_symbols_have_each_version() {
    let read = |path| fs::read_to_string(Path::new(ROOT).join(path)).expect("a file");
    let (symbols, debian) = (read("ffi/symbols.txt"), read("debian/libmailport0.symbols"));
    let lines = symbols.lines().filter(|line| !line.starts_with('#'));
    for version in lines.filter_map(|line| line.split_once(' ')).map(|(_, version)| version) {
        assert!(debian.contains(&format!(" (symver){version} ")), "{version}");
    }
    let changelog = read("debian/changelog");
    assert!(
        changelog.starts_with(&format!("mailport ({}", env!("CARGO_PKG_VERSION"))),
        "the version"
    );
}
