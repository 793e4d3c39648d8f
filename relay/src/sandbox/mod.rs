//! What a relay gives up once it listens: its user, its capabilities, the file system, ports and
//! system calls.

mod landlock;
mod seccomp;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

use super::config::{Mode, Settings};

/// Becomes this user, given by name or number, and drops every capability; with `mark` it keeps the
/// one that marking connections needs (`CAP_NET_ADMIN`), if it has that. Without a user it stays who
/// it is: root without capabilities is a user like any other, who owns root's files. Both are final.
///
/// The user becomes the owner of `sockets`, which the relay has made before.
///
/// Call it while the process has one thread.
pub fn drop_privileges(user: Option<&str>, mark: bool, sockets: &[PathBuf]) -> io::Result<()> {
    let user = user.map(look_up).transpose()?;
    let kept = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet =
        kept.into_iter().filter(|one| mark && *one == Capability::CAP_NET_ADMIN).collect();
    // Root would get these back by executing another program. Only root may, and must, drop them.
    for one in caps::all() {
        if !kept.contains(&one) {
            let _ = caps::drop(None, CapSet::Bounding, one);
        }
    }
    if let Some((name, uid, gid)) = user {
        for socket in sockets {
            lchown(socket, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        caps::securebits::set_keepcaps(true).map_err(io::Error::other)?;
        // A number without a user has no other groups.
        initgroups(&name, gid).or_else(|_| nix::unistd::setgroups(&[gid]))?;
        setgid(gid)?;
        setuid(uid)?;
    }
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let held = caps::read(None, set).map_err(io::Error::other)?;
        // Under a service manager there may be nothing to drop, and no permission to try.
        let wanted: CapsHashSet = match set {
            CapSet::Inheritable => held.intersection(&kept).copied().collect(),
            _ => kept.clone(),
        };
        if held != wanted {
            caps::set(None, set, &wanted).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn look_up(name: &str) -> io::Result<(CString, Uid, Gid)> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no user is named `{name}`"));
    let (uid, gid) = match (User::from_name(name)?, name.parse::<u32>()) {
        (Some(user), _) => (user.uid, user.gid),
        (None, Ok(number)) => {
            let user = User::from_uid(Uid::from_raw(number))?;
            (Uid::from_raw(number), user.map_or(Gid::from_raw(number), |user| user.gid))
        }
        (None, Err(_)) => return Err(unknown()),
    };
    if uid.is_root() {
        return Err(io::Error::other("the user must not be root"));
    }
    Ok((CString::new(name)?, uid, gid))
}

/// The ports that DNS uses.
const DNS_PORTS: [u16; 2] = [53, 853];

/// What a relay may still do once it is confined.
#[derive(Debug)]
pub struct Confinement {
    /// What became of Landlock: `yes`, `in part` or `no`, with a reason. Not every kernel has it.
    pub landlock: String,
    /// What became of the filter of system calls, likewise.
    pub seccomp: String,
    /// The ports that it may connect to; `None` is any.
    ports: Option<BTreeSet<u16>>,
    may_execute: bool,
}

/// Confines this process: it may then only
/// - read what look-ups of names and the cache's view of the network need, and the settings file,
///   also after a symbolic link to it has changed;
/// - write in the directories of `written` (the control socket, the cache), which are made if they
///   do not exist, and of UNIX listeners;
/// - connect to the ports of these settings and of DNS; without a settings file, which could bring
///   new listeners, it may also bind to no port;
/// - make no system calls that only an attacker would; executing programs is among them unless the
///   relay dials through a command.
///
/// Call it while the process has one thread.
pub fn confine(settings: &Settings, config: Option<&Path>, written: &[&Path]) -> Confinement {
    let ports = ports(settings);
    let may_execute = runs_commands(settings);
    let sockets = settings.listeners.iter().filter_map(|listener| match &listener.address {
        super::config::ListenAddress::Unix(path) => Some(path.clone()),
        super::config::ListenAddress::Tcp(_) => None,
    });
    let written: Vec<PathBuf> =
        written.iter().map(|path| (*path).to_owned()).chain(sockets).collect();
    let landlock = landlock::restrict(config, &written, ports.as_ref());
    let seccomp = match seccomp::deny(may_execute) {
        Ok(()) => "yes".to_owned(),
        Err(reason) => format!("no: {reason}"),
    };
    Confinement { landlock, seccomp, ports, may_execute }
}

impl Confinement {
    /// Refuses settings of a reload that need what the relay has given up.
    pub fn check(&self, settings: &Settings) -> Result<(), String> {
        if runs_commands(settings) && !self.may_execute {
            return Err("a `via` with a command needs a restart of the relay".to_owned());
        }
        let (Some(allowed), Some(wanted)) = (&self.ports, ports(settings)) else { return Ok(()) };
        match wanted.iter().find(|port| !allowed.contains(port)) {
            Some(port) => Err(format!("connecting to port {port} needs a restart of the relay")),
            None => Ok(()),
        }
    }
}

fn runs_commands(settings: &Settings) -> bool {
    settings.listeners.iter().any(|listener| {
        listener.via.as_ref().is_some_and(|via| via.to_string().starts_with("command:"))
    })
}

/// The ports that a relay with these settings connects to; `None` where a command connects, for
/// which the restriction would hold too.
fn ports(settings: &Settings) -> Option<BTreeSet<u16>> {
    if runs_commands(settings) {
        return None;
    }
    let mut ports = BTreeSet::from(DNS_PORTS);
    for listener in &settings.listeners {
        match &listener.mode {
            Mode::Fixed { plan, .. } => {
                ports.extend(plan.services().iter().map(|service| service.port()));
            }
            Mode::Proxy(asked) | Mode::Transparent(asked) | Mode::TakenOver(asked, _) => {
                ports.extend(&asked.ports);
            }
        }
        // `socks5://HOST:PORT`, always with the port.
        let via = listener.via.as_ref().map(ToString::to_string);
        let port = via.as_deref().and_then(|text| text.rsplit(':').next()?.parse::<u16>().ok());
        ports.extend(port);
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_cannot_ask_for_what_was_given_up() {
        let settings = |more: &str| {
            let text = format!(
                "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:2525\"\n\
                 server = \"mail.example\"\n{more}"
            );
            Settings::parse(&text).unwrap()
        };
        let first = settings("via = \"socks5://127.0.0.1:9050\"\n");
        assert_eq!(ports(&first), Some(BTreeSet::from([25, 53, 587, 853, 9050])));
        let confinement = Confinement {
            landlock: String::new(),
            seccomp: String::new(),
            ports: ports(&first),
            may_execute: runs_commands(&first),
        };
        assert_eq!(confinement.check(&settings("")), Ok(()));
        let other = settings("plan = \"2525:starttls\"\n");
        assert!(confinement.check(&other).unwrap_err().contains("port 2525 needs a restart"));
        let command = settings("via = \"command:ssh -W %h:%p gateway\"\n");
        assert_eq!(ports(&command), None, "the command connects where it likes");
        assert!(confinement.check(&command).unwrap_err().contains("needs a restart"));
    }
}
