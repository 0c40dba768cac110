//! A table: an array of buckets behind a head, in one allocation.

use super::bucket::Bucket;
use crate::rcu::{Header, Kind};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::null_mut;

/// What precedes the buckets. Lookups do not come here, unless a bucket was moved.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Head {
    /// For when the table is retired.
    header: Header,
    /// Where the allocation begins.
    start: *mut u8,
    log: u32,
    /// The table that the buckets are being moved to, as [`Table`] has it, or null.
    pub(super) next: AtomicPtr<Head>,
    /// How many buckets somebody has taken on to move, at least; and how many are moved.
    pub(super) claimed: AtomicUsize,
    pub(super) moved: AtomicUsize,
    /// How many entries met a full bucket, and how many left an empty one.
    pub(super) crowded: AtomicUsize,
    pub(super) lonely: AtomicUsize,
}

/// The low bits of a pointer to a head: the logarithm of the number of buckets. So a lookup finds
/// its bucket without loading anything of the head.
const LOG: usize = align_of::<Head>() - 1;
const BYTES: usize = size_of::<Bucket>();

/// A pointer to a table, and how many buckets it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table(pub(super) *mut Head);

impl Table {
    const KIND: &'static Kind = &Kind { run: Self::free_header, bytes: Self::bytes_of };

    /// At most so many buckets: what an allocation can have.
    pub(super) const MAX_LOG: u32 = (isize::MAX as usize / BYTES).ilog2() - 1;

    /// An empty table of `2^log` buckets. Aborts if there is no memory; its pages are touched when
    /// they are used.
    pub(super) fn new(log: u32) -> Table {
        let layout = Self::layout(log);
        // SAFETY: not of size zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        let head: *mut Head = start.wrapping_add(start.align_offset(align_of::<Head>())).cast();
        let fresh = Head {
            header: Header::new(Self::KIND),
            start,
            log,
            next: AtomicPtr::new(null_mut()),
            claimed: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            crowded: AtomicUsize::new(0),
            lonely: AtomicUsize::new(0),
        };
        // SAFETY: within the allocation, which has room for the alignment, and aligned.
        unsafe { head.write(fresh) };
        let table = Table(head.map_addr(|addr| addr | log as usize));
        // All bytes zero are an empty bucket, but not in models.
        if cfg!(stillpoint_loom) {
            for index in 0..table.len() {
                // SAFETY: within the allocation.
                unsafe { table.bucket_ptr(index).write(Bucket::new()) };
            }
        }
        table
    }

    /// Room for alignment is asked for in bytes: the allocator zeroes at once what is aligned by
    /// it.
    fn layout(log: u32) -> Layout {
        let size = size_of::<Head>() + (BYTES << log) + align_of::<Head>();
        Layout::from_size_align(size, 16).expect("log is at most MAX_LOG")
    }

    /// The head, with nothing in the low bits.
    pub(super) fn pointer(self) -> *mut Head {
        self.0.map_addr(|addr| addr & !LOG)
    }

    /// # Safety
    ///
    /// The table is not freed for as long as `'t`.
    pub(super) unsafe fn head<'t>(self) -> &'t Head {
        // SAFETY: the caller's promise.
        unsafe { &*self.pointer() }
    }

    #[inline(always)]
    pub(super) fn log(self) -> u32 {
        (self.0.addr() & LOG) as u32
    }

    /// The number of buckets.
    pub(super) fn len(self) -> usize {
        1 << self.log()
    }

    /// The topmost bits of a hash, so many: the index of its bucket among `2^log`.
    #[inline(always)]
    pub(super) fn top(hash: u64, log: u32) -> usize {
        ((hash >> 1) >> (63 - log)) as usize
    }

    #[inline(always)]
    fn bucket_ptr(self, index: usize) -> *mut Bucket {
        let offset = size_of::<Head>() + index * BYTES;
        self.0.map_addr(|addr| addr & !LOG).wrapping_byte_add(offset).cast()
    }

    /// # Safety
    ///
    /// `index` is below the number of buckets, and the table is not freed for as long as `'t`.
    #[inline(always)]
    pub(super) unsafe fn bucket<'t>(self, index: usize) -> &'t Bucket {
        // SAFETY: the caller's promise.
        unsafe { &*self.bucket_ptr(index) }
    }

    /// The bucket of a hash.
    ///
    /// # Safety
    ///
    /// The table is not freed for as long as `'t`.
    #[inline(always)]
    pub(super) unsafe fn of<'t>(self, hash: u64) -> &'t Bucket {
        // SAFETY: `log` bits are an index; else the caller's promise.
        unsafe { self.bucket(Self::top(hash, self.log())) }
    }

    /// The table that this one is moved to, if it is.
    ///
    /// # Safety
    ///
    /// The table is not freed meanwhile.
    pub(super) unsafe fn next(self) -> Option<Table> {
        // Acquire: partner is the release that published it.
        // SAFETY: the caller's promise.
        let next = unsafe { self.head() }.next.load(Ordering::Acquire);
        (!next.is_null()).then_some(Table(next))
    }

    /// What the domain takes to retire it.
    pub(super) fn header(self) -> *mut Header {
        self.pointer().cast()
    }

    /// # Safety
    ///
    /// `header` begins a table.
    unsafe fn bytes_of(header: *const Header) -> usize {
        // SAFETY: the caller's promise.
        Self::layout(unsafe { (*header.cast::<Head>()).log }).size()
    }

    /// # Safety
    ///
    /// As for [`free`](Table::free).
    unsafe fn free_header(header: *mut Header) {
        let head = header.cast::<Head>();
        // SAFETY: the caller's promise.
        let log = unsafe { (*head).log };
        // SAFETY: as above.
        unsafe { Table(head.map_addr(|addr| addr | log as usize)).free() }
    }

    /// Frees the table and what is behind its buckets, but no entry.
    ///
    /// # Safety
    ///
    /// Nobody else uses the table any more.
    pub(super) unsafe fn free(self) {
        for index in 0..self.len() {
            // SAFETY: the caller's promise.
            let bucket = unsafe { &mut *self.bucket_ptr(index) };
            // SAFETY: as above.
            unsafe { bucket.free_behind() };
            if cfg!(stillpoint_loom) {
                // SAFETY: written by `new`, and not used again.
                unsafe { std::ptr::drop_in_place(bucket) };
            }
        }
        // SAFETY: as above.
        let start = unsafe { self.head() }.start;
        if cfg!(stillpoint_loom) {
            // SAFETY: as above.
            unsafe { std::ptr::drop_in_place(self.pointer()) };
        }
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(start, Self::layout(self.log())) };
    }
}
