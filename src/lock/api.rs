//! The lock as `lock_api` wants it: names and types, nothing else.

use super::inner::Release;
use super::patience::Wait;
use super::raw_rwlock::{RawRwLock, ReadState};
use lock_api::{
    RawRwLockDowngrade, RawRwLockFair, RawRwLockTimed, RawRwLockUpgrade, RawRwLockUpgradeDowngrade,
    RawRwLockUpgradeFair, RawRwLockUpgradeTimed,
};
use std::time::{Duration, Instant};

#[cfg(not(feature = "send_guard"))]
type Marker = lock_api::GuardNoSend;
#[cfg(feature = "send_guard")]
type Marker = lock_api::GuardSend;

fn marker(is_held: bool) -> Option<Marker> {
    is_held.then(Marker::new)
}

// SAFETY: `raw_rwlock.rs` argues that a writer is alone; taking acquires and giving up releases.
// Nothing stays behind where the lock was, so it may be moved and dropped while forgotten guards
// hold it: slots know it by a number that no other lock has.
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::new();

    type SharedGuard = ReadState;
    type ExclusiveGuard = Marker;

    #[inline(always)]
    fn lock_shared(&self) -> ReadState {
        self.read()
    }

    #[inline(always)]
    fn try_lock_shared(&self) -> Option<ReadState> {
        self.try_read(Wait::No)
    }

    #[inline(always)]
    unsafe fn unlock_shared(&self, guard: ReadState) {
        // SAFETY: the caller's promise.
        unsafe { self.end_read(guard) }
    }

    #[inline(always)]
    fn lock_exclusive(&self) -> Marker {
        self.write();
        Marker::new()
    }

    fn try_lock_exclusive(&self) -> Option<Marker> {
        marker(self.try_write(Wait::No))
    }

    #[inline(always)]
    unsafe fn unlock_exclusive(&self, _: Marker) {
        self.end_write();
    }

    fn is_locked(&self) -> bool {
        self.is_taken()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.is_taken_exclusively()
    }
}

// SAFETY: as above. Readers have nothing to hand over: who waits, waits for the last of them.
unsafe impl RawRwLockFair for RawRwLock {
    unsafe fn unlock_shared_fair(&self, guard: ReadState) {
        // SAFETY: the caller's promise.
        unsafe { self.end_read(guard) }
    }

    unsafe fn unlock_exclusive_fair(&self, _: Marker) {
        self.end_write_fairly();
    }
}

// SAFETY: as above; the exclusive lock becomes a share in one step, which releases.
unsafe impl RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self, _: Marker) -> ReadState {
        self.downgrade()
    }
}

// SAFETY: as above.
unsafe impl RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_shared_for(&self, timeout: Duration) -> Option<ReadState> {
        self.try_read(Wait::at_most(timeout))
    }

    fn try_lock_shared_until(&self, timeout: Instant) -> Option<ReadState> {
        self.try_read(Wait::Until(timeout))
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> Option<Marker> {
        marker(self.try_write(Wait::at_most(timeout)))
    }

    fn try_lock_exclusive_until(&self, timeout: Instant) -> Option<Marker> {
        marker(self.try_write(Wait::Until(timeout)))
    }
}

// SAFETY: as above; an upgrade waits for the readers as any writer does, and acquires from them.
unsafe impl RawRwLockUpgrade for RawRwLock {
    type UpgradableGuard = Marker;

    fn lock_upgradable(&self) -> Marker {
        self.try_upgradable(Wait::Forever);
        Marker::new()
    }

    fn try_lock_upgradable(&self) -> Option<Marker> {
        marker(self.try_upgradable(Wait::No))
    }

    unsafe fn unlock_upgradable(&self, _: Marker) {
        self.end_upgradable(Release::Unfair);
    }

    unsafe fn upgrade(&self, guard: Marker) -> Marker {
        self.try_upgrade(Wait::Forever, None);
        guard
    }

    unsafe fn try_upgrade(&self, guard: Marker) -> Result<Marker, Marker> {
        if self.try_upgrade(Wait::No, None) { Ok(guard) } else { Err(guard) }
    }
}

// SAFETY: as above.
unsafe impl RawRwLockUpgradeFair for RawRwLock {
    unsafe fn unlock_upgradable_fair(&self, _: Marker) {
        self.end_upgradable(Release::Fair);
    }
}

// SAFETY: as above; nobody writes between the two modes.
unsafe impl RawRwLockUpgradeDowngrade for RawRwLock {
    unsafe fn downgrade_upgradable(&self, _: Marker) -> ReadState {
        self.downgrade_upgradable()
    }

    unsafe fn downgrade_to_upgradable(&self, guard: Marker) -> Marker {
        self.downgrade_to_upgradable();
        guard
    }
}

// SAFETY: as above.
unsafe impl RawRwLockUpgradeTimed for RawRwLock {
    fn try_lock_upgradable_for(&self, timeout: Duration) -> Option<Marker> {
        marker(self.try_upgradable(Wait::at_most(timeout)))
    }

    fn try_lock_upgradable_until(&self, timeout: Instant) -> Option<Marker> {
        marker(self.try_upgradable(Wait::Until(timeout)))
    }

    unsafe fn try_upgrade_for(&self, guard: Marker, timeout: Duration) -> Result<Marker, Marker> {
        if self.try_upgrade(Wait::at_most(timeout), None) { Ok(guard) } else { Err(guard) }
    }

    unsafe fn try_upgrade_until(&self, guard: Marker, timeout: Instant) -> Result<Marker, Marker> {
        if self.try_upgrade(Wait::Until(timeout), None) { Ok(guard) } else { Err(guard) }
    }
}
