//! C peers for the benchmarks.
//!
//! Each is an `Option`: `None` where the development files were missing when this was built.
//! Debian's are in `liburcu-dev`.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64};

/// liburcu, flavour "memb": readers mark themselves per thread, grace periods use
/// `membarrier`. Its read side is inlined into the shim's loops, as in a C program.
#[derive(Clone, Copy, Debug)]
pub struct Urcu(());

/// liburcu, if it was there.
pub fn urcu() -> Option<Urcu> {
    cfg!(have_liburcu).then_some(Urcu(()))
}

/// liburcu, flavour "qsbr": reading is free, and readers announce now and then, between two reads,
/// that they have no references: a quiescent state. Grace periods wait for one of every thread that
/// is online; here threads are so while they read.
#[derive(Clone, Copy, Debug)]
pub struct Qsbr(());

/// liburcu, flavour "bp": as "memb", for readers that nobody registers. Each read looks whether its
/// thread is, through a pointer.
#[derive(Clone, Copy, Debug)]
pub struct Bp(());

/// A declaration of the shim, and something to link against where there is none.
macro_rules! shim {
    ($($safety:ident fn $name:ident($($arg:ident: $of:ty),*) $(-> $to:ty)?;)*) => {
        #[cfg(have_liburcu)]
        mod shim {
            use super::*;
            unsafe extern "C" {
                $(pub(crate) $safety fn $name($($arg: $of),*) $(-> $to)?;)*
            }
        }

        #[cfg(not(have_liburcu))]
        mod shim {
            use super::*;
            $(shim!(@absent $safety fn $name($($arg: $of),*) $(-> $to)?);)*
        }
    };
    (@absent safe fn $name:ident($($arg:ident: $of:ty),*) $(-> $to:ty)?) => {
        pub(crate) fn $name($(_: $of),*) $(-> $to)? {
            unreachable!("no `Urcu` exists")
        }
    };
    (@absent unsafe fn $name:ident($($arg:ident: $of:ty),*) $(-> $to:ty)?) => {
        /// # Safety
        ///
        /// None: it is never reached.
        pub(crate) unsafe fn $name($(_: $of),*) $(-> $to)? {
            unreachable!("no `Urcu` exists")
        }
    };
}

shim! {
    safe fn peers_urcu_register();
    safe fn peers_urcu_unregister();
    safe fn peers_urcu_synchronize();
    safe fn peers_urcu_barrier();
    safe fn peers_urcu_start_worker();
    unsafe fn peers_urcu_count_frees(counter: *const AtomicU64);
    unsafe fn peers_urcu_read(shared: *const *const [u64; 4], rounds: u64) -> u64;
    unsafe fn peers_urcu_replace(slot: *const AtomicPtr<c_void>, times: u64);
    unsafe fn peers_urcu_sum(slot: *const AtomicPtr<c_void>, rounds: u64) -> u64;
    unsafe fn peers_urcu_copy_8(slot: *const AtomicPtr<c_void>, rounds: u64) -> u64;
    unsafe fn peers_urcu_copy_64(slot: *const AtomicPtr<c_void>, rounds: u64) -> u64;
    unsafe fn peers_urcu_copy_256(slot: *const AtomicPtr<c_void>, rounds: u64) -> u64;
    safe fn peers_urcu_qsbr_register();
    safe fn peers_urcu_qsbr_unregister();
    safe fn peers_urcu_qsbr_synchronize();
    unsafe fn peers_urcu_qsbr_read(shared: *const *const [u64; 4], rounds: u64) -> u64;
    unsafe fn peers_urcu_qsbr_read_each(shared: *const *const [u64; 4], rounds: u64) -> u64;
    safe fn peers_urcu_bp_register();
    safe fn peers_urcu_bp_synchronize();
    unsafe fn peers_urcu_bp_read(shared: *const *const [u64; 4], rounds: u64) -> u64;
}

impl Urcu {
    /// The flavour of the same library whose readers announce quiescent states.
    pub fn qsbr(self) -> Qsbr {
        Qsbr(())
    }

    /// The flavour whose readers register themselves.
    pub fn bp(self) -> Bp {
        Bp(())
    }

    /// The shim once more, as a shared object: `peers_urcu_read` in it takes the address of a
    /// pointer to the table and the rounds, and wants the thread registered.
    pub fn shared_object(self) -> Option<&'static str> {
        option_env!("PEERS_URCU_SHARED_OBJECT")
    }

    /// Registers the calling thread as a reader.
    pub fn register(self) -> Registered {
        shim::peers_urcu_register();
        Registered(PhantomData)
    }

    /// Does something on a registered thread. It stays registered until it ends.
    pub fn registered<R>(self, work: impl FnOnce(&Registered) -> R) -> R {
        thread_local! {
            static THREAD: Registered = Urcu(()).register();
        }
        THREAD.with(work)
    }

    /// Waits for a grace period. On any thread that is not reading.
    pub fn synchronize(self) {
        shim::peers_urcu_synchronize();
    }

    /// Waits until everything retired so far is freed. On any thread that is not reading.
    pub fn barrier(self) {
        shim::peers_urcu_barrier();
    }

    /// Starts the thread that frees what was retired. Otherwise the first to retire does, and
    /// its worker may run where that thread may: perhaps on one CPU only.
    pub fn start_worker(self) {
        shim::peers_urcu_start_worker();
    }

    /// Counts objects there as they are freed, from now on.
    pub fn count_frees(self, counter: Option<&'static AtomicU64>) {
        // SAFETY: null, or a counter that lives for ever.
        unsafe { shim::peers_urcu_count_frees(counter.map_or(ptr::null(), ptr::from_ref)) }
    }
}

