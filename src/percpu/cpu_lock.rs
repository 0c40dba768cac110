//! A lock on the slot of one CPU.
//!
//! # State
//!
//! Each slot has a word:
//!
//! ```text
//! 0           free
//! HERE        held by a thread that took it on its CPU
//! a ticket    held, or about to be, by a thread that took it from elsewhere; no two are the same
//! + PARKED    and threads are parked
//! ```
//!
//! # Two ways to take it
//!
//! *On its CPU*, by a sequence that stores HERE if the word is 0. It is not atomic: it excludes
//! those on the same CPU, because the kernel aborts it if another of them comes in between.
//!
//! *From elsewhere*, or below tier `Rseq`, or by threads that have no sequences: exchange 0 for a
//! ticket. A sequence may have seen the 0 before, and store HERE over the ticket later. So who has
//! exchanged sends a broadcast to that CPU, after which such a sequence has stored or is
//! aborted; the others find the word taken. If the ticket is still there then, it has the lock;
//! else who stored HERE has it, and the ticket was in vain. Tickets are never used again, or a
//! thread could mistake another's for its own. (Below `Rseq` there are no sequences, and no
//! broadcast.)
//!
//! A kernel before 6.18 may lose the abort of a broadcast: there two are sent (`expel`).
//!
//! Whoever has it may be preempted, move, or hand the guard to another thread: the word stays as it
//! is. Giving up is an exchange by 0, from anywhere.
//!
//! # Why nobody sleeps for ever
//!
//! Who waits adds PARKED to the word, by exchange, and checks under the queue's lock that it is
//! still there. Giving up exchanges the word, and wakes all if it finds PARKED. What else removes
//! a PARKED is a sequence that stores HERE over a ticket; whoever's ticket it was finds it gone,
//! and wakes all.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | giving up | release | taking |
//! | the sequence's load of 0 | an acquire fence behind the section | giving up |
//! | exchanging 0 for a ticket | acquire | giving up |
//! | looking at the ticket again | relaxed | the broadcast |

use crate::machine::fence::expel;
use crate::machine::{Shape, Tier, shape};
use crate::rseq::word::{current_cpu, replace};
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, AtomicU64, Choice, Ordering, SpinWait, fence, park, wake};
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// What a word holds.
type Word = *mut ();

const FREE: usize = 0;
const HERE: usize = 1;
const PARKED: usize = 2;
/// Tickets are multiples of this.
const TICKET: usize = 4;

fn word(value: usize) -> Word {
    std::ptr::without_provenance_mut(value)
}

/// A ticket that nobody has had before; where addresses have 32 bits, one that comes again after 2^30.
/// That is no harm: there are no sequences there, and below [`Tier::Rseq`] any ticket will do.
fn ticket() -> usize {
    #[cfg(not(stillpoint_loom))]
    static LAST: AtomicU64 = AtomicU64::new(0);
    #[cfg(stillpoint_loom)]
    loom::lazy_static! {
        static ref LAST: AtomicU64 = AtomicU64::new(0);
    }
    if broken(Mutant::SameTicket) {
        return TICKET;
    }
    numbered(LAST.fetch_add(1, Ordering::Relaxed))
}

/// The ticket of that number, never [`FREE`]. 2^62 of them last for longer than anything.
fn numbered(number: u64) -> usize {
    const ALL: u64 = (usize::MAX / TICKET) as u64;
    ((number % ALL) as usize + 1) * TICKET
}

