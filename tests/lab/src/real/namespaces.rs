//! Network and mount namespaces without names, and threads inside of them.
//!
//! A namespace here is two descriptors: it lasts as long as they, and the threads and processes
//! inside, do.

use std::env;
use std::fs::File;
use std::io;
use std::panic;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::explain;
use super::names::Names;

#[derive(Debug)]
pub(super) struct Namespace {
    network: File,
    mounts: File,
}

impl Namespace {
    /// Makes a namespace without any link, in which these names resolve.
    pub(super) fn new(names: &Names) -> io::Result<Namespace> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(explain(
                "the lab makes network and mount namespaces, which takes CAP_SYS_ADMIN: \
                 run it as root, or under `unshare -Urnm`",
            ))?;
            mount_names(names)?;
            // The thread's own: /proc/self is the process, which stays where it was.
            Ok(Namespace {
                network: File::open("/proc/thread-self/ns/net")
                    .map_err(explain("the lab needs /proc of this process"))?,
                mounts: File::open("/proc/thread-self/ns/mnt")?,
            })
        })?
    }

    /// Runs a closure inside, on its own thread; fails when it cannot enter.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread inside, for good.
    fn enter(&self) -> io::Result<()> {
        let folder = env::current_dir().map_err(explain("the lab needs a current directory"))?;
        // A thread that shares its root and current directory cannot change its mounts.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.network, CloneFlags::CLONE_NEWNET)
            .map_err(explain("entering the lab's network namespace takes CAP_SYS_ADMIN"))?;
        setns(&self.mounts, CloneFlags::CLONE_NEWNS).map_err(explain(
            "entering the lab's mount namespace takes CAP_SYS_ADMIN and CAP_SYS_CHROOT",
        ))?;
        // Entering has led to the root directory.
        env::set_current_dir(folder)
    }
}

/// Hides the files of /etc that names resolve from, for this mount namespace only.
fn mount_names(names: &Names) -> io::Result<()> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(explain("the lab cannot keep its mounts to itself"))?;
    for (ours, theirs) in names.files() {
        mount(Some(&ours), &theirs, nothing, MsFlags::MS_BIND, nothing)
            .map_err(explain(format_args!("the lab cannot mount over {}", theirs.display())))?;
    }
    Ok(())
}

/// Namespaces are a thread's: runs the closure on one that ends with it. A panic goes on here.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("lab-inside".to_owned());
        let thread = thread.spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
    })
}
