//! Appending to a ring.

use super::lane::{Lane, Space, busy, padding, size_of_record, written};
use super::{Policy, PushError, Reservation, Ring};
use crate::machine::fence::light;
use crate::machine::{Shape, Tier, shape, spread};
use crate::percpu::memory;
use crate::rseq::ring::{self, copy, reserve};
use crate::rseq::word::current_cpu;
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicU64, Ordering, nanos, rouse};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// What has become of a record that was to be appended.
enum Appended<'a> {
    /// It is there.
    Copied,
    Reserved(Reservation<'a>),
}

impl Ring {
    /// # Safety
    ///
    /// `length` bytes at `from` can be read. They need not be initialised.
    pub(super) unsafe fn push_raw(
        &self,
        stamp: Option<u64>,
        from: *const MaybeUninit<u8>,
        length: usize,
    ) -> Result<(), PushError> {
        let small = length <= Ring::SMALL;
        // SAFETY: the caller's promise.
        if small && unsafe { self.append_at_once(stamp, from, length) } {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        match unsafe { self.append(stamp, small.then_some(from), length) }? {
            Appended::Copied => {}
            // SAFETY: as above.
            Appended::Reserved(reservation) => unsafe { reservation.finish(from.cast()) },
        }
        Ok(())
    }

    pub(super) fn reserve_raw(
        &self,
        stamp: Option<u64>,
        length: usize,
    ) -> Result<Reservation<'_>, PushError> {
        // SAFETY: nothing is copied.
        match unsafe { self.append(stamp, None, length) }? {
            Appended::Reserved(reservation) => Ok(reservation),
            Appended::Copied => unreachable!("nothing to copy"),
        }
    }

    /// Tries once what mostly succeeds: to append a small record here, where there is space.
    ///
    /// # Safety
    ///
    /// As for [`push_raw`](Ring::push_raw).
    #[inline(always)]
    unsafe fn append_at_once(
        &self,
        stamp: Option<u64>,
        from: *const MaybeUninit<u8>,
        length: usize,
    ) -> bool {
        let (shape, lanes) = (shape(Tier::Rseq), self.first());
        let cpu = current_cpu().filter(|&cpu| shape.tier == Tier::Rseq && cpu < shape.slots);
        let (Some(lanes), Some(cpu)) = (lanes, cpu) else { return false };
        let lane = self.lane(lanes, shape, cpu as usize);
        // Acquire: as in `append_here`.
        let head = lane.head().load(Ordering::Acquire);
        let Space::Here(new) = lane.space(head, size_of_record(length)) else { return false };
        let record = record(lane, head, stamp.unwrap_or_else(nanos), from, length);
        // SAFETY: as in `append_here`.
        let done = unsafe { copy(cpu, lane.head(), head, new, lane.word(head), &record) };
        if done {
            self.wake(shape.tier);
        }
        done
    }

