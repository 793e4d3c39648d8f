//! `mailport man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The day of the release, which the pages show.
const DATE: &str = "2026-11-29";

/// Prints a manual page
///
/// To read it: mailport man relay nft | man -l -
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The subcommand to print the page of; without it, the page of mailport itself
    ///
    /// A subcommand of another follows it, after a space or a hyphen: relay nft, relay-nft.
    #[arg(value_name = "SUBCOMMAND")]
    subcommand: Vec<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut root = crate::Cli::command().disable_help_subcommand(true);
    root.build();
    let name = args.subcommand.join("-");
    let Some(command) = find(&root, &name) else {
        return crate::misuse("man", format_args!("no subcommand is named `{name}`"));
    };
    let page = page(&root, command, &name);
    crate::written(page.and_then(|page| io::stdout().lock().write_all(page.as_bytes())))
}

/// The command of a page: `relay-nft` is `nft` of `relay`.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Command> {
    if name.is_empty() {
        return Some(command);
    }
    command.get_subcommands().find_map(|found| {
        let rest = name.strip_prefix(found.get_name())?;
        find(found, if rest.is_empty() { rest } else { rest.strip_prefix('-')? })
    })
}

fn page(root: &Command, command: &Command, name: &str) -> io::Result<String> {
    let usage = usage(command);
    // Its own subcommand `help` has no page.
    let command = command.clone().override_usage(usage).disable_help_subcommand(true);
    let source = format!("mailport {}", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    Man::new(command).manual("mailport").source(source).date(DATE).render(&mut page)?;
    let mut sections = Roff::new();
    for (title, rows) in SECTIONS {
        section(&mut sections, title, rows.iter().filter(|row| row.0.contains(&name)));
    }
    sections.control("SH", ["SEE ALSO"]);
    see_also(&mut sections, root, name);
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // Two line breaks around an empty line are one empty line.
    Ok(page.replace("\n.br\n\n.br\n", "\n.sp\n") + &sections.to_roff())
}

/// A row of a section: the pages that have it, a term, and what it means.
type Row = (&'static [&'static str], &'static str, &'static str);

fn section<'a>(roff: &mut Roff, title: &str, rows: impl Iterator<Item = &'a Row>) {
    for (number, (_, term, meaning)) in rows.enumerate() {
        if number == 0 {
            roff.control("SH", [title]);
        }
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}

/// The command above it, those beside and below it, and what is elsewhere: each on a line.
fn see_also(roff: &mut Roff, root: &Command, name: &str) {
    let mut pages = Vec::new();
    let mut all = vec![("mailport".to_owned(), root)];
    while let Some((page, command)) = all.pop() {
        let below = command.get_subcommands();
        let below = below.filter(|command| command.get_name() != "help" && !command.is_hide_set());
        all.extend(below.map(|command| (format!("{page}-{}", command.get_name()), command)));
        pages.push(page + "(1)");
    }
    let own =
        if name.is_empty() { "mailport(1)".to_owned() } else { format!("mailport-{name}(1)") };
    pages.retain(|page| *page != own);
    pages.sort();
    pages.extend(["mailport(3)".to_owned()]);
    if name.starts_with("relay") {
        pages.extend(["nft(8)".to_owned(), "systemd.socket(5)".to_owned()]);
    }
    let last = pages.len() - 1;
    for (number, page) in pages.into_iter().enumerate() {
        roff.text([roman(if number == last { page } else { page + "," })]);
    }
}

/// The synopsis, with a value for each option that takes one.
fn usage(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    let mut words = vec![name.to_owned()];
    words.extend(command.get_opts().filter(shown).map(option));
    words.extend(command.get_arguments().filter(shown).filter(|arg| is_flag(arg)).map(option));
    for arg in command.get_positionals().filter(shown) {
        let many =
            if arg.get_num_args().is_some_and(|count| count.max_values() > 1) { "..." } else { "" };
        let value = values(arg) + many;
        words.push(if arg.is_required_set() { value } else { format!("[{value}]") });
    }
    let mut forms = vec![words.join(" ")];
    for found in command.get_subcommands().filter(|found| found.get_name() != "help") {
        forms.push(format!("{name} {} ...", found.get_name()));
    }
    if command.is_subcommand_required_set() {
        forms.remove(0);
    }
    forms.join("\n")
}

fn is_flag(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.get_action().takes_values()
}

fn values(arg: &Arg) -> String {
    arg.get_value_names().map_or_else(|| arg.get_id().to_string(), |names| names.join(" "))
}

/// `[--timeout TIME]`; dots follow what may be given several times.
fn option(arg: &Arg) -> String {
    let name = match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => arg.get_id().to_string(),
    };
    let value = if is_flag(arg) { String::new() } else { format!(" {}", values(arg)) };
    let many = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
    let option = name + &value;
    if arg.is_required_set() { option + many } else { format!("[{option}]{many}") }
}

