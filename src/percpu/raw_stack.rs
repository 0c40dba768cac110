//! A list of nodes for each CPU.
//!
//! # State
//!
//! * Two lists in each CPU's part, of which its sequences change one plainly: `rseq/stack.rs`.
//!   Behind the word that says which, and who has stopped the part: `remote.rs`.
//! * A list in the *rest*, for all: `shared.rs`. It has what was pushed by a thread that the kernel
//!   will not register, or whose sequences are aborted again and again, and by all while their
//!   CPU's part is stopped.
//! * Below `Rseq` a shared list in each shard.
//!
//! # Argument
//!
//! A node is on one list at most, once: whoever pushes it has it for himself, and taking it off
//! gives it to one. On a CPU's list that is so since one section commits at a time, and each that
//! was not the last to begin is aborted; who takes the list from elsewhere has stopped the part. On
//! a shared list it is so by the exchange.
//!
//! No sequence reads a node that is not on its CPU's list at that moment. So a node that was popped
//! or drained may be freed, unmapped, or pushed elsewhere at once.
//!
//! The orderings are those of `remote.rs` and `shared.rs`. Between threads on one CPU nothing is
//! needed: one of them is switched out before the other goes on, and that is a full barrier.

use super::memory;
use super::memory::word_of;
use super::remote::{attempt, flip, visit};
use super::shared;
use crate::machine::{Tier, shape, spread};
use crate::rseq::part::{Place, WORD};
use crate::rseq::stack::{self, Link, link};
use crate::sync::{AtomicU64, Ordering, const_unless_modelled};
use std::fmt;
use std::ptr::NonNull;

/// The words of a part, behind the one that says which of its lists is in use: the tops of both,
/// and whether someone is putting the other one in use. Shared lists have the first top.
const TOP: usize = 1;
const FLIPPING: usize = 3;
const SIZE: usize = 4 * WORD;

/// Free lists of nodes that the caller owns: one for each CPU. For authors of structures;
/// [`Stack`](super::Stack) is the safe one.
///
/// A node is anything with a [`Link`] as its first field. The list does not allocate, nor free;
/// dropping it forgets the nodes that are on it.
///
/// # What there is to find
///
/// [`pop`](RawStack::pop) looks at the list of its CPU, then at one that all share. So what one
/// thread pushed another need not find: nodes wait on the CPU where they were pushed.
/// [`drain`](RawStack::drain) gets them from there, [`drain_all`](RawStack::drain_all) from
/// everywhere.
///
/// # Cost
///
/// On tier `Rseq` pushing and popping are one restartable section each, of about a dozen
/// instructions; no atomic instruction, no fence, no line that another CPU writes. Below, pushing
/// is one atomic exchange on a shard, popping two.
///
/// 16 bytes, and 32 for each possible CPU from the first push on, which takes them: by a system
/// call once in two thousand lists, aborting if there is no memory.
///
/// All of it is async-signal-safe but dropping.
///
/// # Orderings
///
/// Who gets a node sees all that happened before it was pushed.
///
/// # Examples
///
/// ```
/// use std::ptr::NonNull;
/// use stillpoint::percpu::{Link, RawStack};
///
/// static FREE: RawStack = RawStack::new();
///
/// #[repr(C)]
/// struct Buffer {
///     link: Link,
///     bytes: [u8; 4096],
/// }
///
/// fn get() -> Box<Buffer> {
///     match FREE.pop() {
///         // SAFETY: pushed below.
///         Some(node) => unsafe { Box::from_raw(node.cast().as_ptr()) },
///         None => Box::new(Buffer { link: Link::new(), bytes: [0; 4096] }),
///     }
/// }
///
/// fn put(buffer: Box<Buffer>) {
///     // SAFETY: from a box, and nobody else's any more.
///     unsafe { FREE.push(NonNull::from(Box::leak(buffer)).cast()) };
/// }
///
/// put(get());
/// let buffers = FREE.drain_all();
/// // SAFETY: pushed above.
/// buffers.for_each(|node| drop(unsafe { Box::from_raw(node.cast::<Buffer>().as_ptr()) }));
/// ```
pub struct RawStack {
    place: Place,
}

impl RawStack {
    const_unless_modelled! {
        /// Empty lists.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(stillpoint::percpu::RawStack::new().pop().is_none());
        /// ```
        pub const fn new() -> RawStack {
            RawStack { place: Place::new() }
        }
    }