    /// Appends a record: copied if `from` is given and a section can do it, else busy.
    ///
    /// # Safety
    ///
    /// `length` bytes at `from`, if it is given, can be read.
    unsafe fn append(
        &self,
        stamp: Option<u64>,
        from: Option<*const MaybeUninit<u8>>,
        length: usize,
    ) -> Result<Appended<'_>, PushError> {
        if length > self.longest() {
            return Err(PushError::TooLarge);
        }
        let (shape, lanes) = (shape(Tier::Rseq), self.made().ok_or(PushError::NoMemory)?);
        let mut failures = if shape.tier == Tier::Rseq { 0 } else { RETRIES };
        while failures < RETRIES {
            let Some(cpu) = current_cpu().filter(|&cpu| cpu < shape.slots) else {
                if !sequences_may_work(shape.slots) {
                    break;
                }
                failures += 1;
                continue;
            };
            let lane = self.lane(lanes, shape, cpu as usize);
            // SAFETY: the caller's promise; the CPU's lane.
            match unsafe { self.append_here(lane, cpu, shape.tier, stamp, from, length) } {
                Ok(Some(appended)) => return Ok(appended),
                Ok(None) => failures += 1,
                Err(full) => return Err(full),
            }
        }
        self.append_atomically(lanes, shape, stamp, length).map(Appended::Reserved)
    }

    /// Tries sections on this CPU until one does not commit: `None`.
    ///
    /// # Safety
    ///
    /// As for [`append`](Ring::append). The lane is of that CPU.
    unsafe fn append_here<'a>(
        &'a self,
        lane: Lane<'a>,
        cpu: u32,
        tier: Tier,
        stamp: Option<u64>,
        from: Option<*const MaybeUninit<u8>>,
        length: usize,
    ) -> Result<Option<Appended<'a>>, PushError> {
        let size = size_of_record(length);
        loop {
            // Acquire: partner is the release of the section that moved it there. Its stamp is not
            // after ours.
            let head = lane.head().load(Ordering::Acquire);
            let space = lane.space(head, size);
            let stamp = stamp_if(space, stamp);
            let at: *const AtomicU64 = lane.word(head);
            // SAFETY: the head belongs to this CPU, and has each value once. What is staged, header
            // and stamp and what is behind them, fits up to the tail as `space` has seen it, and
            // up to the lane's end.
            let appended = unsafe {
                match (space, from) {
                    (Space::Here(new), Some(from)) => {
                        let record = record(lane, head, stamp, from, length);
                        copy(cpu, lane.head(), head, new, at, &record).then_some(Appended::Copied)
                    }
                    (Space::Here(new), None) => {
                        reserve(cpu, lane.head(), head, new, at, busy(length), stamp).then(|| {
                            let it = Reservation::new(self, lane, tier, head, stamp, length);
                            Appended::Reserved(it)
                        })
                    }
                    (Space::BehindPadding(new), _) => {
                        let rest = padding(new - head);
                        if !reserve(cpu, lane.head(), head, new, at, rest, stamp) {
                            return Ok(None);
                        }
                        continue;
                    }
                    (Space::Full, _) => {
                        self.make_space(lane, tier, size)?;
                        continue;
                    }
                }
            };
            if let Some(Appended::Copied) = appended {
                self.wake(tier);
            }
            return Ok(appended);
        }
    }

    /// Reserves by compare-and-swap, in the rest or a shard.
    #[cold]
    #[inline(never)]
    fn append_atomically<'a>(
        &'a self,
        lanes: NonNull<AtomicU64>,
        shape: Shape,
        stamp: Option<u64>,
        length: usize,
    ) -> Result<Reservation<'a>, PushError> {
        let count = memory::parts();
        let number = if shape.tier == Tier::Rseq { count } else { spread(count) };
        let (lane, size) = (self.lane(lanes, shape, number), size_of_record(length));
        loop {
            // Acquire, and release below: as in `append_here`.
            let head = lane.head().load(Ordering::Acquire);
            let space = lane.space(head, size);
            let stamp = stamp_if(space, stamp);
            let moved = |new| {
                let order = (Ordering::Release, Ordering::Relaxed);
                lane.head().compare_exchange(head, new, order.0, order.1).is_ok()
            };
            match space {
                Space::Here(new) if moved(new) => {
                    lane.word(head + 8).store(stamp, Ordering::Relaxed);
                    // Release: partner is the consumer's acquire, that wants the stamp.
                    lane.word(head).store(busy(length), Ordering::Release);
                    self.tell_stamp(shape.tier);
                    return Ok(Reservation::new(self, lane, shape.tier, head, stamp, length));
                }
                Space::BehindPadding(new) if moved(new) => {
                    lane.word(head).store(padding(new - head), Ordering::Release);
                    self.tell_stamp(shape.tier);
                }
                Space::Full => self.make_space(lane, shape.tier, size)?,
                _ => {}
            }
        }
    }

    /// Wakes a consumer that waits for the lowest stamp: one that was not known may be higher than that
    /// of a record which can be read.
    fn tell_stamp(&self, tier: Tier) {
        if !broken(Mutant::RingStampUntold) {
            self.wake(tier);
        }
    }

    /// Makes space in a full lane, or counts a record that is dropped.
    #[cold]
    fn make_space(&self, lane: Lane<'_>, tier: Tier, size: u64) -> Result<(), PushError> {
        if self.policy == Policy::OverwriteOldest {
            let made = lane.make_space(size);
            // The consumer may have found that we had them.
            self.wake(tier);
            // The consumer may have been quicker.
            let head = lane.head().load(Ordering::Acquire);
            if made || lane.space(head, size) != Space::Full {
                return Ok(());
            }
        }
        if !(broken(Mutant::RingUncounted) && nanos().is_multiple_of(100)) {
            // An atomic instruction, to a line that hardly anyone else has: so it is exact.
            lane.dropped().fetch_add(1, Ordering::Relaxed);
        }
        Err(PushError::Full)
    }

    /// Wakes the consumer if it sleeps. Behind what it shall see.
    #[inline]
    pub(super) fn wake(&self, tier: Tier) {
        // Partner: the heavy fence in `Consumer::wait`.
        if !broken(Mutant::NoLightFence) {
            light(tier);
        }
        if self.asleep.load(Ordering::Relaxed) != 0 && !broken(Mutant::RingNoWake) {
            self.wake_cold();
        }
    }

    #[cold]
    fn wake_cold(&self) {
        // Whoever resets it wakes. Relaxed: what the consumer looks at next, it acquires.
        if self.asleep.swap(0, Ordering::Relaxed) != 0 {
            rouse(&self.asleep);
        }
    }
}

