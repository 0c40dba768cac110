//! Words that each CPU has, and the right to stop a CPU's.

use super::memory::{self, bound, word_of};
use super::parts::Closed;
use super::remote::{STOPPED, Stopped, attempt, visit};
use crate::machine::{Tier, shape, spread};
use crate::rseq::change::Change;
use crate::rseq::part::{Place, WORD};
use crate::sync::AtomicU64;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// Words that each CPU has: the floor for authors of structures. [`Pool`](super::Pool),
/// [`RawStack`](super::RawStack) and [`Counter`](super::Counter) stand on the same one.
///
/// A structure of this kind consists of three things.
///
/// * *Here*, a sequence changes the part of the CPU that runs it, plainly: one of
///   [`rseq::cache`](crate::rseq::cache), [`rseq::stack`](crate::rseq::stack),
///   [`rseq::exchange`](crate::rseq::exchange) or [`rseq::part`](crate::rseq::part), on
///   [`place`](RawPerCpu::place), or one of [`rseq::change`](crate::rseq::change), on the part that is
///   [here](RawPerCpu::here). Calling it is `unsafe`: its
///   author promises that nobody else stores to those words, but as below.
/// * *Elsewhere*, [`stopped`](RawPerCpu::stopped) runs a closure on any CPU's part, while that CPU's
///   sequences are kept away from it. That CPU may be offline.
/// * *Otherwise*, what no sequence could do is done by atomics on the part that is
///   [shared](RawPerCpu::shared): by threads that the kernel will not register, or whose sequences
///   are aborted again and again; while a part is stopped; and below tier `Rseq` always.
///
/// It goes by CPU number, always: a broadcast cannot be aimed at a concurrency id.
///
/// # The words
///
/// All are 0 at first. Word 0 says who has stopped the part, and cannot be had. What the others are
/// is the sequences' matter: those of an array know word 1, the length, and from
/// [`HEAD`](crate::rseq::cache::HEAD) on the items.
///
/// # Cost
///
/// 24 bytes, and the words for each possible CPU from the first use on, which takes them: by a
/// system call once in some thousand, aborting if there is no memory. What is dropped is used
/// again, not unmapped.
///
/// All of it is async-signal-safe but dropping; a closure has to be as well then.
///
/// # Examples
///
/// Numbers that are used again. Each CPU keeps some; another one may take them.
///
/// ```
/// use std::num::NonZero;
/// use std::sync::Mutex;
/// use std::sync::atomic::{AtomicUsize, Ordering::{Acquire, Relaxed}};
/// use stillpoint::percpu::RawPerCpu;
/// use stillpoint::rseq::cache::{self, HEAD};
///
/// const ROOM: usize = 32;
///
/// struct Numbers {
///     free: RawPerCpu,
///     /// Those that no CPU has room for.
///     others: Mutex<Vec<NonZero<usize>>>,
///     used: AtomicUsize,
/// }
///
/// impl Numbers {
///     const fn new() -> Numbers {
///         let free = RawPerCpu::new(HEAD + ROOM);
///         Numbers { free, others: Mutex::new(Vec::new()), used: AtomicUsize::new(0) }
///     }
///
///     fn get(&self) -> NonZero<usize> {
///         // SAFETY: an array with this room; only sequences and `take_back` store there.
///         let here = self.free.attempt(|place| unsafe { cache::pop(place) });
///         let other = || self.others.lock().unwrap().pop();
///         let fresh = || NonZero::new(self.used.fetch_add(1, Relaxed) + 1).unwrap();
///         here.or_else(other).unwrap_or_else(fresh)
///     }
///
///     fn put(&self, number: NonZero<usize>) {
///         // SAFETY: as in `get`.
///         let push = |place: &_| unsafe { cache::push(place, number, ROOM) }.then_some(());
///         if self.free.attempt(push).is_none() {
///             self.others.lock().unwrap().push(number);
///         }
///     }
///
///     /// What a CPU keeps goes to all: for one that is offline.
///     fn take_back(&self, cpu: usize) {
///         self.free.stopped(cpu, |part| {
///             // Whoever else has stopped it finds nothing.
///             let length = part.word(1).swap(0, Acquire) as usize;
///             let items = (0..length).map(|at| part.word(HEAD + at).load(Relaxed) as usize);
///             self.others.lock().unwrap().extend(items.filter_map(NonZero::new));
///         });
///     }
/// }
///
/// static NUMBERS: Numbers = Numbers::new();
/// let (one, two) = (NUMBERS.get(), NUMBERS.get());
/// assert_eq!((one.get(), two.get()), (1, 2));
/// NUMBERS.put(one);
/// (0..NUMBERS.free.len()).for_each(|cpu| NUMBERS.take_back(cpu));
/// assert_eq!(NUMBERS.get(), one);
/// ```
pub struct RawPerCpu {
    place: Place,
    words: usize,
}

