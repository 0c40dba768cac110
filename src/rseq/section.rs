//! Puts the text of a sequence between its descriptor and its landing.
//!
//! `section!(body, landing, operands…)` expands to one `asm!`:
//!
//! ```text
//! descriptor.s   50: descriptor; pointer and exit-point entries      (data sections)
//! prologue.s     plant the descriptor; 51:
//! <body>.s       … 55: the committing instruction; 52:
//! <landing>.s    signature; 54: aborted; 53: left early              (out of line)
//! ```
//!
//! Every body takes the operand `o`, the offset of the rseq area from the thread pointer,
//! and a scratch register `x`; on aarch64 also `area` and `y`. Local labels are numeric, so a
//! text may be inlined any number of times.

/// The text of one file below `asm/` of this architecture.
#[cfg(target_arch = "x86_64")]
macro_rules! text {
    ($file:literal) => {
        include_str!(concat!("../../asm/x86_64/", $file, ".s"))
    };
}
/// The text of one file below `asm/` of this architecture.
#[cfg(target_arch = "aarch64")]
macro_rules! text {
    ($file:literal) => {
        include_str!(concat!("../../asm/aarch64/", $file, ".s"))
    };
}

/// One `asm!` with the descriptor of that name.
#[cfg(target_arch = "x86_64")]
macro_rules! assemble {
    ($descriptor:literal, $body:literal, $landing:literal, $($operands:tt)*) => {
        ::core::arch::asm!(
            $crate::rseq::section::text!($descriptor),
            $crate::rseq::section::text!("prologue"),
            $crate::rseq::section::text!($body),
            $crate::rseq::section::text!($landing),
            x = out(reg) _,
            $($operands)*
        )
    };
}
/// One `asm!` with the descriptor of that name.
#[cfg(target_arch = "aarch64")]
macro_rules! assemble {
    ($descriptor:literal, $body:literal, $landing:literal, $($operands:tt)*) => {
        ::core::arch::asm!(
            $crate::rseq::section::text!($descriptor),
            $crate::rseq::section::text!("prologue"),
            $crate::rseq::section::text!($body),
            $crate::rseq::section::text!($landing),
            "/* {y} */",
            x = out(reg) _,
            y = out(reg) _,
            area = out(reg) _,
            // A branch beyond its reach goes through a veneer that may use these two.
            out("x16") _,
            out("x17") _,
            $($operands)*
        )
    };
}

/// One restartable section; see the module's head.
#[cfg(not(stillpoint_mutants))]
macro_rules! section {
    ($($parts:tt)*) => { $crate::rseq::section::assemble!("descriptor", $($parts)*) };
}
/// One restartable section, whose commit stands too late, or which is never aborted, if the tests
/// chose that mutant.
#[cfg(stillpoint_mutants)]
macro_rules! section {
    ($($parts:tt)*) => {
        if $crate::sync::mutant::broken($crate::sync::mutant::Mutant::LateCommit) {
            $crate::rseq::section::assemble!("mutant/descriptor_late", $($parts)*)
        } else if $crate::sync::mutant::broken($crate::sync::mutant::Mutant::NoAbort) {
            $crate::rseq::section::assemble!("mutant/descriptor_empty", $($parts)*)
        } else {
            $crate::rseq::section::assemble!("descriptor", $($parts)*)
        }
    };
}

pub(crate) use {assemble, section, text};
