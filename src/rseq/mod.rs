//! Restartable sequences: the kernel's ABI, and typed sequences for authors of per-CPU structures.
//!
//! This is the unsafe floor. Everything above it can be used without knowing that
//! restartable sequences exist; people who build their own per-CPU structures start here. A guide
//! is in `docs/build-your-own.md`; what each sequence is made of, in `docs/rseq.md`.
//!
//! A *restartable sequence* (section) is a stretch of instructions that the kernel promises
//! to run on one CPU without preemption, signal or migration in between: if any of them
//! happens, the thread resumes at the section's abort landing instead. A section has at
//! most one committing store, its last instruction; before it, nothing is visible to anyone else.
//!
//! * [`area`]: where the calling thread's `struct rseq` is and who registered it.
//! * [`cache`]: sequences on an array of items that each CPU has.
//! * [`change`]: sequences that change a word as planned, and may store or copy before.
//! * [`exchange`]: sequences that take what a word holds, or what it leads to.
//! * [`ensure_registered`], [`is_registered`]: whether the calling thread can run sequences at all.
//! * [`fence`], [`fence_cpu`]: end all sequences that have begun.
//! * [`counter`]: the sequence that reads a hardware counter of a CPU.
//! * [`leaf`]: sequences that are a whole read.
//! * [`part`]: sequences on a CPU's part of something.
//! * [`reader`]: the sequences that mark a read-side critical section.
//! * [`ring`]: the sequences that append to a ring of a CPU.
//! * [`slot`]: the sequence by which a reader claims a slot for a lock.
//! * [`stack`]: sequences on a list of nodes that each CPU has.
//! * [`syscall`]: a test and a system call in one; this one's last instruction is no store.
//! * [`wait`]: the sequence by which a thread waits for a lock.
//! * [`word`]: sequences on one word of a CPU.
//!
//! The text of every sequence is in `asm/`, one folder per architecture; `section.rs` puts a
//! text between its descriptor and its landing. Elsewhere `asm!` only loads: in `area` and `ids`.
//!
//! The kernel reads a thread's descriptor whenever it comes back from a preemption or a signal,
//! long after the section: a shared object with sequences must not be unloaded while threads live
//! that ran them. `pin.rs` sees to it where glibc is the C library.
//!
//! What user space may write into the area: `rseq_cs`, by the prologue of a section, and the byte
//! that asks for a longer time slice, where that was enabled. Nothing else, ever: newer kernels kill
//! a process that writes the fields they own.

pub(crate) mod abi;
pub mod area;
pub mod cache;
pub mod change;
pub mod counter;
pub mod exchange;
pub(crate) mod ids;
pub mod leaf;
pub mod part;
pub mod reader;
pub mod ring;
pub mod slot;
pub mod stack;
#[cfg(not(stillpoint_loom))]
pub mod syscall;
pub mod wait;
pub mod word;

#[doc(inline)]
pub use area::{ensure_registered, is_registered};

// Shown here, and made on the floor above, which knows the tier. Nothing on this one calls them.
#[doc(inline)]
pub use crate::machine::{FenceError, fence, fence_cpu};

#[cfg(stillpoint_loom)]
pub mod model;
#[cfg(stillpoint_sections)]
pub(crate) mod offset;
#[cfg(stillpoint_sections)]
pub(crate) mod pin;
#[cfg(stillpoint_sections)]
pub(crate) mod probe;
#[cfg(all(target_os = "linux", not(stillpoint_loom)))]
pub(crate) mod quiet;
#[cfg(stillpoint_sections)]
mod section;

/// How often the cold paths try a sequence before they do without. Under a debugger's single step,
/// or a timer faster than a section, no attempt ever succeeds.
pub(crate) const RETRIES: u32 = 8;

/// False if this thread cannot be registered, or runs on a CPU without a line: another attempt
/// would be in vain.
#[cfg(stillpoint_sections)]
pub(crate) fn sequences_may_work(slots: u32) -> bool {
    area::ensure_registered() && area::cpu_id().is_some_and(|cpu| cpu < slots)
}

/// As the model has it: try.
#[cfg(not(stillpoint_sections))]
pub(crate) fn sequences_may_work(_: u32) -> bool {
    cfg!(stillpoint_loom)
}
