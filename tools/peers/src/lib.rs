//! C peers for the benchmarks.
//!
//! Each is an `Option`: `None` where the development files were missing when this was built.
//! Debian's are in `liburcu-dev`.

/// liburcu, flavour "memb": readers mark themselves per thread, grace periods use
/// `membarrier`. Its read side is inlined into the shim's loop, as in a C program.
#[derive(Clone, Copy, Debug)]
pub struct Urcu(());

/// liburcu, if it was there.
pub fn urcu() -> Option<Urcu> {
    cfg!(have_liburcu).then_some(Urcu(()))
}

impl Urcu {
    /// The shim once more, as a shared object: `peers_urcu_read` in it takes the address of a
    /// pointer to the table and the rounds, and wants the thread registered.
    pub fn shared_object(self) -> Option<&'static str> {
        option_env!("PEERS_URCU_SHARED_OBJECT")
    }
}

#[cfg(have_liburcu)]
mod shim {
    unsafe extern "C" {
        pub(crate) safe fn peers_urcu_register();
        pub(crate) safe fn peers_urcu_unregister();
        pub(crate) fn peers_urcu_read(shared: *const *const [u64; 4], rounds: u64) -> u64;
        pub(crate) safe fn peers_urcu_synchronize();
    }
}

#[cfg(not(have_liburcu))]
mod shim {
    pub(crate) fn peers_urcu_register() {}
    pub(crate) fn peers_urcu_unregister() {}
    /// # Safety
    ///
    /// None: it is never reached.
    pub(crate) unsafe fn peers_urcu_read(_: *const *const [u64; 4], _: u64) -> u64 {
        unreachable!("no `Urcu` exists")
    }
    pub(crate) fn peers_urcu_synchronize() {}
}

/// A thread's registration with liburcu; ends when dropped.
#[derive(Debug)]
pub struct Registered(std::marker::PhantomData<*mut ()>);

impl Urcu {
    /// Registers the calling thread as a reader.
    pub fn register(self) -> Registered {
        shim::peers_urcu_register();
        Registered(std::marker::PhantomData)
    }
}

impl Registered {
    /// `rounds` read-side critical sections around one dependent load.
    pub fn read(&self, table: &&[u64; 4], rounds: u64) -> u64 {
        // SAFETY: the thread is registered, and the table outlives the call.
        unsafe { shim::peers_urcu_read((&raw const *table).cast(), rounds) }
    }

    /// Waits for a grace period.
    pub fn synchronize(&self) {
        shim::peers_urcu_synchronize();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        shim::peers_urcu_unregister();
    }
}
