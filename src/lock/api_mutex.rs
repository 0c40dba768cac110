//! The mutex and the spin lock as `lock_api` wants them: names and types, nothing else.

use super::patience::Wait;
use super::raw_mutex::{HoldState, RawMutex, RawSpinLock};
use lock_api::{RawMutexFair, RawMutexTimed};
use std::time::{Duration, Instant};

macro_rules! raw_mutex {
    ($name:ident) => {
        // SAFETY: `exclusive.rs` argues that the holder is alone; taking acquires and giving up
        // releases.
        unsafe impl lock_api::RawMutex for $name {
            const INIT: $name = $name::new();

            type Guard = HoldState;

            #[inline(always)]
            fn lock(&self) -> HoldState {
                self.take()
            }

            #[inline]
            fn try_lock(&self) -> Option<HoldState> {
                self.try_take()
            }

            #[inline(always)]
            unsafe fn unlock(&self, state: HoldState) {
                self.give(state);
            }

            fn is_locked(&self) -> bool {
                self.is_taken()
            }
        }

        // SAFETY: as above.
        unsafe impl RawMutexFair for $name {
            unsafe fn unlock_fair(&self, state: HoldState) {
                self.give_fairly(state);
            }
        }

        // SAFETY: as above.
        unsafe impl RawMutexTimed for $name {
            type Duration = Duration;
            type Instant = Instant;

            fn try_lock_for(&self, timeout: Duration) -> Option<HoldState> {
                self.take_within(Wait::at_most(timeout))
            }

            fn try_lock_until(&self, timeout: Instant) -> Option<HoldState> {
                self.take_within(Wait::Until(timeout))
            }
        }
    };
}

raw_mutex!(RawMutex);
raw_mutex!(RawSpinLock);
