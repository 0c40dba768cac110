//! Sequences that are a whole read: load an address, and copy what is there, or count oneself in.
//!
//! # Copying
//!
//! A *leaf* is a read that asks nobody and tells nobody. One section loads the address from a cell
//! and copies the words there, to registers or to a buffer that is the caller's. It stores nothing
//! that others could see, so it has no commit: it ends behind its last load. A reader that is
//! preempted, or gets a signal, before that has read nothing; it begins again, with the address
//! that is in the cell then. So nobody who stands still holds an address.
//!
//! Whoever replaces the address and then sends a broadcast may free what was there: a section that
//! was running when the broadcast came to its CPU is either over, with all its loads behind it
//! (the kernel's interrupt has a full barrier in it), or starts again; one that starts after the
//! broadcast finds the new address. Kernels before 6.18 may lose the abort of a broadcast, and then
//! the section reads freed memory: there it takes two broadcasts, as `expel` in
//! `src/machine/fence.rs` sends. Those who
//! retire into a [domain](crate::rcu::Domain) wait for two of its grace periods, each of which
//! sends
//! one.
//!
//! # What Rust says
//!
//! The text loads the address and copies the bytes as [`MaybeUninit`](std::mem::MaybeUninit): so
//! padding and bytes that were never written are copied for what they are, and pointers keep
//! their provenance, as in `ptr::copy`. To the abstract machine the copy happens at one moment, at
//! which the memory was still there; what a section did that was aborted never happened. All of an
//! [`Area`] may be read, since its size is a multiple of 16 and its alignment at least that. Nobody
//! writes to it as long as it can be found.
//!
//! # Counting in
//!
//! [`retain`] loads the address of a count and adds one to it, in one section whose last
//! instruction
//! is the atomic addition. Whoever has replaced the address and sent the broadcast then knows that
//! nobody adds to that count any more who does not own a part of it: a reference of the cell's
//! is given back only then, so the count is not 0 whenever a section adds to it.
//!
//! # Who is turned away
//!
//! A thread that is not registered is not aborted by anybody. [`retain`] looks in its section: an
//! address that only those under a guard may follow is stored as its complement, which is negative,
//! as no program's addresses are (what an allocator has tagged in the highest bit, as HWASan does
//! on aarch64, is not stored: that panics); so is the CPU number of a thread that is not
//! registered; one test turns both away. [`copy`] does not look, since a test more would take a
//! third of its time: whether the thread is registered is asked before, once in a loop, and a cell
//! in which sequences must not read holds the address of [`nothing`], where they may.

#[cfg(not(stillpoint_loom))]
use crate::sync::AtomicPtr;

#[cfg(stillpoint_loom)]
pub use super::model::leaf::{Area, copy, retain};

#[cfg(not(stillpoint_loom))]
pub use memory::Area;

#[cfg(stillpoint_sections)]
pub use native::{copy, retain};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{copy, retain};

/// The largest value that [`copy`] copies, in bytes: some hundred nanoseconds.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::leaf::{LIMIT, fits};
/// assert!(fits::<[u8; LIMIT]>() && !fits::<[u8; LIMIT + 1]>());
/// ```
pub const LIMIT: usize = 4096;

/// True if [`copy`] can copy a `T`: it has 1 to [`LIMIT`] bytes.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::leaf;
/// assert!(leaf::fits::<[u64; 512]>());
/// assert!(!leaf::fits::<[u64; 513]>());
/// ```
#[inline(always)]
pub const fn fits<T>() -> bool {
    size_of::<T>() > 0 && size_of::<T>() <= LIMIT
}

/// The address that stands for `address` where [`retain`] must not follow it; and back again.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::leaf::{complement, is_closed};
/// let mut value = 1;
/// let closed = complement(&raw mut value);
/// assert!(is_closed(closed));
/// assert_eq!(complement(closed), &raw mut value);
/// ```
#[inline(always)]
pub fn complement<T>(address: *mut T) -> *mut T {
    address.map_addr(|address| !address)
}

