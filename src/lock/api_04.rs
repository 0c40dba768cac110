//! The lock as `lock_api` 0.4 wants it: names and types, nothing else.

use super::inner::{Mode, Release};
use super::patience::Wait;
use super::raw_04::RawRwLock;
use super::raw_mutex::{RawMutex, RawSpinLock};
use lock_api_04::{
    RawRwLockDowngrade, RawRwLockFair, RawRwLockTimed, RawRwLockUpgrade, RawRwLockUpgradeDowngrade,
    RawRwLockUpgradeFair, RawRwLockUpgradeTimed,
};
use std::time::{Duration, Instant};

#[cfg(not(feature = "send_guard"))]
type Marker = lock_api_04::GuardNoSend;
#[cfg(feature = "send_guard")]
type Marker = lock_api_04::GuardSend;

// SAFETY: `raw_04.rs` argues that a writer is alone; taking acquires and giving up releases.
// As in `api.rs`, nothing stays behind where the lock was.
unsafe impl lock_api_04::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::new();

    type GuardMarker = Marker;

    #[inline(always)]
    fn lock_shared(&self) {
        self.try_read(Wait::Forever);
    }

    #[inline(always)]
    fn try_lock_shared(&self) -> bool {
        self.try_read(Wait::No)
    }

    #[inline(always)]
    unsafe fn unlock_shared(&self) {
        self.end_read();
    }

    #[inline(always)]
    fn lock_exclusive(&self) {
        self.lock.write();
    }

    fn try_lock_exclusive(&self) -> bool {
        self.lock.try_write(Wait::No)
    }

    #[inline(always)]
    unsafe fn unlock_exclusive(&self) {
        self.lock.end_write();
    }

    fn is_locked(&self) -> bool {
        self.lock.is_taken()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.lock.is_taken_exclusively()
    }
}

// SAFETY: as above. Readers have nothing to hand over: who waits, waits for the last of them.
unsafe impl RawRwLockFair for RawRwLock {
    unsafe fn unlock_shared_fair(&self) {
        self.end_read();
    }

    unsafe fn unlock_exclusive_fair(&self) {
        self.lock.end_write_fairly();
    }
}

// SAFETY: as above; the exclusive lock becomes a share in one step, which releases.
unsafe impl RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self) {
        let _ = self.lock.downgrade();
    }
}

// SAFETY: as above.
unsafe impl RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.try_read(Wait::at_most(timeout))
    }

    fn try_lock_shared_until(&self, timeout: Instant) -> bool {
        self.try_read(Wait::Until(timeout))
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.lock.try_write(Wait::at_most(timeout))
    }

    fn try_lock_exclusive_until(&self, timeout: Instant) -> bool {
        self.lock.try_write(Wait::Until(timeout))
    }
}

/// What a refused upgrade leaves: in `lock_api` 0.4 the guard is alive meanwhile, and gives back the
/// upgradable lock when the panic drops it.
const REFUSED: Option<Mode> = Some(Mode::Upgradable);

// SAFETY: as above; an upgrade waits for the readers as any writer does, and acquires from them.
unsafe impl RawRwLockUpgrade for RawRwLock {
    fn lock_upgradable(&self) {
        self.lock.try_upgradable(Wait::Forever);
    }

    fn try_lock_upgradable(&self) -> bool {
        self.lock.try_upgradable(Wait::No)
    }

    unsafe fn unlock_upgradable(&self) {
        self.lock.end_upgradable(Release::Unfair);
    }

    unsafe fn upgrade(&self) {
        self.lock.try_upgrade(Wait::Forever, REFUSED);
    }

    unsafe fn try_upgrade(&self) -> bool {
        self.lock.try_upgrade(Wait::No, REFUSED)
    }
}

// SAFETY: as above.
unsafe impl RawRwLockUpgradeFair for RawRwLock {
    unsafe fn unlock_upgradable_fair(&self) {
        self.lock.end_upgradable(Release::Fair);
    }
}

// SAFETY: as above; nobody writes between the two modes.
unsafe impl RawRwLockUpgradeDowngrade for RawRwLock {
    unsafe fn downgrade_upgradable(&self) {
        let _ = self.lock.downgrade_upgradable();
    }

    unsafe fn downgrade_to_upgradable(&self) {
        self.lock.downgrade_to_upgradable();
    }
}

// SAFETY: as above.
unsafe impl RawRwLockUpgradeTimed for RawRwLock {
    fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        self.lock.try_upgradable(Wait::at_most(timeout))
    }

    fn try_lock_upgradable_until(&self, timeout: Instant) -> bool {
        self.lock.try_upgradable(Wait::Until(timeout))
    }

    unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        self.lock.try_upgrade(Wait::at_most(timeout), REFUSED)
    }

    unsafe fn try_upgrade_until(&self, timeout: Instant) -> bool {
        self.lock.try_upgrade(Wait::Until(timeout), REFUSED)
    }
}

macro_rules! raw_mutex {
    ($name:ident) => {
        // SAFETY: `exclusive.rs` argues that the holder is alone; taking acquires and giving up
        // releases. What these traits take asks for no longer slice, so nothing need be carried.
        unsafe impl lock_api_04::RawMutex for $name {
            const INIT: $name = $name::new();

            type GuardMarker = Marker;

            #[inline(always)]
            fn lock(&self) {
                self.take_bare(Wait::Forever);
            }

            #[inline]
            fn try_lock(&self) -> bool {
                self.exclusive.try_take()
            }

            #[inline(always)]
            unsafe fn unlock(&self) {
                self.exclusive.give();
            }

            fn is_locked(&self) -> bool {
                self.is_taken()
            }
        }

        // SAFETY: as above.
        unsafe impl lock_api_04::RawMutexFair for $name {
            unsafe fn unlock_fair(&self) {
                self.exclusive.give_fairly();
            }
        }

        // SAFETY: as above.
        unsafe impl lock_api_04::RawMutexTimed for $name {
            type Duration = Duration;
            type Instant = Instant;

            fn try_lock_for(&self, timeout: Duration) -> bool {
                self.take_bare(Wait::at_most(timeout))
            }

            fn try_lock_until(&self, timeout: Instant) -> bool {
                self.take_bare(Wait::Until(timeout))
            }
        }
    };
}

raw_mutex!(RawMutex);
raw_mutex!(RawSpinLock);
