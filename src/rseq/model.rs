//! Sections and broadcasts for the model checker.
//!
//! A modelled thread runs on a *virtual CPU*, which has a token: the number of broadcasts that
//! have reached it, under a mutex. A section reads the number when it starts and commits, with
//! the token held, only if the number is still the same; otherwise it was aborted. A broadcast
//! takes each token in turn and raises its number. So
//!
//! * a section that starts after the broadcast reached its CPU sees all that came before it,
//! * one that committed before is visible to the broadcaster afterwards,
//! * one in between is aborted,
//!
//! and two sections on different CPUs order nothing: that is what the kernel gives, no more.
//! Counters are loaded and stored, never read-modify-written, so a lost token would lose counts.
//!
//! Tests script what the kernel does to a thread: where it runs, whether it is registered,
//! whether an abort is lost.

pub mod array;
pub mod change;
pub mod counter;
pub mod exchange;
pub mod leaf;
pub mod list;

use super::part::{Place, STRIDE};
use super::reader::{Gate, Line, Mark, NO_CPU, Phase};
use super::ring::Record;
use super::slot::{SlotLine, Table};
use super::wait::Watched;
use crate::machine::Tier;
use crate::sync::mutant::{Mutant, broken};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::ptr::NonNull;

/// Virtual CPUs.
pub const CPUS: usize = 2;

loom::lazy_static! {
    static ref TOKENS: [Mutex<u64>; CPUS] = std::array::from_fn(|_| Mutex::new(0));
}

#[derive(Clone, Copy)]
struct Script {
    cpu: usize,
    unregistered: bool,
    lose_abort: bool,
    lose_one: u64,
    /// Where it will be when its next read of a counter begins.
    next: Option<usize>,
}

loom::thread_local! {
    static SCRIPT: Cell<Script> =
        Cell::new(Script { cpu: 0, unregistered: false, lose_abort: false, lose_one: 0, next: None });
}

fn script() -> Script {
    SCRIPT.with(Cell::get)
}

fn rewrite(change: impl FnOnce(&mut Script)) {
    SCRIPT.with(|script| {
        let mut now = script.get();
        change(&mut now);
        script.set(now);
    });
}

/// From here on the calling thread runs on this CPU.
pub fn run_on(cpu: usize) {
    rewrite(|script| script.cpu = cpu);
}

/// From here on the calling thread is one that the kernel refused to register.
pub fn unregister() {
    rewrite(|script| script.unregistered = true);
}

/// The calling thread's sections are not aborted by broadcasts any more, as on a kernel that loses
/// aborts.
pub fn lose_aborts() {
    rewrite(|script| script.lose_abort = true);
}

/// The first broadcast to meet a section of the calling thread on a list does not abort it, as
/// kernels before 6.18 may have it.
pub fn lose_an_abort() {
    rewrite(|script| script.lose_one = 1);
}

/// A CPU's token.
fn take_token(cpu: usize) -> Option<loom::sync::MutexGuard<'static, u64>> {
    TOKENS[cpu].lock().ok()
}

/// The modelled *enter*.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn enter(gate: &Gate) -> Option<Mark> {
    let script = script();
    if script.unregistered {
        return None;
    }
    let load = |gate: &AtomicPtr<Phase>| gate.load(Ordering::Relaxed);
    let outside = broken(Mutant::PhaseOutsideSection).then(|| load(&gate.phase));
    let start = *TOKENS[script.cpu].lock().ok()?;
    let phase = outside.unwrap_or_else(|| load(&gate.phase));
    if phase.is_null() || script.cpu >= gate.slots.load(Ordering::Relaxed) as usize {
        return None;
    }
    let token = TOKENS[script.cpu].lock().ok()?;
    if *token != start && !script.lose_abort {
        return None;
    }
    let phase = phase.wrapping_byte_add(script.cpu * size_of::<Line>());
    // SAFETY: the caller promises lines for every CPU below the bound.
    let counts = unsafe { &*phase };
    // Two operations: the token makes them one, as the section does.
    let count = counts.entered.load(Ordering::Relaxed);
    counts.entered.store(count + 1, Ordering::Relaxed);
    Some(Mark { phase: NonNull::from(counts), cpu: script.cpu as u32 })
}

