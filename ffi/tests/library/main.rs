//! The C library as its users have it: header, symbols, manual page, package, programs in C.

mod abi;
#[path = "../../../tests/common/c.rs"]
mod c;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod complete;
mod docs;
mod guest;
mod header;
mod package;
mod page;
mod programs;
mod symbols;
mod watched;

/// Each symbol with the version that it came in, as `ffi/symbols.txt` has them.
fn symbols() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../../symbols.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect("a symbol and its version")).collect()
}
