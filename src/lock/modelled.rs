//! The raw locks for the models: their operations, without the traits, whose constants the checker's
//! atomics cannot make.

use super::inner::Release;
use super::patience::Wait;
use super::raw_mutex::{HoldState, RawMutex, RawSpinLock};
use super::raw_rwlock::{RawRwLock, ReadState};

#[allow(missing_docs, reason = "as in lock_api")]
#[allow(clippy::missing_safety_doc, reason = "as in lock_api")]
impl RawRwLock {
    pub fn lock_shared(&self) -> ReadState {
        self.read()
    }

    pub fn try_lock_shared(&self) -> Option<ReadState> {
        self.try_read(Wait::No)
    }

    pub unsafe fn unlock_shared(&self, state: ReadState) {
        // SAFETY: the caller's promise.
        unsafe { self.end_read(state) }
    }

    pub fn lock_exclusive(&self) {
        self.write();
    }

    pub fn try_lock_exclusive(&self) -> bool {
        self.try_write(Wait::No)
    }

    pub unsafe fn unlock_exclusive(&self) {
        self.end_write();
    }

    pub unsafe fn unlock_exclusive_fair(&self) {
        self.end_write_fairly();
    }

    pub unsafe fn downgrade_exclusive(&self) -> ReadState {
        self.downgrade()
    }

    pub fn lock_upgradable(&self) {
        self.try_upgradable(Wait::Forever);
    }

    pub unsafe fn upgrade(&self) {
        self.try_upgrade(Wait::Forever, None);
    }

    pub unsafe fn unlock_upgradable(&self) {
        self.end_upgradable(Release::Unfair);
    }

    pub unsafe fn downgrade_to_reader(&self) -> ReadState {
        self.downgrade_upgradable()
    }

    pub unsafe fn downgrade_exclusive_to_upgradable(&self) {
        self.downgrade_to_upgradable();
    }

    pub fn is_locked(&self) -> bool {
        self.is_taken()
    }

    pub fn is_locked_exclusive(&self) -> bool {
        self.is_taken_exclusively()
    }
}

macro_rules! raw_mutex {
    ($name:ident) => {
        #[allow(missing_docs, reason = "as in lock_api")]
        #[allow(clippy::missing_safety_doc, reason = "as in lock_api")]
        impl $name {
            pub fn lock(&self) -> HoldState {
                self.take()
            }

            pub fn try_lock(&self) -> Option<HoldState> {
                self.try_take()
            }

            /// As with a timeout that is over when the thread has been woken for the first time.
            pub fn try_lock_until_woken(&self) -> Option<HoldState> {
                self.take_within(Wait::UntilWoken)
            }

            /// As with a timeout that is over when the thread has parked, be it woken or not.
            pub fn try_lock_until_parked(&self) -> Option<HoldState> {
                crate::sync::shorten_time();
                self.take_within(Wait::UntilParked)
            }

            pub unsafe fn unlock(&self, state: HoldState) {
                self.give(state);
            }

            pub unsafe fn unlock_fair(&self, state: HoldState) {
                self.give_fairly(state);
            }

            pub fn is_locked(&self) -> bool {
                self.is_taken()
            }
        }
    };
}

raw_mutex!(RawMutex);
raw_mutex!(RawSpinLock);