/// The complement of null: no address.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::leaf::{complement, is_closed, nowhere};
/// assert!(is_closed(nowhere::<u8>()));
/// assert!(complement(nowhere::<u8>()).is_null());
/// ```
#[inline(always)]
pub const fn nowhere<T>() -> *mut T {
    std::ptr::without_provenance_mut(usize::MAX)
}

/// True if [`retain`] turns this address away.
///
/// # Examples
///
/// See [`complement`].
#[inline(always)]
pub fn is_closed<T>(address: *mut T) -> bool {
    // Where there are no sequences, addresses may be anything, and all are closed.
    !cfg!(any(stillpoint_sections, stillpoint_loom)) || address.addr().cast_signed() < 0
}

/// What [`nothing`] is the address of: enough for the largest value.
#[repr(C, align(64))]
struct Nothing([u8; LIMIT]);

static NOTHING: Nothing = Nothing([0; LIMIT]);

/// An address at which [`copy`] finds no value.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::AtomicPtr;
/// use stillpoint::rseq::leaf::{Area, copy, nothing};
/// let cell = AtomicPtr::new(nothing::<Area<u8>>());
/// // SAFETY: no value.
/// assert!(unsafe { copy(&cell) }.is_none());
/// ```
#[inline(always)]
pub const fn nothing<T>() -> *mut T {
    (&raw const NOTHING).cast_mut().cast()
}

/// The address itself, closed or not.
pub(crate) fn opened<T>(address: *mut T) -> *mut T {
    if is_closed(address) { complement(address) } else { address }
}

/// The address as a cell holds it, for sequences or not.
///
/// # Panics
///
/// Where there are sequences, if the address is negative: it would be taken for closed, and its
/// complement for open.
pub(crate) fn stored<T>(address: *mut T, for_sequences: bool) -> *mut T {
    if !cfg!(any(stillpoint_sections, stillpoint_loom)) {
        return complement(address);
    }
    assert!(
        !is_closed(address),
        "stillpoint: the allocator gave an address with a tag in its highest bit ({address:p}), \
         which cells that are read by sequences cannot hold"
    );
    if for_sequences { address } else { complement(address) }
}

#[cfg(not(stillpoint_loom))]
mod memory {
    /// A value as [`copy`](super::copy) finds it: whole words of memory, all of which may be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::leaf::Area;
    /// assert_eq!((size_of::<Area<u8>>(), size_of::<Area<[u8; 17]>>()), (16, 32));
    /// ```
    #[derive(Debug)]
    #[repr(C, align(16))]
    pub struct Area<T>(T);

    impl<T: Copy> Area<T> {
        /// With this value in it.
        ///
        /// # Examples
        ///
        /// ```
        /// assert_eq!(stillpoint::rseq::leaf::Area::new(3).get(), 3);
        /// ```
        pub const fn new(value: T) -> Area<T> {
            Area(value)
        }

        /// The value: for those who know that the area stays.
        ///
        /// # Examples
        ///
        /// See [`new`](Area::new).
        pub fn get(&self) -> T {
            self.0
        }

        /// The end of it. The models mark what was freed.
        pub(crate) fn spoil(&self) {}

        /// The value, by exclusive access.
        pub(crate) fn get_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

#[cfg(stillpoint_sections)]
mod native {
    use super::{Area, AtomicPtr};
    use crate::rseq::area::{hoisted_offset, hoisted_registration};
    use crate::rseq::section::section;
    #[cfg(stillpoint_mutants)]
    use crate::sync::mutant::{Mutant, broken};
    use crate::sync::sequence_acquires;
    use std::mem::MaybeUninit;
    use std::ptr::{NonNull, from_ref};

    type Word = MaybeUninit<u64>;
    /// What one instruction moves.
    #[cfg(target_arch = "x86_64")]
    type Chunk = MaybeUninit<std::arch::x86_64::__m128i>;
    #[cfg(target_arch = "aarch64")]
    type Chunk = MaybeUninit<std::arch::aarch64::uint8x16_t>;

