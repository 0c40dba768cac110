//! The modelled changes, of steps as the sequences on a list are.

use super::list::Section;
use super::{Mutant, Ordering, broken, current_cpu};
use crate::rseq::change::Change;
use loom::sync::atomic::AtomicU64;

/// A section that has found all as it was planned.
fn compared(change: &Change<'_>) -> Option<Section> {
    // Acquire: what the address dependency, or the order of loads, gives on the machines that have
    // sections.
    let load = || change.also.load(Ordering::Acquire);
    let outside = broken(Mutant::StopOutsideSection).then(load);
    let section = Section::begin()?;
    if current_cpu() != Some(change.cpu) {
        return None;
    }
    let also = match outside {
        Some(also) => also,
        None => section.step(|_| load())?,
    };
    let word = section.step(|_| change.word.load(Ordering::Relaxed))?;
    (also == change.is && word == change.old).then_some(section)
}

fn commit_in(section: &Section, change: &Change<'_>) -> Option<()> {
    let order = match broken(Mutant::PlainChange) {
        true => Ordering::Relaxed,
        false => Ordering::Release,
    };
    section.commit(|| change.word.store(change.new, order))
}

fn staged<'a>(
    change: &Change<'_>,
    stores: impl Iterator<Item = (&'a AtomicU64, u64)>,
) -> Option<()> {
    let store = |(to, value): (&AtomicU64, u64)| to.store(value, Ordering::Relaxed);
    if broken(Mutant::StageOutsideSection) {
        stores.for_each(store);
        return commit_in(&compared(change)?, change);
    }
    let section = compared(change)?;
    for one in stores {
        section.stage(|| store(one))?;
    }
    commit_in(&section, change)
}

/// The modelled change.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn commit(change: &Change<'_>) -> bool {
    compared(change).and_then(|section| commit_in(&section, change)).is_some()
}

/// The modelled change behind a store.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn store(change: &Change<'_>, to: &AtomicU64, value: u64) -> bool {
    staged(change, std::iter::once((to, value))).is_some()
}

/// The modelled change behind a copy.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn copy(change: &Change<'_>, to: &[AtomicU64], from: &[u64]) -> bool {
    // From the end, as the real one.
    staged(change, to.iter().zip(from.iter().copied()).rev()).is_some()
}
