//! The sequences that mark a read-side critical section, and the words they count in.
//!
//! A [`Line`] per CPU holds, for each of two phases, how many sections were entered and how
//! many were left there. The words of a CPU's line are stored plainly, and only by sequences on
//! that CPU. Line 0 belongs to no CPU, CPU `n` has line `n + 1`: whoever cannot run a sequence
//! counts in line 0, atomically. The two kinds of store never meet in one word.

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64};
use std::ptr::NonNull;

/// A CPU's counts in one phase: a cache line of its own, so that scanning the phase that
/// readers have left does not disturb them. Both counts only ever rise.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::Ordering::{Acquire, Relaxed};
/// use stillpoint::rseq::reader::Phase;
///
/// let phase = Phase::default();
/// phase.entered.fetch_add(1, Relaxed);
/// assert_eq!(phase.entered.load(Relaxed) - phase.left.load(Acquire), 1); // somebody is inside
/// ```
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Phase {
    /// Read-side critical sections that began here.
    pub entered: AtomicU64,
    /// Read-side critical sections that ended here.
    pub left: AtomicU64,
}

/// A CPU's counts. 128 bytes: adjacent lines are fetched in pairs. On s390x one line has 256.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::reader::{Line, Phase};
///
/// // One for each CPU, and line 0 in front of them.
/// let lines: Vec<Line> = (0..=stillpoint::machine().slots()).map(|_| Line::default()).collect();
/// assert!(size_of::<Line>() >= 2 * size_of::<Phase>());
/// # drop(lines);
/// ```
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "s390x"), repr(C, align(128)))]
#[cfg_attr(target_arch = "s390x", repr(C, align(256)))]
pub struct Line {
    /// One of them is current.
    pub phases: [Phase; 2],
}

/// What a reader loads to enter: a read-mostly line. The sequences know this layout.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicPtr, AtomicU32};
/// use stillpoint::rseq::reader::{Gate, enter};
///
/// let closed = Gate { phase: AtomicPtr::default(), slots: AtomicU32::new(0) };
/// // SAFETY: there are no lines, and it says so.
/// assert_eq!(unsafe { enter(&closed) }, None);
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Gate {
    /// The current phase of CPU 0's line, or null as long as there are no lines.
    pub phase: AtomicPtr<Phase>,
    /// How many CPUs have a line; 0 turns every sequence away. Published after `phase`.
    pub slots: AtomicU32,
}

/// Where a section was counted.
///
/// The CPU is there so that leaving compares a register: one load less than from the line.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::reader::{Line, Mark, NO_CPU};
///
/// let line_0 = Line::default();
/// // Counted atomically, by a thread that could not run a sequence.
/// let mark = Mark { phase: (&line_0.phases[0]).into(), cpu: NO_CPU };
/// assert_ne!(mark, Mark { cpu: 0, ..mark });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The phase in the line that counted.
    pub phase: NonNull<Phase>,
    /// The CPU whose line it is, or [`NO_CPU`].
    pub cpu: u32,
}

/// The CPU of a section that was counted atomically: no thread's CPU number, registered or
/// not, is ever this.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::reader::NO_CPU;
/// assert!(stillpoint::current_cpu() < NO_CPU);
/// ```
pub const NO_CPU: u32 = u32::MAX - 15;

impl Mark {
    /// The same phase in the line of CPU 0, if the section was counted by a sequence.
    fn phase_of_cpu_0(self) -> Option<*mut Phase> {
        let lines = (self.cpu != NO_CPU).then_some(self.cpu as usize)?;
        Some(self.phase.as_ptr().wrapping_byte_sub(lines * size_of::<Line>()))
    }

