//! The reader of a ring.

use super::lane::{Front, Lane, Oldest, size_of_record};
use super::{Policy, Ring};
use crate::machine::fence::heavy;
use crate::machine::{Tier, shape};
use crate::sync::Ordering;
use crate::sync::doze;
use crate::sync::mutant::{Mutant, broken};
use std::error::Error;
use std::fmt;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// Where broadcasts are refused, a consumer that waits looks so often.
const NAP: Duration = Duration::from_millis(1);

/// A ring's consumer exists already. See [`Ring::consumer`].
///
/// # Examples
///
/// ```
/// let ring = stillpoint::percpu::Ring::new(4096);
/// let _consumer = ring.consumer();
/// println!("{}", ring.consumer().unwrap_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTaken(pub(super) ());

impl fmt::Display for ConsumerTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring has a consumer already")
    }
}

impl Error for ConsumerTaken {}

/// A record, as its consumer sees it.
///
/// # Examples
///
/// ```
/// let ring = stillpoint::percpu::Ring::new(4096);
/// ring.push(b"hello").unwrap();
/// ring.consumer().unwrap().pop(|record| {
///     println!("{} ns, CPU {:?}: {:?}", record.stamp, record.cpu, record.bytes);
/// });
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Record<'r> {
    /// The CPU that it was written on; `None` below tier [`Rseq`](Tier::Rseq), or if its writer
    /// could not use restartable sequences.
    pub cpu: Option<u32>,
    /// The monotonic clock's nanoseconds, or what the writer gave instead.
    pub stamp: u64,
    /// What was written.
    pub bytes: &'r [u8],
}

/// A record that was taken out of its ring. See [`Consumer::merged`].
///
/// # Examples
///
/// ```
/// let ring = stillpoint::percpu::Ring::new(4096);
/// ring.push(b"hello").unwrap();
/// let entry = ring.consumer().unwrap().merged().next().unwrap();
/// assert_eq!(entry.bytes, b"hello");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// As [`Record::cpu`].
    pub cpu: Option<u32>,
    /// As [`Record::stamp`].
    pub stamp: u64,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// Of which CPU the next record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Of one after the other.
    Any,
    /// Of the one whose stamp is lowest.
    Merged,
}

/// The one who reads a [`Ring`]. From [`Ring::consumer`].
///
/// Reading takes a record out of the ring, in time that grows with the number of CPUs. Nobody waits
/// for the consumer, and it waits for nobody, unless asked to: then it sleeps, without looking now
/// and then.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::percpu::Ring;
///
/// let ring = Ring::new(1 << 12);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let mut consumer = ring.consumer().unwrap();
///         while consumer.recv(|record| record.bytes.to_owned()) != b"end" {}
///     });
///     ring.push(b"hello").unwrap();
///     ring.push(b"end").unwrap();
/// });
/// ```
#[derive(Debug)]
pub struct Consumer<'a> {
    ring: &'a Ring,
    /// The lane that is looked at first, how many more of its records come before those of others,
    /// and its head as it was seen, or 0.
    next: usize,
    stay: u32,
    seen: u64,
    /// Where records are copied to in which one is overwritten otherwise.
    copy: Vec<MaybeUninit<u8>>,
}

/// So many records of a CPU may be read before those of others, by [`Consumer::pop`].
const STAY: u32 = if cfg!(stillpoint_loom) { 1 } else { 64 };

/// A record that nobody else reads.
struct Found<'a> {
    cpu: Option<u32>,
    oldest: Oldest<'a>,
    stamp: u64,
    length: usize,
}

/// A record that was read; its space is given back, also if who reads it panics.
struct Read<'o, 'a>(&'o mut Oldest<'a>, u64);

impl Drop for Read<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.skip(self.1);
    }
}

