//! The sequences that mark a read-side critical section, and the words they count in.
//!
//! A [`Line`] per CPU holds, for each of two phases, how many sections were entered and how
//! many were left there. The words of a CPU's line are stored plainly, and only by sequences on that CPU.
//! Line 0 belongs to no CPU: whoever cannot run a sequence counts there, atomically. The two
//! kinds of store never meet in one word.
//!
//! A tight loop of enter and leave is bound by the latency of forwarding one counter's
//! store to its next load. Each counter is therefore two *stripes*; a thread alternates
//! between them by a thread-local hint. Sums run over both.

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64};
use std::ptr::NonNull;

/// One stripe of a CPU's counts in one phase. Both only ever rise.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Stripe {
    /// Read-side critical sections that began here.
    pub entered: AtomicU64,
    /// Read-side critical sections that ended here.
    pub left: AtomicU64,
}

/// A CPU's counts in one phase: a cache line of its own, so that scanning the phase that
/// readers have left does not disturb them.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Phase {
    /// A thread alternates between the two.
    pub stripes: [Stripe; STRIPES],
}

/// One is enough for the models, where a second only multiplies the interleavings.
const STRIPES: usize = if cfg!(stillpoint_loom) { 1 } else { 2 };

/// A CPU's counts. 128 bytes: adjacent lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Line {
    /// One of them is current.
    pub phases: [Phase; 2],
}

/// What a reader loads to enter: a read-mostly line. The sequences know this layout.
#[derive(Debug)]
#[repr(C)]
pub struct Gate {
    /// The current phase of line 0, or null as long as there are no lines.
    pub phase: AtomicPtr<Phase>,
    /// How many CPUs have a line behind line 0; 0 turns every sequence away. Published
    /// after `phase`.
    pub slots: AtomicU32,
}

/// Where a section was counted: a stripe in line 0 or, for an atomic count, in any line.
pub type Mark = NonNull<Stripe>;

#[cfg(stillpoint_loom)]
pub use super::model::{enter, leave};

#[cfg(stillpoint_sections)]
pub use native::{enter, leave};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{enter, leave};

