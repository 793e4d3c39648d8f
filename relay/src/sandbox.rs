//! What a relay gives up once it listens: its user, its capabilities, and the file system.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// Where the system's look-ups of names read, and a cache what network this is.
const READ: [&str; 8] =
    ["/etc", "/usr", "/lib", "/lib64", "/run", "/var/run", "/proc/self", "/sys"];

/// Becomes this user, given by name or number, for good, and gives up every capability; with `mark`,
/// all but the one that marking connections takes (`CAP_NET_ADMIN`), if it is there. Without a user
/// it stays who it is: root without capabilities is a user like any other, who owns root's files.
///
/// Call it while the process has one thread.
pub fn give_up(user: Option<&str>, mark: bool) -> io::Result<()> {
    let user = user.map(look_up).transpose()?;
    let kept = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet =
        kept.into_iter().filter(|one| mark && *one == Capability::CAP_NET_ADMIN).collect();
    // What root would get back by executing another program. Only root can, and need do so.
    for one in caps::all() {
        if !kept.contains(&one) {
            let _ = caps::drop(None, CapSet::Bounding, one);
        }
    }
    if let Some((name, uid, gid)) = user {
        caps::securebits::set_keepcaps(true).map_err(io::Error::other)?;
        // Without groups of other users; a number that nobody has may have none at all.
        initgroups(&name, gid).or_else(|_| nix::unistd::setgroups(&[gid]))?;
        setgid(gid)?;
        setuid(uid)?;
    }
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let held = caps::read(None, set).map_err(io::Error::other)?;
        // Under a service manager there may be nothing to give up, nor leave to try.
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
        return Err(io::Error::other("root is no user to become"));
    }
    Ok((CString::new(name)?, uid, gid))
}

/// Takes the file system away from this process, but for reading where names are looked up and the
/// settings are, and for writing in the folders of these files (the control socket, the cache),
/// which are made if need be. Says what came of it: not every kernel can.
pub fn confine(config: Option<&Path>, written: &[&Path]) -> String {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let read = READ.iter().map(|path| Path::new(path).to_owned());
    let read = read.chain(config.and_then(parent));
    let write: Vec<_> = written.iter().filter_map(|path| parent(path)).collect();
    for folder in &write {
        // Where it cannot be made, nothing can be written either, and whoever tries will say so.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    let result = (|| {
        let all = AccessFs::from_all(ABI::V3);
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .create()?;
        for (path, access) in read
            .map(|path| (path, AccessFs::from_read(ABI::V3)))
            .chain(write.into_iter().map(|path| (path, all)))
        {
            // What is not there needs no permission.
            if let Ok(path) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(path, access))?;
            }
        }
        rules.restrict_self()
    })();
    match result {
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced => "yes".to_owned(),
            RulesetStatus::PartiallyEnforced => "in part".to_owned(),
            RulesetStatus::NotEnforced => "no: this kernel has no Landlock".to_owned(),
        },
        Err(error) => format!("no: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What a relay's folders are like: its settings, its cache, and a stranger's file beside them.
    fn folders() -> (tempfile::TempDir, impl Fn(&str) -> std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        for name in ["settings", "cache", "others"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), name).unwrap();
        }
        (folder, move |name| root.join(name).join("file"))
    }

    /// Gives up the file system in a thread of its own, for this kernel's rules are a thread's, and
    /// does something then.
    fn confined<T: Send + 'static>(
        config: std::path::PathBuf,
        written: std::path::PathBuf,
        then: impl FnOnce() -> T + Send + 'static,
    ) -> (String, T) {
        let all = move || (confine(Some(&config), &[&written]), then());
        thread::spawn(all).join().unwrap()
    }

    #[test]
    fn nothing_but_its_own_files_can_be_reached_afterwards() {
        let (_folder, file) = folders();
        let [settings, cache, others] = ["settings", "cache", "others"].map(file);
        let (there, again) = (others.clone(), others.clone());
        let (said, seen) = confined(settings.clone(), cache.clone(), move || {
            let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
            [
                kind(fs::read(&settings).map(drop)),
                kind(fs::write(&settings, "changed")),
                kind(fs::write(&cache, "learned")),
                kind(fs::rename(&cache, cache.with_extension("new"))),
                kind(fs::read("/etc/hosts").map(drop)),
                kind(fs::read(&there).map(drop)),
                kind(fs::write(&there, "changed")),
                kind(fs::remove_file(&there)),
                kind(fs::read_dir("/root").map(drop)),
                kind(fs::write("/tmp/mailport-was-here", "")),
            ]
        });
        let denied = Err(io::ErrorKind::PermissionDenied);
        let yes = Ok(());
        let expected = [yes, denied, yes, yes, yes, denied, denied, denied, denied, denied];
        assert!(!said.starts_with("no: "), "{said} (CONFIG_SECURITY_LANDLOCK)");
        assert_eq!(seen, expected, "{said}");
        assert_eq!(fs::read(again).unwrap(), b"others", "who is not confined still can");
    }
}
