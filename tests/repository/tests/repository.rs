//! Facts that stand in two places agree.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What cargo knows of this package and everything it is built from, with every feature.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The packages that a user of the crate, the command, the C library or the Python package builds:
/// not what only tests need.
fn built(metadata: &Value) -> BTreeSet<String> {
    const OURS: [&str; 4] = ["mailport", "mailport-cli", "mailport-ffi", "mailport-python"];
    let nodes = metadata["resolve"]["nodes"].as_array().expect("a resolved graph");
    let mut found = BTreeSet::new();
    let ours = |package: &&Value| OURS.contains(&text(package, "name"));
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let mut next: Vec<String> = packages.filter(ours).map(|p| text(p, "id").to_owned()).collect();
    assert_eq!(next.len(), OURS.len());
    while let Some(id) = next.pop() {
        if !found.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| text(node, "id") == id).expect("a node of the graph");
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            if kinds.any(|kind| kind["kind"].as_str() != Some("dev")) {
                next.push(text(dependency, "pkg").to_owned());
            }
        }
    }
    found
}

fn version(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().expect("a number")).collect()
}

#[test]
fn no_dependency_wants_a_newer_rust_than_we_state() {
    let metadata = metadata();
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let built = built(&metadata);
    let packages = metadata["packages"].as_array().expect("packages").iter();
    for package in packages.filter(|package| built.contains(text(package, "id"))) {
        if let Some(theirs) = package["rust_version"].as_str() {
            let name = text(package, "name");
            assert!(version(theirs) <= ours, "{name} needs Rust {theirs}");
        }
    }
}

#[test]
fn nothing_that_is_built_for_a_user_has_the_licence_of_the_header_s_maker() {
    let metadata = metadata();
    let built = built(&metadata);
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let mpl = packages.filter(|package| text(package, "license").contains("MPL"));
    let names: Vec<&str> = mpl.map(|package| text(package, "id")).collect();
    assert!(!names.is_empty() && names.iter().all(|id| !built.contains(*id)), "{names:?}");
}

#[test]
fn the_library_is_built_without_tls() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "mailport", "--all-features", "--edges", "normal"])
        .args(["--prefix", "none", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(tree.starts_with("mailport v"), "{}", String::from_utf8_lossy(&output.stderr));
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let is_tls = ["tls", "ssl", "x509", "webpki"].iter().any(|part| name.contains(part));
        assert!(!is_tls && name != "ring", "{line}");
    }
}

#[test]
fn the_readme_states_the_rust_version() {
    let stated = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(include_str!("../../../README.md").contains(&stated), "{stated}");
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("\n## {}", env!("CARGO_PKG_VERSION"));
    assert!(include_str!("../../../CHANGELOG.md").contains(&heading));
}

#[test]
fn the_emacs_package_has_this_version() {
    // No part of the crate that is published.
    let read = |name| {
        let path = format!("{}/../../bindings/emacs/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a file of this repository")
    };
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("mailport.el").contains(&format!("\n;; Version: {version}\n")));
    let constant = format!("(defconst mailport-version \"{version}\"");
    assert!(read("mailport-load.el").contains(&constant));
    assert!(read("README.md").contains(&format!("mailport-{version}.tar")));
}

/// The directories below this one that hold Rust source, from the root of the repository on.
fn source_directories(root: &Path, directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(root.join(directory)).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = directory.join(entry.file_name());
        let name = entry.file_name();
        if entry.file_type().expect("a type").is_dir() {
            let generated =
                name == "target" || name == "vendor" || name.as_encoded_bytes().starts_with(b".");
            if !generated {
                source_directories(root, &path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let is_source = directory.components().any(|part| part.as_os_str() == "src");
            if is_source {
                found.insert(format!("{}/", directory.display()));
            }
        }
    }
}

#[test]
fn the_layout_of_the_design_page_has_every_source_directory_and_no_other_path() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = include_str!("../../../docs/design.md");
    let (_, layout) = page.split_once("\n## Layout\n").expect("a section");
    let layout = layout.split("\n## ").next().expect("a text");
    let named: BTreeSet<String> = layout
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once("  "))
        .map(|(path, _)| path.to_owned())
        .collect();
    for path in &named {
        assert!(root.join(path).is_dir(), "docs/design.md names {path}, which does not exist");
    }
    let mut found = BTreeSet::new();
    source_directories(&root, Path::new(""), &mut found);
    let missing: Vec<_> = found.difference(&named).collect();
    assert!(missing.is_empty(), "docs/design.md, Layout, does not name {missing:?}");
}

#[test]
fn the_design_page_states_the_default_times() {
    let config = mailport::Config::default();
    let page = include_str!("../../../docs/design.md");
    for (row, time) in [
        ("| attempt delay |", config.attempt_delay),
        ("| port delay |", config.port_delay),
        ("| timeout |", config.timeout),
    ] {
        let stated = if time.subsec_millis() == 0 {
            format!("{row} {} s |", time.as_secs())
        } else {
            format!("{row} {} ms |", time.as_millis())
        };
        assert!(page.contains(&stated), "{stated}");
    }
    assert!(page.contains("| patience | 1.3 s, or 1 s and two round trips"));
}