/// The modelled *leave* where the section was entered.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn leave_here(mark: Mark) -> bool {
    let script = script();
    // SAFETY: the caller's promise.
    !script.unregistered && script.cpu == mark.cpu as usize && unsafe { count_end(mark.phase) }
}

/// The modelled *leave* on any CPU.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn leave(gate: &Gate, mark: Mark) -> bool {
    let script = script();
    if script.unregistered
        || mark.cpu == NO_CPU
        || script.cpu >= gate.slots.load(Ordering::Relaxed) as usize
    {
        return false;
    }
    let lines = script.cpu as isize - mark.cpu as isize;
    let phase = mark.phase.as_ptr().wrapping_byte_offset(lines * size_of::<Line>() as isize);
    // SAFETY: the caller promises lines for every CPU below the bound.
    NonNull::new(phase).is_some_and(|phase| unsafe { count_end(phase) })
}

/// Counts an end on the line of the CPU the thread runs on. An abort would only repeat it, so it
/// is one step.
///
/// # Safety
///
/// `phase` points into that CPU's line.
unsafe fn count_end(phase: NonNull<Phase>) -> bool {
    let Ok(_token) = TOKENS[script().cpu].lock() else { return false };
    // SAFETY: the caller's promise.
    let counts = unsafe { phase.as_ref() };
    let order = if broken(Mutant::RelaxedLeave) { Ordering::Relaxed } else { Ordering::Release };
    let count = counts.left.load(Ordering::Relaxed);
    counts.left.store(count + 1, order);
    true
}

/// The CPU the calling thread runs on, if it is registered.
pub fn current_cpu() -> Option<u32> {
    let script = script();
    (!script.unregistered).then_some(script.cpu as u32)
}

/// The modelled addition to a CPU's word.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn add(cpu: u32, word: &AtomicU64, n: u64) -> bool {
    if current_cpu() != Some(cpu) {
        return false;
    }
    let Ok(_token) = TOKENS[cpu as usize].lock() else { return false };
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    true
}

/// The modelled replacement of a CPU's word.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn replace<T>(cpu: u32, word: &AtomicPtr<T>, old: *mut T, new: *mut T) -> bool {
    if current_cpu() != Some(cpu) {
        return false;
    }
    let Ok(_token) = TOKENS[cpu as usize].lock() else { return false };
    if word.load(Ordering::Relaxed) != old {
        return false;
    }
    // An exchange, for what is said at `replace` in `sync/modelled.rs`: others may exchange meanwhile.
    word.swap(new, Ordering::Release);
    true
}

/// The modelled addition to a word of this CPU's part.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn add_to_part(place: &Place, at: usize, n: u64) -> bool {
    let script = script();
    if script.unregistered || limit() != Tier::Rseq {
        return false;
    }
    let Ok(start) = TOKENS[script.cpu].lock().map(|token| *token) else { return false };
    if script.cpu >= place.bound() as usize {
        return false;
    }
    let first = place.first();
    let Ok(token) = TOKENS[script.cpu].lock() else { return false };
    if first.is_null() || *token != start && !script.lose_abort {
        return false;
    }
    // SAFETY: the caller's promise: within the bound there is such a word.
    let word = unsafe { &*first.add(script.cpu * STRIDE + at).cast::<AtomicU64>() };
    // Two operations: the token makes them one, as the section does.
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    true
}

/// The modelled append of a whole record. An abort would only repeat it, so it is one step.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn append_copy(
    cpu: u32,
    head: &AtomicU64,
    old: u64,
    new: u64,
    at: *const AtomicU64,
    record: &Record,
) -> bool {
    if limit() != Tier::Rseq || current_cpu() != Some(cpu) {
        return false;
    }
    let Ok(_token) = TOKENS[cpu as usize].lock() else { return false };
    if head.load(Ordering::Relaxed) != old {
        return false;
    }
    if broken(Mutant::RingCommitFirst) {
        head.store(new, Ordering::Release);
    }
    // SAFETY: the caller's promise: these words are there.
    unsafe {
        (*at).store(record.header, Ordering::Relaxed);
        (*at.add(1)).store(record.stamp, Ordering::Relaxed);
        for word in 0..record.whole / 8 {
            let value = record.from.cast::<u64>().add(word).read_unaligned();
            (*at.add(2 + word)).store(value, Ordering::Relaxed);
        }
        (*record.end).store(record.last.assume_init(), Ordering::Relaxed);
    }
    head.store(new, Ordering::Release);
    true
}

