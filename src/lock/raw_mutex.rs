//! `Mutex` and `SpinLock` without their data: one lock (`exclusive.rs`), two manners of waiting.

use super::exclusive::{Exclusive, Manner};
use super::patience::Wait;
use crate::machine::slice;
use crate::sync::const_unless_modelled;
use std::marker::PhantomData;

/// What marks a guard as bound to its thread, or not.
#[cfg(not(feature = "send_guard"))]
type Marker = PhantomData<*const ()>;
#[cfg(feature = "send_guard")]
type Marker = PhantomData<()>;

/// A longer time slice is asked for, and given back, by one thread: not where guards travel.
const ASKS: bool = cfg!(not(feature = "send_guard"));

/// What a guard of a [`Mutex`](super::Mutex) or [`SpinLock`](super::SpinLock) carries: whether a
/// longer time slice was asked for.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::{RawMutex, lock_api::RawMutex as _};
///
/// let raw = RawMutex::INIT;
/// let state = raw.lock();
/// // SAFETY: it came from this lock, and is given back once.
/// unsafe { raw.unlock(state) };
/// ```
#[derive(Debug)]
#[must_use = "without it the lock cannot be unlocked"]
pub struct HoldState {
    has_asked: bool,
    marker: Marker,
}

// SAFETY: nothing can be done with a shared reference to it. That guards stay on their thread is a
// matter of the question above, and of habit; where the feature lets them go, nothing was asked.
unsafe impl Sync for HoldState {}

impl HoldState {
    #[inline(always)]
    fn new(has_asked: bool) -> HoldState {
        HoldState { has_asked, marker: PhantomData }
    }
}

macro_rules! raw_lock {
    ($(#[$attr:meta])* $name:ident, $manner:expr) => {
        $(#[$attr])*
        #[derive(Debug)]
        pub struct $name {
            pub(super) exclusive: Exclusive,
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new()
            }
        }

        impl $name {
            const_unless_modelled! {
                /// An unlocked lock.
                ///
                /// # Examples
                ///
                /// ```
                /// use stillpoint::lock::lock_api::RawMutex as _;
                #[doc = concat!("assert!(!stillpoint::lock::", stringify!($name), "::new().is_locked());")]
                /// ```
                pub const fn new() -> $name {
                    $name { exclusive: Exclusive::new() }
                }
            }

            #[inline(always)]
            pub(super) fn take(&self) -> HoldState {
                if self.exclusive.take_free() {
                    return HoldState::new(false);
                }
                match self.exclusive.take($manner, Wait::Forever, ASKS) {
                    Some(has_asked) => HoldState::new(has_asked),
                    // Only who gives up after a while comes back without.
                    None => unreachable!("waited for ever"),
                }
            }

            #[inline]
            pub(super) fn try_take(&self) -> Option<HoldState> {
                self.exclusive.try_take().then(|| HoldState::new(false))
            }

            #[cfg_attr(stillpoint_loom, allow(dead_code, reason = "no time in a model"))]
            #[inline]
            pub(super) fn take_within(&self, wait: Wait) -> Option<HoldState> {
                if self.exclusive.take_free() {
                    return Some(HoldState::new(false));
                }
                self.exclusive.take($manner, wait, ASKS).map(HoldState::new)
            }

            /// Takes the lock and asks for nothing.
            #[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
            #[inline(always)]
            pub(super) fn take_bare(&self, wait: Wait) -> bool {
                self.exclusive.take_free() || self.exclusive.take($manner, wait, false).is_some()
            }

            #[inline(always)]
            pub(super) fn give(&self, state: HoldState) {
                if state.has_asked {
                    give_back(&self.exclusive, Exclusive::give);
                } else {
                    self.exclusive.give();
                }
            }

            pub(super) fn give_fairly(&self, state: HoldState) {
                if state.has_asked {
                    give_back(&self.exclusive, Exclusive::give_fairly);
                } else {
                    self.exclusive.give_fairly();
                }
            }

            pub(super) fn is_taken(&self) -> bool {
                self.exclusive.is_taken()
            }
        }
    };
}

raw_lock! {
    /// The mutex without its data; see [`Mutex`](super::Mutex), which most users want.
    ///
    /// For use with the types of [`lock_api`](super::lock_api). 8 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::lock::{RawMutex, lock_api};
    ///
    /// static LOCK: lock_api::Mutex<RawMutex, u32> = lock_api::Mutex::new(5);
    /// assert_eq!(*LOCK.lock(), 5);
    /// ```
    RawMutex, Manner::Adaptive
}

raw_lock! {
    /// The spin lock without its data; see [`SpinLock`](super::SpinLock), which most users want.
    ///
    /// For use with the types of [`lock_api`](super::lock_api). 8 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::lock::{RawSpinLock, lock_api};
    ///
    /// static LOCK: lock_api::Mutex<RawSpinLock, u32> = lock_api::Mutex::new(5);
    /// assert_eq!(*LOCK.lock(), 5);
    /// ```
    RawSpinLock, Manner::Spinning
}

/// Gives up a lock for which a longer slice was asked.
#[cold]
fn give_back(exclusive: &Exclusive, give: impl FnOnce(&Exclusive)) {
    let was_granted = exclusive.is_awaited() && slice::is_granted();
    give(exclusive);
    slice::done(was_granted);
}
