//! Memory for values of one type, kept by each CPU.
//!
//! # State
//!
//! A *cell* is memory for one value, from the allocator. A free one is
//!
//! * in the array of a CPU's part, which its sequences change: `rseq/cache.rs`; behind the count of
//!   who has stopped the part: `remote.rs`;
//! * on a list in the rest, or, below `Rseq`, in a shard: `shared.rs`. The word for the first item
//!   is its top. There is what no sequence could put away, or take;
//! * in a batch in the depot, a shared list of batches.
//!
//! Who finds an array full moves half of it to the depot; who finds it empty takes a batch from
//! there, or a cell from the allocator. What exceeds a limit goes back to the allocator.
//!
//! # Argument
//!
//! As for `raw_stack.rs`: a cell is in one place at most, once. Sequences on arrays do not even
//! look into the cells. Cells are all alike, so one may go to another pool of the same type than it
//! came from, as a handle can have it that is not the same at both ends.
//!
//! The limit of an array is an operand of the sequence, not a word of the part. So one that goes by
//! an older limit may still add a cell, up to the room that the array has. Who lowers the limit
//! stops the parts that have more, and takes what is too much by shortening the array: items are
//! stored by sequences only, so behind the new end they are his.
//!
//! Numbers, of what is in the depot or on a list, are raised before and lowered after what they
//! count, or the other way round; they bound, and are exact when nobody is moving anything.

use super::memory;
use super::memory::word_of;
use super::pool_box::PoolBox;
use super::pool_cells::{Batch, Cells, ITEMS, LENGTH, REFILLS, SPILLS};
use super::pool_cells::{cell, item, link, opened, take_array, take_beyond, take_list};
use super::pool_limits::{PoolCache, PoolLimits, PoolStatistics, least, lower};
use super::remote::{stopped_here, visit};
use super::shared;
use crate::machine::{Tier, shape, spread};
use crate::rseq::part::{Place, WORD};
use crate::rseq::stack::Link;
use crate::rseq::word::current_cpu;
use crate::rseq::{RETRIES, cache, sequences_may_work};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, const_unless_modelled};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// No array is longer.
const LONGEST: usize = memory::LARGEST / WORD - ITEMS;

/// Memory for values of type `T`, from the cache of the CPU that asks: in the place of a thread's
/// cache.
///
/// A value is put into memory from the pool by [`boxed`](Pool::boxed), on any thread; when the
/// [`PoolBox`] is dropped, on any other, the memory goes to the cache of the CPU there. What
/// threads would keep for themselves grows with threads, and has to be found again when they end.
/// Here free memory is bounded by [limits](PoolLimits), for each CPU and for what all share,
/// however many threads there are.
///
/// A cache that is full hands half of it on to a shared depot; one that is empty gets a batch from
/// there. Only if there is none, or the depot is full, the allocator is asked.
///
/// # Cost
///
/// On tier `Rseq` taking memory is one restartable section of a dozen instructions, and so is
/// giving it back; no atomic instruction, no fence, no line that another CPU writes. One in 32, by
/// default, meets the depot. Below, an atomic exchange or two on a shard, and a count.
///
/// Values smaller than 24 bytes take 24. For each possible CPU, 8 bytes for each value of its
/// limit, from the first use on, of which the pages are there that are used.
///
/// Not for signal handlers: the allocator may be asked.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Pool, PoolBox};
///
/// struct Request {
///     number: u32,
///     body: [u8; 512],
/// }
/// static REQUESTS: Pool<Request> = Pool::new();
///
/// let request: PoolBox<Request> = REQUESTS.boxed(Request { number: 7, body: [0; 512] });
/// std::thread::spawn(move || assert_eq!(request.number + u32::from(request.body[0]), 7));
/// ```
pub struct Pool<T> {
    place: Place,
    depot: AtomicU64,
    /// How many cells are in the depot.
    in_depot: AtomicUsize,
    /// How many came from the allocator, less those that went back.
    cells: AtomicUsize,
    capacity_per_cpu: AtomicUsize,
    capacity_of_depot: AtomicUsize,
    /// No capacity of a CPU is more.
    room: usize,
    values: PhantomData<fn() -> T>,
}

