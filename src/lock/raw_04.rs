//! The reader-writer lock whose readers carry nothing away, as `lock_api` 0.4 wants it.
//!
//! Readers claim slots, or take shares of the lock inside, as in `raw_rwlock.rs`. Call either a
//! *token*. All tokens of a lock are alike, so a reader that ends removes any: a slot in its CPU's
//! line, most often its own; else a share of the lock inside; else a slot anywhere. Only the number
//! of tokens is that of the readers. It removes by compare-and-exchange, because two readers
//! may choose the same token; who loses looks again. A round may miss a token, for others
//! claim behind it what they remove before it; then it is they who get on.
//!
//! # Why that does not disturb sequences
//!
//! A sequence stores to a slot in which it found 0, on its CPU, and nobody else replaces a 0 there.
//! The exchange replaces an id. So between a sequence's look and its store every exchange fails,
//! and a failed one stores nothing: it is atomic.
//!
//! # Why this is a type of its own
//!
//! A reader of [`RawRwLock`](raw_rwlock::RawRwLock) frees its slot by a plain store. If somebody
//! else had removed that token, the slot could be another lock's by then. One lock must not be used
//! in both ways, and that cannot be asked of code that is generic over either trait.
//!
//! # Why a writer is alone
//!
//! The number of tokens is that of the readers. Once the writer has WRITER, shares only become
//! fewer, and the tokens in slots that were there before its broadcast do. When it has seen all
//! free, those are gone, and nobody reads. Each token's removal releases, and the writer acquires
//! it: so it acquires from each reader, at the token that this one removed.
//!
//! That leaves the late claims (`bias.rs`): a claim may store its id behind the broadcast, and
//! behind the scan; then it finds the gate closed and must undo that. Meanwhile a reader may have
//! removed the late token instead of its own, which the scan still waits for. So a late claim ends
//! in two steps: it frees its own slot, if that holds the id; only if it does not, the claim's
//! token is *gone*, and it removes any other. Then, counting from the broadcast: late tokens are
//! never more than late claims that have not ended, because the only claims that leave a late token
//! and remove an older one are those whose token was gone. (Its slot may hold the id of a later
//! claim. It frees that, and the later claim finds its own gone.) All older tokens being removed,
//! the readers are at most the late tokens less the late claims, so none. What the reader released
//! at the late token, the claim acquires when it finds it gone, and releases with the other.
//!
//! # Why nobody sleeps for ever
//!
//! Whoever removes a token wakes for that token as its owner would have: `Bias::freed`,
//! `Inner::leave`.
//!
//! # When the gate opens
//!
//! A share does not keep writers out of the scan: others may have removed it, and its reader's
//! token may be a slot. Behind the scan's back the gate must not open. So whoever opens it takes
//! UPGRADABLE for that moment, which nobody else gives up, and does without if it is not free.

use super::bias::Held;
use super::inner::{Mode, Release};
use super::patience::Wait;
use super::raw_rwlock;
use crate::sync::SpinWait;
use crate::sync::mutant::{Mutant, broken};

/// The reader-writer lock without its data, for `lock_api` 0.4; see [`RwLock`](super::v04::RwLock),
/// which most users want.
///
/// For use with the types of [`lock_api`](super::v04::lock_api), and with crates that are generic
/// over its `RawRwLock`. 16 bytes.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::{RawRwLock, lock_api};
///
/// static LOCK: lock_api::RwLock<RawRwLock, u32> = lock_api::RwLock::new(5);
/// assert_eq!(*LOCK.read(), 5);
/// ```
#[derive(Debug, Default)]
pub struct RawRwLock {
    pub(super) lock: raw_rwlock::RawRwLock,
}

impl RawRwLock {
    /// An unlocked lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::lock::v04::{RawRwLock, lock_api::RawRwLock as _};
    /// assert!(!RawRwLock::new().is_locked());
    /// ```
    pub const fn new() -> RawRwLock {
        RawRwLock { lock: raw_rwlock::RawRwLock::new() }
    }

    /// Reads, waiting as told.
    ///
    /// # Panics
    ///
    /// If it may wait, and too many readers have the lock.
    #[inline(always)]
    pub(super) fn try_read(&self, wait: Wait) -> bool {
        self.lock.bias.claim(|late| self.undo(late)).is_some() || self.read_within(wait)
    }

    #[cold]
    #[inline(never)]
    fn read_within(&self, wait: Wait) -> bool {
        let (bias, inner) = (&self.lock.bias, &self.lock.inner);
        if bias.claim_again(|late| self.undo(late)).is_some() {
            return true;
        }
        let taken = inner.try_take(Mode::Read) || wait != Wait::No && inner.take(Mode::Read, wait);
        if taken && bias.count_read(&self.lock.reads_left) && inner.try_take(Mode::Upgradable) {
            bias.open();
            inner.give_up(Mode::Upgradable, None, Release::Unfair);
        }
        taken
    }

    /// Ends a late claim.
    #[cold]
    #[inline(never)]
    fn undo(&self, late: Held) {
        if !self.lock.bias.free_late(late) && !broken(Mutant::TokenKept) {
            self.end_read_cold();
        }
    }

    /// Ends a reader. The caller's promise: there is one.
    #[inline(always)]
    pub(super) fn end_read(&self) {
        // While the gate is closed, and all have left, there is nothing to look for.
        if !self.lock.bias.may_have_readers() || !self.lock.bias.free_near() {
            self.end_read_cold();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_read_cold(&self) {
        let (bias, inner) = (&self.lock.bias, &self.lock.inner);
        let mut spin = SpinWait::new();
        while !inner.leave_if_any(bias.key()) && !bias.free_anywhere() {
            if !spin.spin() {
                spin.reset();
            }
        }
    }
}
