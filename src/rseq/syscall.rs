//! Armed system calls: a test, and a call of the kernel, with no instant in between for a signal.
//!
//! A thread that tests a flag and then blocks may be interrupted between the two by the handler
//! that sets the flag: it blocks all the same. Here test and call are one section, whose last
//! instruction is the system call.
//!
//! # What the kernel does
//!
//! It looks at where the thread is when it goes back to user space; inside the section, it
//! sends it to the abort landing. `test`, `call` and `end` are three addresses:
//!
//! * *A signal before the call* finds the thread in the section: aborted, behind the handler
//!   everything is done again. The same on every kernel that aborts sections at all.
//! * *The call is over*, with a result or with `EINTR`: the thread is at `end`, outside. That is
//!   also what kernels see which kill for a system call inside of a section
//!   (`CONFIG_DEBUG_RSEQ`, `rseq_debug=1`).
//! * *A signal interrupts the call, and it is to be made again* (`SA_RESTART`; also a stop and a
//!   `SIGCONT`): the kernel puts the thread back to `call`, inside. Before Linux 6.19, and from 7.0.10
//!   on for registrations of 32 bytes, that is an abort: the call is not made
//!   again before the test is. **From 6.19 on it may not be**: the kernel looks only if it was
//!   entered by an interrupt. Then the call is made again behind the handler, whatever that has
//!   set.
//!
//! So on every kernel a call is safe that is never made again behind a handler: `ppoll`,
//! `pselect`, `epoll_pwait`, `epoll_pwait2`, `nanosleep`, a futex with a timeout, a socket with
//! `SO_RCVTIMEO`; or any call, if every handler is installed without `SA_RESTART`. `read` and
//! `accept` otherwise are only safe before 6.19. [`interrupt`](crate::interrupt) chooses; use it if
//! you can.
//!
//! The idea is Dmitry Vyukov's (linux-kernel, September 2021), and so is the answer by Peter
//! Zijlstra that the kernel's check sees the instruction behind the call.

use crate::sync::{AtomicU32, AtomicUsize};
use std::ffi::c_long;

/// A system call to be made.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::syscall::Call;
///
/// let yields = Call { number: libc::SYS_sched_yield, arguments: [0; 6] };
/// assert_eq!(yields.arguments.len(), 6);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// One of libc's `SYS_` numbers.
    pub number: c_long,
    /// What the kernel is passed; it ignores those that the call has not.
    pub arguments: [usize; 6],
}

#[cfg(stillpoint_sections)]
pub use native::{armed, unless};

#[cfg(not(stillpoint_sections))]
pub use absent::{armed, unless};

#[cfg(stillpoint_sections)]
mod native {
    use super::{AtomicU32, AtomicUsize, Call};
    use crate::rseq::area::hoisted_registration;
    use crate::rseq::section::section;

    /// The section with that text, on that word.
    #[cfg(target_arch = "x86_64")]
    macro_rules! call {
        ($text:literal, $word:expr, $call:expr, $($operands:tt)*) => {{
            let o = hoisted_registration();
            if o == 0 {
                return None;
            }
            let [a, b, c, d, e, f] = $call.arguments;
            let (result, mark): (isize, usize);
            // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
            // `rseq_cs` field. The text accesses a live word. What the kernel does is the caller's
            // affair, and it keeps all registers but three. No stack is used.
            unsafe {
                section!(
                    $text, "landing_null",
                    o = in(reg) o,
                    mark = inout(reg) $word.as_ptr() as usize => mark,
                    $($operands)*
                    inout("rax") $call.number as isize => result,
                    in("rdi") a,
                    in("rsi") b,
                    in("rdx") c,
                    in("r10") d,
                    in("r8") e,
                    in("r9") f,
                    out("rcx") _,
                    out("r11") _,
                    options(nostack),
                );
            }
            (mark != 0).then_some(result)
        }};
    }
    /// The section with that text, on that word.
    #[cfg(target_arch = "aarch64")]
    macro_rules! call {
        ($text:literal, $word:expr, $call:expr, $($operands:tt)*) => {{
            let o = hoisted_registration();
            if o == 0 {
                return None;
            }
            let [a, b, c, d, e, f] = $call.arguments;
            let (result, mark): (isize, usize);
            // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
            // `rseq_cs` field. The text accesses a live word. What the kernel does is the caller's
            // affair, and it keeps all registers but one, and the predicates and upper parts of SVE's.
            // No stack is used.
            unsafe {
                section!(
                    $text, "landing_null",
                    o = in(reg) o,
                    mark = inout(reg) $word.as_ptr() as usize => mark,
                    $($operands)*
                    in("x8") $call.number,
                    inout("x0") a as isize => result,
                    in("x1") b,
                    in("x2") c,
                    in("x3") d,
                    in("x4") e,
                    in("x5") f,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    out("p0") _, out("p1") _, out("p2") _, out("p3") _,
                    out("p4") _, out("p5") _, out("p6") _, out("p7") _,
                    out("p8") _, out("p9") _, out("p10") _, out("p11") _,
                    out("p12") _, out("p13") _, out("p14") _, out("p15") _,
                    out("ffr") _,
                    options(nostack),
                );
            }
            (mark != 0).then_some(result)
        }};
    }

