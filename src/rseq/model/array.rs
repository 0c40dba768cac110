//! The modelled sequences on a CPU's array, of steps as those on its list are.

use super::Place;
use super::list::enter;
use crate::rseq::cache::HEAD;
use loom::sync::atomic::Ordering;
use std::num::NonZero;

/// The word that says how many items there are.
const LENGTH: usize = 1;

/// The modelled push.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn push(place: &Place, item: NonZero<usize>, limit: usize) -> bool {
    let attempt = || {
        let (section, list) = enter(place)?;
        let part = list.0;
        let length = section.step(|_| part.word(LENGTH).load(Ordering::Relaxed))?;
        if length >= limit as u64 {
            return None;
        }
        let (at, item) = (HEAD + length as usize, item.get() as u64);
        section.stage(|| part.word(at).store(item, Ordering::Relaxed))?;
        section.commit(|| {
            // One instruction adds; the token makes it one.
            let length = part.word(LENGTH).load(Ordering::Relaxed);
            part.word(LENGTH).store(length + 1, Ordering::Relaxed);
        })
    };
    attempt().is_some()
}

/// The modelled pop.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn pop(place: &Place) -> Option<NonZero<usize>> {
    let (section, list) = enter(place)?;
    let part = list.0;
    let length = section.step(|_| part.word(LENGTH).load(Ordering::Relaxed))?.checked_sub(1)?;
    let item = section.step(|_| part.word(HEAD + length as usize).load(Ordering::Relaxed))?;
    section.commit(|| part.word(LENGTH).store(length, Ordering::Relaxed))?;
    NonZero::new(item as usize)
}
