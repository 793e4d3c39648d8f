//! Starts the program, or says why this system does not allow it, and what to do instead.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::signal::SigSet;

use super::processes::{descriptor_of, process_of};
use super::sys::{self, Held, HoldError};

/// Exit status where the system does not allow `mailport run`, as of timeout(1) and env(1).
pub(super) const NOT_POSSIBLE: u8 = 125;

/// Why the program does not run.
#[derive(Debug)]
pub(super) enum StartError {
    /// The system does not allow it; a sentence that says what to do instead.
    NotPossible(String),
    /// The program cannot be executed.
    Program(OsString, io::Error),
}

impl StartError {
    /// As timeout(1) and env(1) have it.
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            StartError::NotPossible(_) => NOT_POSSIBLE,
            StartError::Program(_, error) if error.kind() == io::ErrorKind::NotFound => 127,
            StartError::Program(..) => 126,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotPossible(sentence) => f.write_str(sentence),
            StartError::Program(program, error) => write!(f, "{}: {error}", program.display()),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::NotPossible(format!("mailport run could not start: {error}"))
    }
}

fn not_possible<T>(sentence: &str) -> Result<T, StartError> {
    Err(StartError::NotPossible(format!("{sentence}; use mailport relay")))
}

/// Makes the process of a program, which does not start yet, and checks that its calls can be
/// answered.
pub(super) fn hold(program: &[OsString], mask: SigSet) -> Result<Held, StartError> {
    if !sys::IS_SUPPORTED {
        return not_possible("mailport run does not support this processor");
    }
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    let held = match Held::new(command, mask) {
        Ok(held) => held,
        Err(HoldError::Filter(error)) => return not_possible(&no_filter(&error)),
        Err(HoldError::Process(error)) => {
            return Err(StartError::Program(program[0].clone(), error));
        }
    };
    let refusal = no_access(&held).or_else(|| loses_privileges(&held, &program[0]));
    match refusal {
        None => Ok(held),
        Some(sentence) => {
            held.give_up();
            Err(StartError::NotPossible(sentence))
        }
    }
}

pub(super) fn start(held: Held, program: &OsStr) -> Result<(Child, OwnedFd), StartError> {
    held.start().map_err(|error| StartError::Program(program.to_owned(), error))
}

fn no_filter(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "another program already answers the connect calls of this one \
                              (seccomp user notification): mailport run cannot be nested"
            .to_owned(),
        Some(libc::EINVAL | libc::ENOSYS) => {
            "this kernel has no seccomp user notification, which mailport run needs (Linux 5.9)"
                .to_owned()
        }
        _ => format!(
            "this system or container does not allow a seccomp filter, which mailport run needs \
             ({error})"
        ),
    }
}

/// Why this process may not look into the program.
fn no_access(held: &Held) -> Option<String> {
    let process = held.process;
    let looks = || {
        sys::can_read_memory(process).map_err(|error| ("process_vm_readv", error))?;
        let process = process_of(process).map_err(|error| ("/proc", error))?;
        descriptor_of(process, process, 0).map(drop).or_else(|error| match error.raw_os_error() {
            // It has no such descriptor, but may be looked into.
            Some(libc::EBADF) => Ok(()),
            _ => Err(("pidfd_getfd", error)),
        })
    };
    let (what, error) = looks().err()?;
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    Some(access_refusal(what, &error, &scope))
}

/// The sentence for a system that refuses `what`. `scope` is the content of the file of Yama, and
/// empty without Yama. Under 0 and 1 a process may look into those that it has started.
fn access_refusal(what: &str, error: &io::Error, scope: &str) -> String {
    let yama = |scope, remedy| {
        format!(
            "this system does not let this user look into other processes \
             (kernel.yama.ptrace_scope is {scope}), which mailport run needs: {remedy}, or use \
             mailport relay"
        )
    };
    match (what, scope.trim()) {
        ("/proc", _) => {
            format!("mailport run needs /proc ({error}): mount it, or use mailport relay")
        }
        (_, "2") => yama("2", "set it to 1, or start mailport run as root"),
        (_, "3") => {
            yama("3", "set it to 1 for the next start of the system, as it cannot be changed now")
        }
        _ => format!(
            "this system or container does not let a process look into one that it has started \
             ({what}: {error}), which mailport run needs: allow that system call (in a container, \
             add the capability SYS_PTRACE), or use mailport relay"
        ),
    }
}

/// Why the program would not do what it does alone.
fn loses_privileges(held: &Held, program: &OsStr) -> Option<String> {
    const SET_USER_ID: u32 = 0o4000;
    if !held.gave_up_privileges {
        return None;
    }
    let file = fs::metadata(find(program)?).ok()?;
    let is_set_user_id =
        file.mode() & SET_USER_ID != 0 && file.uid() != rustix::process::geteuid().as_raw();
    is_set_user_id.then(|| {
        format!(
            "{} is a set-user-ID program, which would not get its privileges under mailport run \
             (NO_NEW_PRIVS): start mailport run with them, or use mailport relay",
            program.display()
        )
    })
}

/// The file of a program, as execvp(3) finds it.
fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(Path::new(program).to_owned());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yama_refuses_is_said_with_the_remedy() {
        let refused =
            |what, scope| access_refusal(what, &io::Error::from_raw_os_error(libc::EPERM), scope);
        for (scope, words) in [
            (
                "2\n",
                ["ptrace_scope is 2)", ": set it to 1, or start mailport run as root, or use "],
            ),
            ("3\n", ["ptrace_scope is 3)", ": set it to 1 for the next start of the system, "]),
            // These allow it, so something else has refused it.
            (
                "1\n",
                ["(process_vm_readv: Operation not permitted", "capability SYS_PTRACE), or use "],
            ),
            (
                "0\n",
                ["(process_vm_readv: Operation not permitted", "capability SYS_PTRACE), or use "],
            ),
            ("", ["(process_vm_readv: Operation not permitted", "capability SYS_PTRACE), or use "]),
        ] {
            let sentence = refused("process_vm_readv", scope);
            assert!(words.iter().all(|words| sentence.contains(words)), "{scope}: {sentence}");
            assert!(sentence.ends_with("use mailport relay"), "{sentence}");
        }
        assert!(refused("/proc", "2\n").contains("needs /proc"));
    }
}
