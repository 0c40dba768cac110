//! Rings of values.

use super::{Consumer, ConsumerTaken, Loss, Policy, PushError, Ring};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::time::Duration;

/// A [`Ring`] whose records are values of one type.
///
/// They are copied as bytes and handed to the consumer's thread, so `T` is `Copy + Send`. Padding
/// is copied along and never looked at.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::RingOf;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Event {
///     Opened { port: u16 },
///     Closed { port: u16, bytes: u64 },
/// }
///
/// static EVENTS: RingOf<Event> = RingOf::new(1 << 12);
///
/// EVENTS.push(Event::Opened { port: 80 }).unwrap();
/// EVENTS.push(Event::Closed { port: 80, bytes: 1000 }).unwrap();
/// let mut events = EVENTS.consumer().unwrap();
/// let (_cpu, _nanos, first) = events.pop_merged().unwrap();
/// assert_eq!(first, Event::Opened { port: 80 });
/// ```
pub struct RingOf<T: Copy + Send + 'static> {
    /// Holds values of `T` only: nobody else gets at it, and nobody gets bytes of it.
    ring: Ring,
    values: PhantomData<fn(T) -> T>,
}

impl<T: Copy + Send + 'static> RingOf<T> {
    /// A ring of so many bytes for each CPU, that [drops](Policy::DropNewest) what does not fit.
    /// Each value takes its size and 16 bytes, rounded up to a multiple of 16.
    ///
    /// # Panics
    ///
    /// As [`Ring::new`]; and if the type is larger than half of that less 16 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// static SAMPLES: stillpoint::percpu::RingOf<u64> = stillpoint::percpu::RingOf::new(1 << 20);
    /// # SAMPLES.push(7).unwrap();
    /// ```
    pub const fn new(capacity: usize) -> RingOf<T> {
        RingOf::with_policy(capacity, Policy::DropNewest)
    }

    /// [`new`](RingOf::new) with another policy.
    ///
    /// # Panics
    ///
    /// As [`new`](RingOf::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::{Policy, RingOf};
    /// let last: RingOf<u64> = RingOf::with_policy(1 << 10, Policy::OverwriteOldest);
    /// (0..1000).for_each(|n| last.push(n).unwrap());
    /// assert!(last.overwritten() > 0);
    /// ```
    pub const fn with_policy(capacity: usize, policy: Policy) -> RingOf<T> {
        let ring = Ring::with_policy(capacity, policy);
        assert!(size_of::<T>() + 16 <= capacity / 2, "the type is too large for the ring");
        RingOf { ring, values: PhantomData }
    }

    /// Appends a value, stamped with the time. Async-signal-safe.
    ///
    /// # Errors
    ///
    /// As [`Ring::push`].
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        // SAFETY: a live value; its bytes can be read, as such that need not be initialised.
        unsafe { self.ring.push_raw(None, (&raw const value).cast(), size_of::<T>()) }
    }

    /// Appends a value with a stamp of the caller's. Async-signal-safe.
    ///
    /// # Errors
    ///
    /// As [`Ring::push`].
    ///
    /// # Examples
    ///
    /// ```
    /// let ring: stillpoint::percpu::RingOf<char> = stillpoint::percpu::RingOf::new(4096);
    /// ring.push_at(7, 'x').unwrap();
    /// let (_, stamp, value) = ring.consumer().unwrap().pop().unwrap();
    /// assert_eq!((stamp, value), (7, 'x'));
    /// ```
    #[inline]
    pub fn push_at(&self, stamp: u64, value: T) -> Result<(), PushError> {
        // SAFETY: as in `push`.
        unsafe { self.ring.push_raw(Some(stamp), (&raw const value).cast(), size_of::<T>()) }
    }

    /// The one who reads. As [`Ring::consumer`].
    ///
    /// # Errors
    ///
    /// If there is one.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn consumer(&self) -> Result<ConsumerOf<'_, T>, ConsumerTaken> {
        Ok(ConsumerOf { consumer: self.ring.consumer()?, values: PhantomData })
    }

    /// As [`Ring::dropped`].
    ///
    /// # Examples
    ///
    /// ```
    /// let ring: stillpoint::percpu::RingOf<u64> = stillpoint::percpu::RingOf::new(4096);
    /// assert_eq!(ring.dropped(), 0);
    /// ```
    pub fn dropped(&self) -> u64 {
        self.ring.dropped()
    }

    /// As [`Ring::overwritten`].
    ///
    /// # Examples
    ///
    /// See [`with_policy`](RingOf::with_policy).
    pub fn overwritten(&self) -> u64 {
        self.ring.overwritten()
    }

    /// As [`Ring::losses`].
    ///
    /// # Examples
    ///
    /// ```
    /// let ring: stillpoint::percpu::RingOf<u64> = stillpoint::percpu::RingOf::new(4096);
    /// ring.push(1).unwrap();
    /// println!("{:?}", ring.losses());
    /// ```
    pub fn losses(&self) -> Vec<Loss> {
        self.ring.losses()
    }
}

impl<T: Copy + Send + 'static> fmt::Debug for RingOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.ring, f)
    }
}

/// The one who reads a [`RingOf`]. From [`RingOf::consumer`].
///
/// # Examples
///
/// See [`RingOf`].
#[derive(Debug)]
pub struct ConsumerOf<'a, T: Copy + Send + 'static> {
    consumer: Consumer<'a>,
    values: PhantomData<fn() -> T>,
}

impl<T: Copy + Send + 'static> ConsumerOf<'_, T> {
    /// The next value of any CPU: the CPU, the stamp, the value. As [`Consumer::pop`].
    ///
    /// # Examples
    ///
    /// ```
    /// let ring: stillpoint::percpu::RingOf<u64> = stillpoint::percpu::RingOf::new(4096);
    /// assert_eq!(ring.consumer().unwrap().pop(), None);
    /// ```
    pub fn pop(&mut self) -> Option<(Option<u32>, u64, T)> {
        self.consumer.pop_any(false, value)
    }

    /// The value with the lowest stamp. As [`Consumer::pop_merged`].
    ///
    /// # Examples
    ///
    /// See [`RingOf`].
    pub fn pop_merged(&mut self) -> Option<(Option<u32>, u64, T)> {
        self.consumer.pop_any(true, value)
    }

    /// Waits for a [`pop`](ConsumerOf::pop) that finds something, asleep, for some time at most.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let ring: stillpoint::percpu::RingOf<u64> = stillpoint::percpu::RingOf::new(4096);
    /// ring.push(1).unwrap();
    /// let mut consumer = ring.consumer().unwrap();
    /// assert_eq!(consumer.recv_timeout(Duration::from_secs(9)).unwrap().2, 1);
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<(Option<u32>, u64, T)> {
        self.consumer.recv_any(timeout, value)
    }
}

fn value<T: Copy>(
    cpu: Option<u32>,
    stamp: u64,
    bytes: &[MaybeUninit<u8>],
) -> (Option<u32>, u64, T) {
    debug_assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: only `push` writes to this ring, and it writes values of `T`.
    (cpu, stamp, unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