#[cfg(stillpoint_sections)]
mod native {
    use super::{Gate, Line, Mark, Phase, Stripe};
    use crate::rseq::area::{c_name, offset};
    use crate::rseq::section::{section, text};
    #[cfg(stillpoint_mutants)]
    use crate::sync::mutant::{Mutant, broken};
    use std::arch::asm;
    use std::mem::offset_of;
    use std::ptr::NonNull;

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(size_of::<Line>() == 128 && size_of::<Phase>() == 64 && size_of::<Stripe>() == 16);
        assert!(offset_of!(Stripe, entered) == 0 && offset_of!(Stripe, left) == 8);
        assert!(offset_of!(Gate, phase) == 0 && offset_of!(Gate, slots) == 8);
    };

    /// This thread's stripe for the next section: 0 or 16, alternating.
    #[inline(always)]
    fn next_stripe() -> usize {
        let stripe: usize;
        // SAFETY: flips a word of this thread's static TLS. The symbol is in the C unit; the
        // linker fills in its offset from the thread pointer.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(
                concat!("mov {x}, qword ptr [rip + ", c_name!("toggle"), "@gottpoff]"),
                text!("toggle"),
                x = out(reg) _,
                stripe = out(reg) stripe,
                options(nostack),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(
                concat!("adrp {x}, :gottprel:", c_name!("toggle")),
                concat!("ldr {x}, [{x}, :gottprel_lo12:", c_name!("toggle"), "]"),
                text!("toggle"),
                x = out(reg) _,
                y = out(reg) _,
                stripe = out(reg) stripe,
                options(nostack),
            );
        }
        stripe
    }

    /// Tries once to count the calling thread into the current phase, on its CPU's line.
    ///
    /// One section: load the CPU number and compare it with the gate's bound (an unregistered
    /// thread's number is above every bound); load the phase; `entered += 1`
    /// commits. Returns where it counted, or `None`, with nothing counted, if the section was
    /// aborted, the thread is not registered, or its CPU has no line.
    ///
    /// The mark is in line 0 whatever CPU counted; [`leave`] adds the CPU it runs on.
    /// Async-signal-safe. No instruction of it is atomic, no fence.
    ///
    /// # Safety
    ///
    /// If `gate.slots` is `n > 0`, `gate.phase` must point at phase 0 or 1 of the first of
    /// `n + 1` contiguous [`Line`]s that live until every mark is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::reader::{Gate, Line, enter, leave};
    /// use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};
    ///
    /// let cpus = 1024;
    /// let mut lines: Vec<Line> = (0..=cpus).map(|_| Line::default()).collect();
    /// let gate = Gate {
    ///     phase: AtomicPtr::new(&mut lines[0].phases[0]),
    ///     slots: AtomicU32::new(cpus),
    /// };
    /// // SAFETY: the gate describes `lines`, which live to the end of this function.
    /// let mark = unsafe { enter(&gate) };
    /// if let Some(mark) = mark {
    ///     // … a read-side critical section …
    ///     // SAFETY: the same gate, a mark that it gave.
    ///     while !unsafe { leave(&gate, mark) } {}
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn enter(gate: &Gate) -> Option<Mark> {
        let o = offset();
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
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::LateCommit) {
            let mark: *mut Stripe;
            // SAFETY: as in `enter_at`, but for what the mutant breaks.
            unsafe {
                section!(
                    @ "mutant/descriptor_late", "reader_enter", "landing_null",
                    o = in(reg) o,
                    gate = in(reg) gate,
                    stripe = in(reg) next_stripe(),
                    mark = out(reg) mark,
                    options(nostack),
                );
            }
            return NonNull::new(mark);
        }
        // SAFETY: as the caller promises.
        unsafe { enter_at(gate, o) }
    }

    /// [`enter`] with a known offset.
    #[inline(always)]
    unsafe fn enter_at(gate: &Gate, o: isize) -> Option<Mark> {
        let mark: *mut Stripe;
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the gate and, within its bound, adds one to a
        // counter that the caller says is there. No stack is used.
        unsafe {
            section!(
                "reader_enter", "landing_null",
                o = in(reg) o,
                gate = in(reg) gate,
                stripe = in(reg) next_stripe(),
                mark = out(reg) mark,
                options(nostack),
            );
        }
        NonNull::new(mark)
    }

    /// Tries once to count the end of the section that `mark` stands for, on the line of the
    /// CPU the caller runs on now. Returns false, with nothing counted, if the section was aborted,
    /// the thread is not registered, or its CPU has no line.
    ///
    /// One section; `left += 1` commits, and releases: everything before it in program order
    /// happens before whoever acquires the count. Any thread may call it, on any CPU.
    /// Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`enter`], and `mark` came from `enter` on this gate and is left once.
    #[inline(always)]
    pub unsafe fn leave(gate: &Gate, mark: Mark) -> bool {
        // Not 0: somebody's `enter` on this gate found it nonzero, and handed us the mark.
        let o = offset();
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::LateCommit) {
            // SAFETY: as below, but for what the mutant breaks.
            unsafe {
                section!(
                    @ "mutant/descriptor_late", "reader_leave", "landing_cold",
                    o = in(reg) o,
                    gate = in(reg) gate,
                    mark = in(reg) mark.as_ptr(),
                    cold = label { return false },
                    options(nostack),
                );
            }
            return true;
        }
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. Within the gate's bound, the text adds one to a counter that the
        // caller says is there. No stack is used.
        unsafe {
            section!(
                "reader_leave", "landing_cold",
                o = in(reg) o,
                gate = in(reg) gate,
                mark = in(reg) mark.as_ptr(),
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
    pub unsafe fn leave(_: &Gate, _: Mark) -> bool {
        false
    }
}
