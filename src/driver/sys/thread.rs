//! Threads of the library.

use std::io;
use std::thread::Builder;

/// The stack of a thread that makes a few system calls.
pub(in crate::driver) const SMALL_STACK: usize = 64 * 1024;

/// Starts a thread, with every signal blocked that is not for one thread alone: the program's
/// signals stay with the program's threads. It is not joined.
pub(in crate::driver) fn spawn(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(stack);
    super::with_signals_blocked(|| builder.spawn(run)).map(drop)
}