/// A value for each CPU, and a lock on each of them.
///
/// For people who build structures of which each CPU has a part, and whose operations are too long
/// for one restartable sequence. [`lock`](CpuLock::lock) takes the part of the CPU that the thread
/// is on: by a sequence, without an atomic instruction. The holder may then be preempted, or move:
/// it keeps that CPU's value, which the guard names; another thread that comes to that CPU waits,
/// or takes another's. [`lock_cpu`](CpuLock::lock_cpu) takes the part of any CPU, for a price: one
/// broadcast, aimed at that CPU (two on kernels before 6.18), some microseconds.
///
/// Threads that meet on a lock spin briefly, and park. The order in which they get it is nobody's.
/// Do not lock a CPU's part twice on one thread: that waits for ever; and
/// [`lock`](CpuLock::lock) may, under a guard of another CPU, come to the part that this thread
/// holds. There [`try_lock`](CpuLock::try_lock) is right.
///
/// No poisoning: a thread that panics releases what it holds. A guard that is forgotten holds its
/// part for ever. Not for signal handlers. In the child of a fork, what other threads held stays
/// held.
///
/// Memory: for each possible CPU, a multiple of 128 bytes.
///
/// # Examples
///
/// Lists of buffers, one for each CPU:
///
/// ```
/// use stillpoint::percpu::CpuLock;
///
/// let spare = CpuLock::new(|_cpu| Vec::<Box<[u8; 4096]>>::new());
/// let buffer = spare.lock().pop().unwrap_or_else(|| Box::new([0; 4096]));
/// spare.lock().push(buffer);
///
/// // Empties them all.
/// for cpu in 0..spare.cpus() {
///     spare.lock_cpu(cpu).clear();
/// }
/// ```
pub struct CpuLock<T> {
    slots: Box<[Slot<T>]>,
    tier: Tier,
}

/// Apart from each other: adjacent lines are fetched in pairs.
#[repr(align(128))]
struct Slot<T> {
    word: AtomicPtr<()>,
    value: UnsafeCell<T>,
}

// SAFETY: a slot's value is reached through its lock, by one thread at a time, and from any.
unsafe impl<T: Send> Sync for CpuLock<T> {}

impl<T> CpuLock<T> {
    /// One value for each CPU that there may be, made by `init`, which is told its number.
    ///
    /// # Examples
    ///
    /// ```
    /// let numbers = stillpoint::percpu::CpuLock::new(|cpu| cpu);
    /// assert_eq!(*numbers.lock_cpu(0), 0);
    /// ```
    pub fn new(init: impl FnMut(u32) -> T) -> CpuLock<T> {
        let Shape { tier, slots } = shape(Tier::Rseq);
        let mut init = init;
        let slot =
            |cpu| Slot { word: AtomicPtr::new(word(FREE)), value: UnsafeCell::new(init(cpu)) };
        CpuLock { slots: (0..slots).map(slot).collect(), tier }
    }

    /// How many parts it has: the numbers of CPUs are below this.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = stillpoint::percpu::CpuLock::new(|_| ());
    /// assert_eq!(lock.cpus(), stillpoint::machine().slots());
    /// ```
    pub fn cpus(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Takes the part of the CPU that the calling thread is on, waiting for whoever has it.
    ///
    /// One section; below tier `Rseq`, and on threads that have no sequences, an atomic exchange,
    /// on such threads of tier `Rseq` with a broadcast.
    ///
    /// # Panics
    ///
    /// As [`lock_cpu`](CpuLock::lock_cpu), where that way is taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let hits = stillpoint::percpu::CpuLock::new(|_| 0_u64);
    /// let mut mine = hits.lock();
    /// *mine += 1;
    /// println!("on CPU {}", mine.cpu());
    /// ```
    pub fn lock(&self) -> CpuLockGuard<'_, T> {
        loop {
            match self.take_here() {
                Ok(guard) => return guard,
                Err(cpu) => self.wait(&self.slots[cpu as usize]),
            }
        }
    }

