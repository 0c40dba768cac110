//! The adversary of sequences on a CPU's list or array.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use stillpoint::rseq::cache;
use stillpoint::rseq::exchange;
use stillpoint::rseq::part::{Place, STRIDE};
use stillpoint::rseq::stack::{self, Link};

/// CPUs with a part.
pub(crate) const CPUS: usize = 1024;
/// Nodes, or items, of a CPU.
const NODES: usize = 4;
/// Items that fit.
const LIMIT: usize = 1000;

/// What a sequence does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Push,
    Pop,
    Take,
    PushItem,
    PopItem,
    /// Stores the child's node to the word, and takes what was there.
    Swap,
    /// As `Pop`, where the list and the link are said to be.
    PopAt,
}

/// A part: the stop, the top or the number of items; whether the list was replaced, how often the
/// adversary was here; items.
#[repr(C)]
pub(crate) struct Part([AtomicU64; STRIDE / 8]);

const TOP: usize = 1;
const REPLACED: usize = 2;
const VISITS: usize = 3;

#[repr(C)]
pub(crate) struct Lists {
    parts: [Part; CPUS],
    place: Place,
    nodes: [[AtomicU64; NODES]; CPUS],
    /// The adversary's, one for each CPU.
    foes: [AtomicU64; CPUS],
    /// What the child pushes; it must be on no list.
    own: AtomicU64,
    /// What the child took.
    taken: AtomicU64,
}

fn address(node: &AtomicU64) -> u64 {
    node.as_ptr().expose_provenance() as u64
}

/// The word at a node's address.
fn node(address: u64) -> &'static AtomicU64 {
    // SAFETY: a node of the arena, which stays mapped.
    unsafe { &*std::ptr::with_exposed_provenance(address as usize) }
}

impl Lists {
    /// # Safety
    ///
    /// These live for ever.
    pub(crate) unsafe fn open(&self) {
        // SAFETY: a part for each of so many CPUs.
        unsafe {
            self.place.set((&raw const self.parts).cast_mut().cast());
            self.place.open(CPUS as u32);
        }
    }

    fn word(&self, cpu: usize, at: usize) -> &AtomicU64 {
        &self.parts[cpu].0[at]
    }

    /// Each CPU has so many nodes, or items.
    pub(crate) fn reset(&self, act: Act) {
        for (cpu, nodes) in self.nodes.iter().enumerate() {
            for (at, node) in nodes.iter().enumerate() {
                node.store(nodes.get(at + 1).map_or(0, address), SeqCst);
            }
            let items = matches!(act, Act::PushItem | Act::PopItem);
            let top = if items { NODES as u64 } else { address(&nodes[0]) };
            self.word(cpu, TOP).store(top, SeqCst);
            for at in [REPLACED, VISITS] {
                self.word(cpu, at).store(0, SeqCst);
            }
            for item in 0..NODES {
                self.word(cpu, cache::HEAD + item).store(item as u64 + 1, SeqCst);
            }
        }
    }

    /// What the word is after the child has committed.
    fn behind(&self, act: Act) -> u64 {
        if act == Act::Swap { address(&self.own) } else { 0 }
    }

    /// How often the child, or the adversary, has committed there.
    pub(crate) fn count(&self, cpu: usize, act: Act) -> u64 {
        let top = self.word(cpu, TOP).load(SeqCst);
        let length = || {
            // A list that was torn may be a ring.
            let next = |at: &u64| Some(node(*at).load(SeqCst)).filter(|at| *at != 0);
            std::iter::successors(Some(top).filter(|at| *at != 0), next).take(100).count() as u64
        };
        match act {
            Act::Push => length().wrapping_sub(NODES as u64),
            Act::Pop | Act::PopAt => (NODES as u64).wrapping_sub(length()),
            Act::PushItem => {
                let items = (0..top as usize).map(|at| self.word(cpu, cache::HEAD + at));
                // An item that was counted, and is not there, is worth a lot.
                let missing = items.filter(|item| item.load(SeqCst) == 0).count() as u64;
                top.wrapping_sub(NODES as u64) + 1000 * missing
            }
            Act::PopItem => (NODES as u64).wrapping_sub(top),
            Act::Take | Act::Swap => {
                let visits = self.word(cpu, VISITS).load(SeqCst);
                if top != self.behind(act) {
                    return visits;
                }
                let replaced = self.word(cpu, REPLACED).load(SeqCst) != 0;
                let list = if replaced { &self.foes[cpu] } else { &self.nodes[cpu][0] };
                let right = self.taken.load(SeqCst) == address(list);
                visits + if right { 1 } else { 1000 }
            }
        }
    }

    /// Commits once on a CPU, in the way that hurts most.
    pub(crate) fn interfere(&self, cpu: usize, act: Act) {
        let (word, foe) = (self.word(cpu, TOP), &self.foes[cpu]);
        let top = word.load(SeqCst);
        match act {
            Act::Push => {
                foe.store(top, SeqCst);
                word.store(address(foe), SeqCst);
            }
            // Takes the second one: the top is what it was, but not what comes behind it.
            Act::Pop | Act::PopAt => {
                let second = node(top).load(SeqCst);
                node(top).store(node(second).load(SeqCst), SeqCst);
            }
            Act::Take | Act::Swap => {
                if top != self.behind(act) {
                    foe.store(0, SeqCst);
                    word.store(address(foe), SeqCst);
                    self.word(cpu, REPLACED).store(1, SeqCst);
                }
                self.word(cpu, VISITS).fetch_add(1, SeqCst);
            }
            Act::PushItem => {
                self.word(cpu, cache::HEAD + top as usize).store(77, SeqCst);
                word.store(top + 1, SeqCst);
            }
            Act::PopItem => {
                // Behind the last one an array says nothing.
                self.word(cpu, cache::HEAD + top as usize - 1).store(0, SeqCst);
                word.store(top - 1, SeqCst);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn push(&self) -> bool {
        let own = NonNull::from(&self.own).cast::<Link>();
        // SAFETY: the place describes these parts; resetting took the node off.
        unsafe { stack::push(&self.place, own) }
    }

    #[inline(always)]
    pub(crate) fn pop(&self) -> bool {
        // SAFETY: as above.
        unsafe { stack::pop(&self.place) }.is_ok()
    }

    #[inline(always)]
    pub(crate) fn take(&self) -> bool {
        // SAFETY: as above.
        let Ok(taken) = (unsafe { stack::take(&self.place) }) else { return false };
        let taken = taken.map_or(0, |node| node.as_ptr().expose_provenance());
        self.taken.store(taken as u64, SeqCst);
        true
    }

    #[inline(always)]
    pub(crate) fn push_item(&self) -> bool {
        let item = 99.try_into().expect("not 0");
        // SAFETY: as above.
        unsafe { cache::push(&self.place, item, LIMIT) }
    }

    #[inline(always)]
    pub(crate) fn pop_item(&self) -> bool {
        // SAFETY: as above.
        unsafe { cache::pop(&self.place) }.is_some()
    }

    #[inline(always)]
    pub(crate) fn swap(&self) -> bool {
        // SAFETY: as above.
        let swapped = unsafe { exchange::swap(&self.place, TOP * 8, address(&self.own)) };
        let Ok(taken) = swapped else { return false };
        self.taken.store(taken, SeqCst);
        true
    }

    #[inline(always)]
    pub(crate) fn pop_at(&self) -> bool {
        // SAFETY: as above.
        unsafe { exchange::pop(&self.place, TOP * 8, 0) }.is_ok()
    }
}
