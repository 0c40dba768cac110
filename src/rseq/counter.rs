//! The sequence that reads the hardware counter of the CPU it runs on.
//!
//! The kernel tells by a page for each event (`struct perf_event_mmap_page`) which hardware counter
//! counts it now, and what to add to that. An event belongs to a CPU: its page describes a counter
//! there, and says nothing of the counter with the same number elsewhere.
//!
//! # Argument
//!
//! One section loads the number of the CPU, takes that CPU's page, copies its head, reads the counter
//! that it names, reads the clock, and stores what the page's lock holds behind all that. The store
//! commits; all others are to the caller's own buffer. Two things may come in between:
//!
//! * *The thread loses the CPU*, and comes back elsewhere: it is aborted, and no counter is read whose
//!   number came from another CPU's page. The lock alone does not show that, since a page does not
//!   change because somebody has left its CPU; and where CPUs differ, a number that is right on one may
//!   kill on another. A preemption is an abort as well.
//! * *An interrupt on this CPU changes the page*, or what the counter counts: it aborts nothing. But it
//!   raises the lock before and behind, so [`Raw::is_consistent`] says no.
//!
//! Who changes a page in use does so on its CPU, in an interrupt or when threads are switched: one
//! stream of instructions, in which the processor's interrupts are precise. So nothing here has to be
//! ordered for other processors, on either architecture.

#[cfg(stillpoint_loom)]
pub use super::model::counter::{Table, UserPage, read};

#[cfg(not(stillpoint_loom))]
pub use memory::{Table, UserPage};

#[cfg(stillpoint_sections)]
pub use native::read;

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::read;

/// The head of an event's page, as `linux/perf_event.h` has it.
///
/// # Examples
///
/// ```
/// assert_eq!(size_of::<stillpoint::rseq::counter::Head>(), 96);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Head {
    /// Not used here.
    pub version: u32,
    /// Not used here.
    pub compat_version: u32,
    /// Odd while the kernel changes the page; another number after each change.
    pub lock: u32,
    /// The number of the hardware counter plus one; 0 if there is none now.
    pub index: u32,
    /// To be added to what the counter holds.
    pub offset: i64,
    /// Nanoseconds that the event was wanted, until `time_offset`.
    pub time_enabled: u64,
    /// Nanoseconds that it was counted.
    pub time_running: u64,
    /// Bits: 2, the counter can be read by user space; 3, the times can be brought up to date; 5,
    /// `time_cycles` and `time_mask` are needed for that.
    pub capabilities: u64,
    /// How many bits of the counter mean something.
    pub pmc_width: u16,
    /// Of the clock: nanoseconds are `time_mult` times its ticks, shifted by this.
    pub time_shift: u16,
    /// See there.
    pub time_mult: u32,
    /// To be added to the clock's nanoseconds for the time since the page changed.
    pub time_offset: u64,
    /// Not used here.
    pub time_zero: u64,
    /// Not used here.
    pub size: u32,
    /// Nothing.
    pub reserved: u32,
    /// Where the clock, if it is shorter than 64 bits, was.
    pub time_cycles: u64,
    /// How long it is.
    pub time_mask: u64,
}

/// What [`read`] finds.
///
/// # Examples
///
/// ```
/// assert!(!stillpoint::rseq::counter::Raw::default().is_consistent());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub struct Raw {
    /// The CPU.
    pub cpu: u32,
    /// The page's lock, behind everything else.
    pub again: u32,
    /// What the hardware counter holds; 0 if there is none.
    pub counter: u64,
    /// The page.
    pub head: Head,
    /// The processor's clock.
    pub clock: u64,
}

impl Raw {
    /// True if a counter was read that the page described from beginning to end.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::counter::{Head, Raw};
    ///
    /// let head = Head { lock: 6, index: 1, ..Head::default() };
    /// assert!(Raw { again: 6, head, ..Raw::default() }.is_consistent());
    /// assert!(!Raw { again: 8, head, ..Raw::default() }.is_consistent());
    /// ```
    pub fn is_consistent(&self) -> bool {
        use crate::sync::mutant::{Mutant, broken};
        let quiet = self.head.lock == self.again && self.again.is_multiple_of(2);
        // The texts read so many counters.
        let is_known = match self.head.index {
            0 => false,
            index => !cfg!(target_arch = "aarch64") || index <= 6 || index == 32,
        };
        is_known && (quiet || broken(Mutant::PageLockIgnored))
    }
}

#[cfg(not(stillpoint_loom))]
mod memory {
    use std::sync::atomic::AtomicU64;

    /// The words of an event's page, as far as [`Head`](super::Head) goes.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::counter::UserPage;
    /// assert_eq!(align_of::<UserPage>(), 16);
    /// ```
    #[derive(Debug, Default)]
    #[repr(C, align(16))]
    pub struct UserPage(pub [AtomicU64; 12]);

    /// Which page is whose. Directly behind it stand as many addresses of [`UserPage`]s as the bound
    /// says; null for a CPU without one. The sequence knows this layout.
    ///
    /// # Examples
    ///
    /// ```
    /// // Turns everyone away.
    /// static NOBODY: stillpoint::rseq::counter::Table = stillpoint::rseq::counter::Table::new(0);
    /// assert_eq!(NOBODY.bound(), 0);
    /// ```
    #[derive(Debug)]
    #[repr(C)]
    pub struct Table {
        bound: AtomicU64,
    }

