//! The sequences that are traced.

use super::arena::Place::{self, Bell, FromPage, Head, InLeaf, InList, InPart, Slot, Word};
use super::arena::{Arena, Part};
use super::leaves::Read;
use super::lists::Act;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use stillpoint::rseq::area::thread_area;
use stillpoint::rseq::change::{self, Change};
use stillpoint::rseq::part;
use stillpoint::rseq::reader::{Mark, enter, leave, leave_here};
use stillpoint::rseq::ring::{self, Record};
use stillpoint::rseq::slot::claim;
use stillpoint::rseq::syscall::{armed, unless};
use stillpoint::rseq::wait::{HELD, Watched, watch};
use stillpoint::rseq::word::{add, replace};

/// One sequence under test.
pub(crate) struct Sequence {
    pub(crate) name: &'static str,
    /// One attempt, in a function of its own, so that its code can be found.
    pub(super) attempt: extern "C" fn(&Arena) -> bool,
    pub(super) commits_to: Place,
    /// True if the phase in which it counts is the one current at its commit.
    pub(super) follows_phase: bool,
}

/// Of one on a CPU's list or array.
const fn on_list(name: &'static str, act: Act, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: InList(act), follows_phase: false }
}

/// Of one that publishes by a position in a CPU's part.
const fn on_head(name: &'static str, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: Head, follows_phase: false }
}

/// Of one that is a whole read.
const fn leaf(name: &'static str, read: Read, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: InLeaf(read), follows_phase: false }
}

/// Of one whose last instruction is a system call.
const fn calls(name: &'static str, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: Bell, follows_phase: false }
}

