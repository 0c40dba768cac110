//! The reader-writer lock without its data: slots for readers, the lock inside for everyone else.
//!
//! A reader claims a slot if the bias is open (`bias.rs`), else takes a share of the lock inside
//! (`inner.rs`). A writer takes the lock inside, waits for the readers there, then revokes the bias if
//! readers may have slots. The holder of the upgradable lock has the lock inside against writers and
//! its like, not against readers.
//!
//! So at most one thread has WRITER, and when `lock_exclusive` returns, the word has no reader (they were
//! turned away from the moment it was set, and drained), and no slot holds the id (`bias.rs`). Both waits
//! acquire what the readers released.

use super::bias::{Bias, Held, Unrevoked};
use super::inner::{Inner, Mode, Release};
use super::patience::Wait;
use crate::sync::{AtomicU32, const_unless_modelled};
use std::marker::PhantomData;

/// What marks a guard as bound to its thread, or not.
#[cfg(not(feature = "send_guard"))]
type Marker = PhantomData<*const ()>;
#[cfg(feature = "send_guard")]
type Marker = PhantomData<()>;

/// What the guard of a reader carries: where it was counted.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::{RawRwLock, lock_api::RawRwLock as _};
///
/// let raw = RawRwLock::INIT;
/// let read = raw.lock_shared();
/// // SAFETY: it came from this lock, and is given back once.
/// unsafe { raw.unlock_shared(read) };
/// ```
#[derive(Debug)]
#[must_use = "without it the lock cannot be unlocked"]
pub struct ReadState {
    pub(super) held: Held,
    marker: Marker,
}

// SAFETY: nothing can be done with a shared reference to it. A slot may be given back on any thread,
// and a share too; that guards stay on their thread is a matter of habit, and of the feature.
unsafe impl Sync for ReadState {}
#[cfg(feature = "send_guard")]
// SAFETY: as above.
unsafe impl Send for ReadState {}

impl ReadState {
    #[inline(always)]
    fn new(held: Held) -> ReadState {
        ReadState { held, marker: PhantomData }
    }
}

/// The reader-writer lock without its data; see [`RwLock`](super::RwLock), which most users want.
///
/// For use with the types of [`lock_api`](super::lock_api). 16 bytes.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::{RawRwLock, lock_api};
///
/// static LOCK: lock_api::RwLock<RawRwLock, u32> = lock_api::RwLock::new(5);
/// assert_eq!(*LOCK.read(), 5);
/// ```
#[derive(Debug)]
pub struct RawRwLock {
    pub(super) bias: Bias,
    pub(super) inner: Inner,
    /// Reads through the lock inside until the bias opens.
    pub(super) reads_left: AtomicU32,
}

impl RawRwLock {
    const_unless_modelled! {
        /// An unlocked lock.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::lock::{RawRwLock, lock_api::RawRwLock as _};
        /// assert!(!RawRwLock::new().is_locked());
        /// ```
        pub const fn new() -> RawRwLock {
            RawRwLock {
                bias: Bias::new(),
                inner: Inner::new(),
                reads_left: AtomicU32::new(super::bias::FIRST_READS),
            }
        }
    }

    #[inline(always)]
    pub(super) fn read(&self) -> ReadState {
        match self.bias.claim(|late| self.undo(late)) {
            Some(held) => ReadState::new(held),
            None => self.read_cold(),
        }
    }

    #[cold]
    #[inline(never)]
    fn read_cold(&self) -> ReadState {
        // What a lock that is often written finds.
        if !self.bias.is_open() && self.inner.try_take(Mode::Read) {
            return self.count_share();
        }
        match self.read_within(Wait::Forever) {
            Some(state) => state,
            // Only who gives up after a while comes back without.
            None => unreachable!("waited for ever"),
        }
    }

    /// Reads, waiting as told.
    ///
    /// # Panics
    ///
    /// If it may wait, and too many readers have the lock.
    #[inline]
    pub(super) fn try_read(&self, wait: Wait) -> Option<ReadState> {
        match self.bias.claim(|late| self.undo(late)) {
            Some(held) => Some(ReadState::new(held)),
            None => self.read_within(wait),
        }
    }

    #[cold]
    fn read_within(&self, wait: Wait) -> Option<ReadState> {
        if let Some(held) = self.bias.claim_again(|late| self.undo(late)) {
            return Some(ReadState::new(held));
        }
        let taken = self.inner.try_take(Mode::Read)
            || wait != Wait::No && self.inner.take(Mode::Read, wait);
        taken.then(|| self.count_share())
    }

    /// Counts a reader's share inside, which the caller has.
    #[inline(always)]
    fn count_share(&self) -> ReadState {
        if self.bias.count_read(&self.reads_left) {
            self.bias.open();
        }
        ReadState::new(Held::SHARE)
    }