impl<T> Pool<T> {
    const CELL: Layout = {
        let value = Layout::new::<T>();
        let batch = Layout::new::<Batch>();
        let size = if value.size() > batch.size() { value.size() } else { batch.size() };
        let align = if value.align() > batch.align() { value.align() } else { batch.align() };
        match Layout::from_size_align(size, align) {
            Ok(layout) => layout.pad_to_align(),
            Err(_) => panic!("too large"),
        }
    };

    const_unless_modelled! {
        /// An empty pool with the [usual limits](PoolLimits::new).
        ///
        /// # Examples
        ///
        /// ```
        /// let pool = stillpoint::percpu::Pool::new();
        /// assert_eq!(*pool.boxed(7), 7);
        /// ```
        pub const fn new() -> Pool<T> {
            Pool::with_limits(PoolLimits::new())
        }
    }

    const_unless_modelled! {
        /// An empty pool.
        ///
        /// # Examples
        ///
        /// See [`PoolLimits`].
        pub const fn with_limits(limits: PoolLimits) -> Pool<T> {
            let per_cpu = least(lower(limits.per_cpu, Self::CELL.size()), LONGEST);
            let room = least(limits.room, LONGEST);
            Pool {
                place: Place::new(),
                depot: AtomicU64::new(0),
                in_depot: AtomicUsize::new(0),
                cells: AtomicUsize::new(0),
                capacity_per_cpu: AtomicUsize::new(per_cpu),
                capacity_of_depot: AtomicUsize::new(lower(limits.depot, Self::CELL.size())),
                room: if room > per_cpu { room } else { per_cpu },
                values: PhantomData,
            }
        }
    }

    /// Puts a value into memory from the pool.
    ///
    /// Aborts, as boxes do, if there is no memory.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline]
    pub fn boxed(&self, value: T) -> PoolBox<T, &Pool<T>> {
        PoolBox::new_in(value, self)
    }

    /// How many values each CPU keeps memory for, at most.
    ///
    /// # Examples
    ///
    /// See [`PoolLimits`].
    pub fn capacity_per_cpu(&self) -> usize {
        self.capacity_per_cpu.load(Ordering::Relaxed)
    }

    /// How many values the depot keeps memory for, at most.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Pool::<u64>::new().capacity_of_depot(), 1024);
    /// ```
    pub fn capacity_of_depot(&self) -> usize {
        self.capacity_of_depot.load(Ordering::Relaxed)
    }

    /// Bytes of each part.
    fn size(&self) -> usize {
        // A word for a top at least.
        (ITEMS + self.room.max(1)) * WORD
    }

    /// A cell, which is the caller's.
    #[inline(always)]
    pub(super) fn take(&self) -> NonNull<T> {
        // SAFETY: the place describes memory as `made` has taken it, with room for so many.
        match unsafe { cache::pop(&self.place) } {
            Some(item) => cell(item).cast(),
            None => self.take_cold().cast(),
        }
    }

    /// Takes a cell back.
    ///
    /// # Safety
    ///
    /// From [`take`](Pool::take) of a pool of this type, and nobody else's any more.
    #[inline(always)]
    pub(super) unsafe fn put(&self, cell: NonNull<T>) {
        // SAFETY: as in `take`; no capacity is more than there is room for.
        if !unsafe { cache::push(&self.place, item(cell.cast()), self.capacity_per_cpu()) } {
            self.put_cold(cell.cast());
        }
    }

    #[cold]
    #[inline(never)]
    fn take_cold(&self) -> NonNull<u8> {
        let first = memory::made(&self.place, self.size());
        let here = self.try_here(&first, |length| {
            // SAFETY: as in `take`.
            match unsafe { cache::pop(&self.place) } {
                Some(item) => Some(Some(cell(item))),
                None => (length == 0).then_some(None),
            }
        });
        if let Some(Some(cell)) = here {
            return cell;
        }
        if here.is_none()
            && let Some(cell) = self.take_shared(&first)
        {
            return cell;
        }
        let Some(batch) = self.take_batch() else { return self.fresh() };
        self.note(&first, REFILLS);
        // SAFETY: the batch is ours.
        unsafe {
            let mut next = (*batch.as_ptr()).others;
            while let Some(node) = next {
                next = node.as_ref().next();
                self.put(node.cast());
            }
        }
        batch.cast()
    }