impl RawPerCpu {
    /// So many words for each CPU, the first of which is not for the author.
    ///
    /// # Panics
    ///
    /// If they are less than 2, or more than 4096. In a `static` that is an error of compilation.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::RawPerCpu;
    /// static WORDS: RawPerCpu = RawPerCpu::new(2);
    /// # assert!(WORDS.len() >= 1);
    /// ```
    pub const fn new(words: usize) -> RawPerCpu {
        assert!(words >= 2 && words <= memory::LARGEST / WORD, "2 to 4096 words");
        RawPerCpu { place: Place::new(), words }
    }

    /// What sequences are given. It has parts with so many words, for every CPU, for as long as
    /// this lives.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline(always)]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Tries a sequence, a few times if need be. `None`, and it is to be done otherwise: it has
    /// returned `None` each time, or would, since the part is stopped, the thread cannot be
    /// registered, or the tier is not `Rseq`.
    ///
    /// A sequence that returns `None` for other reasons, as that of an array which is full, is
    /// tried in vain; who knows that should call it first.
    ///
    /// # Panics
    ///
    /// If the closure does.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline(always)]
    pub fn attempt<R>(&self, sequence: impl Fn(&Place) -> Option<R>) -> Option<R> {
        sequence(&self.place).or_else(|| self.attempt_again(&sequence))
    }

    #[cold]
    #[inline(never)]
    fn attempt_again<R>(&self, sequence: &impl Fn(&Place) -> Option<R>) -> Option<R> {
        attempt(self.made(), || sequence(&self.place))
    }

    /// How many parts there are for CPUs, or, below tier `Rseq`, shards. The same at every call.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::RawPerCpu;
    /// assert!(RawPerCpu::new(2).len() >= stillpoint::machine().slots() as usize);
    /// ```
    #[allow(clippy::len_without_is_empty, reason = "there is always one at least")]
    pub fn len(&self) -> usize {
        memory::parts()
    }

