//! The header is generated from the source by cbindgen, and compiles as C and as C++.

use std::fs;
use std::process::Command;

use crate::c::{output_of, repository};

/// In the order in which a reader needs them.
const SOURCES: [&str; 9] = [
    "status",
    "failure",
    "constants",
    "options",
    "connect",
    "dial",
    "question",
    "attempts",
    "cache",
];

const VERSION: &str = "
/**
 * The version of this header.
 */
#define MAILPORT_VERSION \"@VERSION@\"

/**
 * The same for #if: 0x000100 is 0.1.0, and a later version is a larger number.
 */
#define MAILPORT_VERSION_NUMBER @NUMBER@";

/// The version as a number that `#if` can compare: 0x000100 is 0.1.0.
fn version_number() -> String {
    let numbers = env!("CARGO_PKG_VERSION").split('.').map(str::parse::<u8>);
    numbers.fold("0x".to_owned(), |hex, number| format!("{hex}{:02x}", number.expect("a number")))
}

fn generated() -> String {
    let ffi = repository().join("ffi");
    let mut config = cbindgen::Config::from_file(ffi.join("cbindgen.toml")).expect("a config");
    config.after_includes = Some(
        VERSION
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
            .replace("@NUMBER@", &version_number()),
    );
    let builder = SOURCES.iter().fold(cbindgen::Builder::new(), |builder, name| {
        builder.with_src(ffi.join("src").join(name).with_extension("rs"))
    });
    let mut header = Vec::new();
    builder.with_config(config).generate().expect("a header").write(&mut header);
    let header = String::from_utf8(header).expect("UTF-8");
    let header = header.replace("char * ", "char *").replace("mailport_dial * ", "mailport_dial *");
    let lines = header.lines().map(|line| match line.split_once(" -") {
        // A number below zero must stand in any expression.
        Some((name, number)) if name.starts_with("#define") => format!("{name} (-{number})\n"),
        _ => format!("{line}\n"),
    });
    beside_their_constants(&lines.collect::<String>())
}

/// Each type of number before the first of its constants. cbindgen puts all types first.
fn beside_their_constants(header: &str) -> String {
    let (types, others): (Vec<&str>, Vec<&str>) =
        header.split("\n\n").partition(|block| block.contains("\ntypedef int32_t "));
    let mut header = others.join("\n\n");
    for block in types {
        let name = block.rsplit(' ').next().unwrap_or_default().trim_end_matches(';');
        let first = match name {
            "mailport_status" => "MAILPORT_OK".to_owned(),
            name => format!("{}_", name.to_uppercase()),
        };
        let at = header.find(&format!("#define {first}")).expect("a constant of each type");
        let comment = header[..at].rfind("/**").expect("a comment at each constant");
        header.insert_str(comment, &format!("{block}\n\n"));
    }
    header
}

/// `make header` regenerates it.
#[test]
fn the_header_is_what_the_source_says() {
    let path = repository().join("include/mailport.h");
    let generated = generated();
    if std::env::var_os("MAILPORT_REWRITE").is_some() {
        fs::write(&path, &generated).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "include/mailport.h is out of date: run `make header`");
}

#[test]
fn the_header_compiles_as_c99_and_as_cpp17_without_a_warning() {
    let header = repository().join("include/mailport.h");
    let all = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsyntax-only"];
    for (compiler, language, standard) in [("cc", "c", "-std=c99"), ("c++", "c++", "-std=c++17")] {
        let mut command = Command::new(compiler);
        output_of(command.args(all).args([standard, "-x", language]).arg(&header));
    }
}
