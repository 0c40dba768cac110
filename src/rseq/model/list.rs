//! The modelled sequences on a CPU's list.
//!
//! They have steps, between which other threads run. Each step is taken with the token held, and
//! only if nothing has aborted the section: neither a broadcast nor, on its CPU, a commit of
//! another thread, for which this one was preempted.

use super::{Place, STRIDE, Tier, limit, script, take_token};
use crate::rseq::part::WORD;
use crate::rseq::stack::{Link, TurnedAway, address, link};
use crate::sync::mutant::{Mutant, broken};
use loom::sync::atomic::{AtomicU64, Ordering};
use std::cell::Cell;
use std::ptr::NonNull;

const COMMITTED: u64 = 1 << 32;

/// One section.
pub(super) struct Section {
    cpu: usize,
    start: Cell<u64>,
    may_lose: u64,
}

impl Section {
    pub(super) fn begin() -> Option<Section> {
        let script = script();
        if script.unregistered || limit() != Tier::Rseq {
            return None;
        }
        let start = Cell::new(*take_token(script.cpu)?);
        let may_lose = if script.lose_abort { u64::from(u32::MAX) } else { script.lose_one };
        Some(Section { cpu: script.cpu, start, may_lose })
    }

    /// One step, unless the section was aborted before.
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut u64) -> R) -> Option<R> {
        let mut token = take_token(self.cpu)?;
        let (commits, broadcasts) = (*token >> 32, *token & (COMMITTED - 1));
        let start = self.start.get();
        let undisturbed =
            commits == start >> 32 && broadcasts - (start & (COMMITTED - 1)) <= self.may_lose;
        undisturbed.then(|| step(&mut token))
    }

    /// A step by which others of this CPU are aborted: it stores where they do, before it commits,
    /// and so they have been preempted.
    pub(super) fn stage(&self, store: impl FnOnce()) -> Option<()> {
        self.commit(store)?;
        self.start.set(self.start.get() + COMMITTED);
        Some(())
    }

    pub(super) fn commit(&self, store: impl FnOnce()) -> Option<()> {
        self.step(|token| {
            store();
            *token += COMMITTED;
        })
    }
}

/// A CPU's part.
#[derive(Clone, Copy)]
pub(super) struct Part(NonNull<u8>);

impl Part {
    /// Of the calling thread's CPU.
    pub(super) fn here(place: &Place) -> Option<Part> {
        let cpu = script().cpu;
        let first = NonNull::new(place.first())?;
        // SAFETY: the callers' promise: within the bound there is a part.
        (cpu < place.bound() as usize).then(|| Part(unsafe { first.byte_add(cpu * STRIDE) }))
    }

    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the callers' promise: three words.
        unsafe { self.0.byte_add(at * WORD).cast().as_ref() }
    }

    /// Which list is in use, unless someone has stopped it. Acquire: what the address dependency,
    /// or the order of loads, gives on the machines that have sections.
    fn used(&self) -> Option<List> {
        let used = self.word(0).load(Ordering::Acquire);
        (used < 2).then_some(List(*self, used as usize))
    }
}

/// The list in use.
#[derive(Clone, Copy)]
pub(super) struct List(pub(super) Part, usize);

impl List {
    fn top(&self) -> &AtomicU64 {
        self.0.word(1 + self.1)
    }
}

/// A section that has found the list in use.
pub(super) fn enter(place: &Place) -> Option<(Section, List)> {
    let outside = broken(Mutant::StopOutsideSection).then(|| Part::here(place).map(|p| p.used()));
    let section = Section::begin()?;
    let part = section.step(|_| Part::here(place))??;
    let used = match outside {
        Some(used) => used?,
        None => section.step(|_| part.used())?,
    };
    Some((section, used?))
}

/// The modelled push.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn push(place: &Place, node: NonNull<Link>) -> bool {
    let attempt = || {
        let (section, list) = enter(place)?;
        let top = section.step(|_| list.top().load(Ordering::Relaxed))?;
        // SAFETY: the caller's node.
        section.step(|_| unsafe { node.as_ref() }.set_next(link(top)))?;
        section.commit(|| list.top().store(address(Some(node)), Ordering::Relaxed))
    };
    attempt().is_some()
}

/// The modelled pop.
///
/// # Errors
///
/// As the real one.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn pop(place: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
    if broken(Mutant::NextOutsideSection) {
        // SAFETY: as the caller promises, but for the defect.
        return unsafe { pop_in_two_steps(place) }.ok_or(TurnedAway);
    }
    let attempt = || {
        let (section, list) = enter(place)?;
        let top = section.step(|_| list.top().load(Ordering::Relaxed))?;
        let Some(node) = link(top) else { return Some(None) };
        // SAFETY: on the list, or we were aborted.
        let next = section.step(|_| unsafe { node.as_ref() }.next())?;
        section.commit(|| list.top().store(address(next), Ordering::Relaxed))?;
        Some(Some(node))
    };
    attempt().ok_or(TurnedAway)
}

/// The mutant: what comes behind the top is known before the section begins.
unsafe fn pop_in_two_steps(place: &Place) -> Option<Option<NonNull<Link>>> {
    let list = Part::here(place)?.used()?;
    let top = list.top().load(Ordering::Acquire);
    let Some(node) = link(top) else { return Some(None) };
    // SAFETY: models keep nodes in memory: what is found is wrong, not gone.
    let next = unsafe { node.as_ref() }.next();
    let (section, list) = enter(place)?;
    if section.step(|_| list.top().load(Ordering::Relaxed))? != top {
        return None;
    }
    section.commit(|| list.top().store(address(next), Ordering::Relaxed))?;
    Some(Some(node))
}

/// The modelled taking of all.
///
/// # Errors
///
/// As the real one.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn take(place: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
    let attempt = || {
        let (section, list) = enter(place)?;
        let top = section.step(|_| list.top().load(Ordering::Relaxed))?;
        section.commit(|| list.top().store(0, Ordering::Relaxed))?;
        Some(link(top))
    };
    attempt().ok_or(TurnedAway)
}
