//! Where every thread's `struct rseq` lies: one offset from the thread pointer.
//!
//! # State
//!
//! Two words, of which at most one is ever written, in the early constructor: `LIBC`, if the
//! C library registers every thread before its code runs; `OWN`, if we register threads when they
//! miss it. Sequences want one word and no more, so for them there is [`hoisted_offset`]: the first
//! word, and only if that is 0 the second, and whether the calling thread is registered.
//!
//! # Why it is asked before the section, where we register
//!
//! A thread that is not registered must not even enter a section. In it, it would be turned away by
//! its CPU number, which is negative. But a signal handler may come between the planting of the
//! descriptor and that comparison, and use the library: then the thread becomes registered in the
//! middle, with another descriptor planted or none. Behind the handler the section would find a CPU
//! number that is good, and go on, while the kernel knows nothing of it and aborts nothing.
//! Registered before, it stays so until its last destructors.
//!
//! # Orderings
//!
//! Relaxed: an offset is a plain number, and 0 always means the cold path.

use std::arch::asm;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// Offset of the areas that the C library registered, or 0.
/// (No area can be there: the thread pointer points at libc's own block.)
static LIBC: AtomicIsize = AtomicIsize::new(0);
/// Offset of the areas that we register, or 0.
static OWN: AtomicIsize = AtomicIsize::new(0);

/// The C library registers, there.
pub(super) fn set_libc(offset: isize) {
    LIBC.store(offset, Relaxed);
}

/// We register, there.
pub(super) fn set_own(offset: isize) {
    OWN.store(offset, Relaxed);
}

/// Offset of the calling thread's area from its thread pointer, registered or not; 0 if nobody has
/// found out yet, or nobody registers.
#[inline]
pub(super) fn offset() -> isize {
    match LIBC.load(Relaxed) {
        0 => OWN.load(Relaxed),
        offset => offset,
    }
}

/// One load that the compiler may move out of loops, which it may not do with an ordinary one across
/// a section. Every caller must take 0 for an answer, even after others got another.
///
/// The compiler says where the word is. A text that asks the linker for it, by the symbol in the table
/// of addresses, is given another word wherever the compiler has merged statics into one: then it names
/// the whole and a distance, and of those two the table has the first. (Seen on arm64, optimised at
/// link time.)
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "as good as constant: see below")]
fn load(word: &'static AtomicIsize) -> isize {
    let offset: isize;
    // SAFETY: reads an aligned word that lives for ever. It is written in the early constructor
    // only: from 0, and back to 0 where an emulator registers nobody, whose threads sequences
    // turn away all the same. `pure` and `nomem` let the compiler reuse what an earlier
    // execution gave: the same, or 0, which only means the cold path.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "mov {o}, qword ptr [{o}]",
            o = inout(reg) word.as_ptr() => offset,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "ldr {o}, [{o}]",
            o = inout(reg) word.as_ptr() => offset,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    offset
}

/// That offset, or 0 if the calling thread is not registered, as the area says that lies there.
///
/// With `nomem` this, too, may be moved out of loops: for areas of the C library, whose threads are
/// registered before they run anything of ours, or never. Threads that we register become so in the
/// middle of functions; with `readonly` they are asked again behind whatever may have changed memory.
/// (Programs that switch stacks, and go on with a function on another thread, must do that between
/// registered threads only, as glibc's all are.)
macro_rules! if_registered {
    ($offset:expr, $reads:ident) => {{
        let mut offset: isize = $offset;
        // SAFETY: the CPU number in this thread's own area, which is negative unless it is
        // registered. With an offset of 0 it is a word of libc's block. `nomem`: see above.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(
                "movsxd {x}, dword ptr fs:[{o} + 4]",
                "sar {x}, 63",
                "not {x}",
                "and {o}, {x}",
                o = inout(reg) offset,
                x = out(reg) _,
                options(pure, $reads, nostack),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(
                "mrs {x}, tpidr_el0",
                "add {x}, {x}, {o}",
                "ldrsw {x}, [{x}, 4]",
                "bic {o}, {o}, {x}, asr 63",
                o = inout(reg) offset,
                x = out(reg) _,
                options(pure, $reads, nostack, preserves_flags),
            );
        }
        offset
    }};
}

/// [`offset`] for the sequences that compare the CPU number themselves: one load where the C library
/// registers. Where we do, 0 for a thread that is not registered.
#[inline(always)]
pub(crate) fn hoisted_offset() -> isize {
    match load(&LIBC) {
        0 => if_registered!(load(&OWN), readonly),
        offset => offset,
    }
}

/// [`offset`] for the sequences that do not look at the CPU number: 0 for a thread that is not
/// registered, by whomever.
#[inline(always)]
pub(crate) fn hoisted_registration() -> isize {
    match if_registered!(load(&LIBC), nomem) {
        0 => if_registered!(load(&OWN), readonly),
        offset => offset,
    }
}
