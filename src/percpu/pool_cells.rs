//! Free cells of a pool: on the move, in batches, and in parts.

use super::memory::word_of;
use super::shared;
use crate::rseq::cache;
use crate::rseq::stack::Link;
use crate::sync::Ordering;
use std::num::NonZero;
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// The words of a part. What is behind [`ITEMS`] is the array, or, in the rest and in shards, a
/// top.
pub(super) const LENGTH: usize = 1;
pub(super) const REFILLS: usize = 2;
pub(super) const SPILLS: usize = 3;
pub(super) const ITEMS: usize = cache::HEAD;

/// The first cell of a batch.
#[repr(C)]
pub(super) struct Batch {
    /// To the next batch.
    pub(super) link: Link,
    /// The others, a chain.
    pub(super) others: Option<NonNull<Link>>,
    pub(super) length: usize,
}

/// Free cells: a chain.
pub(super) struct Cells {
    pub(super) first: Option<NonNull<Link>>,
    pub(super) length: usize,
}

impl Cells {
    pub(super) fn new() -> Cells {
        Cells { first: None, length: 0 }
    }

    pub(super) fn push(&mut self, cell: NonNull<u8>) {
        let node = link(cell);
        // SAFETY: a cell of the caller's.
        unsafe { node.as_ref() }.set_next(self.first);
        *self = Cells { first: Some(node), length: self.length + 1 };
    }
}

/// A free cell that has a link.
pub(super) fn link(cell: NonNull<u8>) -> NonNull<Link> {
    let node = cell.cast::<Link>();
    // SAFETY: free cells are large enough, aligned, and of their holder alone.
    unsafe { node.write(Link::new()) };
    node
}

/// A cell as arrays hold it.
#[inline(always)]
pub(super) fn item(cell: NonNull<u8>) -> NonZero<usize> {
    cell.expose_provenance()
}

#[inline(always)]
pub(super) fn cell(item: NonZero<usize>) -> NonNull<u8> {
    NonNull::with_exposed_provenance(item)
}

/// The cells of a batch, which is the caller's.
pub(super) fn opened(batch: NonNull<Batch>) -> Cells {
    // SAFETY: the caller's.
    let Batch { others, length, .. } = unsafe { batch.read() };
    let node = link(batch.cast());
    // SAFETY: a cell of the caller's becomes a chain's first.
    unsafe { node.as_ref() }.set_next(others);
    Cells { first: Some(node), length }
}

/// The whole array of a part, which the caller has stopped, or has for himself otherwise.
pub(super) fn take_array(first: &NonNull<u8>, part: usize) -> Cells {
    take_beyond(first, part, 0)
}

/// Those of an array that are more than so many. As long as a part is stopped, by anyone, nobody
/// stores items: those behind the new length are the caller's who has stored it.
pub(super) fn take_beyond(first: &NonNull<u8>, part: usize, keep: usize) -> Cells {
    let mut cells = Cells::new();
    let shorter = |length| (length > keep as u64).then_some(keep as u64);
    // Acquire: others may have stopped it as well, and one gets them.
    let length =
        word_of(first, part, LENGTH).fetch_update(Ordering::Acquire, Ordering::Relaxed, shorter);
    for at in keep..length.map_or(keep, |length| length as usize) {
        let item = word_of(first, part, ITEMS + at).load(Ordering::Relaxed);
        if let Some(cell) = NonNull::new(with_exposed_provenance_mut::<u8>(item as usize)) {
            cells.push(cell);
        }
    }
    cells
}

/// The whole list of a part.
pub(super) fn take_list(first: &NonNull<u8>, part: usize) -> Cells {
    let list = shared::take(word_of(first, part, ITEMS));
    let mut length = 0;
    let mut next = list;
    while let Some(node) = next {
        length += 1;
        // SAFETY: just taken.
        next = unsafe { node.as_ref() }.next();
    }
    word_of(first, part, LENGTH).fetch_sub(length as u64, Ordering::Relaxed);
    Cells { first: list, length }
}