impl Qsbr {
    /// Registers the thread, unless it is. It stays so until it ends, and offline.
    fn register() {
        struct Registration;

        impl Drop for Registration {
            fn drop(&mut self) {
                shim::peers_urcu_qsbr_unregister();
            }
        }

        thread_local! {
            static THREAD: Registration = {
                shim::peers_urcu_qsbr_register();
                Registration
            };
        }
        THREAD.with(|_| ());
    }

    /// `rounds` reads with one dependent load each; a quiescent state each 1024, which is how often
    /// liburcu's own benchmarks announce one.
    pub fn read(self, table: &&[u64; 4], rounds: u64) -> u64 {
        Self::register();
        // SAFETY: the thread is registered, and the table outlives the call.
        unsafe { shim::peers_urcu_qsbr_read((&raw const *table).cast(), rounds) }
    }

    /// The same with a quiescent state after each.
    pub fn read_each(self, table: &&[u64; 4], rounds: u64) -> u64 {
        Self::register();
        // SAFETY: as in `read`.
        unsafe { shim::peers_urcu_qsbr_read_each((&raw const *table).cast(), rounds) }
    }

    /// Waits for a grace period. Registers the thread, although it need not be: with nobody
    /// registered there is nothing to wait for.
    pub fn synchronize(self) {
        Self::register();
        shim::peers_urcu_qsbr_synchronize();
    }
}

impl Bp {
    /// `rounds` read-side critical sections around one dependent load.
    pub fn read(self, table: &&[u64; 4], rounds: u64) -> u64 {
        // SAFETY: the table outlives the call.
        unsafe { shim::peers_urcu_bp_read((&raw const *table).cast(), rounds) }
    }

    /// Waits for a grace period. Registers the thread, as [`Qsbr::synchronize`].
    pub fn synchronize(self) {
        shim::peers_urcu_bp_register();
        shim::peers_urcu_bp_synchronize();
    }
}

/// A pointer to an object of 64 bytes that threads replace while others read it. Empty at first;
/// the last object is leaked.
#[derive(Debug, Default)]
pub struct Slot(AtomicPtr<c_void>);

/// A thread's registration with liburcu; ends when dropped.
#[derive(Debug)]
pub struct Registered(PhantomData<*mut ()>);

impl Registered {
    /// `rounds` read-side critical sections around one dependent load.
    pub fn read(&self, table: &&[u64; 4], rounds: u64) -> u64 {
        // SAFETY: the thread is registered, and the table outlives the call.
        unsafe { shim::peers_urcu_read((&raw const *table).cast(), rounds) }
    }

    /// `rounds` read-side critical sections, each of which adds up the object's words.
    pub fn sum(&self, slot: &Slot, rounds: u64) -> u64 {
        // SAFETY: the thread is registered, and only the shim stores to a slot.
        unsafe { shim::peers_urcu_sum(&raw const slot.0, rounds) }
    }

    /// `rounds` read-side critical sections, each of which copies a value of `N` words out, whole.
    /// `None` if the shim has none of that size.
    pub fn copy<const N: usize>(&self, value: &'static [u64; N], rounds: u64) -> Option<u64> {
        let copy = match N {
            1 => shim::peers_urcu_copy_8,
            8 => shim::peers_urcu_copy_64,
            32 => shim::peers_urcu_copy_256,
            _ => return None,
        };
        let slot = AtomicPtr::new(ptr::from_ref(value).cast_mut().cast::<c_void>());
        // SAFETY: the thread is registered; a value of that size, which lives for ever.
        Some(unsafe { copy(&raw const slot, rounds) })
    }

    /// Allocates an object, puts it in the place of the one before and retires that with
    /// `call_rcu`; so many times.
    pub fn replace(&self, slot: &Slot, times: u64) {
        // SAFETY: as in `sum`.
        unsafe { shim::peers_urcu_replace(&raw const slot.0, times) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        shim::peers_urcu_unregister();
    }
}

/// An allocator, by its functions.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// What it is called.
    pub name: &'static str,
    /// As C's.
    pub malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    /// As C's.
    pub free: unsafe extern "C" fn(*mut c_void),
}

/// Other allocators than the C library's, if they were built: with feature `allocators`.
pub fn allocators() -> Vec<Allocator> {
    #[cfg(feature = "allocators")]
    return vec![
        Allocator {
            name: "mimalloc",
            malloc: libmimalloc_sys::mi_malloc,
            free: libmimalloc_sys::mi_free,
        },
        Allocator {
            name: "jemalloc",
            malloc: tikv_jemalloc_sys::malloc,
            free: tikv_jemalloc_sys::free,
        },
    ];
    #[cfg(not(feature = "allocators"))]
    vec![]
}
