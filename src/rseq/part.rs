//! Sequences on a CPU's part of something that has one for every CPU.
//!
//! The parts of all CPUs stand [`STRIDE`] bytes apart, each on pages of its own. Words of a part are
//! stored to plainly, and only by sequences on its CPU, while the [`Place`] is open; anyone may load
//! them. Whoever closes it and sends a broadcast has them for himself: see [`Place::close`].

use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use std::ptr::null_mut;

/// From one CPU's part to the next, in bytes. At least a page everywhere.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::part::STRIDE;
/// assert!(STRIDE.is_power_of_two() && STRIDE >= 4096);
/// ```
pub const STRIDE: usize = 1 << 16;
/// From one word to the next: 8, but for the model checker.
pub(crate) const WORD: usize = size_of::<AtomicU64>();

/// Where the parts are, and who may use them. The sequences know this layout.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::part::Place;
///
/// // Turns everyone away.
/// static NOWHERE: Place = Place::new();
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Place {
    /// The part of CPU 0.
    first: AtomicPtr<u8>,
    /// The low half is the bound: sequences on CPUs below it are let in. The high half is how many
    /// keep the place closed; then the bound is 0.
    gate: AtomicU64,
}

const CLOSER: u64 = 1 << 32;

impl Place {
    crate::sync::const_unless_modelled! {
        /// Without parts.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(stillpoint::rseq::part::Place::new().first().is_null());
        /// ```
        pub const fn new() -> Place {
            Place { first: AtomicPtr::new(null_mut()), gate: AtomicU64::new(0) }
        }
    }

    /// The part of CPU 0; null if there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(stillpoint::rseq::part::Place::new().first().is_null());
    /// ```
    #[inline(always)]
    pub fn first(&self) -> *mut u8 {
        // Acquire: partner is the release in `set`.
        self.first.load(Ordering::Acquire)
    }

    /// Gives it parts, unless it has some. Returns those that it has then.
    ///
    /// # Safety
    ///
    /// At `first` and every [`STRIDE`] bytes behind it there is a part for each CPU that it will be
    /// opened for, as long as sequences use it.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::part::{Place, STRIDE};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// // SAFETY: a part for CPU 0, which lives for ever.
    /// let parts = unsafe { place.set(part.as_mut_ptr().cast()) };
    /// assert_eq!(place.first(), parts);
    /// ```
    pub unsafe fn set(&self, first: *mut u8) -> *mut u8 {
        // Release: partner is the acquire in `first`. Acquire on failure: what we find was set so.
        match self.first.compare_exchange(null_mut(), first, Ordering::Release, Ordering::Acquire) {
            Ok(_) => first,
            Err(other) => other,
        }
    }

    /// Lets sequences of CPUs below `bound` in, unless somebody keeps the place closed: then the last
    /// who does will.
    ///
    /// # Safety
    ///
    /// It has been [set](Place::set), and there are parts for so many.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::part::{Place, STRIDE, add};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// // SAFETY: a part for CPU 0, which lives for ever.
    /// unsafe {
    ///     place.set(part.as_mut_ptr().cast());
    ///     place.open(1);
    ///     println!("was on CPU 0, without interruption: {}", add(&place, 0, 1));
    /// }
    /// ```
    pub unsafe fn open(&self, bound: u32) {
        // Release: partner is the load of a sequence that is let in; on aarch64 its dependency.
        let _ = self.gate.compare_exchange(0, bound.into(), Ordering::Release, Ordering::Relaxed);
    }

    /// Turns sequences away that begin behind a broadcast which the caller sends next. From then until
    /// it is [opened again](Place::reopen) none changes a part, but for those that were under way on a
    /// kernel that may lose an abort (before Linux 6.18).
    ///
    /// Aborts the process if 2^32 - 1 keep it closed already: somebody closes it in a loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let place = stillpoint::rseq::part::Place::new();
    /// place.close();
    /// assert!(place.is_closed());
    /// ```
    pub fn close(&self) {
        // Without wrapping around: at 0 the next who opens would let sequences in beside the
        // others.
        let with = |gate: u64| (gate & !(CLOSER - 1)).checked_add(CLOSER);
        // Acquire: partner is the release in `reopen`, of who had it closed before.
        if self.gate.fetch_update(Ordering::Acquire, Ordering::Relaxed, with).is_err() {
            std::process::abort();
        }
    }

