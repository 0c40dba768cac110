//! Atomics whose accesses take simulated time; and cells, whose accesses do too.
//!
//! The memory orderings are those of one thread after the other: the simulator asks how fast a lock
//! is, and the models of `loom-tests` whether it is right.

use crate::lines::Kind;
use crate::scheduler::{Request, request, with};
use std::sync::atomic as real;
pub use std::sync::atomic::Ordering;

/// An access to an atomic: the caller is resumed when the line is there.
fn access<T>(word: &T, kind: Kind) {
    let address = std::ptr::from_ref(word).addr();
    match with(|machine| machine.in_lot) {
        Some(true) => drop(with(|machine| machine.access_at_once(address, kind))),
        Some(false) => request(Request::Access(address, kind)),
        None => {}
    }
}

/// A full fence, about as long as an atomic operation on a line that is there.
pub fn fence(order: Ordering) {
    if let Some(nanos) = with(|machine| machine.costs.atomic) {
        crate::compute(nanos);
    }
    real::fence(order);
}

macro_rules! common {
    ($name:ident, $real:ty, $value:ty $(, $t:ident)?) => {
        #[doc = concat!("Simulates `std::sync::atomic::", stringify!($name), "`.")]
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name $(<$t>)? ($real);

        #[allow(missing_docs, reason = "as in std")]
        impl $(<$t>)? $name $(<$t>)? {
            pub const fn new(value: $value) -> Self {
                Self(<$real>::new(value))
            }

            /// The atomic itself, whose accesses take no time.
            pub fn real(&self) -> &$real {
                &self.0
            }

            pub const fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            pub fn load(&self, order: Ordering) -> $value {
                access(self, Kind::Read);
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                access(self, Kind::Write);
                self.0.store(value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                access(self, Kind::Change);
                self.0.swap(value, order)
            }

            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                access(self, Kind::Change);
                self.0.compare_exchange(current, new, success, failure)
            }

            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.load(fetch);
                while let Some(next) = f(now) {
                    match self.compare_exchange(now, next, set, fetch) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        common!($name, real::$name, $value);

        number!($name, $value, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_xor, fetch_max, fetch_min);
    };
    ($name:ident, $value:ty, $($method:ident),*) => {
        #[allow(missing_docs, reason = "as in std")]
        impl $name {
            $(
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    access(self, Kind::Change);
                    self.0.$method(value, order)
                }
            )*
        }
    };
}

number!(AtomicU8, u8);
number!(AtomicU16, u16);
number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);
common!(AtomicPtr, real::AtomicPtr<T>, *mut T, T);

/// A `std::cell::Cell` whose accesses take time. They let others run only when the line has to come
/// from elsewhere.
#[derive(Default)]
#[repr(transparent)]
pub struct Cell<T>(std::cell::Cell<T>);

#[allow(missing_docs, reason = "as in std")]
impl<T> Cell<T> {
    pub const fn new(value: T) -> Cell<T> {
        Cell(std::cell::Cell::new(value))
    }

    fn access(&self, kind: Kind) {
        let address = std::ptr::from_ref(self).addr();
        let owed = with(|machine| {
            let hit = machine.is_hit(address, kind);
            if hit {
                machine.owe(machine.costs.hit);
            }
            hit
        });
        if owed == Some(false) {
            access(self, kind);
        }
    }

    pub fn set(&self, value: T) {
        self.access(Kind::Write);
        self.0.set(value);
    }

    pub fn replace(&self, value: T) -> T {
        self.access(Kind::Write);
        self.0.replace(value)
    }
}

impl<T> std::fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").finish_non_exhaustive()
    }
}

#[allow(missing_docs, reason = "as in std")]
impl<T: Copy> Cell<T> {
    pub fn get(&self) -> T {
        self.access(Kind::Read);
        self.0.get()
    }
}
