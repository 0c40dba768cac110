//! A list of nodes for threads that share it: what has no CPU's list goes there.
//!
//! # State and operations
//!
//! One word: the top.
//!
//! * *Push*: link to the top, compare and exchange.
//! * *Take*: exchange the top for nothing. The whole list is the caller's then.
//! * *Pop*: take all, keep the first, put the others back. If something was pushed meanwhile, take
//!   that as well, and put it before them.
//!
//! # Why so
//!
//! A pop that compares and exchanges reads the `next` of a node that another may have popped,
//! freed, unmapped; and it may find the address on top again with something else behind it. Tags
//! cure only the second. Taking all has neither: nobody reads a node that is not his. A lock would
//! do, too, but for signal handlers and children of `fork`, which may find it locked by who will
//! never go on.
//!
//! The price: while one pops, others find nothing, though nodes there are. Pops promise no more.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | a push, or putting back, as it exchanges the top | release | who takes it: the link, and what the node holds |
//! | taking | acquire | as above |

use crate::rseq::stack::{Link, address, link};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicU64, Ordering};
use std::ptr::NonNull;

/// Puts a chain, from its first to its last node, on top.
///
/// # Safety
///
/// The nodes live, and are the caller's until here and the list's from here on.
pub(super) unsafe fn push_chain(top: &AtomicU64, first: NonNull<Link>, last: NonNull<Link>) {
    let mut found = glance(top).unwrap_or(0);
    loop {
        // SAFETY: the caller's node.
        unsafe { last.as_ref() }.set_next(link(found));
        // Release: see the table. Of the pushes before, too: it continues their release sequence.
        let new = address(Some(first));
        match top.compare_exchange_weak(found, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(other) => found = other,
        }
    }
}

/// What may be on top. Nothing under the model checker: it remembers one access to a word, so a
/// load in front of an exchange would hide from it what others do there before.
fn glance(top: &AtomicU64) -> Option<u64> {
    (!cfg!(stillpoint_loom)).then(|| top.load(Ordering::Relaxed))
}

/// Takes all.
pub(super) fn take(top: &AtomicU64) -> Option<NonNull<Link>> {
    // Looked at before: lists are mostly empty, and a load leaves the line where it is.
    if glance(top) == Some(0) {
        return None;
    }
    // Acquire: see the table.
    link(top.swap(0, Ordering::Acquire))
}

/// Takes the top. `None` if there is nothing, or another thread is popping.
///
/// # Safety
///
/// What is on the list was pushed there.
pub(super) unsafe fn pop(top: &AtomicU64) -> Option<NonNull<Link>> {
    if broken(Mutant::PopByExchange) {
        // SAFETY: as the caller promises, but for the defect.
        return unsafe { pop_by_exchange(top) };
    }
    let first = take(top)?;
    // SAFETY: taken, so ours, all the way down.
    let mut others = unsafe { first.as_ref() }.next();
    while let Some(top_of_others) = others {
        let new = address(others);
        // Release: see the table.
        if top.compare_exchange(0, new, Ordering::Release, Ordering::Relaxed).is_ok() {
            break;
        }
        if let Some(fresh) = take(top) {
            // SAFETY: as above. Mostly one node, or few: what was pushed in the last nanoseconds.
            unsafe { last(fresh).as_ref() }.set_next(Some(top_of_others));
            others = Some(fresh);
        }
    }
    Some(first)
}

/// The mutant: compares the top by its address.
unsafe fn pop_by_exchange(top: &AtomicU64) -> Option<NonNull<Link>> {
    loop {
        let found = top.load(Ordering::Acquire);
        #[cfg(all(stillpoint_mutants, not(stillpoint_loom)))]
        crate::sync::dither();
        // SAFETY: it may be gone: that is the defect.
        let next = address(unsafe { link(found)?.as_ref() }.next());
        #[cfg(all(stillpoint_mutants, not(stillpoint_loom)))]
        crate::sync::dither();
        if top.compare_exchange(found, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return link(found);
        }
    }
}

/// The last node of a chain.
///
/// # Safety
///
/// The chain is the caller's.
pub(super) unsafe fn last(mut node: NonNull<Link>) -> NonNull<Link> {
    // SAFETY: the caller's nodes.
    while let Some(next) = unsafe { node.as_ref() }.next() {
        node = next;
    }
    node
}
