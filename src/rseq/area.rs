//! Where the calling thread's `struct rseq` is, and who registered it with the kernel.
//!
//! glibc 2.35 and later register an area for every thread and publish where it lies relative to
//! the thread pointer (`offset.rs`). Where libc does not (musl, older glibc, the tunable
//! `glibc.pthread.rseq=0`), we own an area in static thread-local storage and register it for
//! a thread the first time that thread misses it. Both are at one offset from the thread
//! pointer for all threads, so a sequence needs one word, that offset.
//!
//! One thread has one area. A thread whose area somebody else registered (an allocator that
//! does so itself) refuses ours with `EINVAL`; that thread then uses the atomic fallback.
//!
//! The area is in static TLS, which outlives the thread as far as the kernel is concerned,
//! with one exception: musl unmaps a detached thread's own stack, TLS included, just before it
//! exits. There we unregister when the thread's destructors run, and register no thread that has
//! come so far, or that has disabled its cancellation, which looks the same. A system-call filter
//! that lets threads register must let them unregister.

#[cfg(stillpoint_sections)]
pub(crate) use super::offset::{hoisted_offset, hoisted_registration};
#[cfg(stillpoint_sections)]
pub(crate) use native::{cpu_id, settle};
#[cfg(stillpoint_sections)]
pub use native::{ensure_registered, is_registered, thread_area};

#[cfg(not(stillpoint_sections))]
pub use absent::{ensure_registered, is_registered, thread_area};

/// Who registered the threads' areas.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::area::Registrar;
/// if let Ok(area) = stillpoint::machine().registration() {
///     println!("{}", if area.registrar == Registrar::Libc { "libc" } else { "stillpoint" });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registrar {
    /// The C library, for every thread it creates.
    Libc,
    /// This library, for each thread that uses it.
    Own,
}

/// How the kernel treats a registration, which follows from its length.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::area::Mode;
/// if let Ok(area) = stillpoint::machine().registration() {
///     println!("optimized: {}", area.mode() == Mode::Optimized);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// 32 bytes: identifiers rewritten at every context switch, no time-slice extension.
    Legacy,
    /// Longer than 32 bytes (Linux 7.0 and later): identifiers rewritten when they change.
    Optimized,
}

/// What this process knows about its registration.
///
/// # Examples
///
/// ```
/// if let Ok(area) = stillpoint::machine().registration() {
///     println!("{} bytes at {}", area.length, area.offset);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Who registered.
    pub registrar: Registrar,
    /// The registered length in bytes.
    pub length: u32,
    /// Bytes of the area that the kernel fills. A field exists if it ends within them.
    pub features: u32,
    /// Offset of the area from the thread pointer.
    pub offset: isize,
}

impl Registration {
    /// How the kernel treats it.
    ///
    /// # Examples
    ///
    /// ```
    /// if let Ok(area) = stillpoint::machine().registration() {
    ///     println!("{:?}", area.mode());
    /// }
    /// ```
    pub fn mode(&self) -> Mode {
        if self.length > super::abi::ORIGINAL_LENGTH { Mode::Optimized } else { Mode::Legacy }
    }

    /// True if the kernel fills `node_id` (Linux 6.3 and later).
    ///
    /// # Examples
    ///
    /// ```
    /// if let Ok(area) = stillpoint::machine().registration() {
    ///     println!("{}", area.has_node_id());
    /// }
    /// ```
    pub fn has_node_id(&self) -> bool {
        self.features >= 24
    }

    /// True if the kernel fills `mm_cid`, the concurrency id (Linux 6.3 and later).
    ///
    /// # Examples
    ///
    /// ```
    /// if let Ok(area) = stillpoint::machine().registration() {
    ///     println!("{}", area.has_mm_cid());
    /// }
    /// ```
    pub fn has_mm_cid(&self) -> bool {
        self.features >= 28
    }

    /// True if the area has the time-slice extension's control word (Linux 7.0 and later).
    /// Whether the kernel grants extensions is another question.
    ///
    /// # Examples
    ///
    /// ```
    /// if let Ok(area) = stillpoint::machine().registration() {
    ///     println!("{}", area.has_slice_ctrl());
    /// }
    /// ```
    pub fn has_slice_ctrl(&self) -> bool {
        self.features >= 32 && self.mode() == Mode::Optimized
    }
}

/// Why a process or thread has no registered area.
///
/// # Examples
///
/// ```
/// if let Err(refusal) = stillpoint::machine().registration() {
///     eprintln!("no rseq: {refusal}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The kernel, or a filter, does not know the system call; holds the error number.
    Denied(i32),
    /// The system call succeeded and did nothing, as in some emulators.
    Ignored,
    /// The kernel knows the system call but not our area: somebody else registered one.
    Foreign,
    /// No sequences exist for this target.
    Target,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Denied(errno) => {
                write!(f, "rseq refused: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Refusal::Ignored => f.write_str("rseq is accepted but not carried out"),
            Refusal::Foreign => f.write_str("another library registered its own rseq area"),
            Refusal::Target => f.write_str("no sequences for this target"),
        }
    }
}

