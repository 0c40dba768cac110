//! The modelled read of a CPU's counter, of steps as those of the other sequences are.
//!
//! A CPU's hardware counter and its page are words. An interrupt changes both at once, as other
//! threads see it; between two steps of a section on that CPU it may come, and aborts nothing.

use super::list::Section;
use super::{CPUS, rewrite, script, take_token};
use crate::rseq::counter::{Head, Raw};
use crate::sync::mutant::{Mutant, broken};
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// An event's page, and the counter that it describes.
#[derive(Debug, Default)]
pub struct UserPage {
    lock: AtomicU32,
    offset: AtomicU64,
    counter: AtomicU64,
}

/// The pages of all CPUs.
#[derive(Debug, Default)]
pub struct Table([UserPage; CPUS]);

impl Table {
    /// The CPU's event has counted so much.
    pub fn set(&self, cpu: usize, count: u64) {
        self.0[cpu].counter.store(count, Relaxed);
    }

    /// An interrupt on this CPU moves so much from the counter to the page.
    pub fn interrupt(&self, cpu: usize, n: u64) {
        let Some(_token) = take_token(cpu) else { return };
        let UserPage { lock, offset, counter } = &self.0[cpu];
        let number = lock.load(Relaxed);
        lock.store(number + 1, Relaxed);
        offset.store(offset.load(Relaxed) + n, Relaxed);
        counter.store(counter.load(Relaxed) - n, Relaxed);
        lock.store(number + 2, Relaxed);
    }
}

/// The calling thread is moved to this CPU just before its next section begins.
pub fn move_before_section(cpu: usize) {
    rewrite(|script| script.next = Some(cpu));
}

/// The modelled read.
///
/// # Safety
///
/// None here.
pub unsafe fn read(table: *const Table, to: &mut Raw) -> bool {
    // SAFETY: the caller's table.
    let table = unsafe { &*table };
    let outside = broken(Mutant::PageOutsideSection).then(|| script().cpu);
    if let Some(cpu) = script().next {
        rewrite(|script| (script.cpu, script.next) = (cpu, None));
    }
    let attempt = || {
        let section = Section::begin()?;
        let cpu = script().cpu;
        let page = &table.0[outside.unwrap_or(cpu)];
        let lock = section.step(|_| page.lock.load(Relaxed))?;
        let offset = section.step(|_| page.offset.load(Relaxed))?;
        // Whatever page: the instruction reads the counter of where it runs.
        let counter = section.step(|_| table.0[cpu].counter.load(Relaxed))?;
        let again = section.step(|_| page.lock.load(Relaxed))?;
        let head = Head { lock, index: 1, offset: offset as i64, ..Head::default() };
        section.commit(|| ())?;
        Some(Raw { cpu: cpu as u32, again, counter, head, clock: 0 })
    };
    match attempt() {
        Some(raw) => {
            *to = raw;
            true
        }
        None => false,
    }
}
