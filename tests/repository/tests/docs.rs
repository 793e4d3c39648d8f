//! The README and the pages of docs/ state what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mailport::outcome::{ErrorQueue, Evidence, Failure};
use mailport::{Errno, Family, Icmp, Outcome, ViaError};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and every page for readers.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join("docs")).expect("a directory");
    let mut pages: Vec<String> = entries
        .map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|path| Path::new(path).extension().is_some_and(|end| end == "md"))
        .collect();
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let others =
        others.into_iter().chain(["bindings/python/README.md", "bindings/emacs/README.md"]);
    pages.extend(others.map(str::to_owned));
    pages.sort();
    pages
}

/// The cells of the table rows of a page.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

#[test]
fn the_readme_fits_on_130_lines() {
    assert!(read("README.md").lines().count() <= 130);
}

#[test]
fn every_link_between_pages_leads_to_a_file() {
    for page in pages() {
        let text = read(&page);
        let folder = Path::new(&page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let file: PathBuf = folder.join(link.split('#').next().expect("a part"));
            assert!(Path::new(ROOT).join(&file).exists(), "{page} links to {link}");
        }
    }
}

/// The README repeats some cells of the benchmarks: a row for each network, a column for each client.
#[test]
fn the_figures_of_the_readme_are_those_of_the_benchmarks() {
    const NETWORKS: [(&str, &str); 5] = [
        ("open", "open"),
        ("refused", "reset"),
        ("silent", "silent"),
        ("open over IPv4, IPv6 silent", "v6 dead"),
        ("refused over IPv4, IPv6 silent", "v6 dead, v4:587 reset"),
    ];
    let measured = rows(&read("docs/benchmarks.md"));
    let stated = rows(&read("README.md"));
    let header = measured.iter().find(|row| row[0] == "client").expect("the table of clients");
    let start = stated.iter().position(|row| row[0] == "587 is").expect("the table of the README");
    for (network, column) in NETWORKS {
        let row = stated[start..].iter().find(|row| row[0] == network).expect("a row");
        let column = header.iter().position(|name| name == column).expect("a column");
        for (client, cell) in stated[start].iter().zip(row).skip(1) {
            let theirs = measured.iter().find(|row| row[0] == *client).expect("a client");
            let milliseconds = theirs[column].split(' ').next().expect("a figure");
            assert_eq!(cell, milliseconds, "{client}, {network}");
        }
    }
}

/// The first column of each row whose first cell is code.
fn codes(page: &str) -> BTreeSet<String> {
    let first = |row: Vec<String>| row[0].strip_prefix('`')?.split('`').next().map(str::to_owned);
    rows(page).into_iter().filter_map(first).collect()
}

#[test]
fn every_outcome_has_its_row_in_two_pages() {
    let outcomes = [
        Outcome::Connected,
        Outcome::Reset,
        Outcome::IcmpHard,
        Outcome::IcmpSoft,
        Outcome::Timeout,
        Outcome::Local,
        Outcome::Closed,
        Outcome::Via,
        Outcome::Cancelled,
    ];
    for page in ["docs/outcomes.md", "docs/troubleshooting.md"] {
        let found = codes(&read(page));
        for outcome in outcomes {
            assert!(found.contains(outcome.name()), "{page} lacks `{outcome}`");
        }
    }
}

/// The names of an enum's variants in a source file.
fn variants(path: &str, name: &str) -> Vec<String> {
    let file = syn::parse_file(&read(path)).expect("Rust");
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(found) if found.ident == name => Some(found),
        _ => None,
    });
    let found = found.unwrap_or_else(|| panic!("{path} has no enum {name}"));
    found.variants.iter().map(|variant| variant.ident.to_string()).collect()
}

/// What an enum's variants print, as the attribute `error` of each states it: the fixed parts of
/// the sentence, without what is filled in.
fn sentences(path: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let file = syn::parse_file(&read(path)).expect("Rust");
    let found = file.items.into_iter().find_map(|item| match item {
        syn::Item::Enum(found) if found.ident == name => Some(found),
        _ => None,
    });
    let mut sentences = Vec::new();
    for variant in found.unwrap_or_else(|| panic!("{path} has no enum {name}")).variants {
        let attribute = variant.attrs.iter().find(|attribute| attribute.path().is_ident("error"));
        let Some(attribute) = attribute else { continue };
        let tokens = &attribute.meta.require_list().expect("a list").tokens;
        let Some(text) = tokens.clone().into_iter().next() else { continue };
        // `transparent` has no sentence.
        let Ok(text) = syn::parse_str::<syn::LitStr>(&text.to_string()) else { continue };
        sentences.push((format!("{name}::{}", variant.ident), fixed_parts(&text.value())));
    }
    sentences
}

/// The parts of a format string that are printed as they are.
fn fixed_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for character in text.chars() {
        match character {
            '{' => {
                depth += 1;
                parts.push(String::new());
            }
            '}' => depth -= 1,
            _ if depth == 0 => parts.last_mut().expect("one").push(character),
            _ => {}
        }
    }
    parts.retain(|part| part.trim_matches([' ', '`', ':', ',']).len() > 1);
    parts
}

/// One sentence, by the order of its fixed parts in one line of the page.
fn is_documented(page: &str, parts: &[String]) -> bool {
    page.lines().any(|line| {
        let mut rest = line;
        parts.iter().all(|part| {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
            true
        })
    })
}