    /// One section: reads some words at an address, or returns `None`.
    macro_rules! read {
        ($text:literal, $o:ident, $cell:ident, vector $($more:tt)*) => {{
            #[cfg(target_arch = "x86_64")]
            let pieces = read!($text, $o, $cell, xmm_reg $($more)*);
            #[cfg(target_arch = "aarch64")]
            let pieces = read!($text, $o, $cell, vreg $($more)*);
            pieces
        }};
        (
            $text:literal, $o:ident, $cell:ident, $class:ident $piece:ty, $($name:ident)+
            $(, $tail:expr)?
        ) => {{
            $(let $name: $piece;)+
            let mark: *mut ();
            let nothing: *mut () = super::nothing();
            // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
            // `rseq_cs` field. The text reads the cell and, at the address that it finds there, as
            // many words as the caller's type has in an `Area`; it stores nothing. No stack is
            // used.
            unsafe {
                section!(
                    $text, "landing_leaf",
                    o = in(reg) $o,
                    cell = in(reg) $cell,
                    nothing = in(reg) nothing,
                    mark = out(reg) mark,
                    $($name = out($class) $name,)+
                    $(tail = const $tail,)?
                    options(nostack),
                );
            }
            if mark == nothing {
                return None;
            }
            [$($name),+]
        }};
    }

    /// The same with a loop, for more of them, which go to a buffer: all but the first `$less`
    /// bytes in
    /// the first place, and of those the piece at `$last` not by the section.
    macro_rules! read_many {
        (
            $o:ident, $cell:ident, $to:ident, $class:ident $piece:ty, $less:literal, $last:literal
        ) => {{
            let last: $piece;
            let mark: *mut ();
            let nothing: *mut () = super::nothing();
            // SAFETY: as in `read!`; besides, the text stores to the buffer, which is as large as
            // the
            // area.
            unsafe {
                section!(
                    "leaf_many", "landing_leaf",
                    o = in(reg) $o,
                    cell = in(reg) $cell,
                    nothing = in(reg) nothing,
                    mark = out(reg) mark,
                    n = inout(reg) size_of_val(&$to) - $less => _,
                    to = in(reg) $to.as_mut_ptr(),
                    a = out($class) _,
                    b = out($class) _,
                    c = out($class) _,
                    d = out($class) last,
                    options(nostack),
                );
            }
            if mark == nothing {
                return None;
            }
            // SAFETY: the buffer is larger.
            unsafe { $to.as_mut_ptr().byte_add($last).cast::<$piece>().write(last) };
        }};
    }

    /// Writes pieces to a buffer, so far behind its beginning.
    macro_rules! put {
        ($to:ident, $at:expr, $pieces:expr) => {{
            let (pieces, at) = ($pieces, $to.as_mut_ptr().wrapping_byte_add($at));
            // SAFETY: within the buffer, which is as large as the area, and aligned as that.
            unsafe { write(at.cast(), pieces) };
        }};
    }

    /// A pointer's `write` that says what is written.
    #[inline(always)]
    unsafe fn write<P>(to: *mut P, pieces: P) {
        // SAFETY: the caller's promise.
        unsafe { to.write(pieces) }
    }

    /// How far behind the beginning of an area its last so many bytes begin.
    const fn tail<T>(bytes: usize) -> usize {
        size_of::<Area<T>>().saturating_sub(bytes)
    }