/// The feature size in force, from the length that was registered and the kernel's word
/// (`AT_RSEQ_FEATURE_SIZE`, 0 if absent).
///
/// A 32-byte area is filled up to the kernel's features; glibc calls such an area 32 bytes long
/// or 20, by version, without asking the kernel.
#[cfg_attr(not(stillpoint_sections), allow(dead_code, reason = "only registration uses it"))]
pub(crate) fn feature_size(claimed: u32, kernel: u32) -> u32 {
    use super::abi::{ORIGINAL_FEATURES, ORIGINAL_LENGTH};
    match claimed {
        ORIGINAL_FEATURES | ORIGINAL_LENGTH => match kernel {
            0 => ORIGINAL_FEATURES,
            known => known.min(ORIGINAL_LENGTH),
        },
        longer => longer,
    }
}

#[cfg(not(stillpoint_sections))]
mod absent {
    /// This target has no sequences: no thread is registered for them.
    ///
    /// # Examples
    ///
    /// ```
    /// if stillpoint::rseq::area::ensure_registered() {
    ///     println!("the calling thread is registered");
    /// }
    /// ```
    pub fn ensure_registered() -> bool {
        false
    }

    /// This target has no sequences: null, whatever the C library registered.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::area::{ensure_registered, thread_area};
    /// assert!(!ensure_registered() || !thread_area().is_null());
    /// ```
    pub fn thread_area() -> *const std::ffi::c_void {
        std::ptr::null()
    }

    /// This target has no sequences: never registered for them.
    ///
    /// # Examples
    ///
    /// ```
    /// println!("{}", stillpoint::rseq::area::is_registered());
    /// ```
    pub fn is_registered() -> bool {
        false
    }
}

#[cfg(stillpoint_sections)]
mod native {
    use super::super::abi::{self, Area};
    use super::super::offset::{offset, set_libc, set_own};
    use super::super::quiet::{errno, preserving_errno, with_signals_masked};
    use super::{Refusal, Registrar, Registration, feature_size};
    use std::ffi::{c_int, c_uint, c_void};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Size and alignment of our own area.
    const OWN_ROOM: u32 = 64;

    macro_rules! c_name {
        ($name:literal) => {
            concat!(
                "stillpoint_",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR"),
                "_",
                $name
            )
        };
    }

    unsafe extern "C" {
        #[link_name = c_name!("own_area")]
        safe fn own_area() -> *mut c_void;
        #[link_name = c_name!("libc_account")]
        fn libc_account(offset: *mut isize, size: *mut c_uint) -> c_int;
        #[link_name = c_name!("thread_pointer")]
        safe fn thread_pointer() -> *mut c_void;
    }

    /// Length of our registrations; 0 if we do not register.
    static OWN_LENGTH: AtomicU32 = AtomicU32::new(0);

    fn area_at(offset: isize) -> *mut Area {
        thread_pointer().wrapping_byte_offset(offset).cast()
    }

    fn own_offset() -> isize {
        own_area() as isize - thread_pointer() as isize
    }

    /// The calling thread's CPU number as the area has it, if the thread is registered.
    #[inline]
    pub(crate) fn cpu_id() -> Option<u32> {
        let offset = offset();
        if offset == 0 {
            return None;
        }
        // SAFETY: a nonzero offset is that of an area in static TLS, libc's or ours, which
        // lives as long as the thread. The kernel writes it only on behalf of this thread.
        let cpu = unsafe { (&raw const (*area_at(offset)).cpu_id).read_volatile() };
        (cpu as i32 >= 0).then_some(cpu)
    }

    /// Address of the calling thread's area, for tools that look into it. Null before
    /// anything is known.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::area::{ensure_registered, thread_area};
    /// assert!(!ensure_registered() || !thread_area().is_null());
    /// ```
    pub fn thread_area() -> *const c_void {
        match offset() {
            0 => std::ptr::null(),
            offset => area_at(offset).cast_const().cast(),
        }
    }