    /// The part that the calling thread shares with others, who change it by atomics: on tier
    /// `Rseq` one that is nobody's, below it that of a shard.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// let words = stillpoint::percpu::RawPerCpu::new(2);
    /// words.shared().word(1).fetch_add(7, Relaxed);
    /// let sum = |words: &stillpoint::percpu::RawPerCpu| {
    ///     words.iter().map(|part| part.word(1).load(Relaxed)).sum::<u64>()
    /// };
    /// assert_eq!(sum(&words), 7);
    /// ```
    pub fn shared(&self) -> RawPart<'_> {
        let parts = memory::parts();
        self.part(if shape(Tier::Rseq).tier == Tier::Rseq { parts } else { spread(parts) })
    }

    /// The part of the calling thread's CPU, a moment ago: to look at, and to plan
    /// [changes](RawPart::change). `None` where no sequence would be let in: below tier `Rseq`, before the
    /// parts are made, as the first [`attempt`](RawPerCpu::attempt) does, while they are closed, and
    /// for a thread that is not registered.
    ///
    /// A few loads. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// An array of which items are taken by [`stopped`](RawPerCpu::stopped) only.
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// use stillpoint::percpu::RawPerCpu;
    /// use stillpoint::rseq::change;
    ///
    /// const ROOM: usize = 16;
    /// let words = RawPerCpu::new(2 + ROOM);
    /// let kept = words.attempt(|_| {
    ///     let here = words.here()?;
    ///     let length = here.word(1).load(Relaxed);
    ///     if length == ROOM as u64 {
    ///         return None;
    ///     }
    ///     let (one_more, item) = (here.change(1, length, length + 1), here.word(2 + length as usize));
    ///     // SAFETY: only this stores there, where nobody looks before the item is counted.
    ///     unsafe { change::store(&one_more, item, 7) }.then_some(())
    /// });
    /// let lengths: u64 = words.iter().map(|part| part.word(1).load(Relaxed)).sum();
    /// assert_eq!(lengths, kept.is_some().into());
    /// ```
    #[inline]
    pub fn here(&self) -> Option<RawPart<'_>> {
        // A thread that is not registered has a number beyond all bounds.
        let cpu = cpu_as_kept().filter(|cpu| *cpu < self.place.bound())?;
        let first = NonNull::new(self.place.first())?;
        Some(RawPart { first, part: cpu as usize, words: self.words, of: PhantomData })
    }

    /// The part of a CPU, or a shard, to look at; its sequences go on. `None` if there is no such
    /// CPU.
    ///
    /// # Examples
    ///
    /// ```
    /// let words = stillpoint::percpu::RawPerCpu::new(2);
    /// assert!(words.get(0).is_some() && words.get(usize::MAX).is_none());
    /// ```
    pub fn get(&self, cpu: usize) -> Option<RawPart<'_>> {
        (cpu < memory::parts()).then(|| self.part(cpu))
    }

    /// All parts, to look at: those of CPUs, or shards, and the one that is nobody's.
    ///
    /// # Examples
    ///
    /// See [`shared`](RawPerCpu::shared).
    pub fn iter(&self) -> impl Iterator<Item = RawPart<'_>> {
        (0..=memory::parts()).map(|part| self.part(part))
    }

    /// Runs a closure on the part of a CPU, wherever the caller runs, while no sequence of
    /// [`rseq::cache`](crate::rseq::cache), [`rseq::stack`](crate::rseq::stack) or
    /// [`rseq::exchange`](crate::rseq::exchange) changes it, nor a [change](RawPart::change): what
    /// they did before is visible, and they find what the closure did. Those of
    /// [`rseq::part`](crate::rseq::part) do not look whether a part is stopped: see
    /// [`closed`](RawPerCpu::closed). `None` if there is no such CPU.
    ///
    /// Several may have stopped a part at once, and nobody waits for another: so the closure takes
    /// what it wants by an exchange. Below tier `Rseq` the part is that of the shard with this
    /// number, and others change it meanwhile, as they do at any time.
    ///
    /// That CPU's threads do not wait; their sequences are turned away, and they use what is
    /// [shared](RawPerCpu::shared). Other CPUs' are not disturbed. On tier `Rseq` it costs one
    /// broadcast to that CPU, two before Linux 6.18: microseconds, and an interrupt there if it runs
    /// this process. A CPU that is offline is no special case.
    ///
    /// # Panics
    ///
    /// If the closure does; then, too, the part is in use again. If the kernel refuses the
    /// broadcast although it did not before: a filter that was installed since.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn stopped<R>(&self, cpu: usize, f: impl FnOnce(RawPart<'_>) -> R) -> Option<R> {
        if cpu >= memory::parts() {
            return None;
        }
        let part = self.part(cpu);
        let _stopped = (shape(Tier::Rseq).tier == Tier::Rseq).then(|| {
            // SAFETY: `part` has made the parts.
            unsafe { Stopped::stop(&self.place, part.first, cpu, 1) }
        });
        Some(f(part))
    }

    /// As [`stopped`](RawPerCpu::stopped), for each CPU whose part the first closure wants, one after
    /// the other: with one broadcast for 64 of them. It is told the CPU's number, too.
    ///
    /// # Panics
    ///
    /// As [`stopped`](RawPerCpu::stopped).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// let words = stillpoint::percpu::RawPerCpu::new(2);
    /// words.stopped_each(|_, part| part.word(1).load(Relaxed) != 0, |cpu, part| {
    ///     println!("taken from CPU {cpu}: {}", part.word(1).swap(0, Relaxed));
    /// });
    /// ```
    pub fn stopped_each(
        &self,
        wanted: impl Fn(usize, RawPart<'_>) -> bool,
        mut f: impl FnMut(usize, RawPart<'_>),
    ) {
        let wanted = |cpu| wanted(cpu, self.part(cpu));
        let each = |cpu| f(cpu, self.part(cpu));
        if shape(Tier::Rseq).tier == Tier::Rseq {
            // SAFETY: `made` makes the parts.
            unsafe { visit(&self.place, self.made(), memory::parts(), wanted, each) };
        } else {
            (0..memory::parts()).filter(|cpu| wanted(*cpu)).for_each(each);
        }
    }

    /// Runs a closure while no sequence is let in, on any CPU, those of
    /// [`rseq::part`](crate::rseq::part) included, but not [changes](RawPart::change), which look at
    /// their part only: stop it. One broadcast to all CPUs that run this process,
    /// two before Linux 6.18.
    ///
    /// # Panics
    ///
    /// As [`stopped`](RawPerCpu::stopped).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// use stillpoint::percpu::RawPerCpu;
    /// use stillpoint::rseq::part;
    ///
    /// let words = RawPerCpu::new(2);
    /// // SAFETY: the second word of each part, to which nobody else stores.
    /// if words.attempt(|place| unsafe { part::add(place, 8, 7) }.then_some(())).is_none() {
    ///     words.shared().word(1).fetch_add(7, Relaxed);
    /// }
    /// let take = |words: &RawPerCpu| words.iter().map(|part| part.word(1).swap(0, Relaxed)).sum();
    /// let all: u64 = words.closed(take);
    /// assert_eq!(all, 7);
    /// ```
    pub fn closed<R>(&self, f: impl FnOnce(&RawPerCpu) -> R) -> R {
        self.made();
        let _closed = Closed::close_for_good(&self.place);
        f(self)
    }

    /// CPU 0's part; makes the parts unless they are there.
    fn made(&self) -> NonNull<u8> {
        memory::made(&self.place, self.words * WORD)
    }

    fn part(&self, part: usize) -> RawPart<'_> {
        RawPart { first: self.made(), part, words: self.words, of: PhantomData }
    }
}

