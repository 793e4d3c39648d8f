//! Facts that stand in two places agree.

use std::collections::BTreeSet;
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
    const OURS: [&str; 3] = ["mailport", "mailport-ffi", "mailport-python"];
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

#[test]
fn the_design_page_names_every_file_of_the_library() {
    let page = include_str!("../../../docs/design.md");
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = [
        "src",
        "src/machine",
        "src/cache",
        "src/driver",
        "src/driver/via",
        "src/driver/sys",
        "src/driver/cache",
        "ffi/src",
        "src/join",
        "src/relay",
    ];
    for folder in folders {
        for entry in std::fs::read_dir(format!("{root}/{folder}")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            // The contents pages of these modules say little of their own.
            let contents = !["src", "src/machine"].contains(&folder) && name == "mod.rs";
            if path.extension().is_some_and(|end| end == "rs") && !contents {
                assert!(page.contains(name), "docs/design.md does not name {folder}/{name}");
            }
        }
    }
}
