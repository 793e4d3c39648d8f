//! Dials through a proxy or a command, and commands to go through.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use mailport::{Config, ConnectError, Connected, Dialer, Outcome, Report, Stream, Target};
use tempfile::TempDir;

use crate::common::{Port, open, plan};

pub(crate) fn target() -> Target {
    "mail.example".parse().unwrap()
}

pub(crate) fn dialer(via: &str) -> Dialer {
    Dialer::default().with_via(via.parse().unwrap())
}

pub(crate) fn through(
    via: &str,
    ports: &[u16],
    config: &Config,
) -> Result<Connected, ConnectError> {
    dialer(via).with_plan(plan(ports)).with_config(config.clone()).connect(target())
}

pub(crate) fn failed(result: Result<Connected, ConnectError>) -> Report {
    match result {
        Err(ConnectError::Failed(report)) => *report,
        other => panic!("not a failed dial: {other:?}"),
    }
}

pub(crate) fn outcomes(report: &Report) -> Vec<Outcome> {
    report.attempts.iter().filter_map(|attempt| attempt.outcome).collect()
}

pub(crate) fn note(report: &Report, attempt: usize) -> &str {
    report.attempts[attempt].note.as_deref().unwrap_or_default()
}

pub(crate) fn read_to_end(mut stream: &Stream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}

/// A proxy for one test: `serve` is called with the number of each connection.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// The port of each request, as it comes.
    pub(crate) requests: mpsc::Receiver<u16>,
}

pub(crate) type Requests = mpsc::Sender<u16>;

pub(crate) fn proxy(serve: impl Fn(usize, TcpStream, Requests) + Send + 'static) -> Proxy {
    let listener = open();
    let url = format!("socks5://127.0.0.1:{}", listener.port());
    let (send, requests) = mpsc::channel();
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            serve(number, connection.unwrap(), send.clone());
        }
    });
    Proxy { url, requests }
}

/// A folder with a script in it.
pub(crate) fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tunnel");
    // Under another name first: a file that some process writes to cannot be executed.
    fs::write(folder.path().join("new"), text).unwrap();
    fs::set_permissions(folder.path().join("new"), Permissions::from_mode(0o700)).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    (folder, path)
}

pub(crate) fn shell(text: &str) -> (TempDir, String) {
    let (folder, path) = script(&format!("#!/bin/sh\n{text}\n"));
    let via = format!("command:{} %h %p", path.display());
    (folder, via)
}

/// Children of this process, ended ones included.
pub(crate) fn children() -> usize {
    let ours = std::process::id().to_string();
    let is_child = |stat: String| {
        let after_name = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        after_name.split(' ').nth(1) == Some(&*ours)
    };
    let processes = fs::read_dir("/proc").unwrap();
    let stats = processes.filter_map(|e| fs::read_to_string(e.ok()?.path().join("stat")).ok());
    stats.filter(|stat| is_child(stat.clone())).count()
}

/// Whether any process has this among its words.
pub(crate) fn runs(word: &str) -> bool {
    let mut processes = fs::read_dir("/proc").unwrap();
    processes.any(|entry| {
        let words = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(word)
    })
}