    /// Makes a system call unless `flag` is set, that is, not 0. Tries once: returns `None`, with
    /// nothing called, if the flag is set, the section was aborted, or the thread is not
    /// registered. Otherwise what the kernel returned: an error is minus its number; `errno` stays
    /// as it is.
    ///
    /// A handler of this thread that sets the flag either comes before the test, or finds the
    /// call begun: then that returns `EINTR`, or what it returns anyway; or, before Linux 6.19, the
    /// section is aborted. [On later kernels](crate::rseq::syscall) a call that restarts is lost to
    /// the handler's word: do not make such a one there. Another thread that sets the flag must
    /// interrupt this one by a signal that has a handler.
    ///
    /// `None` says nothing of the flag; whoever tries again must test it, and must not try for
    /// ever: under a debugger's single step every section is aborted. A call with a relative
    /// timeout that was interrupted by a stop may have to be made with a shorter one.
    ///
    /// On x86-64 four instructions beyond the call. Orders nothing: load the flag again to acquire what
    /// came before it was set. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// The call is one that may be made here: its pointers are valid for what it does with
    /// them. It returns, in this process, with the stack as it was (not `fork`, `vfork`, `clone`,
    /// `rt_sigreturn`), and does not unregister the thread's area.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::AtomicU32;
    /// use stillpoint::rseq::area::ensure_registered;
    /// use stillpoint::rseq::syscall::{Call, unless};
    ///
    /// let call = Call { number: libc::SYS_getpid, arguments: [0; 6] };
    /// // SAFETY: no memory is involved.
    /// unsafe {
    ///     assert_eq!(unless(&AtomicU32::new(1), &call), None);
    ///     if ensure_registered() {
    ///         let flag = AtomicU32::new(0);
    ///         let id = (0..1000).find_map(|_| unless(&flag, &call));
    ///         assert_eq!(id, Some(std::process::id() as isize));
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn unless(flag: &AtomicU32, call: &Call) -> Option<isize> {
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::FlagOutsideSection) {
            static NEVER: AtomicU32 = AtomicU32::new(0);
            if flag.load(std::sync::atomic::Ordering::Acquire) != 0 {
                return None;
            }
            crate::sync::dither();
            call!("syscall_unless", NEVER, call,)
        } else {
            call!("syscall_unless", flag, call,)
        }
        #[cfg(not(stillpoint_mutants))]
        call!("syscall_unless", flag, call,)
    }

    /// Puts `value` to `slot`, if that holds 0, and makes a system call. Tries once, as [`unless`]
    /// does: `None` means that nothing was called; `slot` may hold `value` then.
    ///
    /// For handlers that must know whether their thread is in a call: one that finds `value` either
    /// interrupts the call, or has it not begun. One that finds 0, and puts something else there,
    /// keeps the call from being begun. The slot is not put back to 0: do that when you have seen
    /// what is in it.
    ///
    /// Other threads may look, and see it late.
    ///
    /// # Safety
    ///
    /// As for [`unless`]. Nobody stores to the slot meanwhile but this thread and its handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use stillpoint::rseq::syscall::{Call, armed};
    ///
    /// let call = Call { number: libc::SYS_getpid, arguments: [0; 6] };
    /// let slot = AtomicUsize::new(0);
    /// // SAFETY: no memory is involved, and nobody else knows the slot.
    /// if unsafe { armed(&slot, 7, &call) }.is_some() {
    ///     assert_eq!(slot.load(Relaxed), 7);
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn armed(slot: &AtomicUsize, value: usize, call: &Call) -> Option<isize> {
        call!("syscall_armed", slot, call, value = in(reg) value,)
    }
}

#[cfg(not(stillpoint_sections))]
mod absent {
    use super::{AtomicU32, AtomicUsize, Call};

    /// This target has no sequences: never calls.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the call must be one that may be made.
    #[inline(always)]
    pub unsafe fn unless(_: &AtomicU32, _: &Call) -> Option<isize> {
        None
    }

    /// This target has no sequences: never calls.
    ///
    /// # Safety
    ///
    /// As for [`unless`].
    #[inline(always)]
    pub unsafe fn armed(_: &AtomicUsize, _: usize, _: &Call) -> Option<isize> {
        None
    }
}
