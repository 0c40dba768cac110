//! The memory of a domain's counters.
//!
//! Mapped, not allocated: readers in signal handlers and inside allocators may be the first to
//! need it, and fresh pages are zero, page-aligned, and placed on the node that touches them.

pub(crate) use crate::rseq::reader::Line;

use crate::machine::{Shape, Tier};
use crate::sync::{AtomicPtr, Ordering, const_unless_modelled};

/// Shards per CPU on the lower tiers. Threads are spread by hash: with one shard a CPU, two that
/// run at once would often meet in one.
const SHARDS_PER_CPU: u32 = 4;
/// More shards than this do not make the lower tiers faster, but their scans slower.
const MOST_SHARDS: u32 = 256;

/// A domain's lines, mapped on first use.
#[derive(Debug)]
pub(super) struct Lines {
    first: AtomicPtr<Line>,
    /// Length that was mapped; follows from the shape, which never changes.
    length: crate::sync::AtomicUsize,
}

/// Line 0, and one for each CPU or shard.
fn length(shape: Shape) -> usize {
    let others = match shape.tier {
        Tier::Rseq => shape.slots,
        Tier::Membarrier | Tier::Fence if cfg!(stillpoint_loom) => shape.slots,
        Tier::Membarrier | Tier::Fence => (shape.slots * SHARDS_PER_CPU).min(MOST_SHARDS),
    };
    others as usize + 1
}

impl Lines {
    const_unless_modelled! {
        pub(super) const fn new() -> Lines {
            Lines {
                first: AtomicPtr::new(std::ptr::null_mut()),
                length: crate::sync::AtomicUsize::new(0),
            }
        }
    }

    /// The lines, mapped now if they were not before.
    pub(super) fn get(&self, shape: Shape) -> &[Line] {
        let length = length(shape);
        // Acquire: partner is the winner's release, after it mapped zeroes.
        let mut first = self.first.load(Ordering::Acquire);
        if first.is_null() {
            let fresh = memory::map(length);
            // Before the pointer: whoever unmaps sees it. The same value from everyone.
            self.length.store(length, Ordering::Relaxed);
            match self.first.compare_exchange(
                std::ptr::null_mut(),
                fresh,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => first = fresh,
                Err(winner) => {
                    // SAFETY: just mapped with this length, and nobody else has seen it.
                    unsafe { memory::unmap(fresh, length) };
                    first = winner;
                }
            }
        }
        // SAFETY: mapped with this length, for a domain's shape never changes; zero is a
        // count; unmapped only by `drop`.
        unsafe { std::slice::from_raw_parts(first, length) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Relaxed: `&mut self` came to this thread after all use.
        let first = self.first.load(Ordering::Relaxed);
        if !first.is_null() {
            // SAFETY: mapped by `get` with this length; no guard borrows the domain any more,
            // so no mark points here.
            unsafe { memory::unmap(first, self.length.load(Ordering::Relaxed)) };
        }
    }
}

#[cfg(not(stillpoint_loom))]
mod memory {
    use super::Line;
    use std::alloc::{Layout, handle_alloc_error};

    /// Zeroed lines. Aborts like an allocation if there is no memory.
    pub(super) fn map(length: usize) -> *mut Line {
        // A slice of them is far below isize::MAX: lengths are bounded by the CPU ceiling.
        let bytes = length * size_of::<Line>();
        // SAFETY: a fresh anonymous mapping touches nobody's memory.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            handle_alloc_error(Layout::array::<Line>(length).unwrap_or(Layout::new::<Line>()));
        }
        p.cast()
    }

    /// # Safety
    ///
    /// `first` came from `map` with this length and is not used again.
    pub(super) unsafe fn unmap(first: *mut Line, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(first.cast(), length * size_of::<Line>()) };
    }
}

#[cfg(stillpoint_loom)]
mod memory {
    use super::Line;

    pub(super) fn map(length: usize) -> *mut Line {
        let lines: Box<[Line]> = (0..length).map(|_| Line::default()).collect();
        Box::into_raw(lines).cast()
    }

    pub(super) unsafe fn unmap(first: *mut Line, length: usize) {
        // SAFETY: `first` came from `map` with this length and is not used again.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(first, length)) });
    }
}
