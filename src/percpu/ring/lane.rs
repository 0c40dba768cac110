//! The ring of one CPU, or shard: where its words are, what they mean, who may change them.

use super::Policy;
use crate::rseq::part::WORD;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicU64, Ordering};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Records begin at multiples of this: so there is always space for a header and a stamp.
pub(super) const ALIGN: u64 = 16;

/// Its low bits hold how many bytes there are behind the header: for a record, the stamp and what
/// was written. 0 is a record of which nothing is known yet.
const LENGTH: u64 = (1 << 48) - 1;
/// Somebody is still writing it.
const BUSY: u64 = 1 << 48;
const WRITTEN: u64 = 1 << 49;
/// Nothing to read: the end of the ring was too near, or it was given up.
const PADDING: u64 = 1 << 50;

const STAMP: u64 = 8;

/// How much of a ring a record of `length` bytes takes.
pub(super) fn size_of_record(length: usize) -> u64 {
    size_behind(length as u64 + STAMP)
}

fn size_behind(behind: u64) -> u64 {
    (8 + behind).next_multiple_of(ALIGN)
}

pub(super) fn busy(length: usize) -> u64 {
    BUSY | (length as u64 + STAMP)
}

pub(super) fn written(length: usize) -> u64 {
    WRITTEN | (length as u64 + STAMP)
}

/// The header of `size` bytes that are nobody's.
pub(super) fn padding(size: u64) -> u64 {
    PADDING | (size - 8)
}

/// Where words are: producers' and consumers' on lines of their own.
const HEAD: usize = 0;
const DROPPED: usize = 1;
const OVERWRITTEN: usize = 2;
/// A tail as producers have seen it.
const SEEN: usize = 3;
const TAIL: usize = if cfg!(stillpoint_loom) { 4 } else { 16 };
/// The records' first. On a page of its own.
const RECORDS: usize = if cfg!(stillpoint_loom) { 5 } else { 512 };

/// Words from one lane to the next.
pub(super) fn stride(capacity: usize) -> usize {
    // Different CPUs' pages are different, however large they are.
    let page = if cfg!(stillpoint_loom) { 8 } else { 1 << 16 };
    (RECORDS * 8 + capacity).next_multiple_of(page) / 8
}

/// In the tail: somebody has the oldest records for himself. Only where they may be overwritten.
const CLAIMED: u64 = 1;

/// A lane's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    words: *const AtomicU64,
    capacity: u64,
    policy: Policy,
    /// Whether producers find their places by an atomic instruction. Then free space is 0 wherever
    /// a record may begin.
    atomic: bool,
    ring: PhantomData<&'a AtomicU64>,
}

/// Whether a record can be appended behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// It can; this is the head then.
    Here(u64),
    /// Behind padding up to the ring's end, which is this.
    BehindPadding(u64),
    Full,
}

/// What is at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Empty,
    /// A record that is being written, with its stamp if that is known.
    Busy(Option<u64>),
    Ready {
        stamp: u64,
        length: usize,
    },
}

impl Front {
    /// Somebody else has the oldest records. Some may be left, and readable, when it is done.
    fn claimed() -> Front {
        if broken(Mutant::RingClaimEmpty) { Front::Empty } else { Front::Busy(None) }
    }
}

