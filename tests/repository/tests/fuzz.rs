//! The fuzz targets on stable: each over its kept corpus, `fuzz/corpus/`, and over mutations of it
//! that are random by a fixed seed.
//!
//! `MAILPORT_FUZZ_SEED` sets another seed, and `MAILPORT_FUZZ_RUNS` how many mutations each target
//! gets. An input that fails is printed in hexadecimal; a file of those bytes in the corpus
//! replays it (`xxd -r -p`).
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

#[path = "../../../fuzz/src/lib.rs"]
pub mod targets;

use std::env;
use std::fmt::Write;
use std::fs;
use std::panic::{self, RefUnwindSafe};
use std::path::PathBuf;

use fastrand::Rng;

/// No mutation is longer.
const LONGEST: usize = 4096;
/// What no random bytes would ever spell, for the targets that read text.
const WORDS: &[&str] = &[
    ":starttls",
    ":implicit",
    ":none",
    "/ipv4",
    "/ipv6",
    ",",
    "587",
    "25",
    "465",
    "65535",
    "65536",
    "0",
    "socks5://",
    "command:",
    "user:password@",
    "%20",
    "%h",
    "%p",
    "'",
    "submission",
    "submissions",
    "rfc8314",
    "mew",
    "symmetric",
    " ",
    "\t",
    "\u{a0}",
    "+",
    "-",
    ".",
    "%",
    "%eth0",
    "[",
    "]",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
    "::ffff:",
    "127.1",
    "192.0.2.1",
    "0x7f",
    "xn--",
    "_",
    "example",
    "ü",
    "ß",
    "Σ",
    "例え",
    "\u{3002}",
    "\u{308}",
    "\u{202e}",
    "\"",
    "\\",
    "\n",
    "\0",
    "\u{1b}[31m",
    "\u{2028}",
];

#[test]
fn any_text_is_a_plan_or_a_named_mistake() {
    fuzz("plan", targets::plan, 50_000);
}

#[test]
fn any_text_is_a_host_or_a_named_mistake() {
    fuzz("target", targets::target, 50_000);
}

#[test]
fn any_bytes_of_a_proxy_are_read_by_its_frames() {
    fuzz("socks", targets::socks, 100_000);
}

#[test]
fn any_bytes_are_a_request_of_socks_or_a_named_mistake() {
    fuzz("socks_server", targets::socks_server, 100_000);
}

#[test]
fn any_bytes_are_a_request_of_http_or_a_named_error() {
    fuzz("http_connect", targets::http_connect, 100_000);
}

#[test]
fn any_bytes_on_the_control_socket_are_a_request_or_a_named_mistake() {
    fuzz("control", targets::control, 50_000);
}

#[test]
fn any_text_is_a_way_or_a_mistake_that_repeats_nothing() {
    fuzz("via", targets::via, 50_000);
}

#[test]
fn any_report_is_the_documented_json() {
    fuzz("json", targets::json, 10_000);
}

#[test]
fn a_machine_that_gets_any_bytes_keeps_its_promises() {
    fuzz("machine", targets::machine, 30_000);
}

#[test]
fn any_bytes_in_the_error_queue_are_read_as_they_are() {
    fuzz("error_queue", targets::error_queue, 100_000);
}

#[test]
#[should_panic(expected = "demo fails on 00ff68")]
fn an_input_that_fails_is_shown() {
    run("demo", |_: &[u8]| panic!("as it should"), &[0, 255, b'h']);
}

fn fuzz(name: &str, target: impl Fn(&[u8]) + RefUnwindSafe, usual_runs: u64) {
    let corpus = corpus(name);
    let seed = number("MAILPORT_FUZZ_SEED").unwrap_or(587);
    let runs = number("MAILPORT_FUZZ_RUNS").unwrap_or(usual_runs);
    for input in &corpus {
        run(name, &target, input);
    }
    let mut random = Rng::with_seed(seed);
    for _ in 0..runs {
        run(name, &target, &mutated(&corpus, &mut random));
    }
}

fn run(name: &str, target: impl Fn(&[u8]) + RefUnwindSafe, input: &[u8]) {
    let result = panic::catch_unwind(|| target(input));
    assert!(result.is_ok(), "{name} fails on {}, for the reason above", hex(input));
}

fn hex(input: &[u8]) -> String {
    input.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder =
        [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", name].iter().collect::<PathBuf>();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "a corpus");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// One input of the corpus with a few changes.
fn mutated(corpus: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut input = random.choice(corpus).unwrap().clone();
    for _ in 0..random.usize(1..=6) {
        let at = random.usize(..=input.len());
        let end = at + random.usize(..=(input.len() - at).min(16));
        match random.u8(..10) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, random.u8(..)),
            3 => input.splice(at..at, random.choice(WORDS).unwrap().bytes()).for_each(drop),
            4 => {
                let other = random.choice(corpus).unwrap();
                let from = random.usize(..=other.len());
                let to = from + random.usize(..=(other.len() - from).min(64));
                input.splice(at..end, other[from..to].iter().copied()).for_each(drop);
            }
            5 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy).for_each(drop);
            }
            6 => input[at..end].fill(random.choice([0, 0xff, b'0', b'.', b',']).unwrap()),
            7 => (0..random.u8(1..32)).for_each(|_| input.push(random.u8(..))),
            8 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.u8(..8);
                }
            }
        }
    }
    input.truncate(LONGEST);
    input
}
