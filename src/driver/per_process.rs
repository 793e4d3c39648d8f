//! State that a forked child must not share with its parent.

use std::sync::{Arc, OnceLock};

use super::sys::process_generation;

/// A value for each process: a forked child gets a new one, because a lock in its parent's may be
/// held by a thread that the child does not have. A clone is a handle to the same values.
#[derive(Debug)]
pub(super) struct PerProcess<T>(Arc<Node<T>>);

#[derive(Debug)]
struct Node<T> {
    /// The process that the value belongs to.
    process: u64,
    value: Arc<T>,
    /// That of a child, in the child's memory.
    next: OnceLock<Arc<Node<T>>>,
}

impl<T> Clone for PerProcess<T> {
    fn clone(&self) -> PerProcess<T> {
        PerProcess(Arc::clone(&self.0))
    }
}

impl<T> PerProcess<T> {
    pub(super) fn new(value: T) -> PerProcess<T> {
        PerProcess(Arc::new(Node::new(value)))
    }

    /// The value of this process. A child's is made from its parent's at the first call there.
    pub(super) fn get(&self, for_child: impl Fn(&T) -> T) -> Arc<T> {
        let here = process_generation();
        let mut node = &self.0;
        while node.process != here {
            let parent = node;
            node = node.next.get_or_init(|| Arc::new(Node::new(for_child(&parent.value))));
        }
        Arc::clone(&node.value)
    }
}

impl<T> Node<T> {
    fn new(value: T) -> Node<T> {
        Node { process: process_generation(), value: Arc::new(value), next: OnceLock::new() }
    }
}