impl<'a> Lane<'a> {
    /// # Safety
    ///
    /// At `words` there is a lane of that capacity, a power of two, as long as `'a`. All that use
    /// it do so with the same policy, and `atomic`.
    pub(super) unsafe fn new(
        words: *const AtomicU64,
        capacity: usize,
        policy: Policy,
        atomic: bool,
    ) -> Lane<'a> {
        Lane { words, capacity: capacity as u64, policy, atomic, ring: PhantomData }
    }

    fn at(&self, word: usize) -> &'a AtomicU64 {
        // SAFETY: all callers stay within the lane; it is there, as `new` was promised.
        unsafe { &*self.words.byte_add(word * WORD) }
    }

    pub(super) fn head(&self) -> &'a AtomicU64 {
        self.at(HEAD)
    }

    pub(super) fn dropped(&self) -> &'a AtomicU64 {
        self.at(DROPPED)
    }

    pub(super) fn overwritten(&self) -> &'a AtomicU64 {
        self.at(OVERWRITTEN)
    }

    fn tail(&self) -> &'a AtomicU64 {
        self.at(TAIL)
    }

    pub(super) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// The word at a position.
    pub(super) fn word(&self, position: u64) -> &'a AtomicU64 {
        self.at(RECORDS + ((position & (self.capacity - 1)) / 8) as usize)
    }

    pub(super) fn bytes(&self, position: u64) -> *mut u8 {
        let word = RECORDS + ((position & (self.capacity - 1)) / 8) as usize;
        // Of the lane, not of the word: a record is many words.
        self.words.wrapping_byte_add(word * WORD).cast_mut().cast()
    }

    /// Whether `size` bytes can be appended behind `head`, which was loaded before.
    #[inline(always)]
    pub(super) fn space(&self, head: u64, size: u64) -> Space {
        // What one producer has seen of the tail does for others: so they leave the consumer's line
        // alone as long as there is space. Acquire: partner is the release below.
        match self.space_before(self.at(SEEN).load(Ordering::Acquire), head, size) {
            Space::Full => self.space_now(head, size),
            space => space,
        }
    }

    #[cold]
    fn space_now(&self, head: u64, size: u64) -> Space {
        // Acquire: partner is the release in `Oldest`, of who has read what we shall overwrite.
        let tail = self.tail().load(Ordering::Acquire) & !CLAIMED;
        // Release: hands that on. Another may have seen a later one; then some look again.
        self.at(SEEN).store(tail, Ordering::Release);
        self.space_before(tail, head, size)
    }

    /// As [`space`](Lane::space), with this tail, or a later one.
    #[inline(always)]
    fn space_before(&self, tail: u64, head: u64, size: u64) -> Space {
        // A head that is older than the tail will not be found again, whatever we say.
        // A tail that is so old that the head has passed it by more than there is says nothing.
        let free = self.capacity.saturating_sub(head.saturating_sub(tail));
        let rest = self.capacity - (head & (self.capacity - 1));
        if size <= rest.min(free) {
            Space::Here(head + size)
        } else if rest < size && rest <= free {
            Space::BehindPadding(head + rest)
        } else {
            Space::Full
        }
    }

    /// Has the oldest records for itself. Else why not: somebody else has, who may leave some, or
    /// there are none.
    pub(super) fn oldest(self) -> Result<Oldest<'a>, Front> {
        self.oldest_before(0)
    }

    /// The same for who has seen the head there, or 0: then those that are before it will do, and the
    /// producers' line is left alone.
    #[inline(always)]
    pub(super) fn oldest_before(self, seen: u64) -> Result<Oldest<'a>, Front> {
        let tail = self.tail().load(Ordering::Relaxed);
        // Acquire: partner is the release of the head; what is before it is staged, or claimed.
        let head = if tail < seen { seen } else { self.head().load(Ordering::Acquire) };
        if tail & CLAIMED != 0 {
            return Err(Front::claimed());
        }
        if tail >= head {
            return Err(Front::Empty);
        }
        let claimed = self.policy == Policy::OverwriteOldest;
        // Acquire: partner is the release in `drop` of who had it before us.
        let order = (Ordering::Acquire, Ordering::Relaxed);
        if claimed && self.tail().compare_exchange(tail, tail | CLAIMED, order.0, order.1).is_err()
        {
            return Err(Front::claimed());
        }
        Ok(Oldest { lane: self, was: tail, at: tail, head, claimed })
    }

    /// Overwrites old records: at least one, and as many as `size` bytes ask for. Returns false if
    /// the oldest is being written, or somebody else has it.
    pub(super) fn make_space(self, size: u64) -> bool {
        let Ok(mut oldest) = self.oldest() else { return false };
        let (was, mut records) = (oldest.at, 0);
        while oldest.at - was < size.min(self.capacity) {
            let Front::Ready { length, .. } = oldest.front() else { break };
            oldest.skip(size_of_record(length));
            records += 1;
        }
        let freed = oldest.at != was;
        drop(oldest);
        if records > 0 {
            self.overwritten().fetch_add(records, Ordering::Relaxed);
        }
        freed
    }

    /// Copies a record's bytes to where it was reserved.
    ///
    /// # Safety
    ///
    /// It is the caller's, and `length` long. `from` can be read.
    pub(super) unsafe fn fill(&self, position: u64, from: *const u8, length: usize) {
        #[cfg(not(stillpoint_loom))]
        // SAFETY: the caller's promise; a record does not reach beyond the ring's end.
        unsafe {
            from.copy_to_nonoverlapping(self.bytes(position + 16), length);
        }
        #[cfg(stillpoint_loom)]
        for word in 0..length / 8 {
            // SAFETY: the caller's promise.
            let value = unsafe { from.cast::<u64>().add(word).read_unaligned() };
            self.word(position + 16 + word as u64 * 8).store(value, Ordering::Relaxed);
        }
    }

    /// Copies a record's bytes from where they are.
    ///
    /// # Safety
    ///
    /// A record is there, of that length, as long as this takes.
    pub(super) unsafe fn copy(
        &self,
        position: u64,
        length: usize,
        into: &mut Vec<MaybeUninit<u8>>,
    ) {
        into.clear();
        #[cfg(not(stillpoint_loom))]
        {
            let from = self.bytes(position + 16).cast_const().cast::<MaybeUninit<u8>>();
            // SAFETY: the caller's promise.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(from, length) });
        }
        #[cfg(stillpoint_loom)]
        for word in 0..length / 8 {
            let value = self.word(position + 16 + word as u64 * 8).load(Ordering::Relaxed);
            into.extend(value.to_ne_bytes().map(MaybeUninit::new));
        }
    }
}

