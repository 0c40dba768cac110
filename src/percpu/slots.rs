//! A value for each CPU.

use crate::machine::{Tier, concurrency_id, current_cpu, shape};
use crate::sync::{AtomicUsize, Ordering::Relaxed, thread_token};
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

mod sealed {
    pub trait Sealed {}
}

/// By which number of the calling thread a [`PerCpu`] chooses.
///
/// Sealed: [`ByCpu`] and [`ByConcurrency`].
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{ByConcurrency, PerCpu};
/// let values: PerCpu<u32, ByConcurrency> = PerCpu::new(|id| id as u32);
/// assert!((*values.current() as usize) < values.len());
/// ```
pub trait Index: sealed::Sealed {
    #[doc(hidden)]
    fn now() -> u32;
}

/// By the CPU's number. A broadcast can be aimed at one CPU.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{ByCpu, PerCpu};
/// let values: PerCpu<(), ByCpu> = PerCpu::new(drop);
/// assert_eq!(values.len(), stillpoint::machine().slots() as usize);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByCpu {}

impl sealed::Sealed for ByCpu {}
impl Index for ByCpu {
    #[inline(always)]
    fn now() -> u32 {
        current_cpu()
    }
}

/// By the concurrency id: with few threads few values are made, on a large machine too. The same as
/// [`ByCpu`] where the kernel has none (before Linux 6.3).
///
/// # Examples
///
/// See [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByConcurrency {}

impl sealed::Sealed for ByConcurrency {}
impl Index for ByConcurrency {
    #[inline(always)]
    fn now() -> u32 {
        concurrency_id()
    }
}

/// On cache lines of its own: adjacent lines are fetched in pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Slot<T> {
    value: OnceLock<Box<Apart<T>>>,
    /// Who is making the value; 0 for nobody.
    maker: AtomicUsize,
}

impl<T> Slot<T> {
    const fn new() -> Slot<T> {
        Slot { value: OnceLock::new(), maker: AtomicUsize::new(0) }
    }

    fn get(&self) -> Option<&T> {
        self.value.get().map(|apart| &apart.0)
    }

    #[inline(always)]
    fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        self.get().unwrap_or_else(|| self.make(make))
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> T) -> &T {
        /// Nobody makes it any more, also if that panicked.
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(0, Relaxed);
            }
        }
        let this = thread_token();
        // Relaxed: whoever finds himself there has stored it himself.
        if self.maker.load(Relaxed) == this {
            panic!("the function that makes a value of a PerCpu asks for that value");
        }
        let made = || {
            self.maker.store(this, Relaxed);
            let _done = Done(&self.maker);
            Box::new(Apart(make()))
        };
        &self.value.get_or_init(made).0
    }
}

/// A value for each CPU, made by the first thread that wants it there, so in memory of that CPU's
/// node.
///
/// What threads get is a shared reference, [`current`](PerCpu::current): a thread can be moved at any
/// moment, and then two use one value. So `T` takes care of that itself, with atomics or a lock;
/// what is won is that they hardly ever meet. Counting without atomic instructions is
/// [`Counter`](super::Counter)'s.
///
/// The function that makes a value is given its index. It is called once for each, at most; others who want the same
/// value wait for it: the child of a fork for ever, if another thread of the parent was just making it. If it
/// panics, the next caller tries again. It panics if it asks for the value that it is making; two that ask for
/// each other's wait for ever.
///
/// Another CPU's value is [`get`](PerCpu::get)'s: shared, as its own is. To have one for oneself, while that
/// CPU's threads are kept away, it takes a structure whose accesses are sequences:
/// [`RawPerCpu::stopped`](super::RawPerCpu::stopped).
///
/// # Cost
///
/// Two loads more than the [number](crate::current_cpu) it goes by. 24 bytes and the function; 24 bytes for each
/// possible CPU from the first use on; for each value 128 bytes at least, aligned to as many.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use stillpoint::percpu::PerCpu;
///
/// static LONGEST: PerCpu<AtomicU64> = PerCpu::new(|_| AtomicU64::new(0));
///
/// std::thread::scope(|scope| {
///     for length in 1..=4 {
///         scope.spawn(move || LONGEST.current().fetch_max(length, Relaxed));
///     }
/// });
/// assert_eq!(LONGEST.iter().map(|(_, longest)| longest.load(Relaxed)).max(), Some(4));
/// ```
pub struct PerCpu<T, I: Index = ByCpu, F: Fn(usize) -> T = fn(usize) -> T> {
    slots: OnceLock<Box<[Slot<T>]>>,
    make: F,
    index: PhantomData<fn() -> I>,
}

