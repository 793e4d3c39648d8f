//! The tests of this package are in `tests/`. The library itself compiles the examples in Rust of
//! the pages below, as documentation tests.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
