//! The examples in C of README.md and docs/c.md compile and run as they are written.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::c::{program, repository};
use crate::common::{Port, open, refused};

/// The examples in C of a page, each of them a program.
fn examples(page: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).expect("a page");
    let blocks = text.split("```c\n").skip(1);
    blocks.map(|rest| rest.split("```").next().expect("an end").to_owned()).collect()
}

/// Whether the example connects to this port, and what it prints.
fn run(number: usize, source: &str, port: u16) -> (bool, String) {
    let host = |text: &str| text.replace("\"mail.example.com\", 0,", "\"127.0.0.1\", PORT,");
    let with_port = host(source).replace("argv[1], 0,", "argv[1], PORT,");
    assert_ne!(with_port, source, "the example has no host with port 0");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("documented_{number}.c"));
    fs::write(&file, with_port).expect("a file");
    let program = program(file.to_str().expect("UTF-8"), &[&format!("-DPORT={port}")]);
    let output = Command::new(program).arg("127.0.0.1").output().expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

#[test]
fn every_example_of_the_pages_connects_and_says_why_it_does_not() {
    let (open, refused) = (open(), refused());
    let pages = ["README.md", "docs/c.md"].map(examples);
    assert_eq!([pages[0].len(), pages[1].len()], [1, 2]);
    for (number, example) in pages.iter().flatten().enumerate() {
        let (connects, printed) = run(number, example, open.port());
        assert!(connects, "{example}\n{printed}");
        let (connects, printed) = run(number, example, refused.port());
        assert!(!connects && printed.contains("is refused"), "{example}\n{printed}");
    }
}