/// The oldest records of a lane, for one thread alone.
#[derive(Debug)]
pub(super) struct Oldest<'a> {
    pub(super) lane: Lane<'a>,
    /// Where they began, and where they begin now.
    was: u64,
    pub(super) at: u64,
    pub(super) head: u64,
    claimed: bool,
}

impl Oldest<'_> {
    /// What is there. Skips padding.
    #[inline(always)]
    pub(super) fn front(&mut self) -> Front {
        while self.at < self.head {
            // Acquire: partner is the release of who has written it.
            let header = self.lane.word(self.at).load(Ordering::Acquire);
            let behind = header & LENGTH;
            if header & PADDING != 0 {
                self.skip(size_behind(behind));
                continue;
            }
            let stamp = || self.lane.word(self.at + STAMP).load(Ordering::Relaxed);
            return match header {
                0 => Front::Busy(None),
                _ if header & BUSY != 0 => Front::Busy(Some(stamp())),
                _ => Front::Ready { stamp: stamp(), length: (behind - STAMP) as usize },
            };
        }
        Front::Empty
    }

    /// Frees `size` bytes, as soon as this is dropped.
    #[inline(always)]
    pub(super) fn skip(&mut self, size: u64) {
        if self.lane.atomic && !broken(Mutant::RingNotCleared) {
            for position in (self.at..self.at + size).step_by(ALIGN as usize) {
                self.lane.word(position).store(0, Ordering::Relaxed);
            }
        }
        self.at += size;
        if broken(Mutant::RingEarlyTail) {
            self.lane.tail().store(self.at, Ordering::Release);
        }
    }
}

impl Drop for Oldest<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.claimed || self.at != self.was {
            // Release: partner is the acquire of who appends there, or claims.
            self.lane.tail().store(self.at, Ordering::Release);
        }
    }
}