impl<'a> Consumer<'a> {
    /// For who has taken it.
    pub(super) fn new(ring: &'a Ring) -> Consumer<'a> {
        Consumer { ring, next: 0, stay: STAY, seen: 0, copy: Vec::new() }
    }

    /// The next record of any CPU, if there is one that is written. Whose turn it is goes around,
    /// after 64 records of one. In a ring that [overwrites](Policy::OverwriteOldest), not those of a
    /// CPU whose oldest a producer is about to overwrite just then.
    ///
    /// The record's space is free when `f` returns, or panics. In a ring that
    /// [overwrites](Policy::OverwriteOldest) records are copied before.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// let mut consumer = ring.consumer().unwrap();
    /// assert!(consumer.pop(|_| ()).is_none());
    /// ring.push(b"hello").unwrap();
    /// assert_eq!(consumer.pop(|record| record.bytes.len()), Some(5));
    /// ```
    pub fn pop<R>(&mut self, f: impl FnOnce(Record<'_>) -> R) -> Option<R> {
        self.pop_in(Order::Any, f)
    }

    /// The record with the lowest stamp of all that can be read now.
    ///
    /// None if a record before it is still being [written](super::Reservation), or may be: then
    /// there will be an earlier one. If writing one record happens before writing another, on
    /// whatever CPUs, it comes first, unless their stamps say otherwise. But a writer that was
    /// interrupted between looking at the clock and writing is not known yet: its record may follow
    /// on some with later stamps. In a ring that [overwrites](Policy::OverwriteOldest), a record
    /// may be overwritten in the moment between choosing and taking it; then the next one of its
    /// CPU is taken instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push_at(1, b"hello").unwrap();
    /// assert_eq!(ring.consumer().unwrap().pop_merged(|record| record.stamp), Some(1));
    /// ```
    pub fn pop_merged<R>(&mut self, f: impl FnOnce(Record<'_>) -> R) -> Option<R> {
        self.pop_in(Order::Merged, f)
    }

    /// Waits for a [`pop`](Consumer::pop) that finds something, asleep.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn recv<R>(&mut self, f: impl FnOnce(Record<'_>) -> R) -> R {
        match self.recv_in(Order::Any, None, f) {
            Some(result) => result,
            None => unreachable!("too early: it has no end"),
        }
    }

    /// [`recv`](Consumer::recv) for some time at most.
    ///
    /// Going to sleep sends a broadcast: some microseconds, and an interrupt for each CPU that runs
    /// this process. Where the kernel refuses it, the consumer looks every millisecond instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// let mut consumer = ring.consumer().unwrap();
    /// assert!(consumer.recv_timeout(Duration::from_millis(1), |_| ()).is_none());
    /// ```
    pub fn recv_timeout<R>(
        &mut self,
        timeout: Duration,
        f: impl FnOnce(Record<'_>) -> R,
    ) -> Option<R> {
        self.recv_in(Order::Any, Some(timeout), f)
    }

    /// Waits for a [`pop_merged`](Consumer::pop_merged) that finds something, asleep, for some time
    /// at most.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push(b"hello").unwrap();
    /// let mut consumer = ring.consumer().unwrap();
    /// consumer.recv_merged_timeout(Duration::from_secs(9), |_| ()).unwrap();
    /// ```
    pub fn recv_merged_timeout<R>(
        &mut self,
        timeout: Duration,
        f: impl FnOnce(Record<'_>) -> R,
    ) -> Option<R> {
        self.recv_in(Order::Merged, Some(timeout), f)
    }

    /// [`recv_merged_timeout`](Consumer::recv_merged_timeout) without an end.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push_at(2, b"second").unwrap();
    /// assert_eq!(ring.consumer().unwrap().recv_merged(|record| record.stamp), 2);
    /// ```
    pub fn recv_merged<R>(&mut self, f: impl FnOnce(Record<'_>) -> R) -> R {
        match self.recv_in(Order::Merged, None, f) {
            Some(result) => result,
            None => unreachable!("too early: it has no end"),
        }
    }

    /// Iterates over what [`pop_merged`](Consumer::pop_merged) finds, as long as it finds
    /// something.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = stillpoint::percpu::Ring::new(4096);
    /// ring.push(b"1").unwrap();
    /// ring.push(b"2").unwrap();
    /// let mut consumer = ring.consumer().unwrap();
    /// let all: Vec<_> = consumer.merged().map(|entry| entry.bytes).collect();
    /// assert_eq!(all.len(), 2);
    /// ```
    pub fn merged(&mut self) -> Merged<'_, 'a> {
        Merged { consumer: self }
    }

    fn pop_in<R>(&mut self, order: Order, f: impl FnOnce(Record<'_>) -> R) -> Option<R> {
        self.pop_raw(order, of_bytes(f))
    }

    fn recv_in<R>(
        &mut self,
        order: Order,
        timeout: Option<Duration>,
        f: impl FnOnce(Record<'_>) -> R,
    ) -> Option<R> {
        self.recv_raw(order, timeout, of_bytes(f))
    }

    /// Waits until something is found. What it has waited for may be overwritten before it is taken.
    fn recv_raw<R>(
        &mut self,
        order: Order,
        timeout: Option<Duration>,
        f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R,
    ) -> Option<R> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut f = Some(f);
        loop {
            let is_over = !self.wait(order, deadline) || broken(Mutant::RingOneTry);
            let found =
                self.pop_raw(order, |cpu, stamp, bytes| f.take().map(|f| f(cpu, stamp, bytes)));
            if let Some(result) = found.flatten() {
                return Some(result);
            }
            if is_over {
                return None;
            }
        }
    }

    /// As [`pop`](Consumer::pop), for records whose bytes need not be initialised.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn pop_any<R>(
        &mut self,
        merged: bool,
        f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R,
    ) -> Option<R> {
        self.pop_raw(if merged { Order::Merged } else { Order::Any }, f)
    }

    /// As [`recv_timeout`](Consumer::recv_timeout), for such records.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn recv_any<R>(
        &mut self,
        timeout: Duration,
        f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R,
    ) -> Option<R> {
        self.recv_raw(Order::Any, Some(timeout), f)
    }

    #[inline]
    fn pop_raw<R>(
        &mut self,
        order: Order,
        f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R,
    ) -> Option<R> {
        match order {
            Order::Any => self.any(f),
            Order::Merged => {
                let found = self.lowest()?;
                Some(self.read(found, f))
            }
        }
    }

    /// Hands a record to its reader, and its space back.
    #[inline(always)]
    fn read<R>(
        &mut self,
        Found { cpu, mut oldest, stamp, length }: Found<'a>,
        f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R,
    ) -> R {
        let lane = oldest.lane;
        let (position, size) = (oldest.at, size_of_record(length));
        if broken(Mutant::RingEarlyTail) {
            oldest.skip(size);
        }
        let in_place = self.ring.policy == Policy::DropNewest && !cfg!(stillpoint_loom);
        if in_place && !broken(Mutant::RingEarlyTail) {
            let read = Read(&mut oldest, size);
            let bytes = lane.bytes(position + 16).cast_const().cast();
            // SAFETY: the record is ours until `read` is dropped.
            let result = f(cpu, stamp, unsafe { std::slice::from_raw_parts(bytes, length) });
            drop(read);
            return result;
        }
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::RingEarlyTail) {
            drop(oldest);
            #[cfg(not(stillpoint_loom))]
            crate::sync::dither();
            // SAFETY: not; that is the defect.
            unsafe { lane.copy(position, length, &mut self.copy) };
            return f(cpu, stamp, &self.copy);
        }
        // SAFETY: the record is ours until `oldest` is dropped.
        unsafe { lane.copy(position, length, &mut self.copy) };
        oldest.skip(size);
        drop(oldest);
        f(cpu, stamp, &self.copy)
    }

    /// The next record of a lane that has one: of the same as before, for a while.
    #[inline(always)]
    fn any<R>(&mut self, f: impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R) -> Option<R> {
        let count = self.ring.count();
        // The one where it begins is looked at again in the end: with a head that is loaded anew.
        for _ in 0..=count {
            let (cpu, lane) = self.ring.numbered(self.next)?;
            if self.stay > 0
                && let Ok(mut oldest) = lane.oldest_before(self.seen)
                && let Front::Ready { stamp, length } = oldest.front()
            {
                (self.stay, self.seen) = (self.stay - 1, oldest.head);
                return Some(self.read(Found { cpu, oldest, stamp, length }, f));
            }
            self.next = if self.next + 1 < count { self.next + 1 } else { 0 };
            (self.stay, self.seen) = (STAY, 0);
        }
        None
    }

    /// The record whose stamp is lowest.
    fn lowest(&self) -> Option<Found<'a>> {
        let order = Order::Merged;
        let mut number = self.choose(order)?;
        // What came before the record that we found, to a lane that we had passed, is visible now.
        while !broken(Mutant::RingOneLook) {
            match self.choose(order)? {
                same if same == number => break,
                other => number = other,
            }
        }
        let (cpu, lane) = self.ring.numbered(number)?;
        let mut oldest = lane.oldest().ok()?;
        let Front::Ready { stamp, length } = oldest.front() else { return None };
        Some(Found { cpu, oldest, stamp, length })
    }

    /// The lane of the next record.
    fn choose(&self, order: Order) -> Option<usize> {
        let count = self.ring.count();
        let mut lowest = None;
        for number in 0..count {
            let front = self.ring.numbered(number).map_or(Front::Empty, |(_, lane)| front(lane));
            match (front, order) {
                (Front::Empty, _) | (Front::Busy(_), Order::Any) => {}
                (Front::Ready { .. }, Order::Any) => return Some(number),
                (Front::Busy(None), Order::Merged) => return None,
                (Front::Busy(Some(stamp)), Order::Merged) => earliest(&mut lowest, stamp, None),
                (Front::Ready { stamp, .. }, Order::Merged) => {
                    earliest(&mut lowest, stamp, Some(number));
                }
            }
        }
        lowest?.1
    }

    /// Sleeps until there is something. False if the time is over before.
    fn wait(&mut self, order: Order, deadline: Option<Instant>) -> bool {
        let asleep = &self.ring.asleep;
        while self.choose(order).is_none() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            // Relaxed, as the producers' look at it is: the broadcast orders them.
            asleep.store(1, Ordering::Relaxed);
            // Partner: the light fence in `Ring::wake`.
            let heard = broken(Mutant::NoBroadcast) || heavy(shape(Tier::Rseq).tier).is_ok();
            if self.choose(order).is_none() {
                let longest = if heard { left } else { Some(left.unwrap_or(NAP).min(NAP)) };
                doze(asleep, 1, longest);
            }
            asleep.store(0, Ordering::Relaxed);
        }
        true
    }
}

/// For records whose bytes are initialised.
fn of_bytes<R>(
    f: impl FnOnce(Record<'_>) -> R,
) -> impl FnOnce(Option<u32>, u64, &[MaybeUninit<u8>]) -> R {
    |cpu, stamp, bytes| {
        // SAFETY: who writes bytes writes initialised ones.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) };
        f(Record { cpu, stamp, bytes })
    }
}

fn front(lane: Lane<'_>) -> Front {
    match lane.oldest() {
        Ok(mut oldest) => oldest.front(),
        Err(front) => front,
    }
}

/// Of equal stamps, the first; but one that can be read before one that cannot.
fn earliest(lowest: &mut Option<(u64, Option<usize>)>, stamp: u64, number: Option<usize>) {
    match lowest {
        Some((low, of)) if *low < stamp || *low == stamp && of.is_some() => {}
        _ => *lowest = Some((stamp, number)),
    }
}

impl Drop for Consumer<'_> {
    fn drop(&mut self) {
        // Release: partner is the acquire in `Ring::consumer`.
        self.ring.taken.store(0, Ordering::Release);
    }
}

/// Records in the order of their stamps. From [`Consumer::merged`].
///
/// # Examples
///
/// See [`Consumer::merged`].
#[derive(Debug)]
pub struct Merged<'c, 'a> {
    consumer: &'c mut Consumer<'a>,
}

impl Iterator for Merged<'_, '_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.consumer.pop_merged(|record| Entry {
            cpu: record.cpu,
            stamp: record.stamp,
            bytes: record.bytes.to_vec(),
        })
    }
}
