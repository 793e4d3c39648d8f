//! The C library: dials for programs in C.
//!
//! `include/mailport.h` is generated from this crate (`make header`); the doc comments of the
//! exported items are its comments. [`boundary`] is where pointers from C become references and
//! strings, and the only module with unsafe code. Every other module gets references, strings and
//! numbers, and checks them.
#![allow(clippy::doc_markdown, reason = "the comments on what is exported are the header's")]

pub mod attempts;
mod boundary;
pub mod cache;
pub mod connect;
pub mod constants;
pub mod dial;
mod environment;
pub mod failure;
pub mod options;
pub mod question;
mod report_text;
pub mod status;
