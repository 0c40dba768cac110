//! The sequence behind the machine floor's self-test.

use super::area::hoisted_offset;
use super::section::section;
use std::sync::atomic::AtomicU32;

/// Spins inside a section until `flag` becomes nonzero (returns `false`), `rounds` have passed
/// (`false`), or the kernel aborts the section (`true`).
///
/// The calling thread must be registered; otherwise nothing ever aborts.
pub(crate) fn spins_until_aborted(flag: &AtomicU32, rounds: u64) -> bool {
    let o = hoisted_offset();
    if o == 0 {
        return false;
    }
    let mut result: u64 = 1;
    // SAFETY: `o` is the offset of this thread's area. The text reads `flag` and stores nothing.
    unsafe {
        section!(
            "spin", "landing_null",
            o = in(reg) o,
            flag = in(reg) flag.as_ptr(),
            n = inout(reg) rounds.max(1) => _,
            mark = inout(reg) result,
            options(nostack),
        );
    }
    result == 0
}