    /// Ends a claim that was too late.
    #[cold]
    #[inline(never)]
    fn undo(&self, late: Held) {
        let _ = self.bias.give_back(late) || self.bias.give_back_atomic(late);
    }

    /// Ends a reader.
    ///
    /// # Safety
    ///
    /// `state` came from this lock, and is given back once.
    #[inline(always)]
    pub(super) unsafe fn end_read(&self, state: ReadState) {
        if !self.bias.give_back(state.held) {
            self.end_read_cold(state.held);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_read_cold(&self, held: Held) {
        if !self.bias.give_back_atomic(held) {
            self.inner.leave(self.bias.key());
        }
    }

    #[inline(always)]
    pub(super) fn write(&self) {
        if !self.inner.take_free() {
            self.write_cold();
        } else if self.bias.may_have_readers() {
            self.alone(Wait::Forever, None, None);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_cold(&self) {
        self.try_write(Wait::Forever);
    }

    /// Writes, waiting as told.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast.
    pub(super) fn try_write(&self, wait: Wait) -> bool {
        let announced = match wait {
            Wait::No => self.inner.try_take_exclusive(),
            wait => self.inner.take(Mode::Write, wait),
        };
        announced && self.alone(wait, None, None)
    }

    /// As the announced writer: waits, as told, until the readers have left, in both places. If they
    /// do not, goes back to `before`; if the broadcast is refused, to `refused`, and panics.
    #[cold]
    #[inline(never)]
    fn alone(&self, wait: Wait, before: Option<Mode>, refused: Option<Mode>) -> bool {
        let drained = self.inner.drain(self.bias.key(), wait);
        let outcome = match drained {
            false => Err(Unrevoked::TimedOut),
            true if self.bias.may_have_readers() => self.bias.revoke(&self.reads_left, wait),
            true => Ok(()),
        };
        match outcome {
            Ok(()) => true,
            Err(Unrevoked::TimedOut) => {
                self.inner.give_up(Mode::Write, before, Release::Unfair);
                false
            }
            Err(Unrevoked::Refused(errno)) => {
                self.inner.give_up(Mode::Write, refused, Release::Unfair);
                broadcast_refused(errno)
            }
        }
    }

    #[inline(always)]
    pub(super) fn end_write(&self) {
        if !self.inner.give_up_unawaited() {
            self.inner.give_up(Mode::Write, None, Release::Unfair);
        }
    }

    pub(super) fn end_write_fairly(&self) {
        self.inner.give_up(Mode::Write, None, Release::Fair);
    }

    /// Makes a reader of the writer; nobody writes in between.
    pub(super) fn downgrade(&self) -> ReadState {
        self.inner.give_up(Mode::Write, Some(Mode::Read), Release::Unfair);
        ReadState::new(Held::SHARE)
    }

    /// Takes the upgradable lock, waiting as told.
    pub(super) fn try_upgradable(&self, wait: Wait) -> bool {
        self.inner.try_take(Mode::Upgradable)
            || wait != Wait::No && self.inner.take(Mode::Upgradable, wait)
    }

    pub(super) fn end_upgradable(&self, how: Release) {
        self.inner.give_up(Mode::Upgradable, None, how);
    }

    /// Makes the writer of who has the upgradable lock; nobody writes in between. If the time is
    /// over before the readers have left, it keeps the upgradable lock.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast. Then the lock is given up, or goes back to what `refused`
    /// says: that of a guard which the panic drops.
    pub(super) fn try_upgrade(&self, wait: Wait, refused: Option<Mode>) -> bool {
        if wait == Wait::No {
            if !self.inner.try_upgrade() {
                return false;
            }
        } else {
            self.inner.upgrade();
        }
        self.alone(wait, Some(Mode::Upgradable), refused)
    }

    /// Makes a reader of who has the upgradable lock.
    pub(super) fn downgrade_upgradable(&self) -> ReadState {
        self.inner.give_up(Mode::Upgradable, Some(Mode::Read), Release::Unfair);
        ReadState::new(Held::SHARE)
    }

    /// Makes the holder of the upgradable lock of the writer.
    pub(super) fn downgrade_to_upgradable(&self) {
        self.inner.give_up(Mode::Write, Some(Mode::Upgradable), Release::Unfair);
    }

    pub(super) fn is_taken(&self) -> bool {
        self.inner.is_taken() || self.bias.has_readers()
    }

    pub(super) fn is_taken_exclusively(&self) -> bool {
        self.inner.is_taken_exclusively()
    }
}

impl Default for RawRwLock {
    fn default() -> RawRwLock {
        RawRwLock::new()
    }
}

#[cold]
fn broadcast_refused(errno: i32) -> ! {
    panic!(
        "stillpoint: RwLock cannot be locked exclusively, for the kernel refuses the membarrier it \
         granted at start-up: {}. A filter installed after start-up must allow membarrier, or \
         STILLPOINT_TIER=fence be set",
        std::io::Error::from_raw_os_error(errno)
    );
}