    #[cold]
    #[inline(never)]
    fn put_cold(&self, cell: NonNull<u8>) {
        let first = memory::made(&self.place, self.size());
        let capacity = self.capacity_per_cpu();
        let here = self.try_here(&first, |length| {
            if length >= capacity as u64 {
                // More only if the capacity was lowered just now.
                self.spill(&first, length as usize - capacity / 2);
            }
            // SAFETY: as in `put`.
            unsafe { cache::push(&self.place, item(cell), capacity) }.then_some(())
        });
        if here.is_none() {
            self.put_shared(&first, cell);
        }
    }

    /// Tries something with this CPU's array, which has so many items, as long as that makes sense.
    fn try_here<R>(&self, first: &NonNull<u8>, f: impl Fn(u64) -> Option<R>) -> Option<R> {
        let shape = shape(Tier::Rseq);
        if shape.tier != Tier::Rseq || self.capacity_per_cpu() == 0 {
            return None;
        }
        for _ in 0..RETRIES {
            if !sequences_may_work(shape.slots) || stopped_here(*first) {
                return None;
            }
            let cpu = current_cpu().filter(|cpu| *cpu < shape.slots)?;
            let length = word_of(first, cpu as usize, LENGTH).load(Ordering::Relaxed);
            let result = f(length);
            if result.is_some() {
                return result;
            }
        }
        None
    }

    /// Moves up to `most` cells from this CPU's array to the depot.
    fn spill(&self, first: &NonNull<u8>, most: usize) {
        self.note(first, SPILLS);
        let mut batch = Cells::new();
        for _ in 0..most {
            // SAFETY: as in `take`.
            let Some(item) = (unsafe { cache::pop(&self.place) }) else { break };
            batch.push(cell(item));
        }
        self.put_batch(batch);
    }

    /// The part whose list the calling thread shares.
    fn shared_part(&self) -> usize {
        let parts = memory::parts();
        if shape(Tier::Rseq).tier == Tier::Rseq { parts } else { spread(parts) }
    }

    fn take_shared(&self, first: &NonNull<u8>) -> Option<NonNull<u8>> {
        let part = self.shared_part();
        // SAFETY: only we push there.
        let node = unsafe { shared::pop(word_of(first, part, ITEMS)) }?;
        word_of(first, part, LENGTH).fetch_sub(1, Ordering::Relaxed);
        Some(node.cast())
    }

    fn put_shared(&self, first: &NonNull<u8>, cell: NonNull<u8>) {
        let part = self.shared_part();
        let length = word_of(first, part, LENGTH);
        let before = length.fetch_add(1, Ordering::Relaxed);
        let node = link(cell);
        // SAFETY: the cell is ours to give.
        unsafe { shared::push_chain(word_of(first, part, ITEMS), node, node) };
        if before >= self.capacity_per_cpu() as u64 {
            word_of(first, part, SPILLS).fetch_add(1, Ordering::Relaxed);
            self.put_batch(take_list(first, part));
        }
    }

    fn take_batch(&self) -> Option<NonNull<Batch>> {
        for _ in 0..RETRIES {
            if self.in_depot.load(Ordering::Relaxed) == 0 {
                return None;
            }
            // SAFETY: only batches are pushed there.
            if let Some(batch) = unsafe { shared::pop(&self.depot) } {
                let batch = batch.cast::<Batch>();
                // SAFETY: ours since.
                let length = unsafe { (*batch.as_ptr()).length };
                self.in_depot.fetch_sub(length, Ordering::Relaxed);
                return Some(batch);
            }
            // Another thread is popping.
            std::hint::spin_loop();
        }
        None
    }

