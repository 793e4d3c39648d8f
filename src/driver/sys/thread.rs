//! Threads of the library.

use std::io;
use std::ptr;
use std::thread::Builder;

use rustix::process::{Resource, getrlimit};

/// The stack of a thread that makes a few system calls.
pub(super) const SMALL_STACK: usize = 64 * 1024;
/// The stack of a thread that looks names up, of which the C library itself takes 100 KiB: modules of
/// the name service that take 256 KiB are in use.
pub const LOOKUP_STACK: usize = 512 * 1024;

/// Starts a thread that is not joined, with `stack` bytes for its functions. Every signal is blocked
/// that is not for one thread alone: the program's signals stay with the program's threads. An error
/// names the limit that was met.
pub fn spawn(name: &str, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // The C library takes the thread-local data of the program from the stack.
    let stack = stack + thread_local_size();
    let builder = Builder::new().name(name.to_owned()).stack_size(stack);
    match super::with_signals_blocked(|| builder.spawn(run)) {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), reason(&error, stack))),
    }
}

/// How much thread-local data the program and its libraries have, in bytes.
fn thread_local_size() -> usize {
    extern "C" fn add(
        object: *mut libc::dl_phdr_info,
        _: libc::size_t,
        sum: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the C library passes a valid object, with `dlpi_phnum` headers; the sum is ours.
        unsafe {
            let (object, sum) = (&*object, &mut *sum.cast::<usize>());
            for place in 0..object.dlpi_phnum {
                let header = &*object.dlpi_phdr.add(place.into());
                if header.p_type == libc::PT_TLS {
                    let aligned = header.p_memsz.saturating_add(header.p_align);
                    *sum = sum.saturating_add(usize::try_from(aligned).unwrap_or(0));
                }
            }
        }
        0
    }
    let mut sum = 0_usize;
    // SAFETY: the callback only reads what it is given, and adds to `sum`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut sum).cast()) };
    sum
}

/// Why a thread with this stack could not be started.
fn reason(error: &io::Error, stack: usize) -> String {
    if error.raw_os_error() != Some(libc::EAGAIN) {
        return format!("cannot start a thread: {error}");
    }
    // The C library says the same for both limits, so memory of that size is tried.
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping without access, which is unmapped below.
    let memory = unsafe { libc::mmap(ptr::null_mut(), stack, libc::PROT_NONE, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        let limit = limit(Resource::As);
        return format!("cannot start a thread: no address space (RLIMIT_AS: {limit})");
    }
    // SAFETY: the mapping of above, which nothing refers to.
    unsafe { libc::munmap(memory, stack) };
    too_many("thread")
}

/// What `EAGAIN` means where a thread or a process could not be started.
pub(in crate::driver) fn too_many(what: &str) -> String {
    let limit = limit(Resource::Nproc);
    format!("cannot start a {what}: too many (RLIMIT_NPROC: {limit}, or pids.max of the cgroup)")
}

fn limit(resource: Resource) -> String {
    getrlimit(resource).current.map_or_else(|| "unlimited".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_be_started_names_its_limit() {
        // More than any address space has.
        let error = spawn("test", usize::MAX / 4 * 3, || ()).unwrap_err().to_string();
        assert!(error.contains("RLIMIT_AS"), "{error}");
    }

    #[test]
    fn thread_local_data_is_counted() {
        // The standard library has some.
        assert!(thread_local_size() > 0);
    }
}
