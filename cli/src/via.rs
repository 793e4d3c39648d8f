//! The proxy or command of a dial, from `--via` or the environment.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;

use mailport::Via;

/// The environment variable that is used if `--via` is not given.
const VARIABLE: &str = "MAILPORT_VIA";
/// The longest first line of a file, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Reads the option or, without it, the variable; an empty variable means none. An error never
/// repeats the text, which may hold a password.
pub(crate) fn read(option: Option<&str>) -> Result<Option<Via>, String> {
    if let Some(text) = option {
        let via = parse(text).map_err(|error| format!("--via <VIA>: {error}"))?;
        if via.has_credentials() && !text.starts_with('@') {
            return Err(format!(
                "--via <VIA>: every user of this machine can see a password there; set {VARIABLE} \
                 instead, or write it to a file and use --via @FILE"
            ));
        }
        return Ok(Some(via));
    }
    match env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => parse(&text).map(Some).map_err(|error| format!("{VARIABLE}: {error}")),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{VARIABLE}: it is not UTF-8")),
    }
}

fn parse(text: &str) -> Result<Via, String> {
    match text.strip_prefix('@') {
        Some(file) => read_file(file).map_err(|error| format!("{file}: {error}")),
        None => text.parse().map_err(|error: mailport::via::ViaParseError| error.to_string()),
    }
}

/// Reads the first line of a file. A file with a password must be readable by its owner alone, like
/// a private key of ssh.
fn read_file(path: &str) -> Result<Via, String> {
    let words = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(words)?;
    let others = file.metadata().map_err(words)?.permissions().mode() & 0o077;
    let mut line = String::new();
    BufReader::new(file.take(LONGEST)).read_line(&mut line).map_err(words)?;
    let via: Via = line
        .trim_end_matches(['\n', '\r'])
        .parse()
        .map_err(|error: mailport::via::ViaParseError| format!("in its first line, {error}"))?;
    if via.has_credentials() && others != 0 {
        return Err("it holds a password that other users can read: run chmod 600".to_owned());
    }
    Ok(via)
}