    /// To the depot, or, if that is full, to the allocator.
    fn put_batch(&self, cells: Cells) {
        let Some(first) = cells.first else { return };
        let before = self.in_depot.fetch_add(cells.length, Ordering::Relaxed);
        if before + cells.length > self.capacity_of_depot() {
            self.in_depot.fetch_sub(cells.length, Ordering::Relaxed);
            self.free(cells);
            return;
        }
        // SAFETY: the cells are ours to give; a free one has room for this.
        unsafe {
            let (others, length) = (first.as_ref().next(), cells.length);
            first.cast().write(Batch { link: Link::new(), others, length });
            shared::push_chain(&self.depot, first, first);
        }
    }

    fn fresh(&self) -> NonNull<u8> {
        self.cells.fetch_add(1, Ordering::Relaxed);
        // SAFETY: not of size 0.
        let cell = NonNull::new(unsafe { alloc(Self::CELL) });
        cell.unwrap_or_else(|| handle_alloc_error(Self::CELL))
    }

    fn free(&self, cells: Cells) {
        self.cells.fetch_sub(cells.length, Ordering::Relaxed);
        let mut next = cells.first;
        while let Some(node) = next {
            // SAFETY: ours, and from `fresh` of a pool of this type.
            unsafe {
                next = node.as_ref().next();
                // The model checker would take memory that is used again for the same.
                if !cfg!(stillpoint_loom) {
                    dealloc(node.as_ptr().cast(), Self::CELL);
                }
            }
        }
    }

    /// Counts an event of this CPU, or of all.
    fn note(&self, first: &NonNull<u8>, what: usize) {
        let here = current_cpu().filter(|cpu| (*cpu as usize) < memory::parts());
        let part = match shape(Tier::Rseq).tier {
            Tier::Rseq => here.map_or(memory::parts(), |cpu| cpu as usize),
            _ => self.shared_part(),
        };
        word_of(first, part, what).fetch_add(1, Ordering::Relaxed);
    }

    /// Moves what a CPU keeps to the depot, wherever the caller runs: for a CPU that is offline, or
    /// that this process no longer uses. Below tier `Rseq`, what the shard with this number keeps.
    ///
    /// That CPU's threads use the depot meanwhile; the others are not disturbed. On tier `Rseq` one
    /// broadcast to that CPU, two before Linux 6.18, if it keeps anything.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast although it did not before: a filter that was installed
    /// since.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = stillpoint::percpu::Pool::new();
    /// drop(pool.boxed(7));
    /// (0..stillpoint::machine().slots() as usize).for_each(|cpu| pool.drain(cpu));
    /// ```
    pub fn drain(&self, cpu: usize) {
        if cpu < memory::parts() {
            self.empty(|part| part == cpu, |cells| self.put_batch(cells));
        }
    }

    /// Gives all memory that is free back to the allocator: what CPUs keep, and the depot.
    ///
    /// On tier `Rseq` one broadcast for 64 CPUs that keep something, two before Linux 6.18.
    ///
    /// # Panics
    ///
    /// As [`drain`](Pool::drain).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = stillpoint::percpu::Pool::new();
    /// drop(pool.boxed(7));
    /// pool.trim();
    /// assert_eq!(pool.statistics().cells, 0);
    /// ```
    pub fn trim(&self) {
        self.empty(|_| true, |cells| self.free(cells));
        while let Some(batch) = self.take_batch() {
            self.free(opened(batch));
        }
    }

