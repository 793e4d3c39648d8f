//! The C library: dials for programs in C.
//!
//! `include/mailport.h` is made from this crate (`make header`) and says everything that a caller
//! needs; the comments on what is exported are its comments. [`boundary`] is where C comes in, and
//! the only room with unsafe code. Everything else gets references, strings and numbers, and any
//! of them may be wrong.
#![allow(clippy::doc_markdown, reason = "the comments on what is exported are the header's")]

pub mod attempts;
mod boundary;
pub mod cache;
pub mod connect;
pub mod dial;
mod environment;
pub mod numbers;
pub mod options;
pub mod question;
pub mod status;
