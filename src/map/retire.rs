//! Where what was taken out of a map goes.

#[cfg(stillpoint_loom)]
pub(super) use modelled::Retired;
#[cfg(not(stillpoint_loom))]
pub(super) use real::Retired;

#[cfg(not(stillpoint_loom))]
mod real {
    use crate::rcu::{Domain, Header};

    /// The domain keeps it all.
    #[derive(Debug)]
    pub(in crate::map) struct Retired;

    impl Retired {
        pub(in crate::map) const fn new() -> Retired {
            Retired
        }

        /// # Safety
        ///
        /// The header begins what its kind says, and that was unlinked by the caller from a map of
        /// this domain. Any thread may free it.
        pub(in crate::map) unsafe fn push(&self, domain: &Domain, header: *mut Header) {
            // SAFETY: the caller's promise.
            unsafe { domain.defer_raw(header) }
        }
    }
}

/// Domains have models of their own: here, all is kept until the map is dropped, and a model tells
/// by what it reads that something was unlinked.
#[cfg(stillpoint_loom)]
mod modelled {
    use crate::rcu::{Domain, Header};
    use std::sync::Mutex;

    #[derive(Debug)]
    pub(in crate::map) struct Retired(Mutex<Vec<*mut Header>>);

    // SAFETY: what is pushed may be freed by any thread.
    unsafe impl Send for Retired {}
    // SAFETY: as above.
    unsafe impl Sync for Retired {}

    impl Retired {
        pub(in crate::map) fn new() -> Retired {
            Retired(Mutex::new(vec![]))
        }

        /// # Safety
        ///
        /// As of the real one.
        pub(in crate::map) unsafe fn push(&self, _: &Domain, header: *mut Header) {
            self.0.lock().unwrap().push(header);
        }
    }

    impl Drop for Retired {
        fn drop(&mut self) {
            for header in self.0.get_mut().unwrap().drain(..) {
                // SAFETY: the map is dropped, so nobody reads it.
                unsafe { Header::run(header) };
            }
        }
    }
}