impl fmt::Debug for RawPerCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPerCpu").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Drop for RawPerCpu {
    fn drop(&mut self) {
        // SAFETY: nobody else is here.
        unsafe { memory::give_back_place(&self.place, self.words * WORD) };
    }
}

/// The number of the calling thread's CPU, as its area has it, inline.
#[cfg(stillpoint_sections)]
#[inline(always)]
fn cpu_as_kept() -> Option<u32> {
    crate::rseq::ids::field::<{ crate::rseq::ids::CPU }>()
}

/// This target has no areas.
#[cfg(not(stillpoint_sections))]
fn cpu_as_kept() -> Option<u32> {
    None
}

/// A part of a [`RawPerCpu`].
///
/// # Examples
///
/// See [`RawPerCpu`].
#[derive(Clone, Copy)]
pub struct RawPart<'a> {
    first: NonNull<u8>,
    part: usize,
    words: usize,
    of: PhantomData<&'a RawPerCpu>,
}

// SAFETY: atomics, of something that may be shared.
unsafe impl Send for RawPart<'_> {}
// SAFETY: as above.
unsafe impl Sync for RawPart<'_> {}

impl<'a> RawPart<'a> {
    /// A word of it. Who stores there has to keep to what its sequences ask for.
    ///
    /// # Panics
    ///
    /// If it has no such word, or that is word 0.
    ///
    /// # Examples
    ///
    /// See [`RawPerCpu::shared`].
    #[inline]
    pub fn word(self, at: usize) -> &'a AtomicU64 {
        assert!((1..self.words).contains(&at), "word {at} of 1 to {}", self.words - 1);
        // SAFETY: parts as `made` has taken them, which live as long as 'a; the word is within.
        unsafe { &*std::ptr::from_ref(word_of(&self.first, self.part, at)) }
    }
}

impl<'a> RawPart<'a> {
    /// Some of its words, in a row.
    ///
    /// # Panics
    ///
    /// If it has not all of them, or word 0 is among them.
    ///
    /// # Examples
    ///
    /// ```
    /// let words = stillpoint::percpu::RawPerCpu::new(6);
    /// assert_eq!(words.shared().words(2..6).len(), 4);
    /// ```
    #[inline]
    pub fn words(self, range: Range<usize>) -> &'a [AtomicU64] {
        let Range { start, end } = range;
        let within = 1 <= start && start <= end && end <= self.words;
        assert!(within, "words {start} to {end} of 1 to {}", self.words);
        // SAFETY: as in `word`; they are within, or none. A part is one array of them.
        unsafe {
            let first = word_of(&self.first, self.part, 0).as_ptr().cast_const().add(start);
            std::slice::from_raw_parts(first.cast(), end - start)
        }
    }

    /// Plans to change a word from `old` to `new`, unless the part is stopped by then: to be
    /// [committed](crate::rseq::change) by a thread on this CPU.
    ///
    /// # Panics
    ///
    /// As [`word`](RawPart::word).
    ///
    /// # Examples
    ///
    /// See [`RawPerCpu::here`].
    #[inline]
    pub fn change(self, at: usize, old: u64, new: u64) -> Change<'a> {
        // SAFETY: as in `word`. Who has the change can look at this word, or store there as
        // to any other: then sequences are turned away, or let in, of whose callers more is asked.
        let also = unsafe { &*std::ptr::from_ref(word_of(&self.first, self.part, STOPPED)) };
        Change { cpu: self.part as u32, word: self.word(at), old, new, also, is: 0 }
    }
}

impl fmt::Debug for RawPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPart").field("part", &self.part).finish_non_exhaustive()
    }
}

/// The numbers of the CPUs that could be there, and are offline now: what they keep waits until
/// they come back, or someone [drains](super::Pool::drain) them.
///
/// Reads a file, `/sys/devices/system/cpu/online`; none if it cannot be read. A hint, as CPUs come
/// and go. Below tier `Rseq` memory belongs to no CPU, so nothing waits there.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Pool, offline_cpus};
///
/// let pool: Pool<[u8; 64]> = Pool::new();
/// offline_cpus().for_each(|cpu| pool.drain(cpu));
/// # assert!(offline_cpus().all(|cpu| cpu < stillpoint::machine().slots() as usize));
/// ```
pub fn offline_cpus() -> impl Iterator<Item = usize> {
    let slots = bound(shape(Tier::Rseq));
    let online = crate::machine::online();
    (0..if online.is_some() { slots } else { 0 })
        .filter(move |cpu| online.as_ref().is_some_and(|online| !online.contains(cpu)))
        .map(|cpu| cpu as usize)
}