    /// As [`lock`](CpuLock::lock), but `None` if somebody has that part.
    ///
    /// # Panics
    ///
    /// As [`lock`](CpuLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = stillpoint::percpu::CpuLock::new(|_| 0_u64);
    /// if let Some(mut mine) = lock.try_lock() {
    ///     *mine += 1;
    /// }
    /// ```
    pub fn try_lock(&self) -> Option<CpuLockGuard<'_, T>> {
        self.take_here().ok()
    }

    /// Takes the part of a CPU, wherever the calling thread is, waiting for whoever has it.
    ///
    /// # Panics
    ///
    /// If there is no such CPU; or if the kernel refuses the broadcast that it granted at start-up,
    /// because of a filter that was installed since.
    ///
    /// # Examples
    ///
    /// ```
    /// let hits = stillpoint::percpu::CpuLock::new(|_| 0_u64);
    /// *hits.lock() += 1;
    /// assert_eq!((0..hits.cpus()).map(|cpu| *hits.lock_cpu(cpu)).sum::<u64>(), 1);
    /// ```
    pub fn lock_cpu(&self, cpu: u32) -> CpuLockGuard<'_, T> {
        let slot = &self.slots[cpu as usize];
        while !self.take_by_ticket(cpu) {
            self.wait(slot);
        }
        CpuLockGuard { lock: self, cpu }
    }

    /// As [`lock_cpu`](CpuLock::lock_cpu), but `None` if somebody has that part.
    ///
    /// # Panics
    ///
    /// As [`lock_cpu`](CpuLock::lock_cpu).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = stillpoint::percpu::CpuLock::new(|_| ());
    /// let held = lock.lock_cpu(0);
    /// assert!(lock.try_lock_cpu(0).is_none());
    /// drop(held);
    /// assert!(lock.try_lock_cpu(0).is_some());
    /// ```
    pub fn try_lock_cpu(&self, cpu: u32) -> Option<CpuLockGuard<'_, T>> {
        // Not `then_some`: a guard that is made is dropped.
        self.take_by_ticket(cpu).then(|| CpuLockGuard { lock: self, cpu })
    }

    /// All values, in the order of CPUs, with nobody else there.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut hits = stillpoint::percpu::CpuLock::new(|_| 0_u64);
    /// *hits.lock() += 1;
    /// assert_eq!(hits.iter_mut().map(|n| *n).sum::<u64>(), 1);
    /// ```
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|slot| slot.value.get_mut())
    }

    /// Takes the part of this CPU, or says which CPU's is taken.
    fn take_here(&self) -> Result<CpuLockGuard<'_, T>, u32> {
        if self.tier == Tier::Rseq {
            for attempt in 0..RETRIES {
                let Some((cpu, slot)) = self.here() else {
                    if attempt == 0 && sequences_may_work(self.cpus()) {
                        continue;
                    }
                    break;
                };
                // SAFETY: the word lives. Where it holds 0, only sequences on that CPU store
                // plainly, and an exchange by others is followed by a broadcast before they rely
                // on it.
                if unsafe { replace(cpu, &slot.word, word(FREE), word(HERE)) } {
                    // Partner: the release in giving up, which the section's load has seen.
                    fence(Ordering::Acquire);
                    #[cfg(stillpoint_sections)]
                    crate::sync::sequence_acquires((&raw const slot.word).cast());
                    return Ok(CpuLockGuard { lock: self, cpu });
                }
                if slot.word.load(Ordering::Relaxed) != word(FREE) {
                    return Err(cpu);
                }
            }
        }
        let cpu = asked_cpu().min(self.cpus() - 1);
        if self.take_by_ticket(cpu) { Ok(CpuLockGuard { lock: self, cpu }) } else { Err(cpu) }
    }

    /// The CPU of the calling thread and its slot, if it is registered and there is one.
    fn here(&self) -> Option<(u32, &Slot<T>)> {
        let cpu = current_cpu()?;
        Some((cpu, self.slots.get(cpu as usize)?))
    }

    /// Takes the part of a CPU if it is free, from anywhere.
    fn take_by_ticket(&self, cpu: u32) -> bool {
        let slot = &self.slots[cpu as usize];
        let mine = ticket();
        // Acquire: partner is the release in giving up.
        let (order, failed) = (Ordering::Acquire, Ordering::Relaxed);
        if slot.word.compare_exchange(word(FREE), word(mine), order, failed).is_err() {
            return false;
        }
        if self.tier != Tier::Rseq {
            return true;
        }
        // Partner: a section that has found 0.
        let sent = if broken(Mutant::NoBroadcast) { Ok(()) } else { expel(self.tier, Some(cpu)) };
        if let Err(errno) = sent {
            // A section may store HERE over the 0, as over any.
            self.leave_ticket(slot, mine);
            panic!("the kernel refuses membarrier: {}", std::io::Error::from_raw_os_error(errno));
        }
        let is_mine = slot.word.load(Ordering::Relaxed).addr() & !PARKED == mine;
        if !is_mine {
            wake_all(slot);
        }
        is_mine
    }

    /// Takes back a ticket that must not be relied on.
    #[cold]
    fn leave_ticket(&self, slot: &Slot<T>, mine: usize) {
        for value in [mine, mine | PARKED] {
            let order = Ordering::Relaxed;
            let _ = slot.word.compare_exchange(word(value), word(FREE), order, order);
        }
        wake_all(slot);
    }

    /// Waits until the part may be free.
    fn wait(&self, slot: &Slot<T>) {
        let mut spin = SpinWait::new();
        loop {
            let state = slot.word.load(Ordering::Relaxed);
            if state.addr() == FREE {
                return;
            }
            if state.addr() & PARKED == 0 {
                if spin.spin() {
                    continue;
                }
                let with = word(state.addr() | PARKED);
                let order = Ordering::Relaxed;
                if slot.word.compare_exchange(state, with, order, order).is_err() {
                    continue;
                }
            }
            park(key(slot), 0, None, || {
                broken(Mutant::ParkUnchecked)
                    || slot.word.load(Ordering::Relaxed).addr() & PARKED != 0
            });
            return;
        }
    }
}