    /// Where the section can be left atomically: where it was counted, if that was atomic, else
    /// in the same phase of line 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::reader::{Line, Mark, NO_CPU};
    /// use std::ptr::NonNull;
    ///
    /// let lines = [Line::default(), Line::default()];
    /// let [of_line_0, of_cpu_0] = lines.each_ref().map(|line| NonNull::from(&line.phases[1]));
    /// let counted = Mark { phase: of_cpu_0, cpu: 0 };
    /// assert_eq!(counted.atomic_phase(), of_line_0.as_ptr());
    /// let atomically = Mark { phase: of_line_0, cpu: NO_CPU };
    /// assert_eq!(atomically.atomic_phase(), of_line_0.as_ptr());
    /// ```
    #[inline]
    pub fn atomic_phase(self) -> *mut Phase {
        match self.phase_of_cpu_0() {
            Some(phase) => phase.wrapping_byte_sub(size_of::<Line>()),
            None => self.phase.as_ptr(),
        }
    }
}

#[cfg(stillpoint_loom)]
pub use super::model::{enter, leave, leave_here};

#[cfg(stillpoint_sections)]
pub use native::{enter, leave, leave_here};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{enter, leave, leave_here};

#[cfg(stillpoint_sections)]
mod native {
    use super::{Gate, Line, Mark, NO_CPU, Phase};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    #[cfg(stillpoint_mutants)]
    use crate::sync::mutant::{Mutant, broken};
    use crate::sync::sequence_releases;
    use std::mem::offset_of;
    use std::ptr::NonNull;

