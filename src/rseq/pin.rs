//! Keeps the shared object that contains this copy of the library loaded.
//!
//! A thread's `rseq_cs` goes on pointing to the last descriptor that the thread planted until the
//! kernel next looks, and where the registration is ours the area itself is in the object's
//! thread-local storage. The kernel kills a thread whose descriptor it cannot read. To clear the
//! field of every thread before the object goes would take the threads' help; and the reclaimer's
//! thread, and callbacks that wait, need the object's code as well. So a constructor asks the
//! loader never to unload it, as `-z nodelete` would; `dlclose` then only counts.
//!
//! With glibc; musl unloads nothing anyway.

unsafe extern "C" {
    #[link_name = concat!(
        "stillpoint_",
        env!("CARGO_PKG_VERSION_MAJOR"),
        "_",
        env!("CARGO_PKG_VERSION_MINOR"),
        "_stay_loaded"
    )]
    /// Called by the constructor that decides the tier: `dlopen` is not for signal handlers. The
    /// loader's lock, which a constructor runs under, is recursive.
    pub(crate) safe fn stay_loaded();
}