    /// Tries once to load the address in `cell` and copy the value there. Returns `None` if the
    /// section was aborted, the address is that of [`nothing`](super::nothing), the thread is not
    /// registered, or the type does not [fit](super::fits).
    ///
    /// One section, which stores nothing that others could see; on x86-64 four instructions for a
    /// word, and a test. Acquires: what happened before the address was published happened before
    /// the return.
    /// Async-signal-safe.
    ///
    /// # Safety
    ///
    /// In the cell is the address of [`nothing`](super::nothing), or of an [`Area<T>`] to which
    /// nobody
    /// writes. The area stays until it was replaced and a broadcast of
    /// [tier `Rseq`](crate::Tier::Rseq) was sent after that; on a kernel before 6.18, two.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::AtomicPtr;
    /// use stillpoint::rseq::leaf::{Area, copy};
    ///
    /// let value = Box::leak(Box::new(Area::new([1_u64, 2])));
    /// let cell = AtomicPtr::new(value);
    /// // SAFETY: the area lives for ever.
    /// println!("without interruption: {:?}", unsafe { copy(&cell) });
    /// ```
    #[inline(always)]
    pub unsafe fn copy<T: Copy>(cell: &AtomicPtr<Area<T>>) -> Option<T> {
        let o = hoisted_registration();
        if o == 0 || const { !super::fits::<T>() } {
            return None;
        }
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::CopyOutsideSection) {
            // SAFETY: it may be gone: that is the defect.
            return address_alone(cell).map(|area| unsafe { area.cast::<T>().read_volatile() });
        }
        let mut to = MaybeUninit::<Area<T>>::uninit();
        let at: *const AtomicPtr<Area<T>> = cell;
        // Inline constants: so that even unoptimised code has one of the texts.
        if const { size_of::<T>() <= 8 } {
            put!(to, 0, read!("leaf_1", o, at, reg Word, a));
        } else if const { size_of::<T>() <= 16 } {
            put!(to, 0, read!("leaf_2", o, at, reg Word, a b));
        } else if const { size_of::<T>() <= 32 } {
            put!(to, 0, read!("leaf_4", o, at, vector Chunk, a b));
        } else if const { size_of::<T>() <= 48 } {
            put!(to, 0, read!("leaf_6", o, at, vector Chunk, a b c));
        } else if const { size_of::<T>() <= 64 } {
            put!(to, 0, read!("leaf_8", o, at, vector Chunk, a b c d));
        } else if const { size_of::<T>() <= 128 } {
            let [first @ .., e, f, g, h] =
                read!("leaf_16", o, at, vector Chunk, a b c d e f g h, tail::<T>(64));
            put!(to, 0, first);
            put!(to, tail::<T>(64), [e, f, g, h]);
        } else if const { size_of::<T>() <= 256 } {
            let [first @ .., i, j, k, l, m, n, p, q] = read!(
                "leaf_32", o, at, vector Chunk, a b c d e f g h i j k l m n p q, tail::<T>(128)
            );
            put!(to, 0, first);
            put!(to, tail::<T>(128), [i, j, k, l, m, n, p, q]);
        } else {
            #[cfg(target_arch = "x86_64")]
            read_many!(o, at, to, xmm_reg Chunk, 64, 48);
            #[cfg(target_arch = "aarch64")]
            read_many!(o, at, to, reg Word, 32, 24);
        }
        sequence_acquires(at.cast());
        // SAFETY: the bytes of a `T`, copied from an area in which one stands.
        Some(unsafe { to.as_ptr().cast::<T>().read() })
    }

    /// The mutants: the section loads the address, and what is to be done with it comes after it.
    #[cfg(stillpoint_mutants)]
    fn address_alone<T>(cell: &AtomicPtr<T>) -> Option<*mut T> {
        let (o, outer) = (hoisted_registration(), AtomicPtr::new(from_ref(cell).cast_mut()));
        if o == 0 {
            return None;
        }
        let at = from_ref(&outer);
        let [address] = read!("leaf_1", o, at, reg Word, a);
        crate::sync::dither();
        // SAFETY: a word was read.
        let address: *mut T =
            std::ptr::with_exposed_provenance_mut(unsafe { address.assume_init() } as usize);
        (!super::is_closed(address) && address != super::nothing()).then_some(address)
    }

