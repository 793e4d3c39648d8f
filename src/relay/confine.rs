//! What a relay gives up once it listens: its user, and the file system.

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

/// Where the system's look-ups of names read, and a memory what network this is.
const READ: [&str; 8] =
    ["/etc", "/usr", "/lib", "/lib64", "/run", "/var/run", "/proc/self", "/sys"];

/// Becomes this user, given by name or number, for good. With `mark`, the one capability is kept
/// that marking connections takes (`CAP_NET_ADMIN`).
///
/// Call it while the process has one thread.
pub fn become_user(name: &str, mark: bool) -> io::Result<()> {
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
    if mark {
        caps::securebits::set_keepcaps(true).map_err(io::Error::other)?;
    }
    let groups = std::ffi::CString::new(name)?;
    // Without groups of other users; a number that nobody has may have none at all.
    initgroups(&groups, gid).or_else(|_| nix::unistd::setgroups(&[gid]))?;
    setgid(gid)?;
    setuid(uid)?;
    let kept: CapsHashSet =
        if mark { [Capability::CAP_NET_ADMIN].into() } else { CapsHashSet::new() };
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(io::Error::other)?;
    }
    if mark {
        caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Takes the file system away from this process, but for reading where names are looked up and the
/// settings are, and for writing in the folders of these files (the control socket, the memory),
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
