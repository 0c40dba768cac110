//! The allocator: memory of cells is poisoned when it is freed, and rests before it is used again.
//!
//! The library allocates a cell's value together with a header of its own. We tell these
//! allocations by an alignment that nothing else here has. They are never given back to the
//! system, so a late reader finds poison where its value was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::Mutex;

/// Of what is quarantined.
pub(crate) const ALIGNMENT: usize = 256;
/// That many freed blocks rest.
const RESTING: usize = 4096;
const POISON: u8 = 0xdd;

struct Block(*mut u8, usize);

// SAFETY: the block is nobody's.
unsafe impl Send for Block {}

static FREED: Mutex<VecDeque<Block>> = Mutex::new(VecDeque::new());

struct Quarantine;

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

// SAFETY: `System` does all the work. Blocks in between were allocated with the same layout, are
// aligned, and are the caller's alone, since each is taken out of the queue once.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() == ALIGNMENT {
            let mut freed = FREED.lock().unwrap();
            let fits = |block: &Block| block.1 == layout.size();
            if freed.len() > RESTING && freed.front().is_some_and(fits) {
                return freed.pop_front().map_or(std::ptr::null_mut(), |block| block.0);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.align() == ALIGNMENT {
            // SAFETY: the caller's promise: the block is that large, and nobody uses it.
            unsafe { at.write_bytes(POISON, layout.size()) };
            FREED.lock().unwrap().push_back(Block(at, layout.size()));
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(at, layout) };
        }
    }
}
