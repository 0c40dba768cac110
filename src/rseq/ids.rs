//! What the kernel keeps in the calling thread's area: numbers of CPU, node, and concurrency.
//!
//! One load each. They may be stale as soon as they are there; only inside a section do they hold.

#[cfg(stillpoint_sections)]
pub(crate) use native::{CPU, MM_CID, NODE, field};

#[cfg(stillpoint_sections)]
mod native {
    use crate::rseq::abi::Area;
    use crate::rseq::area::hoisted_offset;
    use std::arch::asm;
    use std::mem::offset_of;

    pub(crate) const CPU: usize = offset_of!(Area, cpu_id);
    pub(crate) const NODE: usize = offset_of!(Area, node_id);
    pub(crate) const MM_CID: usize = offset_of!(Area, mm_cid);

    /// A word of the calling thread's area. `None` before anything is known of areas.
    #[inline(always)]
    pub(crate) fn field<const AT: usize>() -> Option<u32> {
        const { assert!(AT.is_multiple_of(4) && AT < size_of::<Area>()) };
        let o = hoisted_offset();
        if o == 0 {
            return None;
        }
        let value: u32;
        // SAFETY: a nonzero offset is that of the calling thread's area, which lives as long as the
        // thread does; the kernel writes it only on behalf of this thread. Not `pure`: the value
        // changes whenever the thread is moved.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(
                "mov {value:e}, dword ptr fs:[{o} + {at}]",
                value = out(reg) value,
                o = in(reg) o,
                at = const AT,
                options(nostack, preserves_flags, readonly),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(
                "mrs {area}, tpidr_el0",
                "add {area}, {area}, {o}",
                "ldr {value:w}, [{area}, {at}]",
                value = out(reg) value,
                area = out(reg) _,
                o = in(reg) o,
                at = const AT,
                options(nostack, preserves_flags, readonly),
            );
        }
        Some(value)
    }
}
