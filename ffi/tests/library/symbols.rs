//! What the shared library exports, and what it needs.

use std::collections::BTreeSet;
use std::process::Command;

use crate::c::{library, output_of, repository};
use crate::symbols;

fn dynamic_section() -> String {
    output_of(Command::new("readelf").args(["--dynamic", "--wide"]).arg(shared()))
}

fn shared() -> std::path::PathBuf {
    library().join("libmailport.so")
}

#[test]
fn the_library_exports_the_listed_symbols_in_their_versions_and_no_others() {
    let lines = output_of(Command::new("nm").args(["-D", "--defined-only"]).arg(shared()));
    let names = lines.lines().filter_map(|line| line.split(' ').nth(2));
    // The versions themselves are listed, too.
    let exported: BTreeSet<&str> = names.filter(|name| name.contains("@@")).collect();
    let listed: BTreeSet<String> =
        symbols().iter().map(|(name, version)| format!("{name}@@{version}")).collect();
    assert_eq!(exported, listed.iter().map(|name| &**name).collect());
    let others: Vec<&str> = lines.lines().filter(|line| !line.contains('@')).collect();
    assert!(others.iter().all(|line| line.contains(" A MAILPORT_")), "{others:?}");
}

#[test]
fn every_export_of_the_source_is_listed_in_order() {
    let names: Vec<&str> = symbols().into_iter().map(|(name, _)| name).collect();
    assert!(names.is_sorted());
    let mut exported = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("ffi/src")).expect("a folder") {
        let source = std::fs::read_to_string(entry.expect("an entry").path()).expect("UTF-8");
        let functions = source.split("extern \"C\" fn ").skip(1);
        exported.extend(functions.filter_map(|rest| rest.split('(').next()).map(str::to_owned));
    }
    assert_eq!(names, exported.iter().collect::<Vec<_>>());
}

#[test]
fn the_library_needs_the_c_library_and_the_unwinder_only() {
    let needed = dynamic_section();
    let needed = needed.lines().filter(|line| line.contains("(NEEDED)"));
    for line in needed {
        let known = ["libc.so.", "libgcc_s.so.", "ld-linux"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn the_library_has_its_soname_and_stays_when_it_is_closed() {
    let section = dynamic_section();
    assert!(section.contains("Library soname: [libmailport.so.0]"), "{section}");
    assert!(section.contains("NODELETE"), "{section}");
    assert!(section.contains("NOW"), "{section}");
}

#[test]
fn the_library_is_at_most_950_000_bytes() {
    let size = std::fs::metadata(shared()).expect("the library").len();
    assert!(
        size <= 950_000,
        "{size} bytes: nm --size-sort of a link without --strip-all tells why"
    );
}

#[test]
fn unsafe_code_is_in_the_boundary_alone() {
    for entry in std::fs::read_dir(repository().join("ffi/src")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("boundary.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("UTF-8");
        for word in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
            assert!(!source.contains(word), "{}: {word}", path.display());
        }
        let exports = source.matches("#[unsafe(no_mangle)]").count();
        let guarded = ["    export!(", "    read!("].map(|name| source.matches(name).count());
        // A getter of a constant may do without.
        assert!(
            guarded.iter().sum::<usize>() + 1 >= exports,
            "{}: an export without its macro",
            path.display()
        );
    }
}
