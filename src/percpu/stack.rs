//! Stacks that own what is on them.

use super::raw_stack::{Chain, RawStack};
use crate::rseq::stack::Link;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A value that can be put on a [`Stack`] without allocating.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::Node;
///
/// let mut node = Box::new(Node::new(vec![1, 2]));
/// node.push(3);
/// assert_eq!(node.into_inner(), [1, 2, 3]);
/// ```
#[repr(C)]
pub struct Node<T> {
    link: Link,
    value: T,
}

impl<T> Node<T> {
    crate::sync::const_unless_modelled! {
        /// A node on no stack.
        ///
        /// # Examples
        ///
        /// See the type's.
        pub const fn new(value: T) -> Node<T> {
            Node { link: Link::new(), value }
        }
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Node<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Node<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> From<T> for Node<T> {
    fn from(value: T) -> Node<T> {
        Node::new(value)
    }
}

impl<T: Default> Default for Node<T> {
    fn default() -> Node<T> {
        Node::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Node<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.value).finish()
    }
}

/// Free lists of boxes: one for each CPU.
///
/// Push what is not needed now, pop it when something like it is; make a new one if there is none.
/// What one thread pushes another need not find: boxes wait on the CPU where they were pushed, but
/// those that had to go to a list that all share. [`drain`](Stack::drain) gets them from there,
/// [`drain_all`](Stack::drain_all) from everywhere. A stack grows without bound;
/// [`Pool`](super::Pool) keeps to limits.
///
/// # Cost, orderings, signals
///
/// As for [`RawStack`], which it is made of: on tier `Rseq` a dozen plain instructions. Dropping it
/// frees what is on it.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Node, Stack};
///
/// static BUFFERS: Stack<Vec<u8>> = Stack::new();
///
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut buffer = BUFFERS.pop().unwrap_or_default();
///             buffer.clear();
///             buffer.extend_from_slice(b"work");
///             BUFFERS.push(buffer);
///         });
///     }
/// });
/// assert!((1..=4).contains(&BUFFERS.drain_all().count()));
/// ```
///
/// Values live as long as the stack's type says:
///
/// ```compile_fail,E0597
/// use stillpoint::percpu::{Node, Stack};
/// fn put<'a>(stack: &Stack<&'a str>, value: &'a str) {
///     stack.push(Box::new(Node::new(value)));
/// }
/// let stack: Stack<&'static str> = Stack::new();
/// let short = String::from("short");
/// put(&stack, &short);
/// ```
///
/// ```
/// use stillpoint::percpu::{Node, Stack};
/// fn put<'a>(stack: &Stack<&'a str>, value: &'a str) {
///     stack.push(Box::new(Node::new(value)));
/// }
/// let stack: Stack<&'static str> = Stack::new();
/// put(&stack, "long");
/// ```
pub struct Stack<T> {
    raw: RawStack,
    nodes: PhantomData<Box<Node<T>>>,
    /// Not covariant: what one puts on, another takes off.
    invariant: PhantomData<fn(T) -> T>,
}

// SAFETY: it hands boxes from one thread to another, and no references.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    crate::sync::const_unless_modelled! {
        /// Empty lists.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(stillpoint::percpu::Stack::<u8>::new().pop().is_none());
        /// ```
        pub const fn new() -> Stack<T> {
            Stack { raw: RawStack::new(), nodes: PhantomData, invariant: PhantomData }
        }
    }

    /// Puts a box on the list of the calling thread's CPU. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::{Node, Stack};
    /// let stack = Stack::new();
    /// stack.push(Box::new(Node::new(7)));
    /// assert_eq!(stack.drain_all().map(|node| node.into_inner()).sum::<i32>(), 7);
    /// ```
    #[inline]
    pub fn push(&self, node: Box<Node<T>>) {
        // SAFETY: a node, whose first field is its link; from a box, and nobody else's any more.
        unsafe { self.raw.push(NonNull::from(Box::leak(node)).cast()) };
    }

    /// Takes a box from the list of the calling thread's CPU, or from the shared one. `None` if
    /// there is nothing there; also, below tier `Rseq`, if another thread is popping from the same
    /// shard. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline]
    pub fn pop(&self) -> Option<Box<Node<T>>> {
        // SAFETY: only `push` pushes.
        self.raw.pop().map(|node| unsafe { Node::owned(node) })
    }

    /// Takes the whole list of the calling thread's CPU; if that is empty, the shared one.
    /// Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Stack::<u8>::new().take_all().count(), 0);
    /// ```
    pub fn take_all(&self) -> Nodes<T> {
        Nodes::of(self.raw.take_all())
    }

    /// Takes the whole list of a CPU, wherever the caller runs: see [`RawStack::drain`].
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast although it did not before: a filter that was installed
    /// since.
    ///
    /// # Examples
    ///
    /// ```
    /// let stack = stillpoint::percpu::Stack::<u8>::new();
    /// assert_eq!(stack.drain(0).count(), 0);
    /// ```
    pub fn drain(&self, cpu: usize) -> Nodes<T> {
        Nodes::of(self.raw.drain(cpu))
    }

    /// Takes the lists of all CPUs, and the shared one: see [`RawStack::drain_all`]. What pops from
    /// a shared list have out at that moment is missed; below tier `Rseq` all lists are shared.
    ///
    /// # Panics
    ///
    /// As [`drain`](Stack::drain).
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn drain_all(&self) -> Nodes<T> {
        Nodes::of(self.raw.drain_all())
    }
}

impl<T> Node<T> {
    /// # Safety
    ///
    /// What [`Stack::push`] pushed, and taken off since.
    unsafe fn owned(node: NonNull<Link>) -> Box<Node<T>> {
        // SAFETY: the caller's promise.
        unsafe { Box::from_raw(node.cast().as_ptr()) }
    }
}

impl<T> Default for Stack<T> {
    fn default() -> Stack<T> {
        Stack::new()
    }
}

impl<T> fmt::Debug for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        // No broadcast: nobody else is here.
        drop(Nodes::<T>::of(self.raw.drain_alone()));
    }
}

/// Boxes that were taken off together, last in, first out. Dropping it drops those that are left.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Node, Stack};
/// let stack = Stack::new();
/// (0..3).for_each(|n| stack.push(Box::new(Node::new(n))));
/// assert_eq!(stack.drain_all().count(), 3);
/// ```
pub struct Nodes<T> {
    chain: Chain,
    nodes: PhantomData<Box<Node<T>>>,
}

// SAFETY: boxes of such values.
unsafe impl<T: Send> Send for Nodes<T> {}
// SAFETY: nothing can be done with a reference.
unsafe impl<T> Sync for Nodes<T> {}

impl<T> Nodes<T> {
    fn of(chain: Chain) -> Nodes<T> {
        Nodes { chain, nodes: PhantomData }
    }
}

impl<T> Iterator for Nodes<T> {
    type Item = Box<Node<T>>;

    fn next(&mut self) -> Option<Box<Node<T>>> {
        // SAFETY: only chains of stacks come here.
        self.chain.next().map(|node| unsafe { Node::owned(node) })
    }
}

impl<T> std::iter::FusedIterator for Nodes<T> {}

impl<T> Drop for Nodes<T> {
    fn drop(&mut self) {
        /// Goes on with the others if the end of one panics.
        struct Others<'a, T>(&'a mut Nodes<T>);
        impl<T> Drop for Others<'_, T> {
            fn drop(&mut self) {
                self.0.for_each(drop);
            }
        }
        let others = Others(self);
        others.0.for_each(drop);
    }
}

impl<T> fmt::Debug for Nodes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
