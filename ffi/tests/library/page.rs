//! mailport(3).

use std::process::Command;

use crate::c::{output_of, repository};
use crate::symbols;

#[test]
fn the_page_and_the_header_have_every_function_with_its_version() {
    let page = include_str!("../../mailport.3");
    let header = include_str!("../../../include/mailport.h");
    for (name, version) in symbols() {
        assert!(header.contains(&format!("{name}(")), "the header lacks {name}");
        let before = page.split_once(&format!(".Fn {name} \"")).map(|(before, _)| before);
        let before = before.unwrap_or_else(|| panic!("the page lacks {name}"));
        let mut declared = header.split("/**").filter_map(|block| block.split_once("*/"));
        let declared = declared.find(|(_, code)| code.contains(&format!("{name}(")));
        let comment = declared.map(|(comment, _)| comment);
        let since = version.trim_start_matches("MAILPORT_");
        let said = format!("Since {since}.");
        assert!(comment.is_some_and(|comment| comment.contains(&said)), "{name}: {said}");
        let heading = before.rsplit(".Ss ").next().and_then(|after| after.lines().next());
        let heading = heading.unwrap_or_default();
        assert!(heading.ends_with(&format!("since {since}")), "{name}: under `{heading}`");
    }
}

#[test]
fn the_page_has_every_status_and_is_well_made() {
    let page = include_str!("../../mailport.3");
    let header = include_str!("../../../include/mailport.h");
    let statuses = include_str!("../../src/status.rs").lines();
    for line in statuses.filter_map(|line| line.strip_prefix("pub const ")) {
        let name = line.split(':').next().expect("a name");
        assert!(page.contains(&format!(".It Dv {name}")), "the page lacks {name}");
        assert!(header.contains(&format!("#define {name} ")), "the header lacks {name}");
    }
    let mut lint = Command::new("mandoc");
    lint.args(["-Tlint", "-Wwarning"]).arg(repository().join("ffi/mailport.3"));
    assert_eq!(output_of(&mut lint), "");
}

/// Each loop that the page shows, by the word before it, and the program that it is taken from.
const SHOWN: [(&str, &str); 8] = [
    (".Xr poll 2 :", "poll.c"),
    (".Xr epoll 7 :", "epoll.c"),
    ("GLib:", "glib.c"),
    ("libevent:", "libevent.c"),
    ("libuv:", "libuv.c"),
    ("sd-event:", "sd_event.c"),
    ("milliseconds:", "timer.c"),
    ("asyncio, through ctypes:", "aio.py"),
];

#[test]
fn the_loops_of_the_page_are_those_of_the_examples() {
    let page = include_str!("../../mailport.3");
    for (heading, name) in SHOWN {
        let start = format!("\n{heading}\n.Bd -literal -offset indent\n");
        let (_, after) = page.split_once(&start).unwrap_or_else(|| panic!("{heading}: not shown"));
        let (shown, _) = after.split_once("\n.Ed").expect("an end");
        let path = repository().join(format!("examples/c/{name}"));
        let example = std::fs::read_to_string(path).expect("UTF-8");
        let mut lines = example.lines().map(str::trim);
        for line in shown.lines().map(str::trim).filter(|line| !line.starts_with("/*")) {
            // The callback comes before the lines that set it up, here as there.
            assert!(lines.any(|l| l == line), "{name}: the example has no {line:?}, or earlier");
        }
    }
}