pub(crate) const SEQUENCES: [Sequence; 33] = [
    leaf("leaf_1", Read::Copy(1), attempt_read::<1>),
    leaf("leaf_2", Read::Copy(2), attempt_read::<2>),
    leaf("leaf_4", Read::Copy(4), attempt_read::<4>),
    leaf("leaf_6", Read::Copy(6), attempt_read::<6>),
    leaf("leaf_8", Read::Copy(8), attempt_read::<8>),
    leaf("leaf_16", Read::Copy(10), attempt_read::<10>),
    leaf("leaf_32", Read::Copy(32), attempt_read::<32>),
    leaf("leaf_many", Read::Copy(34), attempt_read::<34>),
    leaf("leaf_many", Read::Copy(40), attempt_read::<40>),
    leaf("retain", Read::Retain, attempt_retain),
    calls("syscall_unless", attempt_unless),
    calls("syscall_armed", attempt_armed),
    Sequence {
        name: "counter_read",
        attempt: attempt_counter,
        commits_to: FromPage,
        follows_phase: false,
    },
    on_list("stack_push", Act::Push, attempt_push),
    on_list("stack_pop", Act::Pop, attempt_pop),
    on_list("stack_take", Act::Take, attempt_take),
    on_list("cache_push", Act::PushItem, attempt_push_item),
    on_list("cache_pop", Act::PopItem, attempt_pop_item),
    on_list("exchange_swap", Act::Swap, attempt_swap),
    on_list("exchange_pop", Act::PopAt, attempt_pop_at),
    on_head("change_commit", attempt_change),
    on_head("change_store", attempt_change_and_store),
    on_head("change_copy", attempt_change_and_copy),
    Sequence { name: "slot_claim", attempt: attempt_claim, commits_to: Slot, follows_phase: true },
    Sequence {
        name: "reader_enter",
        attempt: attempt_enter,
        commits_to: Word(|p| &p.entered),
        follows_phase: true,
    },
    Sequence {
        name: "reader_leave_here",
        attempt: attempt_leave_here,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
    Sequence {
        name: "reader_leave",
        attempt: attempt_leave,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
    Sequence {
        name: "word_add",
        attempt: attempt_add,
        commits_to: Word(|p| &p.entered),
        follows_phase: false,
    },
    Sequence {
        name: "part_add",
        attempt: attempt_part_add,
        commits_to: InPart,
        follows_phase: false,
    },
    Sequence {
        name: "ring_reserve",
        attempt: attempt_reserve,
        commits_to: Head,
        follows_phase: false,
    },
    Sequence { name: "ring_copy", attempt: attempt_copy, commits_to: Head, follows_phase: false },
    Sequence {
        name: "lock_wait",
        attempt: attempt_wait,
        commits_to: Word(|p| &p.entered),
        follows_phase: false,
    },
    Sequence {
        name: "word_replace",
        attempt: attempt_replace,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
];

#[inline(never)]
extern "C" fn attempt_read<const WORDS: usize>(arena: &Arena) -> bool {
    arena.leaves.copy::<WORDS>()
}

#[inline(never)]
extern "C" fn attempt_retain(arena: &Arena) -> bool {
    arena.leaves.retain()
}

#[inline(never)]
extern "C" fn attempt_unless(arena: &Arena) -> bool {
    // SAFETY: writes a word of ours to the `eventfd`.
    unsafe { unless(&arena.flag, &arena.ring()) == Some(8) }
}

#[inline(never)]
extern "C" fn attempt_armed(arena: &Arena) -> bool {
    arena.slot.store(arena.flag.load(SeqCst) as usize, SeqCst);
    // SAFETY: as above; nobody else stores to the slot.
    unsafe { armed(&arena.slot, 7, &arena.ring()) == Some(8) && arena.slot.load(SeqCst) == 7 }
}

#[inline(never)]
extern "C" fn attempt_counter(arena: &Arena) -> bool {
    arena.pages.read()
}

#[inline(never)]
extern "C" fn attempt_push(arena: &Arena) -> bool {
    arena.lists.push()
}

#[inline(never)]
extern "C" fn attempt_pop(arena: &Arena) -> bool {
    arena.lists.pop()
}

#[inline(never)]
extern "C" fn attempt_take(arena: &Arena) -> bool {
    arena.lists.take()
}

#[inline(never)]
extern "C" fn attempt_push_item(arena: &Arena) -> bool {
    arena.lists.push_item()
}

#[inline(never)]
extern "C" fn attempt_pop_item(arena: &Arena) -> bool {
    arena.lists.pop_item()
}

#[inline(never)]
extern "C" fn attempt_swap(arena: &Arena) -> bool {
    arena.lists.swap()
}

#[inline(never)]
extern "C" fn attempt_pop_at(arena: &Arena) -> bool {
    arena.lists.pop_at()
}

#[inline(never)]
extern "C" fn attempt_enter(arena: &Arena) -> bool {
    // SAFETY: the gate describes the arena's lines, which stay mapped.
    unsafe { enter(&arena.gate) }.is_some()
}

#[inline(never)]
extern "C" fn attempt_leave_here(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let phase = NonNull::from(&arena.lines[cpu as usize + 1].phases[0]);
    // SAFETY: the mark is one that `enter` could just have given, on the CPU the thread was on
    // then.
    unsafe { leave_here(Mark { phase, cpu }) }
}

#[inline(never)]
extern "C" fn attempt_leave(arena: &Arena) -> bool {
    // SAFETY: the gate describes the arena's lines, which stay mapped; the mark is one that
    // `enter` could have given.
    unsafe { leave(&arena.gate, Mark { phase: NonNull::from(&arena.lines[1].phases[0]), cpu: 0 }) }
}

#[inline(never)]
extern "C" fn attempt_claim(arena: &Arena) -> bool {
    // SAFETY: the table describes the arena's lines, which stay mapped.
    unsafe { claim(&arena.table, &arena.slot_gate) }.is_some()
}

#[inline(never)]
extern "C" fn attempt_part_add(arena: &Arena) -> bool {
    // SAFETY: the place describes the arena's parts, which stay mapped.
    unsafe { part::add(&arena.place, 0, 1) }
}

#[inline(never)]
extern "C" fn attempt_reserve(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    // SAFETY: a head of that CPU, to which only sequences on it store, and the adversary.
    let done = unsafe { ring::reserve(cpu, &part.0[0], count, count + 1, &record[0], 7, 8) };
    if done {
        arena.check(&record[..2], [7, 8]);
    }
    done
}

#[inline(never)]
extern "C" fn attempt_copy(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    let from = [9_u64, 10, 11];
    let (last, end) = (MaybeUninit::new(12), &raw const record[5]);
    let what = Record { header: 7, stamp: 8, from: from.as_ptr().cast(), whole: 24, last, end };
    // SAFETY: as above; the source is there.
    let done = unsafe { ring::copy(cpu, &part.0[0], count, count + 1, &record[0], &what) };
    if done {
        arena.check(record, [7, 8, 9, 10, 11, 12]);
    }
    done
}

/// What counts on from `count`, with another word of the part that stays 0.
fn counts(part: &Part, cpu: u32, count: u64) -> Change<'_> {
    let [word, .., also] = &part.0;
    Change { cpu, word, old: count, new: count + 1, also, is: 0 }
}

#[inline(never)]
extern "C" fn attempt_change(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    // SAFETY: a head of that CPU, to which only sequences on it store, and the adversary.
    unsafe { change::commit(&counts(part, cpu, part.0[0].load(SeqCst))) }
}

#[inline(never)]
extern "C" fn attempt_change_and_store(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    // SAFETY: as above.
    let done = unsafe { change::store(&counts(part, cpu, count), &record[0], 7) };
    if done {
        arena.check(&record[..1], [7]);
    }
    done
}

#[inline(never)]
extern "C" fn attempt_change_and_copy(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    // SAFETY: as above; two words are enough to go round.
    let done = unsafe { change::copy(&counts(part, cpu, count), &record[..2], &[7, 8]) };
    if done {
        arena.check(&record[..2], [7, 8]);
    }
    done
}

/// The CPU the thread was on a moment ago.
fn cpu_before() -> u32 {
    // SAFETY: the calling thread's own area.
    unsafe { thread_area().cast::<u32>().add(1).read_volatile() }
}

#[inline(never)]
extern "C" fn attempt_add(arena: &Arena) -> bool {
    let cpu = cpu_before();
    // SAFETY: a word of that CPU, to which only this sequence stores, and the adversary.
    unsafe { add(cpu, &arena.lines[cpu as usize + 1].phases[0].entered, 1) }
}

/// Commits nothing by itself: whoever has waited undisturbed counts it, behind the section.
#[inline(never)]
extern "C" fn attempt_wait(arena: &Arena) -> bool {
    // Held on a CPU that is not known; two looks, so that it goes through each of its instructions.
    let undisturbed = watch(&AtomicU32::new(HELD), 2) == Watched::Held;
    if undisturbed {
        let line = &arena.lines[cpu_before() as usize + 1];
        line.phases[0].entered.fetch_add(1, SeqCst);
    }
    undisturbed
}

#[inline(never)]
extern "C" fn attempt_replace(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let word = &arena.lines[cpu as usize + 1].phases[0].left;
    // SAFETY: a pointer and this number have one size, and the same bytes are valid for both.
    let word = unsafe { &*word.as_ptr().cast::<AtomicPtr<u8>>() };
    let old = word.load(SeqCst);
    // SAFETY: as in `attempt_add`.
    unsafe { replace(cpu, word, old, old.wrapping_add(1)) }
}
