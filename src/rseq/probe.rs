//! The sequence behind the machine floor's self-test.

use super::offset::offset;
use super::section::section;
use std::sync::atomic::AtomicU32;

/// How a spin inside a section ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spin {
    /// The kernel aborted the section.
    Aborted,
    /// The flag was 0 at one look inside the section, and no longer at a later one: whoever set it
    /// on this thread did so in the middle, and the section went on.
    Continued,
    /// Nothing came in between: the flag was set before, or never.
    Undisturbed,
}

/// Spins inside a section until `flag` becomes nonzero, `rounds` have passed, or the kernel aborts
/// the section.
///
/// The calling thread must be registered; otherwise nothing ever aborts.
pub(crate) fn spin(flag: &AtomicU32, rounds: u64) -> Spin {
    // Not an answer from before: here 0 would be taken for a result.
    let o = offset();
    let rounds = rounds.max(1);
    if o == 0 {
        return Spin::Undisturbed;
    }
    let (mut mark, mut left): (u64, u64) = (1, rounds);
    // SAFETY: `o` is the offset of this thread's area. The text reads `flag` and stores nothing.
    unsafe {
        section!(
            "spin", "landing_null",
            o = in(reg) o,
            flag = in(reg) flag.as_ptr(),
            n = inout(reg) left,
            mark = inout(reg) mark,
            options(nostack),
        );
    }
    match (mark, left) {
        (0, _) => Spin::Aborted,
        (_, 0) => Spin::Undisturbed,
        _ if left == rounds => Spin::Undisturbed,
        _ => Spin::Continued,
    }
}
