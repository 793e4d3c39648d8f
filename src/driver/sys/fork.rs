//! Whether this process is the one in which something was made, or a forked child.

use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A process, as far as forks tell them apart: a child has another one than its parent, however it
/// was forked (fork, a raw clone) and whatever its process number is in its own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId {
    /// 0 where the kernel offers no page that a fork empties.
    generation: u64,
    /// 0 where it does: asking for the number costs a system call.
    number: u32,
}

impl ProcessId {
    /// This process.
    pub(crate) fn current() -> ProcessId {
        static PAGE: OnceLock<Option<Page>> = OnceLock::new();
        match PAGE.get_or_init(Page::new) {
            Some(page) => ProcessId { generation: page.generation(), number: 0 },
            None => ProcessId { generation: 0, number: std::process::id() },
        }
    }

    /// Whether this is still the same process.
    pub(crate) fn is_current(self) -> bool {
        self == ProcessId::current()
    }
}

/// A page that reads as zeros in a forked child (`MADV_WIPEONFORK`, Linux 4.14).
struct Page(NonNull<AtomicU64>);

// SAFETY: the page is never unmapped, and is only used as an atomic number.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> Option<Page> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let length = size_of::<AtomicU64>();
        // SAFETY: a new mapping; the kernel rounds its length up to a page.
        let page = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping of above.
        if unsafe { libc::madvise(page, length, libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: as above; nothing points to it.
            unsafe { libc::munmap(page, length) };
            return None;
        }
        NonNull::new(page.cast()).map(Page)
    }

    /// The generation of this process; the first call in a child gives it a new one, above those of
    /// everything that it has inherited.
    fn generation(&self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // SAFETY: mapped for the life of the process, aligned, and valid for any bits.
        let page = unsafe { self.0.as_ref() };
        match page.load(Ordering::Acquire) {
            0 => {
                let new = LAST.fetch_add(1, Ordering::AcqRel) + 1;
                let stored = page.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
                // Another thread may have been first.
                stored.err().unwrap_or(new)
            }
            generation => generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child says of an id of its parent; `fork` is any call that makes a child.
    fn is_current_in_child(fork: impl Fn() -> libc::pid_t) -> bool {
        let here = ProcessId::current();
        assert!(here.is_current());
        let child = fork();
        if child == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(here.is_current())) }
        }
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status) == 1
    }

    #[test]
    fn a_child_is_another_process_however_it_was_made() {
        // SAFETY: the child makes system calls only.
        assert!(!is_current_in_child(|| unsafe { libc::fork() }));
        let raw = || {
            let flags = libc::c_ulong::try_from(libc::SIGCHLD).expect("a small number");
            // SAFETY: as above; no stack is given, so the child has a copy of this one.
            let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
            libc::pid_t::try_from(child).expect("a process number")
        };
        assert!(!is_current_in_child(raw));
        assert!(ProcessId::current().is_current());
    }
}