    /// Finds out, once per process, who registers; registers the calling thread if we do.
    pub(crate) fn settle() -> Result<Registration, Refusal> {
        let kernel = auxv(abi::AT_RSEQ_FEATURE_SIZE);
        let (mut libc_offset, mut libc_size) = (0, 0);
        // SAFETY: both pointers are to live locals of the declared types.
        let known = unsafe { libc_account(&mut libc_offset, &mut libc_size) } != 0;
        if known && libc_size != 0 {
            set_libc(libc_offset);
            if cpu_id().is_none() {
                // Emulators exist that accept the registration and never fill the area.
                set_libc(0);
                return Err(Refusal::Ignored);
            }
            return Ok(Registration {
                registrar: Registrar::Libc,
                // glibc registers at least 32 bytes, whatever size it admits to.
                length: libc_size.max(abi::ORIGINAL_LENGTH),
                features: feature_size(libc_size, kernel),
                offset: libc_offset,
            });
        }
        set_own(own_offset());
        let fits = |length: u32| length <= OWN_ROOM && auxv(abi::AT_RSEQ_ALIGN) <= OWN_ROOM;
        let preferred = kernel.max(abi::ORIGINAL_LENGTH);
        let mut outcome = Err(Refusal::Foreign);
        for length in [preferred, abi::ORIGINAL_LENGTH] {
            if fits(length) || length == abi::ORIGINAL_LENGTH {
                OWN_LENGTH.store(length, Ordering::Relaxed);
                outcome = register();
                if outcome != Err(Refusal::Foreign) {
                    break;
                }
            }
        }
        match outcome {
            Ok(()) => {
                let length = OWN_LENGTH.load(Ordering::Relaxed);
                Ok(Registration {
                    registrar: Registrar::Own,
                    length,
                    features: feature_size(length, kernel),
                    offset: own_offset(),
                })
            }
            Err(refusal) => {
                OWN_LENGTH.store(0, Ordering::Relaxed);
                Err(refusal)
            }
        }
    }

    /// True if the calling thread is registered, by whomever: one load or two. False before anything
    /// is known, and for a thread that nobody has registered yet; see [`ensure_registered`]. Who
    /// registers, with what length and features, is the process's:
    /// [`machine().registration()`](crate::Machine::registration). Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::area::{Registrar, is_registered};
    /// match stillpoint::machine().registration() {
    ///     Ok(area) => {
    ///         let who = if area.registrar == Registrar::Libc { "libc" } else { "stillpoint" };
    ///         println!("by {who}: {} bytes, of which {} are filled", area.length, area.features);
    ///         println!("this thread: {}", is_registered());
    ///     }
    ///     Err(refusal) => println!("{refusal}"),
    /// }
    /// ```
    #[inline]
    pub fn is_registered() -> bool {
        cpu_id().is_some()
    }

    /// True if the calling thread is registered; registers it if that is ours to do and was not
    /// tried before. Async-signal-safe, keeps `errno`.
    ///
    /// Domains call it by themselves when a thread first misses its registration; authors of
    /// other structures call it before they rely on sequences.
    ///
    /// # Examples
    ///
    /// ```
    /// if stillpoint::rseq::area::ensure_registered() {
    ///     println!("the calling thread is registered");
    /// }
    /// ```
    pub fn ensure_registered() -> bool {
        if cpu_id().is_some() {
            return true;
        }
        if OWN_LENGTH.load(Ordering::Relaxed) == 0 || own_cpu_id() != abi::CPU_ID_UNINITIALIZED {
            return false;
        }
        if exit::may_have_begun() {
            return false;
        }
        match preserving_errno(register) {
            Ok(()) => true,
            Err(_) => {
                // SAFETY: the area is ours, of this thread, and not registered, so the kernel
                // does not look at it. The mark says: do not try again.
                unsafe {
                    (&raw mut (*own_area().cast::<Area>()).cpu_id)
                        .write_volatile(abi::CPU_ID_REGISTRATION_FAILED);
                };
                false
            }
        }
    }

    fn own_cpu_id() -> u32 {
        // SAFETY: our own area lives as long as the thread.
        unsafe { (&raw const (*own_area().cast::<Area>()).cpu_id).read_volatile() }
    }

    /// Registers the calling thread's own area. Signals are masked meanwhile: a handler that
    /// came in between could do the same.
    fn register() -> Result<(), Refusal> {
        with_signals_masked(|| {
            if own_cpu_id() as i32 >= 0 {
                return Ok(());
            }
            if !exit::arm() {
                return Err(Refusal::Denied(libc::EAGAIN));
            }
            match rseq(OWN_LENGTH.load(Ordering::Relaxed), 0) {
                // EBUSY: this very area, already registered.
                Ok(()) | Err(libc::EBUSY) => {}
                Err(libc::EINVAL) => return Err(Refusal::Foreign),
                // EPERM can also be "this area with another signature", which is nobody's.
                Err(errno) => return Err(Refusal::Denied(errno)),
            }
            if own_cpu_id() as i32 >= 0 { Ok(()) } else { Err(Refusal::Ignored) }
        })
    }

