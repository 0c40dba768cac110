//! Sequences on one word of a CPU: add to it, replace it.
//!
//! The word belongs to a CPU: it is stored to plainly, and only by sequences on that CPU.
//! Anyone may load it. Who needs the CPU's number to find the word reads it before; the
//! sequence compares it, and does nothing if the thread has moved since.

#[cfg(stillpoint_loom)]
pub use super::model::{add, current_cpu, replace};

#[cfg(stillpoint_sections)]
pub use native::{add, current_cpu, replace};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{add, current_cpu, replace};

#[cfg(stillpoint_sections)]
mod native {
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use std::sync::atomic::{AtomicPtr, AtomicU64};

    /// The CPU that the calling thread runs on, by its area; stale at once. `None` if the
    /// thread is not registered.
    ///
    /// # Examples
    ///
    /// ```
    /// if let Some(cpu) = stillpoint::rseq::word::current_cpu() {
    ///     println!("on CPU {cpu}, a moment ago");
    /// }
    /// ```
    #[inline(always)]
    pub fn current_cpu() -> Option<u32> {
        crate::rseq::area::cpu_id()
    }

    /// Tries once to add `n` to a word of CPU `cpu`. Returns false, with nothing added, if the
    /// section was aborted or the thread is not on that CPU.
    ///
    /// One section; the addition commits and orders nothing. Wraps around. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// `word` lives, and is stored to only by sequences on this CPU.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::word::{add, current_cpu};
    /// use std::sync::atomic::AtomicU64;
    ///
    /// let words: Vec<AtomicU64> = (0..4096).map(|_| AtomicU64::new(0)).collect();
    /// while let Some(cpu) = current_cpu() {
    ///     // SAFETY: a word for each CPU, to which only this line stores.
    ///     if unsafe { add(cpu, &words[cpu as usize], 1) } {
    ///         break;
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn add(cpu: u32, word: &AtomicU64, n: u64) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text adds to a word that nobody else stores to. No stack is used.
        unsafe {
            section!(
                "word_add", "landing_cold",
                o = in(reg) o,
                word = in(reg) word.as_ptr(),
                cpu = in(reg) cpu,
                n = in(reg) n,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// Tries once to replace `old` by `new` in a word of CPU `cpu`. Returns false, with
    /// nothing stored, if the section was aborted, the thread is not on that CPU, or the word
    /// holds something else.
    ///
    /// One section; the store commits and releases. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`add`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::word::{current_cpu, replace};
    /// use std::ptr::null_mut;
    /// use std::sync::atomic::AtomicPtr;
    ///
    /// let mut value = 7;
    /// let words: Vec<AtomicPtr<i32>> = (0..4096).map(|_| AtomicPtr::default()).collect();
    /// while let Some(cpu) = current_cpu() {
    ///     // SAFETY: a word for each CPU, to which only this line stores.
    ///     if unsafe { replace(cpu, &words[cpu as usize], null_mut(), &mut value) } {
    ///         break;
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn replace<T>(cpu: u32, word: &AtomicPtr<T>, old: *mut T, new: *mut T) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        // SAFETY: as in `add`.
        unsafe {
            section!(
                "word_replace", "landing_cold",
                o = in(reg) o,
                word = in(reg) word.as_ptr(),
                cpu = in(reg) cpu,
                old = in(reg) old,
                new = in(reg) new,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use std::sync::atomic::{AtomicPtr, AtomicU64};

    /// This target has no sequences: never a CPU.
    #[inline(always)]
    pub fn current_cpu() -> Option<u32> {
        None
    }

    /// This target has no sequences: never adds.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the word must belong to the CPU.
    #[inline(always)]
    pub unsafe fn add(_: u32, _: &AtomicU64, _: u64) -> bool {
        false
    }

    /// This target has no sequences: never replaces.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the word must belong to the CPU.
    #[inline(always)]
    pub unsafe fn replace<T>(_: u32, _: &AtomicPtr<T>, _: *mut T, _: *mut T) -> bool {
        false
    }
}
