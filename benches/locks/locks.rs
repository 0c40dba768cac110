//! The locks, all around the same number.

use crate::work::{self, Section, Tally, Window};
use std::cell::UnsafeCell;

pub(crate) const MUTEX: &str = "stillpoint Mutex";
pub(crate) const SPIN_LOCK: &str = "stillpoint SpinLock";
pub(crate) const PARKING_LOT: &str = "parking_lot";
pub(crate) const SPIN: &str = "spin";

/// A lock of one holder.
pub(crate) trait Lock: Send + Sync + 'static {
    fn new() -> Self;

    fn with<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R;
}

macro_rules! lock {
    ($name:ty, $new:expr, $lock:ident $(, $unwrap:ident)?) => {
        impl Lock for $name {
            fn new() -> Self {
                $new
            }

            #[inline(always)]
            fn with<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
                inside(&mut self.$lock()$(.$unwrap())?)
            }
        }
    };
}

lock!(stillpoint::Mutex<u64>, stillpoint::Mutex::new(0), lock);
lock!(stillpoint::SpinLock<u64>, stillpoint::SpinLock::new(0), lock);
lock!(parking_lot::Mutex<u64>, parking_lot::Mutex::new(0), lock);
lock!(std::sync::Mutex<u64>, std::sync::Mutex::new(0), lock, unwrap);
lock!(spin::Mutex<u64>, spin::Mutex::new(0), lock);

/// A queue of spinning threads: "MCS".
impl Lock for mcslock::raw::spins::Mutex<u64> {
    fn new() -> Self {
        mcslock::raw::spins::Mutex::new(0)
    }

    #[inline(always)]
    fn with<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        let mut node = mcslock::raw::MutexNode::new();
        self.lock_with_then(&mut node, inside)
    }
}

/// glibc's mutex that spins for a while first. It must not be moved.
pub(crate) struct Adaptive(Box<(UnsafeCell<libc::pthread_mutex_t>, UnsafeCell<u64>)>);

// SAFETY: the mutex may be used by all threads, and the number is used with the mutex held.
unsafe impl Send for Adaptive {}
// SAFETY: as above.
unsafe impl Sync for Adaptive {}

impl Lock for Adaptive {
    fn new() -> Adaptive {
        const PTHREAD_MUTEX_ADAPTIVE_NP: libc::c_int = 3;
        // SAFETY: all-zero bytes of both types are valid places to initialise.
        unsafe {
            let lock =
                Adaptive(Box::new((UnsafeCell::new(std::mem::zeroed()), UnsafeCell::new(0))));
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_settype(&raw mut attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
            libc::pthread_mutex_init(lock.0.0.get(), &raw const attributes);
            libc::pthread_mutexattr_destroy(&raw mut attributes);
            lock
        }
    }

    #[inline(always)]
    fn with<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        // SAFETY: initialised; the number belongs to the holder; nobody panics.
        unsafe {
            libc::pthread_mutex_lock(self.0.0.get());
            let result = inside(&mut *self.0.1.get());
            libc::pthread_mutex_unlock(self.0.0.get());
            result
        }
    }
}

/// A lock whose type is forgotten. Each method is one loop that nobody inlines, compiled with the
/// lock's code in it.
pub(crate) trait Subject: Send + Sync {
    fn tight(&self, times: u64);

    /// Locks and works until the window ends.
    fn work(&self, section: Section, window: &Window) -> Tally;
}

/// On lines of its own.
#[repr(align(128))]
struct Alone<L>(L);

impl<L: Lock> Subject for Alone<L> {
    #[inline(never)]
    fn tight(&self, times: u64) {
        (0..times).for_each(|_| self.0.with(|number| *number = number.wrapping_add(1)));
    }

    fn work(&self, section: Section, window: &Window) -> Tally {
        if window.samples() {
            work::work::<L, true>(&self.0, section, window)
        } else {
            work::work::<L, false>(&self.0, section, window)
        }
    }
}

/// A name, and how to make one.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) new: fn() -> Box<dyn Subject>,
}

fn make<L: Lock>() -> Box<dyn Subject> {
    Box::new(Alone(L::new()))
}

pub(crate) const ALL: [Peer; 7] = [
    Peer { name: MUTEX, new: make::<stillpoint::Mutex<u64>> },
    Peer { name: SPIN_LOCK, new: make::<stillpoint::SpinLock<u64>> },
    Peer { name: PARKING_LOT, new: make::<parking_lot::Mutex<u64>> },
    Peer { name: "std", new: make::<std::sync::Mutex<u64>> },
    Peer { name: "pthread adaptive", new: make::<Adaptive> },
    Peer { name: SPIN, new: make::<spin::Mutex<u64>> },
    Peer { name: "mcslock", new: make::<mcslock::raw::spins::Mutex<u64>> },
];
