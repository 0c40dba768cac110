//! Pages of events, as the kernel would map them, and what was read from them.
//!
//! Each word of a page tells its CPU and a generation; the adversary begins another. What a section
//! has read must be of one page, that of the CPU it committed on, and of one generation: the one in
//! which it was not disturbed any more. The lock stays as it is, so that only an abort helps. There is
//! no index: nothing of the processor's can be read here.

use super::arena::{CPUS, INTERFERED};
use std::ptr::from_ref;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use stillpoint::rseq::counter::{Raw, Table, UserPage, read};

/// Of every page; even, and not 0.
const LOCK: u64 = 2;
/// The word of a page in which its lock stands, and behind that the index; the others tell.
const LOCK_WORD: usize = 1;

#[repr(C)]
pub(crate) struct Pages {
    table: TableOf,
    pages: [UserPage; CPUS],
    raw: RawOf,
    generation: AtomicU64,
    /// The oldest that may be read.
    oldest: AtomicU64,
    visits: [AtomicU64; CPUS],
}

#[repr(C)]
struct TableOf(Table, [AtomicU64; CPUS]);

/// A [`Raw`], word by word.
#[repr(C, align(16))]
struct RawOf([AtomicU64; size_of::<Raw>() / 8]);

fn word(cpu: usize, generation: u64) -> u64 {
    generation << 16 | cpu as u64
}

impl Pages {
    /// Makes of zeros what it should be. The addresses are those of all who share the memory.
    pub(crate) fn open(&self) {
        let bound = from_ref(&self.table.0).cast::<AtomicU64>();
        // SAFETY: a table begins with its bound, and nobody else is here yet.
        unsafe { &*bound }.store(CPUS as u64, SeqCst);
        for (place, page) in self.table.1.iter().zip(&self.pages) {
            place.store(from_ref(page) as u64, SeqCst);
            // The lock, and no index.
            page.0[LOCK_WORD].store(LOCK, SeqCst);
        }
        self.begin_generation(CPUS);
    }

    pub(crate) fn reset(&self) {
        self.raw.0.iter().for_each(|word| word.store(0, SeqCst));
    }

    fn begin_generation(&self, cpus: usize) {
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        for (cpu, page) in self.pages[..cpus].iter().enumerate() {
            for (_, at) in page.0.iter().enumerate().filter(|&(at, _)| at != LOCK_WORD) {
                at.store(word(cpu, generation), SeqCst);
            }
        }
    }

    /// Whether something was committed.
    fn is_committed(&self) -> bool {
        self.raw.0[0].load(SeqCst) >> 32 != 0
    }

    /// Disturbs each of the first CPUs once.
    pub(crate) fn interfere(&self, cpus: usize) {
        let committed = self.is_committed();
        self.begin_generation(cpus);
        if !committed {
            self.oldest.store(self.generation.load(SeqCst), SeqCst);
        }
        self.visits[..cpus].iter().for_each(|visits| _ = visits.fetch_add(1, SeqCst));
    }

    /// How often the adversary was here, and whether something was read here; another number if that
    /// does not belong together.
    pub(crate) fn count(&self, cpu: usize) -> u64 {
        let visits = self.visits[cpu].load(SeqCst);
        // The lock was stored last, behind the CPU.
        let committed = self.raw.0[0].load(SeqCst);
        if committed >> 32 == 0 || committed as u32 as usize != cpu {
            return visits;
        }
        // CPU and lock, counter, then the page.
        let page: [u64; 12] = std::array::from_fn(|at| self.raw.0[2 + at].load(SeqCst));
        let first = page[0];
        let alike = |at: usize| page[at] == if at == LOCK_WORD { LOCK } else { first };
        let whole = committed >> 32 == LOCK && (0..12).all(alike);
        let in_time = cpu >= INTERFERED || first >> 16 >= self.oldest.load(SeqCst);
        let right =
            whole && in_time && first & 0xffff == cpu as u64 && self.raw.0[1].load(SeqCst) == 0;
        visits + if right { 1 } else { 1000 }
    }

    #[inline(always)]
    pub(crate) fn read(&self) -> bool {
        // SAFETY: words of the same size and alignment, which the parent looks at while this process
        // stands still.
        let raw = unsafe { &mut *self.raw.0[0].as_ptr().cast::<Raw>() };
        // SAFETY: a table of pages that stay mapped, none with an index.
        unsafe { read(from_ref(&self.table.0), raw) }
    }
}