/// The modelled append of a record's head.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn append_head(
    cpu: u32,
    head: &AtomicU64,
    old: u64,
    new: u64,
    at: *const AtomicU64,
    header: u64,
    stamp: u64,
) -> bool {
    if limit() != Tier::Rseq || current_cpu() != Some(cpu) {
        return false;
    }
    let Ok(_token) = TOKENS[cpu as usize].lock() else { return false };
    if head.load(Ordering::Relaxed) != old {
        return false;
    }
    // SAFETY: the caller's promise: these words are there.
    unsafe {
        (*at).store(header, Ordering::Relaxed);
        (*at.add(1)).store(stamp, Ordering::Relaxed);
    }
    head.store(new, Ordering::Release);
    true
}

loom::lazy_static! {
    static ref SLOTS: [SlotLine; CPUS] = Default::default();
    static ref TABLE: Table = Table::new();
}

/// The lines of the locks' table.
pub(crate) fn slot_lines() -> &'static [SlotLine] {
    &*SLOTS
}

/// A table to hand on; the model looks at [`slot_lines`].
pub(crate) fn slot_table() -> &'static Table {
    &TABLE
}

/// The modelled claim. Loading a slot's 0 acquires and storing the id releases: what the branch
/// between them gives on the machines that have sections.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn claim(_: &Table, gate: &AtomicU64) -> Option<NonNull<AtomicU64>> {
    let script = script();
    if script.unregistered || limit() != Tier::Rseq {
        return None;
    }
    let load = || gate.load(Ordering::Relaxed);
    let outside = broken(Mutant::BiasOutsideSection).then(load);
    let start = *TOKENS[script.cpu].lock().ok()?;
    let id = outside.unwrap_or_else(load);
    if id >> 63 != 0 {
        return None;
    }
    let token = TOKENS[script.cpu].lock().ok()?;
    if *token != start && !script.lose_abort {
        return None;
    }
    let slot = slot_lines()[script.cpu].slots.iter().find(|s| s.load(Ordering::Acquire) == 0)?;
    slot.store(id, Ordering::Release);
    Some(NonNull::from(slot))
}

/// The modelled name of the calling thread's CPU in the word of a lock.
pub fn here() -> u32 {
    current_cpu().map_or(0, super::wait::named)
}

/// The modelled wait for a lock: one look. Nobody spins in a model: whoever holds the lock does not
/// run.
pub fn watch(word: &AtomicU32, _: u32) -> Watched {
    let seen = word.load(Ordering::Relaxed);
    match current_cpu() {
        None => Watched::Unable,
        Some(_) if seen & super::wait::HELD == 0 => Watched::Free,
        Some(_) => Watched::Here,
    }
}

std::thread_local! {
    /// The checker runs all threads of a model on one of the system's.
    static LIMIT: Cell<Tier> = const { Cell::new(Tier::Rseq) };
}

/// Models that run on this thread have at most this tier from here on.
pub fn set_limit(tier: Tier) {
    LIMIT.set(tier);
}

/// What this process has, in a model.
pub(crate) fn limit() -> Tier {
    LIMIT.get()
}

/// The modelled broadcast: reaches every CPU, one after the other.
pub(crate) fn broadcast(_: Tier) -> Result<(), i32> {
    fence(Ordering::SeqCst);
    for token in TOKENS.iter() {
        if let Ok(mut broadcasts) = token.lock() {
            *broadcasts += 1;
        }
    }
    fence(Ordering::SeqCst);
    Ok(())
}

/// The modelled broadcast to one CPU.
pub(crate) fn broadcast_to(cpu: u32) -> Result<(), i32> {
    fence(Ordering::SeqCst);
    if let Some(mut broadcasts) = TOKENS.get(cpu as usize).and_then(|token| token.lock().ok()) {
        *broadcasts += 1;
    }
    fence(Ordering::SeqCst);
    Ok(())
}

/// In the model the kernel may.
pub(crate) fn loses_aborts() -> bool {
    true
}

/// A broadcast, for models of the sequences themselves.
pub fn broadcast_to_all() {
    let _ = broadcast(Tier::Rseq);
}

/// A reader's half of a broadcast outside sections: a point that the broadcast comes before or
/// after.
pub(crate) fn light_of_broadcast() {
    drop(TOKENS[script().cpu].lock());
}