/// The time, unless the caller has a stamp, or there is nothing to be stamped.
#[inline(always)]
fn stamp_if(space: Space, stamp: Option<u64>) -> u64 {
    match (space, stamp) {
        (_, Some(stamp)) => stamp,
        (Space::Here(_), None) => nanos(),
        _ => 0,
    }
}

/// What the section copies.
#[inline(always)]
fn record(
    lane: Lane<'_>,
    head: u64,
    stamp: u64,
    from: *const MaybeUninit<u8>,
    length: usize,
) -> ring::Record {
    let header = written(length);
    let whole = length.saturating_sub(1) & !7;
    let (mut last, mut end) = (MaybeUninit::new(stamp), head + 8);
    if length > 0 {
        // SAFETY: behind so many whole words there are at most 8 bytes.
        unsafe {
            let from = from.add(whole);
            if length - whole == 8 {
                // Without a call.
                last = from.cast::<MaybeUninit<u64>>().read_unaligned();
            } else {
                last = MaybeUninit::new(0);
                let to = last.as_mut_ptr().cast::<MaybeUninit<u8>>();
                from.copy_to_nonoverlapping(to, length - whole);
            }
        }
        end = head + 16 + whole as u64;
    }
    ring::Record { header, stamp, from: from.cast(), whole, last, end: lane.word(end) }
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;

    /// What threads do that cannot use sections, on every tier.
    #[test]
    fn the_rest_goes_around() {
        for policy in [Policy::DropNewest, Policy::OverwriteOldest] {
            let ring = Ring::with_policy(1 << 12, policy);
            let (lanes, shape) = (ring.made().unwrap(), shape(Tier::Rseq));
            let mut consumer = ring.consumer().unwrap();
            let push = |byte: u8, length| {
                let record = ring.append_atomically(lanes, shape, Some(byte.into()), length);
                record.map(|mut record| {
                    record.fill(byte);
                    record.commit();
                })
            };
            for round in 0..2000 {
                push(1, round % 700).unwrap();
                push(2, round % 9).unwrap();
                for byte in [1, 2] {
                    let got = consumer.pop_merged(|record| {
                        assert_eq!((record.cpu, record.stamp), (None, byte));
                        record.bytes.iter().all(|&b| u64::from(b) == byte)
                    });
                    assert_eq!(got, Some(true));
                }
                assert!(consumer.pop(|_| ()).is_none());
            }
            let written = (0..100).filter(|_| push(3, 200).is_ok()).count() as u64;
            let read = consumer.merged().count() as u64;
            assert_eq!(written, read + ring.overwritten());
            assert_eq!(100 - written, ring.dropped());
            assert_eq!(written == 100, policy == Policy::OverwriteOldest);
        }
    }
}
