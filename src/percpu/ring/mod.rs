//! Rings of records: written by many threads, each to that of its CPU, read by one.
//!
//! # State
//!
//! A *lane* for each CPU, and one more, the *rest*; below `Rseq` shards. Each has a *head*, the
//! position behind its last record, a *tail*, that of its oldest, and the records between.
//! Positions only grow; modulo the capacity they say where in the lane something is. A record is a
//! header (its length, and whether it is *busy*, *written*, or *padding*), a stamp, and bytes. It
//! does not reach beyond the lane's end; if it would, padding fills that first.
//!
//! # Appending on a CPU
//!
//! A producer loads the head, then the tail, and so knows where a record goes, if it does. It takes
//! its stamp. Then one section *stages* header and stamp there, for a small record its bytes too,
//! and commits by storing the new head, if the head still is the one that was loaded. If it is not,
//! somebody has appended meanwhile, and the producer begins again. So
//!
//! * what is staged lies behind the head, where nobody looks, and where only sections on this CPU
//!   store. A section that is aborted leaves bytes there that do not count.
//! * the space was free, and still is: it is taken by moving the head, and given back by moving the
//!   tail.
//! * stamps in a lane do not decrease, if the library takes them: whoever moved the head to where
//!   we loaded it had its stamp before.
//!
//! A larger record is appended busy. It is its producer's then, on whatever CPU and for however
//! long; one store to the header makes it written, or padding if it is given up. The consumer stops
//! at a busy record of a lane. So a thread that forgets one stops that lane for ever: it fills, and
//! counts what is dropped. Nothing else follows from that.
//!
//! # Appending to the rest, or a shard
//!
//! Whoever cannot use sections moves the head by compare-and-swap. Nothing can be staged then,
//! since two may have the same place in mind. Instead free space holds 0 wherever a header may be:
//! the consumer clears what it gives back. A header that is 0 is a busy record of which nothing is
//! known yet.
//!
//! # Overwriting
//!
//! A ring that overwrites its oldest records has two kinds of threads that move a tail. They claim
//! it first, by compare-and-swap: one bit in the tail. Whoever has it may look at the oldest
//! records, and frees some, or none, by the store that takes the bit away. The consumer copies one
//! record meanwhile, a producer only looks at headers. Who finds the bit does not wait: a producer
//! drops its record then, and counts it. The same if the oldest record is busy. So nobody ever
//! reads what another writes, and what a reservation has is its own.
//!
//! # Merging
//!
//! The consumer looks at the front of each lane, one after the other, and takes the lowest stamp.
//! Meanwhile a thread may have written to a lane that it had passed, moved, and written to one that
//! it had not. So it looks again: what came before the record that it has found is visible by
//! then, since it has acquired that. It takes a record that it finds lowest twice.
//!
//! # Why the consumer does not sleep for ever
//!
//! As in `lock/bias.rs`. The consumer stores that it sleeps, sends a broadcast, looks at all lanes,
//! and sleeps. A producer makes its record visible, and then, behind a light fence, loads whether
//! the consumer sleeps. If it passes that point after the broadcast, it finds that, and wakes it.
//! If before, its record is visible to the look behind the broadcast. A record that is given up
//! counts as one, since others may be behind it; so does a claim that ends, and, where the lowest
//! stamp is wanted, one of which the stamp becomes known: others may be lower. This asks for no abort:
//! a section that ends late, on a kernel that loses one, is followed by the same load.
//!
//! The consumer sleeps on a futex, not in the parking lot, whose locks a signal handler must not
//! take: so producers may be signal handlers.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | moving a head | release | the consumer's load of it: acquire |
//! | a header becomes written, or padding | release | the consumer's load of it: acquire |
//! | moving a tail | release | who looks for space, or claims: acquire |
//! | a producer stores the tail that it has seen | release | others who look for space there first: acquire |
//! | loading a head to append there | acquire | moving it: the stamp of who did is before ours |
//! | that the consumer sleeps; looking whether it does | relaxed | the broadcast, the light fence |

mod append;
mod consumer;
mod lane;
mod reservation;
#[cfg(not(stillpoint_loom))]
mod typed;

pub use consumer::{Consumer, ConsumerTaken, Entry, Merged, Record};
pub use reservation::Reservation;
#[cfg(not(stillpoint_loom))]
pub use typed::{ConsumerOf, RingOf};

use super::memory;
use crate::machine::{Shape, Tier, shape};
use crate::rseq::part::WORD;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, const_unless_modelled};
use lane::{Lane, stride};
use std::fmt;
use std::ptr::{NonNull, null_mut};

