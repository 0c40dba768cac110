//! The modelled sequences that are a whole read.
//!
//! Each load is a step of a section, between which other threads run; see [`super::list`]. What
//! is freed is marked and stays: so the checker meets the mark, and no dangling pointer.

use super::list::Section;
use crate::rseq::leaf::{is_closed, nothing};
use crate::sync::mutant::{Mutant, broken};
use loom::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;

const WORD: usize = size_of::<u64>();
/// What stands where memory was freed.
pub const FREED: u64 = 0xdead;

/// A value of some words.
#[derive(Debug)]
pub struct Area<T> {
    words: Box<[AtomicU64]>,
    value: PhantomData<T>,
}

impl<T: Copy> Area<T> {
    /// With this value in it, which is an array of `u64`.
    pub fn new(value: T) -> Area<T> {
        assert!(size_of::<T>().is_multiple_of(WORD) && align_of::<T>() == align_of::<u64>());
        let first = (&raw const value).cast::<u64>();
        let word = |at| {
            // Whoever is not ordered behind the store may find what was there before.
            let word = AtomicU64::new(FREED);
            // SAFETY: within the value.
            word.store(unsafe { first.add(at).read() }, Ordering::Relaxed);
            word
        };
        Area { words: (0..size_of::<T>() / WORD).map(word).collect(), value: PhantomData }
    }

    /// The value.
    pub fn get(&self) -> T {
        value_of(self.words.iter().map(|word| word.load(Ordering::Relaxed)))
    }

    /// The end of it, for models of the sequence alone.
    pub fn mark(&self) {
        self.spoil();
    }

    /// The end of it: its memory may hold anything from here on.
    pub(crate) fn spoil(&self) {
        self.words.iter().for_each(|word| word.store(FREED, Ordering::Relaxed));
    }
}

fn value_of<T: Copy>(words: impl Iterator<Item = u64>) -> T {
    let words: Vec<u64> = words.collect();
    assert!(!words.contains(&FREED), "read after the end of its grace period");
    // SAFETY: the words of a `T`.
    unsafe { words.as_ptr().cast::<T>().read() }
}

/// The modelled copy.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn copy<T: Copy>(cell: &AtomicPtr<Area<T>>) -> Option<T> {
    let section = Section::begin()?;
    let area = section.step(|_| cell.load(Ordering::Acquire))?;
    if area == nothing() {
        return None;
    }
    // SAFETY: the caller's promise; the memory stays.
    let words = unsafe { &(*area).words }.iter();
    if broken(Mutant::CopyOutsideSection) {
        return Some(value_of(words.map(|word| word.load(Ordering::Relaxed))));
    }
    let words: Option<Vec<u64>> =
        words.map(|word| section.step(|_| word.load(Ordering::Relaxed))).collect();
    Some(value_of(words?.into_iter()))
}

/// The modelled counting in.
///
/// # Safety
///
/// As for the real one.
pub unsafe fn retain<T>(cell: &AtomicPtr<T>) -> Option<NonNull<T>> {
    let section = Section::begin()?;
    let mark = section.step(|_| cell.load(Ordering::Acquire))?;
    if is_closed(mark) {
        return None;
    }
    // SAFETY: the caller's promise; the memory stays.
    let count = unsafe { &*mark.cast::<AtomicUsize>() };
    let add = || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    if broken(Mutant::RetainOutsideSection) {
        add();
    } else {
        section.commit(add)?;
    }
    NonNull::new(mark)
}