impl<T, I: Index, F: Fn(usize) -> T> PerCpu<T, I, F> {
    /// No value yet; `make` will make them.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::PerCpu;
    /// let names: PerCpu<String> = PerCpu::new(|cpu| format!("worker of CPU {cpu}"));
    /// println!("{}", names.current());
    /// ```
    pub const fn new(make: F) -> Self {
        PerCpu { slots: OnceLock::new(), make, index: PhantomData }
    }

    fn slots(&self) -> &[Slot<T>] {
        let new = || (0..shape(Tier::Rseq).slots).map(|_| Slot::new()).collect();
        self.slots.get_or_init(new)
    }

    fn at(&self, index: usize) -> Option<&T> {
        let slot = self.slots().get(index)?;
        Some(slot.get_or_make(|| (self.make)(index)))
    }

    /// The value of where the calling thread is. By the time the caller uses it, it may be elsewhere.
    ///
    /// # Panics
    ///
    /// If the function that makes the value does.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline]
    pub fn current(&self) -> &T {
        let here = I::now() as usize;
        // A number too high, after a process has been moved to another machine, is only a hint, too.
        match self.at(here).or_else(|| self.at(here % self.len())) {
            Some(value) => value,
            None => unreachable!("there is a slot at least"),
        }
    }

    /// A value by its index, made now if it was not. `None` if no CPU has that number.
    ///
    /// # Panics
    ///
    /// If the function that makes the value does.
    ///
    /// # Examples
    ///
    /// ```
    /// let squares: stillpoint::percpu::PerCpu<usize> = stillpoint::percpu::PerCpu::new(|cpu| cpu * cpu);
    /// assert_eq!(squares.get(0), Some(&0));
    /// assert_eq!(squares.get(usize::MAX), None);
    /// ```
    pub fn get(&self, index: usize) -> Option<&T> {
        self.at(index)
    }

    /// How many there can be: the highest possible CPU number plus one.
    ///
    /// # Examples
    ///
    /// ```
    /// let values: stillpoint::percpu::PerCpu<()> = stillpoint::percpu::PerCpu::new(drop);
    /// assert_eq!(values.len(), stillpoint::machine().slots() as usize);
    /// ```
    #[allow(clippy::len_without_is_empty, reason = "there is always one at least")]
    pub fn len(&self) -> usize {
        self.slots().len()
    }

    /// The values that were made, with their indices, rising.
    ///
    /// # Examples
    ///
    /// ```
    /// let values: stillpoint::percpu::PerCpu<u8> = stillpoint::percpu::PerCpu::new(|_| 7);
    /// values.current();
    /// assert_eq!(values.iter().map(|(_, value)| value).sum::<u8>(), 7);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let slots = self.slots.get().map_or(&[][..], |slots| slots);
        slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.get()?)))
    }

    /// The same, for who has them all to himself.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut values: stillpoint::percpu::PerCpu<u8> = stillpoint::percpu::PerCpu::new(|_| 7);
    /// values.current();
    /// values.iter_mut().for_each(|(_, value)| *value = 0);
    /// assert_eq!(values.iter().map(|(_, value)| value).sum::<u8>(), 0);
    /// ```
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        let slots = self.slots.get_mut().map_or(&mut [][..], |slots| slots);
        slots
            .iter_mut()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, &mut slot.value.get_mut()?.0)))
    }
}

impl<T: Default, I: Index> Default for PerCpu<T, I> {
    fn default() -> Self {
        PerCpu::new(|_| T::default())
    }
}

impl<T: fmt::Debug, I: Index, F: Fn(usize) -> T> fmt::Debug for PerCpu<T, I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