    /// Puts a node on the list of the calling thread's CPU.
    ///
    /// # Safety
    ///
    /// The node lives, at this address, until [`pop`](RawStack::pop) or [`Chain`]'s `next` has returned
    /// it, or the chain it is in, or the stack, is dropped; and from here to there nobody else touches
    /// it. It is the caller's to give away: no reference to it is
    /// in use.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline(always)]
    pub unsafe fn push(&self, node: NonNull<Link>) {
        // SAFETY: the place describes memory as `made` has taken it; the rest is the caller's
        // promise.
        if !unsafe { stack::push(&self.place, node) } {
            // SAFETY: as above.
            unsafe { self.push_cold(node) };
        }
    }

    /// Takes a node from the list of the calling thread's CPU, or from the shared one. `None` if
    /// there is nothing there; also, below tier `Rseq`, if another thread is popping from the same
    /// shard.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline(always)]
    pub fn pop(&self) -> Option<NonNull<Link>> {
        // SAFETY: as in `push`.
        match unsafe { stack::pop(&self.place) } {
            Ok(Some(node)) => Some(node),
            other => self.pop_cold(other.is_ok()),
        }
    }

    /// Takes the whole list of the calling thread's CPU; if that is empty, the shared one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::RawStack::new().take_all().count(), 0);
    /// ```
    pub fn take_all(&self) -> Chain {
        let Some(first) = self.first() else { return Chain { next: None } };
        // SAFETY: as in `push`.
        let list = attempt(first, || unsafe { stack::take(&self.place) }.ok());
        let next = list.flatten().or_else(|| shared::take(self.shared(&first)));
        Chain { next }
    }

    /// Takes the whole list of a CPU, wherever the caller runs; also of one that is offline. Below
    /// tier `Rseq`, of the shard with this number. An empty one, if there is no such CPU.
    ///
    /// What was on that list before the call is in the chain, unless somebody pops it first. The
    /// other CPUs' threads are not disturbed, and that CPU's go on with another list; unless two
    /// drain it at once: then they use the shared one meanwhile.
    ///
    /// Nothing is sent if the list is empty; else, on tier `Rseq`, one broadcast to that CPU (two
    /// before Linux 6.18): microseconds, and an interrupt there if it runs this process.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast although it did not before: a filter that was installed
    /// since.
    ///
    /// # Examples
    ///
    /// ```
    /// let stack = stillpoint::percpu::RawStack::new();
    /// assert_eq!(stack.drain(0).count(), 0);
    /// ```
    pub fn drain(&self, cpu: usize) -> Chain {
        let parts = memory::parts();
        let Some(first) = self.first().filter(|_| cpu < parts) else { return Chain { next: None } };
        if shape(Tier::Rseq).tier == Tier::Rseq && has(&first, cpu) {
            let take = |list| Chain { next: shared::take(word_of(&first, cpu, TOP + list)) };
            // SAFETY: `made` has taken such parts.
            if let Some(chain) = unsafe { flip(&self.place, first, cpu, FLIPPING, take) } {
                return chain;
            }
        }
        self.drain_some(cpu..cpu + 1)
    }

    /// Takes the lists of all CPUs, and the shared one: as [`drain`](RawStack::drain), with one
    /// broadcast for 64 CPUs.
    ///
    /// A pop from a list that threads share takes the whole list for a moment, and puts the others
    /// back: what it has out is missed. Such are the shared list, and below tier `Rseq` all of them.
    /// So to get everything, call it when nobody pops.
    ///
    /// # Panics
    ///
    /// As [`drain`](RawStack::drain).
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn drain_all(&self) -> Chain {
        let mut chain = self.drain_some(0..memory::parts());
        if let Some(first) = self.first() {
            chain.append(shared::take(top_of(&first, memory::parts())));
        }
        chain
    }

    /// The same without a broadcast.
    pub(super) fn drain_alone(&mut self) -> Chain {
        let mut chain = Chain { next: None };
        if let Some(first) = self.first() {
            (0..=memory::parts()).for_each(|part| take_both(&mut chain, &first, part));
        }
        chain
    }

