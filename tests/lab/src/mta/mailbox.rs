//! What was delivered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::name_on;

/// A letter in the mailbox, as the server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The lines before the first empty one, with those that were folded made whole again.
    pub header: Vec<String>,
    /// Everything after it, byte by byte; lines end in LF.
    pub body: Vec<u8>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Message {
        let end = bytes.windows(2).position(|two| two == b"\n\n");
        let (header, body) = end.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
        let mut lines: Vec<String> = Vec::new();
        for line in String::from_utf8_lossy(header).lines() {
            match lines.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
                _ => lines.push(line.to_owned()),
            }
        }
        Message { header: lines, body: body.to_vec() }
    }

    /// What stands behind the first header line of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.header.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The port of the server that received it, by its own account.
    pub fn port(&self) -> Option<u16> {
        let received = self.field("Received")?;
        let by = received.split_whitespace().skip_while(|word| *word != "by").nth(1)?;
        [587, 465, 25].into_iter().find(|port| by == name_on(*port))
    }
}

/// Reads a mailbox; the order is that of the file names.
pub(super) fn read(home: &Path) -> io::Result<Vec<Message>> {
    let mut all = Vec::new();
    // A client that reads the mailbox moves its letters to the second of these.
    for folder in ["new", "cur"] {
        all.extend(files(&home.join("Maildir").join(folder))?);
    }
    all.sort();
    all.iter().map(|file| Ok(Message::parse(&fs::read(file)?))).collect()
}

/// Tells whether there is no file in any of these folders, or below.
pub(super) fn are_empty(folders: &[PathBuf]) -> io::Result<bool> {
    for folder in folders {
        if !files(folder)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every file in a folder and below; what vanishes meanwhile, or never was, is none.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())?),
            Ok(_) => found.push(entry.path()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_header_unfolded_and_its_body_untouched() {
        let text = b"Received: from c (c [192.0.2.1])\n\tby port-587.example.test (X)\nSubject: a\n b\n\n\n.\n";
        let message = Message::parse(text);
        assert_eq!(message.port(), Some(587));
        assert_eq!(message.field("subject"), Some("a b"));
        assert_eq!(message.body, b"\n.\n");
    }
}
