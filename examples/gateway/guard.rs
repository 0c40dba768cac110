//! Five ways to share a value that many threads read and one replaces, each in
//! its natural form, behind one trait.

use std::mem;
use std::sync::PoisonError;

use arc_swap::ArcSwap;
use clap::ValueEnum;
use stillpoint::rcu::{self, RcuCell};

/// What guards the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lock {
    /// This library's RCU
    Rcu,
    /// This library's reader-writer lock
    StillpointRwlock,
    /// The standard library's reader-writer lock
    #[value(name = "rwlock")]
    Std,
    /// The reader-writer lock of the parking_lot crate
    #[value(name = "parking_lot")]
    ParkingLot,
    /// A swapped Arc, of the arc-swap crate
    ArcSwap,
}

impl Lock {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rcu => "rcu",
            Self::StillpointRwlock => "stillpoint-rwlock",
            Self::Std => "rwlock",
            Self::ParkingLot => "parking_lot",
            Self::ArcSwap => "arc-swap",
        }
    }
}

/// Runs `$body` with `$Guard` standing for the type that `$lock` names.
macro_rules! with_guard {
    ($lock:expr, $Guard:ident => $body:expr) => {
        match $lock {
            $crate::guard::Lock::Rcu => {
                type $Guard = stillpoint::rcu::RcuCell<$crate::table::RouteTable>;
                $body
            }
            $crate::guard::Lock::StillpointRwlock => {
                type $Guard = stillpoint::RwLock<$crate::table::RouteTable>;
                $body
            }
            $crate::guard::Lock::Std => {
                type $Guard = std::sync::RwLock<$crate::table::RouteTable>;
                $body
            }
            $crate::guard::Lock::ParkingLot => {
                type $Guard = parking_lot::RwLock<$crate::table::RouteTable>;
                $body
            }
            $crate::guard::Lock::ArcSwap => {
                type $Guard = arc_swap::ArcSwap<$crate::table::RouteTable>;
                $body
            }
        }
    };
}
pub(crate) use with_guard;

/// A shared value. `with` takes a closure, so that no borrow of the value, and
/// no guard, can live on across an `.await`.
pub(crate) trait Guard<T>: Send + Sync + 'static {
    fn hold(value: T) -> Self;

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R;

    /// Every `with` that begins after this returns sees `value`.
    fn replace(&self, value: T);

    /// Waits until every replaced value has been dropped.
    fn settle(&self) {}
}

impl<T: Send + Sync + 'static> Guard<T> for RcuCell<T> {
    fn hold(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = rcu::read();
        read(self.load(&guard))
    }

    fn replace(&self, value: T) {
        self.store(value);
    }

    fn settle(&self) {
        rcu::barrier();
    }
}

impl<T: Send + Sync + 'static> Guard<T> for stillpoint::RwLock<T> {
    fn hold(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.read())
    }

    fn replace(&self, value: T) {
        let old = mem::replace(&mut *self.write(), value);
        drop(old);
    }
}

impl<T: Send + Sync + 'static> Guard<T> for std::sync::RwLock<T> {
    fn hold(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        // Values are only ever replaced whole, so a panic leaves a good one.
        read(&self.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, value: T) {
        let old = mem::replace(&mut *self.write().unwrap_or_else(PoisonError::into_inner), value);
        // The lock is free again: readers need not wait for the old value's drop.
        drop(old);
    }
}

impl<T: Send + Sync + 'static> Guard<T> for parking_lot::RwLock<T> {
    fn hold(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.read())
    }

    fn replace(&self, value: T) {
        let old = mem::replace(&mut *self.write(), value);
        drop(old);
    }
}

impl<T: Send + Sync + 'static> Guard<T> for ArcSwap<T> {
    fn hold(value: T) -> Self {
        Self::from_pointee(value)
    }

    fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.load())
    }

    fn replace(&self, value: T) {
        self.store(value.into());
    }
}