/// What a [`Ring`] does with a record for which there is no space.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Policy, Ring};
/// static FLIGHT_RECORDER: Ring = Ring::with_policy(1 << 16, Policy::OverwriteOldest);
/// # FLIGHT_RECORDER.push(b"took off").unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The record is dropped, and counted.
    #[default]
    DropNewest,
    /// The oldest records of the same CPU make way, and are counted. Where that cannot be, the
    /// record is dropped, and counted: the oldest is a [`Reservation`] that nobody has ended, or
    /// the consumer or another producer is just looking at it.
    OverwriteOldest,
}

/// Why a record was not appended.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{PushError, Ring};
/// let ring = Ring::new(256);
/// assert_eq!(ring.push(&[0; 241]), Err(PushError::TooLarge));
/// ring.push(&[0; 240]).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError {
    /// There is no space now. It is counted as [dropped](Ring::dropped).
    Full,
    /// It does not fit into an empty ring. It is not counted.
    TooLarge,
    /// There is no memory for a ring, and none was made. It is not counted.
    NoMemory,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full => "the ring is full",
            PushError::TooLarge => "the record is larger than the ring",
            PushError::NoMemory => "there is no memory for the ring",
        })
    }
}

impl std::error::Error for PushError {}

/// What a CPU's ring has lost. See [`Ring::losses`].
///
/// # Examples
///
/// ```
/// let ring = stillpoint::percpu::Ring::new(64);
/// ring.push(b"fits").unwrap();
/// assert!(ring.losses().iter().all(|loss| loss.dropped + loss.overwritten == 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The CPU; `None` for rings that belong to none.
    pub cpu: Option<u32>,
    /// Records that were not appended.
    pub dropped: u64,
    /// Records that were appended and made way.
    pub overwritten: u64,
}

/// A ring of records for each CPU: many threads write, one reads.
///
/// Records are bytes, of any length up to the capacity, with a time stamp. A thread
/// [writes](Ring::push) to the ring of the CPU that it runs on, so writers on different CPUs share
/// nothing. The [`consumer`](Ring::consumer) reads them all, CPU by CPU or merged by their
/// stamps, and sleeps while there is nothing. What does not fit is dropped, or overwrites what is
/// oldest, as the [`Policy`] says, and is counted either way.
///
/// For logs, traces, samples: what must not slow down whoever writes it.
///
/// # Order
///
/// A CPU's records are read in the order in which they were written there. A thread that was moved
/// between two of its records wrote them to different rings; [merging](Consumer::pop_merged) puts
/// them in order.
///
/// # Cost
///
/// Writing up to [`SMALL`](Ring::SMALL) bytes is one restartable section that copies them, no
/// atomic instruction, no fence; most of the time goes into the clock, unless the caller [has a
/// stamp](Ring::push_at). A larger record is reserved by one section, and copied outside. Below
/// tier `Rseq`, one compare-and-swap instead.
///
/// 24 bytes more than each record, at most, rounded up to a multiple of 16. Address space for every
/// possible CPU from the first record on, by one system call; memory, where records are written.
///
/// # Signal handlers
///
/// All that writes is async-signal-safe on Linux, in a handler that interrupted a writer
/// too: the interrupted one goes on behind what the handler wrote.
///
/// # Forks
///
/// A child has a copy. What other threads were writing then stays unwritten there, and stops its
/// CPU's ring: that fills, and counts what is dropped. If another thread was the consumer, the copy
/// has one for ever that nobody is.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::Ring;
///
/// static EVENTS: Ring = Ring::new(1 << 16);
///
/// std::thread::scope(|scope| {
///     for worker in 0..4_u8 {
///         scope.spawn(move || (0..100).for_each(|_| EVENTS.push(&[worker; 20]).unwrap()));
///     }
/// });
/// let mut events = EVENTS.consumer().unwrap();
/// let merged: Vec<_> = events.merged().collect();
/// assert_eq!(merged.len(), 400);
/// assert!(merged.is_sorted_by_key(|event| event.stamp));
/// ```
pub struct Ring {
    /// CPU 0's lane, the others behind it; null before the first record.
    lanes: AtomicPtr<AtomicU64>,
    capacity: usize,
    policy: Policy,
    /// Whether there is a consumer.
    taken: AtomicU32,
    /// Whether it sleeps.
    asleep: AtomicU32,
}

