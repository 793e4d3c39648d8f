//! The restrictions of Landlock: files and ports.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// Where look-ups of names read, and the cache finds out what network this is.
const READ: [&str; 8] =
    ["/etc", "/usr", "/lib", "/lib64", "/run", "/var/run", "/proc/self", "/sys"];
/// Files that look-ups read, and that may be links to somewhere else (WSL, systemd-resolved).
const LOOKUP_FILES: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
];

/// Restricts this thread and those that it starts, and says whether the kernel could.
pub(super) fn restrict(
    config: Option<&Path>,
    written: &[PathBuf],
    ports: Option<&BTreeSet<u16>>,
) -> String {
    let mut read: Vec<PathBuf> = READ.iter().map(PathBuf::from).collect();
    read.extend(LOOKUP_FILES.iter().filter_map(|path| directory_behind(Path::new(path))));
    read.extend(config.into_iter().flat_map(directories_of_config));
    let write: Vec<PathBuf> =
        written.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    for directory in &write {
        // If this fails, writing there fails too, and is reported then.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
    // A settings file that is read again may bring listeners at new ports.
    let binds = config.is_some();
    match enforce(&read, &write, binds, ports) {
        Ok(RulesetStatus::FullyEnforced) => "yes".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => "in part".to_owned(),
        Ok(RulesetStatus::NotEnforced) => "no: this kernel has no Landlock".to_owned(),
        Err(error) => format!("no: {error}"),
    }
}

fn enforce(
    read: &[PathBuf],
    write: &[PathBuf],
    binds: bool,
    ports: Option<&BTreeSet<u16>>,
) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(ABI::V3);
    let mut network = BitFlags::<AccessNet>::EMPTY;
    if ports.is_some() {
        network |= AccessNet::ConnectTcp;
        if !binds {
            network |= AccessNet::BindTcp;
        }
    }
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    rules = rules.handle_access(all)?;
    if !network.is_empty() {
        rules = rules.handle_access(network)?;
    }
    let mut rules = rules.create()?;
    let read = read.iter().map(|path| (path, AccessFs::from_read(ABI::V3)));
    for (path, access) in read.chain(write.iter().map(|path| (path, all))) {
        // A path that does not exist needs no rule.
        if let Ok(path) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(path, access))?;
        }
    }
    if let Some(ports) = ports {
        for port in ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        if !binds {
            // A source address is bound with a port of the kernel's choice.
            rules = rules.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// The directory of the file that a link leads to.
fn directory_behind(path: &Path) -> Option<PathBuf> {
    let target = fs::canonicalize(path).ok()?;
    if target == path {
        return None;
    }
    target.parent().map(Path::to_owned)
}

/// The directories in which the settings file may be found when it is read again. Where it is a
/// link, or in a directory that is one, the link may then lead to a directory beside today's.
fn directories_of_config(path: &Path) -> Vec<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut directories: Vec<PathBuf> = path.parent().map(Path::to_owned).into_iter().collect();
    if let Some(target) = fs::canonicalize(&path).ok().filter(|target| *target != path) {
        let beside = target.parent().and_then(Path::parent);
        let beside = beside.filter(|directory| directory.parent().is_some());
        directories.extend(target.parent().map(Path::to_owned));
        directories.extend(beside.map(Path::to_owned));
    }
    directories
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::thread;

    use super::*;

    /// Directories as a relay has them: its settings, its cache, and another file beside them.
    fn folders() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        for name in ["settings", "cache", "others"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), name).unwrap();
        }
        (folder, move |name| root.join(name).join("file"))
    }

    /// Restricts a separate thread, for the rules are those of a thread, and does something then.
    fn confined<T: Send + 'static>(
        config: PathBuf,
        written: PathBuf,
        then: impl FnOnce() -> T + Send + 'static,
    ) -> (String, T) {
        let all = move || (restrict(Some(&config), &[written], None), then());
        thread::spawn(all).join().unwrap()
    }

    #[test]
    fn only_its_own_files_can_be_reached_afterwards() {
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
        assert_eq!(fs::read(again).unwrap(), b"others", "other threads still can");
    }

    #[test]
    fn a_settings_file_is_found_after_its_link_has_changed() {
        let (directory, _) = folders();
        let root = directory.path().to_owned();
        for name in ["one", "two"] {
            fs::create_dir_all(root.join("releases").join(name)).unwrap();
            fs::write(root.join("releases").join(name).join("relay.toml"), name).unwrap();
        }
        fs::create_dir(root.join("etc")).unwrap();
        let config = root.join("etc").join("relay.toml");
        std::os::unix::fs::symlink(root.join("releases/one/relay.toml"), &config).unwrap();
        let (cache, link) = (root.join("cache").join("file"), config.clone());
        let (release, other) = (root.join("releases/two/relay.toml"), root.join("others/file"));
        let (said, seen) = confined(config, cache, move || {
            let again = thread::spawn({
                let link = link.clone();
                move || fs::read_to_string(link).ok()
            });
            [
                fs::read_to_string(release).ok(),
                again.join().unwrap(),
                fs::read_to_string(other).ok(),
            ]
        });
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(seen, [of("two"), of("one"), None], "{said}");
    }

    #[test]
    fn only_the_ports_of_the_settings_can_be_connected_to() {
        let (_directory, file) = folders();
        let (cache, ports) = (file("cache"), BTreeSet::from([587]));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let (said, kinds) = thread::spawn(move || {
            let said = restrict(None, &[cache], Some(&ports));
            let kind = |result: io::Result<()>| result.err().map(|error| error.kind());
            let connected = std::net::TcpStream::connect(to).map(drop);
            let bound = std::net::TcpListener::bind("127.0.0.1:2525").map(drop);
            let any = std::net::TcpListener::bind("127.0.0.1:0").map(drop);
            (said, [kind(connected), kind(bound), kind(any)])
        })
        .join()
        .unwrap();
        if said == "yes" {
            let denied = Some(io::ErrorKind::PermissionDenied);
            assert_eq!(kinds, [denied, denied, None]);
        } else {
            assert_eq!(said, "in part", "this kernel has Landlock without ports (before 6.7)");
        }
    }
}