    fn rseq(length: u32, flags: c_int) -> Result<(), c_int> {
        // SAFETY: the area is static TLS of at least `length` bytes, aligned beyond what any
        // kernel asks, and lives until the thread is gone.
        let r = unsafe { libc::syscall(libc::SYS_rseq, own_area(), length, flags, abi::SIGNATURE) };
        if r == 0 { Ok(()) } else { Err(errno()) }
    }

    fn auxv(kind: libc::c_ulong) -> u32 {
        // SAFETY: getauxval has no preconditions.
        u32::try_from(unsafe { libc::getauxval(kind) }).unwrap_or(0)
    }

    /// Unregistering at thread exit, where libc would otherwise unmap a registered area.
    #[cfg(target_env = "musl")]
    mod exit {
        use super::{abi, own_area, own_cpu_id, rseq, with_signals_masked};
        use std::ffi::{c_int, c_void};
        use std::sync::atomic::{AtomicU32, Ordering};

        /// 0: no key yet; otherwise the key plus one.
        static KEY: AtomicU32 = AtomicU32::new(0);

        unsafe extern "C" {
            safe fn pthread_setcancelstate(state: c_int, before: &mut c_int) -> c_int;
        }

        /// True if the calling thread's destructors may be running, or have run: nothing of ours
        /// would run after them. musl disables cancellation before it starts them.
        pub(super) fn may_have_begun() -> bool {
            const ENABLE: c_int = 0;
            const DISABLE: c_int = 1;
            let (mut state, mut same) = (ENABLE, DISABLE);
            pthread_setcancelstate(DISABLE, &mut state);
            pthread_setcancelstate(state, &mut same);
            state != ENABLE
        }

        /// Makes the calling thread unregister when its destructors run. False if it cannot.
        pub(super) fn arm() -> bool {
            let mut key = KEY.load(Ordering::Acquire);
            if key == 0 {
                let mut fresh = 0;
                // SAFETY: `fresh` is a live local; the destructor has the asked-for type.
                if unsafe { libc::pthread_key_create(&mut fresh, Some(unregister)) } != 0 {
                    return false;
                }
                match KEY.compare_exchange(0, fresh + 1, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => key = fresh + 1,
                    Err(first) => {
                        // SAFETY: we made this key and nobody has seen it.
                        unsafe { libc::pthread_key_delete(fresh) };
                        key = first;
                    }
                }
            }
            // SAFETY: the key exists. On musl this stores a word and allocates nothing.
            unsafe { libc::pthread_setspecific(key - 1, own_area()) == 0 }
        }

        /// Signals are masked: a handler in between could register again.
        unsafe extern "C" fn unregister(_: *mut c_void) {
            const UNREGISTER: c_int = 1;
            with_signals_masked(|| {
                let gone = rseq(super::OWN_LENGTH.load(Ordering::Relaxed), UNREGISTER).is_ok();
                // What is still registered is the kernel's to write.
                if gone || (own_cpu_id() as i32) < 0 {
                    // SAFETY: unregistered, so ours alone; later destructors must not register
                    // again.
                    unsafe {
                        (&raw mut (*own_area().cast::<abi::Area>()).cpu_id)
                            .write_volatile(abi::CPU_ID_REGISTRATION_FAILED);
                    }
                }
            });
        }
    }

    /// Elsewhere a thread's static TLS outlives the kernel's interest in it.
    #[cfg(not(target_env = "musl"))]
    mod exit {
        pub(super) fn may_have_begun() -> bool {
            false
        }

        pub(super) fn arm() -> bool {
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_size_follows_libc_and_kernel() {
        // (what libc or we registered, AT_RSEQ_FEATURE_SIZE) -> bytes in force
        for (claimed, kernel, expected) in [
            (20, 0, 20),
            (32, 0, 20),
            (20, 28, 28),
            (32, 28, 28),
            (20, 33, 32),
            (32, 33, 32),
            (28, 28, 28),
            (33, 33, 33),
            (33, 64, 33),
        ] {
            assert_eq!(feature_size(claimed, kernel), expected, "{claimed} {kernel}");
        }
    }

    #[test]
    fn fields_exist_where_they_end() {
        let with = |length, features| Registration {
            registrar: Registrar::Own,
            length,
            features,
            offset: 0,
        };
        let old = with(32, 20);
        assert!(!old.has_node_id() && !old.has_mm_cid() && !old.has_slice_ctrl());
        let legacy = with(32, 32);
        assert!(legacy.has_node_id() && legacy.has_mm_cid() && !legacy.has_slice_ctrl());
        assert_eq!(legacy.mode(), Mode::Legacy);
        let optimized = with(33, 33);
        assert!(optimized.has_slice_ctrl());
        assert_eq!(optimized.mode(), Mode::Optimized);
    }
}