// SAFETY: the lanes are shared as `lane.rs` and this module say; a `Ring` owns them.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// The largest record, in bytes, that is copied inside of one section.
    pub const SMALL: usize = if cfg!(stillpoint_loom) { 8 } else { 256 };
    /// The smallest capacity.
    const LEAST: usize = if cfg!(stillpoint_loom) { 32 } else { 64 };

    const_unless_modelled! {
        /// A ring of so many bytes for each CPU, that [drops](Policy::DropNewest) what does not
        /// fit.
        ///
        /// # Panics
        ///
        /// If the capacity is not a power of two, from 64 to 2^40. For a static: does not compile.
        ///
        /// # Examples
        ///
        /// ```
        /// static LOG: stillpoint::percpu::Ring = stillpoint::percpu::Ring::new(1 << 20);
        /// # LOG.push(b"hello").unwrap();
        /// ```
        ///
        /// ```compile_fail
        /// static LOG: stillpoint::percpu::Ring = stillpoint::percpu::Ring::new(1000);
        /// ```
        pub const fn new(capacity: usize) -> Ring {
            Ring::with_policy(capacity, Policy::DropNewest)
        }
    }

    const_unless_modelled! {
        /// [`new`](Ring::new) with another policy.
        ///
        /// # Panics
        ///
        /// As [`new`](Ring::new).
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::percpu::{Policy, Ring};
        ///
        /// let last = Ring::with_policy(64, Policy::OverwriteOldest);
        /// let pushed = (0..100_u8).filter(|&n| last.push(&[n]).is_ok()).count() as u64;
        /// let kept = last.consumer().unwrap().merged().count() as u64;
        /// assert_eq!(kept, pushed - last.overwritten());
        /// ```
        pub const fn with_policy(capacity: usize, policy: Policy) -> Ring {
            assert!(
                capacity.is_power_of_two() && capacity >= Ring::LEAST && capacity as u64 <= 1 << 40,
                "a ring's capacity is a power of two, from 64 to 2^40"
            );
            Ring {
                lanes: AtomicPtr::new(null_mut()),
                capacity,
                policy,
                taken: AtomicU32::new(0),
                asleep: AtomicU32::new(0),
            }
        }
    }

    /// How many bytes each CPU's ring has.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Ring::new(4096).capacity(), 4096);
    /// ```
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The longest record that may fit. One that is longer than half the capacity less 16 bytes can
    /// be refused in an empty ring, whose end is too near, until the consumer has looked at it
    /// again.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push(&vec![1; ring.longest()]).unwrap();
    /// ```
    pub fn longest(&self) -> usize {
        self.capacity - 16
    }

    /// Appends a record, stamped with the time of the monotonic clock in nanoseconds.
    ///
    /// Async-signal-safe. Wakes the [`consumer`](Ring::consumer) if it sleeps.
    ///
    /// # Errors
    ///
    /// If it does not fit; see [`PushError`]. Nothing is appended then.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push(b"hello").unwrap();
    /// ring.push(b"").unwrap();
    /// ```
    #[inline]
    pub fn push(&self, bytes: &[u8]) -> Result<(), PushError> {
        // SAFETY: the slice can be read.
        unsafe { self.push_raw(None, bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Appends a record with a stamp of the caller's, by which it will be merged: from a clock of
    /// one's own, or to do without one. Async-signal-safe.
    ///
    /// # Errors
    ///
    /// As [`push`](Ring::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push_at(7, b"seventh").unwrap();
    /// let stamp = ring.consumer().unwrap().pop(|record| record.stamp);
    /// assert_eq!(stamp, Some(7));
    /// ```
    #[inline]
    pub fn push_at(&self, stamp: u64, bytes: &[u8]) -> Result<(), PushError> {
        // SAFETY: the slice can be read.
        unsafe { self.push_raw(Some(stamp), bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Appends a record that is still to be written: the [`Reservation`] derefs to its bytes, which
    /// hold anything at first, and is [committed](Reservation::commit) by whoever has it then, on
    /// any thread.
    ///
    /// Its stamp is the time of this call. The consumer reads no record of the same CPU before it.
    /// Async-signal-safe.
    ///
    /// # Errors
    ///
    /// As [`push`](Ring::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// let mut record = ring.reserve(1000).unwrap();
    /// record.fill(7);
    /// record.commit();
    /// assert_eq!(ring.consumer().unwrap().pop(|record| record.bytes.len()), Some(1000));
    /// ```
    pub fn reserve(&self, length: usize) -> Result<Reservation<'_>, PushError> {
        self.reserve_raw(None, length)
    }

    /// [`reserve`](Ring::reserve) with a stamp of the caller's.
    ///
    /// # Errors
    ///
    /// As [`push`](Ring::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.reserve_at(7, 10).unwrap().commit();
    /// ```
    pub fn reserve_at(&self, stamp: u64, length: usize) -> Result<Reservation<'_>, PushError> {
        self.reserve_raw(Some(stamp), length)
    }

    /// The one who reads. There is one at a time: until it is dropped, others get an error.
    ///
    /// # Errors
    ///
    /// If there is one. A consumer that was leaked remains.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// let consumer = ring.consumer().unwrap();
    /// assert!(ring.consumer().is_err());
    /// drop(consumer);
    /// assert!(ring.consumer().is_ok());
    /// ```
    pub fn consumer(&self) -> Result<Consumer<'_>, ConsumerTaken> {
        // Acquire: partner is the release of the consumer that was dropped before.
        let order = (Ordering::Acquire, Ordering::Relaxed);
        match self.taken.compare_exchange(0, 1, order.0, order.1) {
            Ok(_) => Ok(Consumer::new(self)),
            Err(_) => Err(ConsumerTaken(())),
        }
    }

    /// How many records were dropped since they did not fit. Exact: every [`PushError::Full`] is
    /// counted before it is returned.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(64);
    /// let refused = (0..1000).filter(|_| ring.push(b"again").is_err()).count();
    /// assert_eq!(ring.dropped(), refused as u64);
    /// ```
    pub fn dropped(&self) -> u64 {
        self.lanes().map(|(_, lane)| lane.dropped().load(Ordering::Relaxed)).sum()
    }

    /// How many records were overwritten before the consumer has read them. Exact.
    ///
    /// # Examples
    ///
    /// See [`with_policy`](Ring::with_policy).
    pub fn overwritten(&self) -> u64 {
        self.lanes().map(|(_, lane)| lane.overwritten().load(Ordering::Relaxed)).sum()
    }

    /// What was lost where.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(64);
    /// (0..100).for_each(|_| drop(ring.push(b"again")));
    /// let dropped: u64 = ring.losses().iter().map(|loss| loss.dropped).sum();
    /// assert_eq!(dropped, ring.dropped());
    /// ```
    pub fn losses(&self) -> Vec<Loss> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let loss = |(cpu, lane): (Option<u32>, Lane<'_>)| Loss {
            cpu,
            dropped: load(lane.dropped()),
            overwritten: load(lane.overwritten()),
        };
        self.lanes().map(loss).collect()
    }

    /// One lane of those that were [made](Ring::made).
    fn lane(&self, lanes: NonNull<AtomicU64>, shape: Shape, number: usize) -> Lane<'_> {
        let rest = memory::parts();
        debug_assert!(number <= rest);
        let atomic = shape.tier != Tier::Rseq || number == rest;
        // SAFETY: one of so many lanes, which live as long as we.
        unsafe {
            let words = lanes.as_ptr().byte_add(number * stride(self.capacity) * WORD);
            Lane::new(words, self.capacity, self.policy, atomic)
        }
    }

    /// How many lanes there are; none before the first record.
    fn count(&self) -> usize {
        if self.first().is_some() { memory::parts() + 1 } else { 0 }
    }

    /// A lane, with its CPU's number if it has one.
    fn numbered(&self, number: usize) -> Option<(Option<u32>, Lane<'_>)> {
        let lane = self.lane(self.first()?, shape(Tier::Rseq), number);
        Some(((!lane.is_atomic()).then_some(number as u32), lane))
    }

    fn lanes(&self) -> impl Iterator<Item = (Option<u32>, Lane<'_>)> {
        (0..self.count()).filter_map(|number| self.numbered(number))
    }

    fn first(&self) -> Option<NonNull<AtomicU64>> {
        // Acquire: partner is the release in `make`.
        NonNull::new(self.lanes.load(Ordering::Acquire))
    }

    #[inline]
    fn made(&self) -> Option<NonNull<AtomicU64>> {
        self.first().or_else(|| self.make())
    }

    /// Makes the lanes. Async-signal-safe.
    #[cold]
    fn make(&self) -> Option<NonNull<AtomicU64>> {
        let words = (memory::parts() + 1).checked_mul(stride(self.capacity))?;
        let fresh = memory::words(words)?;
        // Release: partner is the acquire in `first`, and below: that of who was quicker.
        let order = (Ordering::Release, Ordering::Acquire);
        match self.lanes.compare_exchange(null_mut(), fresh.as_ptr(), order.0, order.1) {
            Ok(_) => Some(fresh),
            Err(other) => {
                // SAFETY: just made, and nobody has seen it.
                unsafe { memory::unmap_words(fresh, words) };
                NonNull::new(other)
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(first) = self.first() {
            let words = (memory::parts() + 1) * stride(self.capacity);
            // SAFETY: made in `make`; nobody else is here.
            unsafe { memory::unmap_words(first, words) };
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("capacity", &self.capacity)
            .field("policy", &self.policy)
            .field("dropped", &self.dropped())
            .field("overwritten", &self.overwritten())
            .finish()
    }
}
