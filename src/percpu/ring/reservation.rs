//! A record that is still to be written.

use super::lane::{Lane, padding, size_of_record, written};
use super::{Ring, Tier};
use crate::sync::Ordering;
use crate::sync::mutant::{Mutant, broken};
use std::fmt;

/// A record of a [`Ring`] that is still to be written. It derefs to its bytes, of which nothing is
/// known at first.
///
/// [`commit`](Reservation::commit) makes it a record that the consumer reads; one that is dropped
/// is not. Either may be done on any thread, at any time: until then the consumer reads nothing
/// that was written to the same CPU's ring later. One that is leaked stops that ring for ever: it
/// fills, and drops what comes, and counts it; other CPUs' go on, but not
/// [merged](super::Consumer::pop_merged) ones.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::Ring;
///
/// let ring = Ring::new(1 << 12);
/// drop(ring.reserve(600).unwrap());
/// let mut record = ring.reserve(600).unwrap();
/// record[..5].copy_from_slice(b"hello");
/// record[5..].fill(b'.');
/// record.commit();
/// assert!(ring.consumer().unwrap().pop(|record| record.bytes.starts_with(b"hello.")).unwrap());
/// ```
#[must_use = "a reservation that is dropped is no record"]
pub struct Reservation<'a> {
    ring: &'a Ring,
    lane: Lane<'a>,
    tier: Tier,
    position: u64,
    stamp: u64,
    length: usize,
}

// SAFETY: the record's bytes are its own, and the header is stored to atomically.
unsafe impl Send for Reservation<'_> {}
// SAFETY: shared, it only shows its bytes.
unsafe impl Sync for Reservation<'_> {}

impl<'a> Reservation<'a> {
    /// For a busy record that was just appended.
    pub(super) fn new(
        ring: &'a Ring,
        lane: Lane<'a>,
        tier: Tier,
        position: u64,
        stamp: u64,
        length: usize,
    ) -> Self {
        Reservation { ring, lane, tier, position, stamp, length }
    }

    /// Makes it a record, for the consumer to read. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn commit(self) {
        self.end(written(self.length));
        std::mem::forget(self);
    }

    /// Fills it, and commits.
    ///
    /// # Safety
    ///
    /// As many bytes at `from` can be read.
    pub(super) unsafe fn finish(self, from: *const u8) {
        // SAFETY: the caller's promise; the record is ours.
        unsafe { self.lane.fill(self.position, from, self.length) };
        self.commit();
    }

    /// The stamp that it was given.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// assert_eq!(ring.reserve_at(7, 0).unwrap().stamp(), 7);
    /// ```
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    fn end(&self, header: u64) {
        let plain = broken(Mutant::RingPlainHeader);
        // Release: partner is the consumer's acquire.
        let order = if plain { Ordering::Relaxed } else { Ordering::Release };
        self.lane.word(self.position).store(header, order);
        self.ring.wake(self.tier);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.end(padding(size_of_record(self.length)));
    }
}

#[cfg(not(stillpoint_loom))]
impl std::ops::Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = self.lane.bytes(self.position + 16);
        // SAFETY: ours until its end, and in front of the lane's end. Initialised: mapped memory is
        // zero at first, and then holds what others wrote, who may only be of our kind in a ring
        // that gives out reservations.
        unsafe { std::slice::from_raw_parts(bytes, self.length) }
    }
}

#[cfg(not(stillpoint_loom))]
impl std::ops::DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = self.lane.bytes(self.position + 16);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(bytes, self.length) }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut what = f.debug_struct("Reservation");
        what.field("stamp", &self.stamp).field("length", &self.length).finish_non_exhaustive()
    }
}
