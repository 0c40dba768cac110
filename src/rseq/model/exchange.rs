//! The modelled exchanges, of steps as the sequences on a list are.

use super::list::{Part, Section};
use super::{Mutant, Ordering, Place, broken};
use crate::rseq::exchange::TurnedAway;
use crate::rseq::part::WORD;
use loom::sync::atomic::AtomicU64;
use std::num::NonZero;
use std::ptr::with_exposed_provenance;

/// A section that has found its part, not stopped.
fn enter(place: &Place) -> Option<(Section, Part)> {
    // Acquire: as for lists.
    let is_open = |part: Part| part.word(0).load(Ordering::Acquire) == 0;
    let outside = broken(Mutant::StopOutsideSection).then(|| Part::here(place).map(is_open));
    let section = Section::begin()?;
    let part = section.step(|_| Part::here(place))??;
    let open = match outside {
        Some(open) => open?,
        None => section.step(|_| is_open(part))?,
    };
    open.then_some((section, part))
}

/// The modelled swap.
///
/// # Errors
///
/// As the real one.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn swap(place: &Place, at: usize, new: u64) -> Result<u64, TurnedAway> {
    let attempt = || {
        let word = |part: Part| part.word(at / WORD).load(Ordering::Relaxed);
        let outside = broken(Mutant::TakenOutsideSection).then(|| Part::here(place).map(word));
        let (section, part) = enter(place)?;
        let old = match outside {
            Some(old) => old?,
            None => section.step(|_| word(part))?,
        };
        section.commit(|| part.word(at / WORD).store(new, Ordering::Release))?;
        Some(old)
    };
    attempt().ok_or(TurnedAway)
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
pub unsafe fn pop(
    place: &Place,
    at: usize,
    next: usize,
) -> Result<Option<NonZero<usize>>, TurnedAway> {
    let behind = |node: u64| {
        let word = with_exposed_provenance::<u8>(node as usize).wrapping_byte_add(next);
        // SAFETY: the caller's promise; models keep nodes in memory.
        unsafe { &*word.cast::<AtomicU64>() }.load(Ordering::Relaxed)
    };
    let attempt = || {
        let word = |part: Part| part.word(at / WORD).load(Ordering::Acquire);
        let outside = broken(Mutant::NextOutsideSection).then(|| {
            let node = word(Part::here(place)?);
            Some((node, if node == 0 { 0 } else { behind(node) }))
        });
        let (section, part) = enter(place)?;
        let node = section.step(|_| word(part))?;
        if node == 0 {
            return Some(None);
        }
        let behind = match outside {
            Some(Some((was, behind))) if was == node => behind,
            Some(_) => return None,
            None => section.step(|_| behind(node))?,
        };
        section.commit(|| part.word(at / WORD).store(behind, Ordering::Release))?;
        Some(NonZero::new(node as usize))
    };
    attempt().ok_or(TurnedAway)
}