    /// Takes one [`close`](Place::close) back. The last who does opens the place.
    ///
    /// # Safety
    ///
    /// The caller has closed it. As for [`Place::open`], unless `bound` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let place = stillpoint::rseq::part::Place::new();
    /// place.close();
    /// // SAFETY: closed above, and open to nobody.
    /// unsafe { place.reopen(0) };
    /// assert!(!place.is_closed());
    /// ```
    pub unsafe fn reopen(&self, bound: u32) {
        let with = |gate: u64| Some(if gate == CLOSER { bound.into() } else { gate - CLOSER });
        // Release: as in `open`.
        let _ = self.gate.fetch_update(Ordering::Release, Ordering::Relaxed, with);
    }

    /// Sequences on CPUs below it are let in, a moment ago.
    pub(crate) fn bound(&self) -> u32 {
        self.gate.load(Ordering::Relaxed) as u32
    }

    /// Whether it has never been opened, nor closed.
    pub(crate) fn is_unopened(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == 0
    }

    /// Whether somebody keeps it closed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!stillpoint::rseq::part::Place::new().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Relaxed) >= CLOSER
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

#[cfg(stillpoint_loom)]
pub use super::model::add_to_part as add;

#[cfg(stillpoint_sections)]
pub use native::add;

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::add;

#[cfg(stillpoint_sections)]
mod native {
    use super::{Place, STRIDE};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use std::mem::offset_of;

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(offset_of!(Place, first) == 0 && offset_of!(Place, gate) == 8);
        // The bound comes first.
        assert!(STRIDE == 1 << 16 && cfg!(target_endian = "little"));
    };

    /// Tries once to add `n` to the word at offset `at` of the calling thread's CPU's part. Returns
    /// false, with nothing added, if the section was aborted, the place is closed, or has no part for
    /// this CPU.
    ///
    /// One section, whose addition commits and orders nothing: on x86-64 six instructions. Wraps
    /// around. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// The place is as [`Place::set`] and [`Place::open`] ask for. At `at` there is an aligned `u64` in
    /// each part, to which nobody stores but sequences on its CPU, and who has closed the place.
    ///
    /// # Examples
    ///
    /// See [`Place::open`].
    #[inline(always)]
    pub unsafe fn add(place: &Place, at: usize, n: u64) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::PartOutsideSection) {
            // SAFETY: as the caller promises, but that others may store there.
            return unsafe { add_outside_section(place, at, n) };
        }
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the place and, within the bound, adds to a word that
        // nobody else stores to. No stack is used.
        unsafe {
            section!(
                "part_add", "landing_cold",
                o = in(reg) o,
                place = in(reg) std::ptr::from_ref(place),
                at = in(reg) at,
                n = in(reg) n,
                mark = out(reg) _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// A mutant: nothing is done again if the thread is stopped between its instructions.
    #[cfg(stillpoint_mutants)]
    unsafe fn add_outside_section(place: &Place, at: usize, n: u64) -> bool {
        use crate::rseq::ids::{CPU, field};
        use std::sync::atomic::Ordering;

        let bound = place.gate.load(Ordering::Acquire) as u32;
        let Some(cpu) = field::<CPU>().filter(|&cpu| cpu < bound) else { return false };
        crate::sync::dither();
        // SAFETY: a word of a part, as the caller promises; not atomic.
        unsafe {
            let word = place.first().byte_add(cpu as usize * STRIDE + at).cast::<u64>();
            word.write_volatile(word.read_volatile().wrapping_add(n));
        }
        true
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::Place;

    /// This target has no sequences: never adds.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such a word.
    #[inline(always)]
    pub unsafe fn add(_: &Place, _: usize, _: u64) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux", not(stillpoint_loom)))]
mod tests {
    use super::*;

    /// How a child ends that closes the place.
    fn status_of_closing(place: &Place) -> i32 {
        let mut status = 0;
        // SAFETY: the child calls nothing but `close`, which takes no lock, and ends; it is waited
        // for.
        unsafe {
            match libc::fork() {
                0 => {
                    place.close();
                    libc::_exit(0);
                }
                child => assert_eq!(libc::waitpid(child, &mut status, 0), child),
            }
        }
        status
    }

    #[test]
    fn closers_do_not_wrap_around() {
        let place = Place::new();
        // One more is the last that fits.
        place.gate.store((u64::from(u32::MAX) - 1) * CLOSER, Ordering::Relaxed);
        assert_eq!(status_of_closing(&place), 0);
        place.close();
        let status = status_of_closing(&place);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT, "{status}");
        assert!(place.is_closed() && place.bound() == 0);
        // SAFETY: closed above, and open to nobody.
        unsafe { place.reopen(0) };
        assert!(place.is_closed() && !place.is_unopened());
    }
}