    /// Changes the limits: at any time, while others use the pool. [Room](PoolLimits::room) is what it
    /// was made with, and no CPU's limit gets higher.
    ///
    /// What exceeds a lower limit goes back to the allocator before this returns; but a thread that
    /// was just giving memory back, by the limit of before, may put it there behind that: one value
    /// each, until that CPU's next one. If several change the limits at once, the last one's hold.
    ///
    /// On tier `Rseq` one broadcast for 64 CPUs that keep more than they may, two before Linux 6.18.
    ///
    /// # Panics
    ///
    /// As [`drain`](Pool::drain).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::percpu::{Pool, PoolLimits};
    ///
    /// static POOL: Pool<u64> = Pool::with_limits(PoolLimits::new().room(256));
    /// assert_eq!(POOL.capacity_per_cpu(), 64);
    /// // Work is plenty.
    /// POOL.set_limits(PoolLimits::new().per_cpu(1000, 64 << 10));
    /// assert_eq!(POOL.capacity_per_cpu(), 256);
    /// // Memory is short.
    /// POOL.set_limits(PoolLimits::new().per_cpu(16, 64 << 10).depot(0, 0));
    /// assert_eq!((POOL.capacity_per_cpu(), POOL.capacity_of_depot()), (16, 0));
    /// ```
    pub fn set_limits(&self, limits: PoolLimits) {
        let per_cpu = lower(limits.per_cpu, Self::CELL.size()).min(self.room);
        let depot = lower(limits.depot, Self::CELL.size());
        // Relaxed: a number, by which a sequence keeps within the room whatever it is.
        self.capacity_per_cpu.store(per_cpu, Ordering::Relaxed);
        self.capacity_of_depot.store(depot, Ordering::Relaxed);
        let Some(first) = NonNull::new(self.place.first()) else { return };
        let parts = memory::parts();
        let exceeds = |part| word_of(&first, part, LENGTH).load(Ordering::Relaxed) > per_cpu as u64;
        let lists = if shape(Tier::Rseq).tier == Tier::Rseq {
            let each = |cpu| self.free(take_beyond(&first, cpu, per_cpu));
            // SAFETY: `made` has taken such parts.
            unsafe { visit(&self.place, first, parts, exceeds, each) };
            parts..parts + 1
        } else {
            0..parts + 1
        };
        // A list is given up whole.
        lists.filter(|part| exceeds(*part)).for_each(|part| self.free(take_list(&first, part)));
        while self.in_depot.load(Ordering::Relaxed) > depot
            && let Some(batch) = self.take_batch()
        {
            self.free(opened(batch));
        }
    }

    /// Takes what is in the parts that are wanted, and in the rest if that is.
    fn empty(&self, wanted: impl Fn(usize) -> bool, then: impl Fn(Cells)) {
        let Some(first) = NonNull::new(self.place.first()) else { return };
        let parts = memory::parts();
        let lists = if shape(Tier::Rseq).tier == Tier::Rseq {
            let length = |cpu| word_of(&first, cpu, LENGTH).load(Ordering::Relaxed);
            let has = |cpu| wanted(cpu) && length(cpu) != 0;
            let each = |cpu| then(take_array(&first, cpu));
            // SAFETY: `made` has taken such parts.
            unsafe { visit(&self.place, first, parts, has, each) };
            parts..parts + 1
        } else {
            0..parts + 1
        };
        lists.filter(|part| wanted(*part)).for_each(|part| then(take_list(&first, part)));
    }

    /// What the pool has, and how often caches met the depot. Adds up while others go on.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = stillpoint::percpu::Pool::new();
    /// drop(pool.boxed(7));
    /// assert_eq!((pool.statistics().cells, pool.statistics().cached()), (1, 1));
    /// ```
    pub fn statistics(&self) -> PoolStatistics {
        let first = NonNull::new(self.place.first());
        let part = |part| {
            first.map_or_else(PoolCache::default, |first| {
                let load = |at| word_of(&first, part, at).load(Ordering::Relaxed);
                PoolCache { cached: load(LENGTH), refills: load(REFILLS), spills: load(SPILLS) }
            })
        };
        PoolStatistics {
            cells: self.cells.load(Ordering::Relaxed) as u64,
            depot: self.in_depot.load(Ordering::Relaxed) as u64,
            caches: (0..memory::parts()).map(part).collect(),
            shared: part(memory::parts()),
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool::new()
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = self.statistics();
        f.debug_struct("Pool")
            .field("cells", &statistics.cells)
            .field("cached", &statistics.cached())
            .field("depot", &statistics.depot)
            .finish()
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        if let Some(first) = NonNull::new(self.place.first()) {
            // No broadcast: nobody else is here. A cell that is not in an array is on a list.
            for part in 0..=memory::parts() {
                let array = shape(Tier::Rseq).tier == Tier::Rseq && part < memory::parts();
                self.free(if array { take_array(&first, part) } else { take_list(&first, part) });
            }
        }
        self.trim();
        // SAFETY: as above.
        unsafe { memory::give_back_place(&self.place, self.size()) };
    }
}