/// What the option parser does not know, by page; the page of `mailport` is the empty name.
const SECTIONS: [(&str, &[Row]); 3] =
    [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES), ("EXAMPLES", EXAMPLES)];

const DIALS: &[&str] = &["", "connect", "probe", "relay", "run"];
const CACHES: &[&str] = &[
    "",
    "connect",
    "relay",
    "run",
    "cache",
    "cache-list",
    "cache-forget",
    "cache-clear",
    "cache-path",
];
const SOCKETS: &[&str] = &["relay", "relay-status"];

const ENVIRONMENT: &[Row] = &[
    (
        &["connect"],
        "MAILPORT_VIA",
        "The proxy or command to connect through, if --via is not given.",
    ),
    (
        CACHES,
        "XDG_CACHE_HOME, HOME",
        "The cache is below XDG_CACHE_HOME, or else below .cache in HOME.",
    ),
    (DIALS, "RES_OPTIONS", "Options of the resolver: see resolv.conf(5)."),
    (
        &["probe"],
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "The certificates that --tls trusts, in place of those of the system.",
    ),
    (
        SOCKETS,
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR",
        "The control socket is in RUNTIME_DIRECTORY, or else in mailport in XDG_RUNTIME_DIR.",
    ),
    (
        &["relay"],
        "LISTEN_FDS, NOTIFY_SOCKET",
        "The listeners that systemd passes, and where the relay reports that it is ready.",
    ),
    (&["", "connect", "probe"], "NO_COLOR", "If it is set, nothing is printed in colour."),
];

const FILES: &[Row] = &[
    (CACHES, "~/.cache/mailport/cache.json", "The cache. It may be deleted at any time."),
    (
        DIALS,
        "/etc/hosts, /etc/resolv.conf, /etc/nsswitch.conf, /etc/gai.conf",
        "Names are looked up as by every other program of the system.",
    ),
    (SOCKETS, "$RUNTIME_DIRECTORY/relay.sock", "The control socket of a relay."),
];

const EXAMPLES: &[Row] = &[
    (
        &["", "connect"],
        "mailport connect mail.example.com",
        "Tries 587, then 25, and prints which was reached and why.",
    ),
    (
        &["connect"],
        "mailport connect mail.example.com --explain",
        "Draws each attempt on a time scale.",
    ),
    (
        &["connect"],
        "mailport connect mail.example.com --plan 465:implicit,587:starttls",
        "Tries 465, then 587.",
    ),
    (
        &["connect"],
        "swaks --pipe 'mailport connect --stdio mail.example.com' --tls --to user@example.com",
        "Is the connection of another program.",
    ),
    (
        &["connect"],
        "mailport connect mail.example.com --via socks5://127.0.0.1:1080",
        "Connects through a proxy.",
    ),
    (&["", "probe"], "mailport probe mail.example.com", "Tries every service at every address."),
    (
        &["probe"],
        "mailport probe --tls mail.example.com",
        "Checks TLS, the certificate and the login that each service offers.",
    ),
    (
        &["", "run"],
        "mailport run msmtp user@example.com",
        "Gives msmtp's connections to mail ports the fallback.",
    ),
    (
        &["relay"],
        "mailport relay --listen 127.0.0.1:2525=mail.example.com",
        "Listens for mail clients on port 2525, and connects each to mail.example.com.",
    ),
    (
        &["relay"],
        "mailport relay --config relay.toml --check",
        "Checks a file of settings, and ends.",
    ),
    (
        &["relay-nft"],
        "mailport relay nft --port 2500 | nft -f -",
        "Redirects the mail connections of this machine to the relay.",
    ),
    (
        &["relay-pac"],
        "mailport relay pac > mailport.pac",
        "Writes the file that Thunderbird is configured with.",
    ),
    (&["relay-status"], "mailport relay status", "Prints the status of the relay of this user."),
    (&["cache", "cache-list"], "mailport cache list", "Lists what earlier dials have found out."),
    (
        &["cache", "cache-forget"],
        "mailport cache forget mail.example.com",
        "Removes the entries of one server.",
    ),
    (&["cache", "cache-clear"], "mailport cache clear", "Removes every entry."),
    (&["cache", "cache-path"], "mailport cache path", "Prints the path of the file."),
    (
        &["defaults"],
        "mailport defaults",
        "Prints every option with its default and the source of the default.",
    ),
    (&["man"], "mailport man relay nft | man -l -", "Shows the page of a subcommand."),
    (
        &["completions"],
        "mailport completions bash > ~/.local/share/bash-completion/completions/mailport",
        "Installs the completions for one user.",
    ),
];