    fn drain_some(&self, cpus: std::ops::Range<usize>) -> Chain {
        let mut chain = Chain { next: None };
        let Some(first) = self.first() else { return chain };
        let take = |chain: &mut Chain, cpu| take_both(chain, &first, cpu);
        if shape(Tier::Rseq).tier == Tier::Rseq {
            let has = |cpu| cpus.contains(&cpu) && has(&first, cpu);
            // SAFETY: `made` has taken such parts.
            unsafe { visit(&self.place, first, cpus.end, has, |cpu| take(&mut chain, cpu)) };
        } else {
            cpus.for_each(|cpu| take(&mut chain, cpu));
        }
        chain
    }

    #[cold]
    #[inline(never)]
    unsafe fn push_cold(&self, node: NonNull<Link>) {
        let first = self.made();
        // SAFETY: as in `push`.
        let pushed = attempt(first, || unsafe { stack::push(&self.place, node) }.then_some(()));
        if pushed.is_none() {
            // SAFETY: the caller's promise.
            unsafe { shared::push_chain(self.shared(&first), node, node) };
        }
    }

    /// `empty`: this CPU's list is.
    #[cold]
    #[inline(never)]
    fn pop_cold(&self, empty: bool) -> Option<NonNull<Link>> {
        let first = self.first()?;
        if !empty {
            // SAFETY: as in `push`.
            let found = attempt(first, || unsafe { stack::pop(&self.place) }.ok());
            if let Some(Some(node)) = found {
                return Some(node);
            }
        }
        // SAFETY: only we push there.
        unsafe { shared::pop(self.shared(&first)) }
    }

    /// The list to share: this thread's shard's, or the rest's.
    fn shared<'a>(&self, first: &'a NonNull<u8>) -> &'a AtomicU64 {
        let parts = memory::parts();
        let shared = if shape(Tier::Rseq).tier == Tier::Rseq { parts } else { spread(parts) };
        top_of(first, shared)
    }

    fn first(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.place.first())
    }

    /// CPU 0's part; makes the parts unless they are there. Async-signal-safe.
    fn made(&self) -> NonNull<u8> {
        memory::made(&self.place, SIZE)
    }
}

fn top_of(first: &NonNull<u8>, part: usize) -> &AtomicU64 {
    word_of(first, part, TOP)
}

/// Whether a CPU has nodes, on either list.
fn has(first: &NonNull<u8>, cpu: usize) -> bool {
    (TOP..TOP + 2).any(|at| word_of(first, cpu, at).load(Ordering::Relaxed) != 0)
}

fn take_both(chain: &mut Chain, first: &NonNull<u8>, part: usize) {
    (TOP..TOP + 2).for_each(|at| chain.append(shared::take(word_of(first, part, at))));
}

impl Default for RawStack {
    fn default() -> RawStack {
        RawStack::new()
    }
}

impl fmt::Debug for RawStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawStack").finish_non_exhaustive()
    }
}

impl Drop for RawStack {
    fn drop(&mut self) {
        // SAFETY: nobody else is here.
        unsafe { memory::give_back_place(&self.place, SIZE) };
    }
}

/// Nodes that were taken off together, last in, first out. They are the caller's; what is not taken
/// from here is forgotten.
///
/// # Examples
///
/// ```
/// let stack = stillpoint::percpu::RawStack::new();
/// let nodes: Vec<_> = stack.take_all().collect();
/// assert!(nodes.is_empty());
/// ```
#[derive(Debug)]
pub struct Chain {
    next: Option<NonNull<Link>>,
}

// SAFETY: nodes that nobody else has; what may be done with them on another thread is for who makes
// something of them to say.
unsafe impl Send for Chain {}

impl Chain {
    /// Puts another chain before this one.
    fn append(&mut self, other: Option<NonNull<Link>>) {
        let Some(other) = other else { return };
        if let Some(next) = self.next {
            // SAFETY: the chain is ours.
            unsafe { shared::last(other).as_ref() }.set_next(Some(next));
        }
        self.next = link(stack::address(Some(other)));
    }
}

impl Iterator for Chain {
    type Item = NonNull<Link>;

    fn next(&mut self) -> Option<NonNull<Link>> {
        let node = self.next?;
        // SAFETY: the chain is ours, and whoever pushed the node promised that it lives.
        self.next = unsafe { node.as_ref() }.next();
        Some(node)
    }
}

impl std::iter::FusedIterator for Chain {}
