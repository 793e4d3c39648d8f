//! Which process this is, across every kind of fork.

use std::process;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that is the same for every call in a process, and another one in each child that is
/// forked from it, by any call and with any process id.
///
/// It is kept in a page that the kernel empties in a child (`MADV_WIPEONFORK`, Linux 4.14), so it
/// costs no system call. Where that is refused, it is the process id.
pub fn process_generation() -> u64 {
    /// The last number that was given, in memory that a child inherits.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let Some(cell) = cell() else { return process::id().into() };
    match cell.load(Ordering::Acquire) {
        0 => {
            // The first call in this process: its parent has used no number above `LAST`.
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            let kept = cell.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire);
            kept.map_or_else(|kept| kept, |_| next)
        }
        number => number,
    }
}

/// The number in the page; `None` where there can be no such page.
fn cell() -> Option<&'static AtomicU64> {
    static CELL: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    *CELL.get_or_init(|| {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let length = size_of::<AtomicU64>();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping made above, whole pages of it.
        if unsafe { libc::madvise(page, length, libc::MADV_WIPEONFORK) } < 0 {
            // SAFETY: as above; nothing refers to it.
            unsafe { libc::munmap(page, length) };
            return None;
        }
        // SAFETY: a page is aligned for any type, zero is a valid number, and it is never unmapped.
        Some(unsafe { &*page.cast::<AtomicU64>() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number in a child of this process.
    fn in_child(fork: impl Fn() -> libc::c_long) -> u64 {
        let mut ends = [0; 2];
        // SAFETY: the array has space for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        if fork() == 0 {
            let number = process_generation().to_ne_bytes();
            // SAFETY: pointer and length are those of `number`; the child ends here.
            unsafe {
                libc::write(ends[1], number.as_ptr().cast(), number.len());
                libc::_exit(0)
            }
        }
        let mut number = [0; 8];
        // SAFETY: pointer and length are those of `number`, and the ends are ours.
        unsafe {
            assert_eq!(libc::read(ends[0], number.as_mut_ptr().cast(), number.len()), 8);
            libc::close(ends[0]);
            libc::close(ends[1]);
        }
        u64::from_ne_bytes(number)
    }

    #[test]
    fn a_child_of_fork_and_of_a_raw_clone_has_a_number_of_its_own() {
        let here = process_generation();
        assert_eq!(process_generation(), here);
        // SAFETY: the child only calls functions that are safe after a fork.
        let forked = in_child(|| unsafe { libc::fork() }.into());
        // SAFETY: as above; no stack and no flags but the signal make it a fork.
        let cloned =
            in_child(|| unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) });
        assert!(forked != here && cloned != here, "{here} {forked} {cloned}");
        assert_eq!(process_generation(), here);
    }
}