    /// Tries once to load the address in `cell` and add one to the count there; gives the
    /// address. Returns `None`, with nothing added, if the section was aborted, the address is
    /// [closed](super::is_closed), or the thread is not registered; on aarch64 also if another
    /// processor was at the count.
    ///
    /// One section; the addition commits, and is the one atomic instruction. It orders nothing, but
    /// what happened before the address was published happened before the return.
    /// Async-signal-safe.
    ///
    /// # Safety
    ///
    /// An address in the cell that is not closed is that of something that begins with an
    /// `AtomicUsize`. It stays as [`copy`] asks for, and after that for as long as whoever adds to
    /// the count may rely on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    /// use stillpoint::rseq::leaf::retain;
    ///
    /// let count = Box::leak(Box::new(AtomicUsize::new(1)));
    /// let cell = AtomicPtr::new(&raw mut *count);
    /// // SAFETY: the count lives for ever.
    /// if let Some(count) = unsafe { retain(&cell) } {
    ///     // SAFETY: as above.
    ///     assert_eq!(unsafe { count.as_ref() }.load(Ordering::Relaxed), 2);
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn retain<T>(cell: &AtomicPtr<T>) -> Option<NonNull<T>> {
        let o = hoisted_offset();
        if o == 0 {
            return None;
        }
        #[cfg(stillpoint_mutants)]
        if broken(Mutant::RetainOutsideSection) {
            let mark = address_alone(cell)?;
            // SAFETY: it may be gone: that is the defect.
            unsafe { &*mark.cast::<std::sync::atomic::AtomicUsize>() }
                .fetch_add(1, crate::sync::Ordering::Relaxed);
            return NonNull::new(mark);
        }
        let mark: *mut T;
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text adds one to a count that the caller says is there. No stack is
        // used.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            section!(
                "retain", "landing_null",
                o = in(reg) o,
                cell = in(reg) from_ref(cell),
                mark = out(reg) mark,
                options(nostack),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        {
            let failed: u32;
            unsafe {
                section!(
                    "retain", "landing_null",
                    o = in(reg) o,
                    cell = in(reg) from_ref(cell),
                    mark = out(reg) mark,
                    failed = out(reg) failed,
                    options(nostack),
                );
            }
            if mark.is_null() || failed != 0 {
                return None;
            }
        }
        sequence_acquires(from_ref(cell).cast());
        NonNull::new(mark)
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::{Area, AtomicPtr};
    use std::ptr::NonNull;

    /// This target has no sequences: never copies.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the address must stay long enough.
    #[inline(always)]
    pub unsafe fn copy<T: Copy>(_: &AtomicPtr<Area<T>>) -> Option<T> {
        None
    }

    /// This target has no sequences: never counts.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the address must stay long enough.
    #[inline(always)]
    pub unsafe fn retain<T>(_: &AtomicPtr<T>) -> Option<NonNull<T>> {
        None
    }
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;
    use std::ptr::without_provenance_mut;

    #[test]
    fn addresses_come_back() {
        for address in [16, 0x7fff_fff0, usize::MAX / 2 - 15].map(without_provenance_mut::<u8>) {
            for for_sequences in [false, true] {
                let stored = stored(address, for_sequences);
                assert_eq!(opened(stored), address);
                let closed = !for_sequences || !cfg!(stillpoint_sections);
                assert_eq!(is_closed(stored), closed, "{address:p}");
            }
        }
    }

    /// Or are refused.
    #[test]
    fn tagged_addresses_do_not_become_others() {
        for tag in [0x80, 0xa5, 0xff] {
            let address = without_provenance_mut::<u8>(0x1000 | tag << (usize::BITS - 8));
            for for_sequences in [false, true] {
                let back = std::panic::catch_unwind(|| opened(stored(address, for_sequences)));
                assert_eq!(back.is_err(), cfg!(stillpoint_sections), "{address:p}");
                assert!(back.is_err() || back.is_ok_and(|back| back == address));
            }
        }
    }
}