    impl Mark {
        /// Before a sequence counts the end: it releases on some CPU's `left` word. A scan
        /// acquires those of all CPUs, so the mark's stands for any. Atomic ends tell themselves.
        #[inline(always)]
        fn tell_sanitizer(self) {
            if self.cpu != NO_CPU {
                let left = self.phase.as_ptr().wrapping_byte_add(offset_of!(Phase, left));
                sequence_releases(left.cast());
            }
        }
    }

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(size_of::<Line>() == 128 && size_of::<Phase>() == 64);
        assert!(offset_of!(Phase, entered) == 0 && offset_of!(Phase, left) == 8);
        assert!(offset_of!(Gate, phase) == 0 && offset_of!(Gate, slots) == 8);
    };

    /// Tries once to count the calling thread into the current phase, on its CPU's line.
    ///
    /// One section: load the CPU number and compare it with the gate's bound (an unregistered
    /// thread's number is above every bound); load the phase; `entered += 1` commits. Returns
    /// where it counted, or `None`, with nothing counted, if the section was aborted, the
    /// thread is not registered, or its CPU has no line.
    ///
    /// Async-signal-safe. No instruction of it is atomic, no fence.
    ///
    /// # Safety
    ///
    /// If `gate.slots` is `n > 0`, `gate.phase` must point at phase 0 or 1 of the second of
    /// `n + 1` contiguous [`Line`]s that live until every mark is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::reader::{Gate, Line, enter, leave, leave_here};
    /// use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};
    ///
    /// let cpus = 1024;
    /// let mut lines: Vec<Line> = (0..=cpus).map(|_| Line::default()).collect();
    /// let gate = Gate {
    ///     phase: AtomicPtr::new(&mut lines[1].phases[0]),
    ///     slots: AtomicU32::new(cpus),
    /// };
    /// // SAFETY: the gate describes `lines`, which live to the end of this function.
    /// let mark = unsafe { enter(&gate) };
    /// if let Some(mark) = mark {
    ///     // … a read-side critical section …
    ///     // SAFETY: the same gate, a mark that it gave, left once.
    ///     unsafe {
    ///         if !leave_here(mark) {
    ///             while !leave(&gate, mark) {}
    ///         }
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn enter(gate: &Gate) -> Option<Mark> {
        let o = hoisted_offset();
        if o == 0 {
            return None;
        }
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::PhaseOutsideSection) {
            // The phase a reader will count in, loaded before the section begins.
            let stale = Gate {
                phase: gate.phase.load(crate::sync::Ordering::Acquire).into(),
                slots: gate.slots.load(crate::sync::Ordering::Acquire).into(),
            };
            crate::sync::dither();
            // SAFETY: as the caller promises.
            return unsafe { enter_at(&stale, o) };
        }
        // SAFETY: as the caller promises.
        unsafe { enter_at(gate, o) }
    }

    /// [`enter`] with a known offset.
    #[inline(always)]
    unsafe fn enter_at(gate: &Gate, o: isize) -> Option<Mark> {
        let (mark, cpu): (*mut Phase, u32);
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the gate and, within its bound, adds one to a
        // counter that the caller says is there. No stack is used.
        unsafe {
            section!(
                "reader_enter", "landing_null",
                o = in(reg) o,
                gate = in(reg) gate,
                mark = out(reg) mark,
                cpu = out(reg) cpu,
                options(nostack),
            );
        }
        NonNull::new(mark).map(|phase| Mark { phase, cpu })
    }

    /// Tries once to count the end of a section where its beginning was counted. Returns
    /// false, with nothing counted, if the section was aborted or the thread is not on the mark's
    /// CPU, as it never is if that is [`NO_CPU`](super::NO_CPU).
    ///
    /// One section; `left += 1` commits, and releases: everything before it in program order
    /// happens before whoever acquires the count. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// `mark` came from [`enter`] on a gate whose lines still live, or has
    /// [`NO_CPU`](super::NO_CPU); it is left once.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::reader::{Line, Mark, NO_CPU, leave_here};
    ///
    /// let line = Line::default();
    /// let mark = Mark { phase: (&line.phases[0]).into(), cpu: NO_CPU };
    /// // SAFETY: a mark of no CPU.
    /// assert!(!unsafe { leave_here(mark) });
    /// ```
    #[inline(always)]
    pub unsafe fn leave_here(mark: Mark) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        mark.tell_sanitizer();
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text adds one to a counter that the caller says is there. No
        // stack is used.
        unsafe {
            section!(
                "reader_leave_here", "landing_cold",
                o = in(reg) o,
                mark = in(reg) mark.phase.as_ptr(),
                cpu = in(reg) mark.cpu,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// Tries once to count the end of a section on the line of the CPU the caller runs on
    /// now, whichever counted its beginning. Returns false, with nothing counted, if the
    /// section was aborted, the thread is not registered, its CPU has no line, or the mark
    /// has [`NO_CPU`](super::NO_CPU).
    ///
    /// One section; commits and releases as [`leave_here`]. Any thread may call it, on any
    /// CPU. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`enter`], and `mark` is one for [`leave_here`], of this gate.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::reader::{Gate, Line, Mark, NO_CPU, leave};
    /// use std::sync::atomic::{AtomicPtr, AtomicU32};
    ///
    /// let line = Line::default();
    /// let mark = Mark { phase: (&line.phases[0]).into(), cpu: NO_CPU };
    /// let gate = Gate { phase: AtomicPtr::default(), slots: AtomicU32::new(0) };
    /// // SAFETY: a mark of no CPU, and a gate without lines.
    /// assert!(!unsafe { leave(&gate, mark) });
    /// ```
    #[inline(always)]
    pub unsafe fn leave(gate: &Gate, mark: Mark) -> bool {
        let o = hoisted_offset();
        let Some(phase) = mark.phase_of_cpu_0().filter(|_| o != 0) else { return false };
        mark.tell_sanitizer();
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. Within the gate's bound, the text adds one to a counter that the
        // caller says is there. No stack is used.
        unsafe {
            section!(
                "reader_leave", "landing_cold",
                o = in(reg) o,
                gate = in(reg) gate,
                mark = in(reg) phase,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::{Gate, Mark};

    /// This target has no sequences: never counts.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the gate must describe live lines.
    #[inline(always)]
    pub unsafe fn enter(_: &Gate) -> Option<Mark> {
        None
    }

    /// This target has no sequences: never counts.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the mark must come from `enter`.
    #[inline(always)]
    pub unsafe fn leave_here(_: Mark) -> bool {
        false
    }

    /// This target has no sequences: never counts.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the mark must come from `enter`.
    #[inline(always)]
    pub unsafe fn leave(_: &Gate, _: Mark) -> bool {
        false
    }
}
