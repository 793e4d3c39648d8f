//! What bytes on their way are kept in, shared by every pair of one loop.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};

use crate::driver::splice;

/// What is copied at once. A read that fills it is one of many, and those are spliced.
pub(super) const CHUNK: usize = 16 * 1024;
/// The capacity of a pipe, if the system leaves it as it is (pipe(7)).
const CAPACITY: usize = 64 * 1024;
/// The most pipes that are kept open while they are not used.
const SPARE: usize = 16;

/// Pipes and cache that the pairs of one loop lend from while bytes are on their way. A pair that
/// is idle holds nothing of it.
#[derive(Debug)]
pub struct Stock {
    pub(super) spare: Vec<Pipe>,
    /// How many more pipes may be made.
    pub(super) left: usize,
    pub(super) scratch: Vec<u8>,
}

impl Stock {
    /// A stock of `pipes` pipes at most, of two descriptors each. Bytes for which there is no pipe
    /// are copied.
    pub fn new(pipes: usize) -> Stock {
        Stock { spare: Vec::new(), left: pipes, scratch: vec![0; CHUNK] }
    }

    /// An empty pipe, where one is left.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        let left = self.left.checked_sub(1)?;
        // Without one, bytes can be copied; descriptors may be free again later.
        let (reader, writer) = io::pipe().ok()?;
        self.left = left;
        Some(Pipe { reader, writer, filled: 0 })
    }

    /// Takes a pipe back, to lend it again if it is empty.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        if pipe.filled == 0 && self.spare.len() < SPARE {
            self.spare.push(pipe);
        } else {
            self.left += 1;
        }
    }
}

/// Enough for one pair.
impl Default for Stock {
    fn default() -> Stock {
        Stock::new(2)
    }
}

/// Bytes of one direction, held by the kernel.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    pub(super) filled: usize,
}

impl Pipe {
    /// Takes what a socket has, as far as there is room; 0 is its end.
    pub(super) fn fill(&mut self, from: BorrowedFd) -> io::Result<usize> {
        let moved = splice(from, self.writer.as_fd(), CAPACITY)?;
        self.filled += moved;
        Ok(moved)
    }

    /// Gives a socket what it takes.
    pub(super) fn drain(&mut self, to: BorrowedFd) -> io::Result<usize> {
        let moved = splice(self.reader.as_fd(), to, self.filled)?;
        self.filled -= moved;
        Ok(moved)
    }

    /// What is in it, for a socket that does not splice.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; std::mem::take(&mut self.filled)];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