    impl Table {
        /// For CPUs below this bound.
        ///
        /// # Examples
        ///
        /// See [`read`](super::read).
        pub const fn new(bound: u32) -> Table {
            Table { bound: AtomicU64::new(bound as u64) }
        }

        /// As it was made with; 0 if the memory was wiped since.
        ///
        /// # Examples
        ///
        /// See [`Table`].
        pub fn bound(&self) -> u32 {
            // Relaxed: whoever has the table was handed it after it was filled, and it does not
            // change; in the child of a fork it is another memory's.
            self.bound.load(std::sync::atomic::Ordering::Relaxed) as u32
        }
    }
}

#[cfg(stillpoint_sections)]
mod native {
    use super::{Head, Raw, Table, UserPage};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use std::mem::offset_of;

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(offset_of!(Raw, cpu) == 0 && offset_of!(Raw, again) == 4);
        assert!(offset_of!(Raw, counter) == 8 && offset_of!(Raw, head) == 16);
        assert!(offset_of!(Raw, clock) == 112 && size_of::<Head>() == size_of::<UserPage>());
        assert!(offset_of!(Head, lock) == 8 && offset_of!(Head, index) == 12);
        assert!(offset_of!(Head, capabilities) == 40 && offset_of!(Head, time_mult) == 52);
        assert!(offset_of!(Head, time_mask) == 88);
        assert!(size_of::<Table>() == 8 && cfg!(target_endian = "little"));
    };

    /// Tries once to read the counter of the calling thread's CPU. Returns false, with nothing known,
    /// if the section was aborted, the CPU has no page, or the thread is not registered. If it returns
    /// true, ask [`Raw::is_consistent`].
    ///
    /// One section; the store of [`Raw::again`] commits, and orders nothing. On x86-64 34 instructions,
    /// of which the two that read counter and clock cost most, some ten nanoseconds each. Processors may
    /// read a counter a few instructions early or late. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// `table` is the first word of a table as [`Table`] describes it. A page that it names stays, and
    /// is that of an event of this CPU: its index is 0, or one that this process may read there now.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// use stillpoint::rseq::counter::{Raw, Table, UserPage, read};
    ///
    /// // An event of every CPU that counts nowhere: index 0.
    /// #[repr(C)]
    /// struct Pages(Table, [&'static UserPage; 1024]);
    /// let page: &'static UserPage = Box::leak(Box::default());
    /// page.0[2].store(7, Relaxed); // the offset
    /// let pages = Pages(Table::new(1024), [page; 1024]);
    /// let mut raw = Raw::default();
    /// // SAFETY: a table of 1024 CPUs, whose page lives for ever.
    /// if unsafe { read(&raw const pages.0, &mut raw) } {
    ///     assert_eq!((raw.head.offset, raw.counter), (7, 0));
    ///     assert!(!raw.is_consistent());
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn read(table: *const Table, to: &mut Raw) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::PageOutsideSection) {
            // SAFETY: as the caller promises, but for the CPU.
            return unsafe { read_chosen_outside(table, to) };
        }
        // SAFETY: as the caller promises.
        unsafe { read_at(table, to, o) }
    }

    /// [`read`] with a known offset.
    #[inline(always)]
    unsafe fn read_at(table: *const Table, to: &mut Raw, o: isize) -> bool {
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its `rseq_cs`
        // field. The text reads the table and, within the bound, a page, which the caller says is there,
        // and the counter that it names; it stores to the buffer. No stack is used.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            section!(
                "counter_read", "landing_cold",
                o = in(reg) o,
                table = in(reg) table,
                to = in(reg) std::ptr::from_mut(to),
                mark = out(reg) _,
                v = out(xmm_reg) _,
                out("rax") _,
                out("rcx") _,
                out("rdx") _,
                cold = label { return false },
                options(nostack),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            section!(
                "counter_read", "landing_cold",
                o = in(reg) o,
                table = in(reg) table,
                to = in(reg) std::ptr::from_mut(to),
                mark = out(reg) _,
                v = out(vreg) _,
                w = out(vreg) _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// A mutant: the section finds the page that was that of the thread's CPU before.
    #[cfg(stillpoint_mutants)]
    #[inline(always)]
    unsafe fn read_chosen_outside(table: *const Table, to: &mut Raw) -> bool {
        use crate::rseq::ids::{CPU, field};

        #[repr(C)]
        struct Chosen(Table, [*const UserPage; 64]);

        // SAFETY: the caller's promise.
        let bound = unsafe { &*table }.bound().min(64);
        let Some(cpu) = field::<CPU>().filter(|&cpu| cpu < bound) else { return false };
        // SAFETY: within the bound.
        let page = unsafe { table.add(1).cast::<*const UserPage>().add(cpu as usize).read() };
        let chosen = Chosen(Table::new(64), [page; 64]);
        crate::sync::dither();
        // SAFETY: a table; whether the page is that of this CPU is the defect.
        unsafe { read_at(&raw const chosen.0, to, hoisted_offset()) }
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::{Raw, Table};

    /// This target has no sequences: never reads.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the table must name pages.
    #[inline(always)]
    pub unsafe fn read(_: *const Table, _: &mut Raw) -> bool {
        false
    }
}