#[test]
fn every_error_has_its_sentence_in_troubleshooting() {
    const ERRORS: [(&str, &str); 10] = [
        ("src/error.rs", "ConnectError"),
        ("src/config.rs", "ConfigError"),
        ("src/plan/mod.rs", "PlanError"),
        ("src/target.rs", "TargetError"),
        ("src/via.rs", "ViaParseError"),
        ("src/report/mod.rs", "LookupError"),
        ("src/driver/prober.rs", "ProbeError"),
        ("src/socks5/mod.rs", "SocksError"),
        ("relay/src/config/error.rs", "SettingsError"),
        ("relay/src/control/request.rs", "RequestError"),
    ];
    // Code that has backticks itself is between two and a space.
    let page = read("docs/troubleshooting.md").replace("`` ", "").replace(" ``", "");
    let mut missing = Vec::new();
    let mut count = 0;
    for (path, name) in ERRORS {
        for (variant, parts) in sentences(path, name) {
            count += 1;
            if !is_documented(&page, &parts) {
                missing.push(format!("{variant}: {}", parts.join("…")));
            }
        }
    }
    assert!(count > 60, "{count} sentences were found");
    assert!(missing.is_empty(), "docs/troubleshooting.md lacks\n{}", missing.join("\n"));
}

#[test]
fn every_end_of_a_dial_and_every_error_of_a_proxy_is_in_troubleshooting() {
    let page = read("docs/troubleshooting.md");
    for reply in 1..=8 {
        let sentence = ViaError::Reply(reply).to_string();
        assert!(page.contains(&sentence), "{sentence}");
    }
    for error in [ViaError::Unreachable, ViaError::Login, ViaError::Protocol, ViaError::NotStarted]
    {
        assert!(page.contains(&error.to_string()), "{error}");
    }
    let found = codes(&page);
    for end in variants("src/report/mod.rs", "End") {
        let mut name = String::new();
        for character in end.chars() {
            if character.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(character.to_lowercase());
        }
        assert!(found.contains(&name), "docs/troubleshooting.md lacks `{name}`");
    }
}

fn outcome_of(icmp: Icmp) -> Option<Outcome> {
    // An errno that no table knows, so that only the type and the code decide.
    let queue = ErrorQueue::Icmp(icmp, Errno(libc::EIO));
    let evidence = Evidence { errno: None, queue, segments_in: Some(0), own_addresses: &[] };
    Failure::from_evidence(&evidence).map(|failure| failure.outcome)
}

#[test]
fn the_page_of_outcomes_has_the_table_of_icmp_errors() {
    let page = rows(&read("docs/outcomes.md"));
    let mut stated = page.iter().filter(|row| row.len() == 6).skip(1).peekable();
    assert_eq!(stated.next_if(|row| row[0].starts_with('-')).map(Vec::len), Some(6));
    let stated: Vec<&Vec<String>> = stated.collect();
    let mut used = BTreeSet::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        for (kind, code) in (0..=255).flat_map(|kind| (0..=255).map(move |code| (kind, code))) {
            let icmp = Icmp { family, kind, code, sender: None };
            let Some(meaning) = icmp.meaning() else { continue };
            let version = icmp.version().to_string();
            let row = stated.iter().position(|row| {
                let is_code = row[2] == "any" || row[2] == code.to_string();
                row[0] == version && row[1] == kind.to_string() && is_code
            });
            let row = row.unwrap_or_else(|| panic!("no row for {icmp:?}"));
            let outcome = outcome_of(icmp).map_or("none", Outcome::name);
            assert_eq!((&*stated[row][3], &*stated[row][4]), (meaning, outcome), "{icmp:?}");
            used.insert(row);
        }
    }
    assert_eq!(used.len(), stated.len(), "a row of the page is not in the code");
}

#[test]
fn the_page_of_outcomes_has_the_table_of_errnos() {
    let page = rows(&read("docs/outcomes.md"));
    let start = page.iter().position(|row| row[0] == "errno").expect("the table");
    let mut stated = std::collections::BTreeMap::new();
    for row in page[start + 2..].iter().take_while(|row| row.len() == 2) {
        let outcome = row[1].split('`').nth(1).expect("an outcome").to_owned();
        for name in row[0].split('`').filter(|name| name.starts_with('E')) {
            stated.insert(name.to_owned(), outcome.clone());
        }
    }
    let mut known = BTreeSet::new();
    for number in 1..=255 {
        let errno = Errno(number);
        let Some(name) = errno.name() else { continue };
        let evidence = Evidence {
            errno: Some(errno),
            queue: ErrorQueue::Unavailable,
            segments_in: Some(1),
            own_addresses: &[],
        };
        let outcome = Failure::from_evidence(&evidence).expect("a failure").outcome;
        let expected = stated.get(name).map_or("local", String::as_str);
        assert_eq!(outcome.name(), expected, "{name}");
        known.insert(name.to_owned());
    }
    assert!(stated.keys().all(|name| known.contains(name)), "{stated:?}");
}

#[test]
fn the_sentences_of_a_report_are_in_troubleshooting() {
    const SENTENCES: [&str; 19] = [
        "is refused",
        "is filtered by",
        "is unreachable, says",
        "is silent",
        "SYNs unanswered",
        "cannot be tried from this machine",
        "closed the connection",
        "was given up",
        "has not answered yet",
        "is remembered as bad",
        "no greeting so far: the server pauses, or a tunnel hides a filtered port",
        "nothing is left to try",
        "gave up at the timeout",
        "no address found before the timeout",
        "the look-up of its addresses failed",
        "the proxy or the command failed",
        "the fallback was declined",
        "cancelled after",
        "not ended yet, after",
    ];
    let (source, page) = (read("src/report/mod.rs"), read("docs/troubleshooting.md"));
    for sentence in SENTENCES {
        assert!(source.contains(sentence), "src/report/mod.rs does not print `{sentence}`");
        assert!(page.contains(sentence), "docs/troubleshooting.md lacks `{sentence}`");
    }
}
