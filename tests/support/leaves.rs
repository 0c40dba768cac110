//! The adversary of sequences that are a whole read.
//!
//! It does what a writer does who replaces the value, knows that a broadcast has aborted every
//! section, and frees what was there: another block is in the cell, and the old one is poisoned.

use std::ptr::from_ref;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};
use stillpoint::rseq::leaf::{Area, copy, retain};

/// Words of the largest value.
const WORDS: usize = 40;
/// What stands in memory that was freed.
const POISON: u64 = u64::MAX / 3;
/// References that a block begins with.
const REFERENCES: u64 = 100;

/// A sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Copies so many words.
    Copy(usize),
    /// Takes a reference.
    Retain,
}

#[repr(C, align(16))]
struct Block([AtomicU64; WORDS]);

impl Block {
    fn fill(&self, word: u64) {
        self.0.iter().for_each(|at| at.store(word, SeqCst));
    }
}

#[repr(C)]
pub(crate) struct Leaves {
    blocks: [Block; 2],
    cell: AtomicPtr<Block>,
    /// What the child read; 0 if it has not.
    found: Block,
    visits: AtomicU64,
    /// References that were taken in the block that is poisoned.
    taken: AtomicU64,
}

impl Leaves {
    pub(crate) fn reset(&self, read: Read) {
        for (at, block) in self.blocks.iter().enumerate() {
            block.fill(at as u64 + 1);
            if read == Read::Retain {
                block.0[0].store(REFERENCES, SeqCst);
            }
        }
        self.cell.store(from_ref(&self.blocks[0]).cast_mut(), SeqCst);
        self.found.fill(0);
        self.visits.store(0, SeqCst);
        self.taken.store(0, SeqCst);
    }

    fn current(&self) -> usize {
        usize::from(self.cell.load(SeqCst).cast_const() != from_ref(&self.blocks[0]))
    }

    fn taken_in(&self, block: usize) -> u64 {
        self.blocks[block].0[0].load(SeqCst).wrapping_sub(REFERENCES)
    }

    /// How often the adversary was here, and the child has read; something else if it found
    /// what was freed, or of one value and another.
    pub(crate) fn count(&self, read: Read) -> u64 {
        let visits = self.visits.load(SeqCst);
        visits
            + match read {
                Read::Copy(words) => {
                    let mut found = self.found.0[..words].iter().map(|word| word.load(SeqCst));
                    let first = found.next().expect("one word at least");
                    let whole = found.all(|word| word == first);
                    match first {
                        0 if whole => 0,
                        1 | 2 if whole => 1,
                        _ => 1000,
                    }
                }
                Read::Retain => {
                    let current = self.current();
                    let freed = &self.blocks[1 - current].0[0];
                    let late = visits != 0 && freed.load(SeqCst) != POISON;
                    self.taken.load(SeqCst) + self.taken_in(current) + if late { 1000 } else { 0 }
                }
            }
    }

    /// Replaces and frees, at the first of so many visits.
    pub(crate) fn interfere(&self, read: Read, visits: u64) {
        let current = self.current();
        if read == Read::Retain {
            self.taken.fetch_add(self.taken_in(current), SeqCst);
        }
        self.cell.store(from_ref(&self.blocks[1 - current]).cast_mut(), SeqCst);
        self.blocks[current].fill(POISON);
        self.visits.fetch_add(visits, SeqCst);
    }

    #[inline(always)]
    pub(crate) fn copy<const WORDS: usize>(&self) -> bool {
        let cell = from_ref(&self.cell).cast::<AtomicPtr<Area<[u64; WORDS]>>>();
        // SAFETY: a block is at least as large as the area, and aligned as that; it stays mapped.
        let Some(words) = (unsafe { copy(&*cell) }) else { return false };
        for (at, word) in self.found.0.iter().zip(words) {
            at.store(word, SeqCst);
        }
        true
    }

    #[inline(always)]
    pub(crate) fn retain(&self) -> bool {
        // SAFETY: a block begins with a count, and stays mapped.
        unsafe { retain(&self.cell) }.is_some()
    }
}
