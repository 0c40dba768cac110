//! Stores in the way of a duel.
//!
//! Reader and writer both store to some lines first. A processor stores in order, so the count of
//! the reader's section waits behind them, for as long as it takes to fetch those lines: from the
//! other side, which has just stored to them too, or from memory, where the two sides share a cache
//! and the first way takes no time. How many lines it is, and which way, changes from time to time,
//! and with it how the two fall into step.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

#[repr(align(128))]
struct Line(AtomicU64);

static LINES: [Line; 32] = [const { Line(AtomicU64::new(0)) }; 32];
static HOW_MANY: AtomicUsize = AtomicUsize::new(0);
static FROM_MEMORY: AtomicBool = AtomicBool::new(false);

/// Stores to them.
pub(crate) fn pass() {
    let from_memory = FROM_MEMORY.load(Relaxed);
    for line in LINES.iter().take(HOW_MANY.load(Relaxed)) {
        if from_memory {
            flush(line);
        }
        line.0.store(1, Relaxed);
    }
}

/// Another number of them, or another way.
pub(crate) fn vary(random: &mut fastrand::Rng) {
    HOW_MANY.store(random.usize(..=LINES.len()), Relaxed);
    FROM_MEMORY.store(random.bool(), Relaxed);
}

/// Sends a line out of every cache, where user programs can.
fn flush(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction; it changes no byte.
    unsafe {
        std::arch::x86_64::_mm_clflush(std::ptr::from_ref(line).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