/// The CPU to be used by a thread that has no sequences.
fn asked_cpu() -> u32 {
    #[cfg(not(stillpoint_loom))]
    return crate::machine::current_cpu();
    #[cfg(stillpoint_loom)]
    current_cpu().unwrap_or(0)
}

fn key<T>(slot: &Slot<T>) -> *const () {
    (&raw const slot.word).cast()
}

#[cold]
fn wake_all<T>(slot: &Slot<T>) {
    wake(key(slot), |_| Choice::Wake, |_| 0);
}

impl<T> fmt::Debug for CpuLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuLock").field("cpus", &self.cpus()).finish_non_exhaustive()
    }
}

/// What [`CpuLock::lock`] and its like return: holds the part of one CPU until it is dropped, on
/// whatever thread and CPU that may be.
///
/// # Examples
///
/// ```
/// let lock = stillpoint::percpu::CpuLock::new(|_| 1);
/// let guard = lock.lock();
/// let other_cpu = (guard.cpu() + 1) % lock.cpus();
/// assert!(other_cpu == guard.cpu() || lock.try_lock_cpu(other_cpu).is_some());
/// ```
#[must_use = "what nobody holds is released at once"]
pub struct CpuLockGuard<'a, T> {
    lock: &'a CpuLock<T>,
    cpu: u32,
}

// SAFETY: a shared guard gives shared references to the value. (Sending it needs what sending a
// shared reference to the lock needs: that values may go to other threads.)
unsafe impl<T: Sync> Sync for CpuLockGuard<'_, T> {}

impl<T> CpuLockGuard<'_, T> {
    /// Whose part it is. Not where the thread is: that may have changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = stillpoint::percpu::CpuLock::new(|_| ());
    /// assert_eq!(lock.lock_cpu(0).cpu(), 0);
    /// ```
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    fn slot(&self) -> &Slot<T> {
        &self.lock.slots[self.cpu as usize]
    }
}

impl<T> Deref for CpuLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard is alone with the value.
        unsafe { &*self.slot().value.get() }
    }
}

impl<T> DerefMut for CpuLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.slot().value.get() }
    }
}

impl<T: fmt::Debug> fmt::Debug for CpuLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuLockGuard").field("cpu", &self.cpu).field("value", &**self).finish()
    }
}

impl<T> Drop for CpuLockGuard<'_, T> {
    fn drop(&mut self) {
        let slot = self.slot();
        let order = if broken(Mutant::RelaxedGive) { Ordering::Relaxed } else { Ordering::Release };
        // Release: partner is taking.
        if slot.word.swap(word(FREE), order).addr() & PARKED != 0 && !broken(Mutant::LostParked) {
            wake_all(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ticket_is_free() {
        let most = (usize::MAX / TICKET) as u64;
        for number in [0, 1, most - 2, most - 1, most, most + 1, u64::MAX] {
            let ticket = numbered(number);
            assert!(ticket != FREE && ticket.is_multiple_of(TICKET), "{number}: {ticket}");
        }
        assert_eq!(numbered(most), numbered(0));
    }
}
