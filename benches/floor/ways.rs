//! The operations: sequences, and what stands beside them.
//!
//! Words of sequences are a CPU's. Beside them are words of a thread, which nobody else changes and
//! nobody adds up here: the least that a peer can do; one word for all, by atomic instructions; and
//! one behind a lock.

use crossbeam_utils::CachePadded;
use libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED as PLAIN;
use libc::{MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ as RSEQ, c_int};
use parking_lot::Mutex;
use std::hint::black_box;
use std::ops::Range;
use std::ptr::without_provenance_mut;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use stillpoint::percpu::{RawPart, RawPerCpu};
use stillpoint::rseq::area::ensure_registered;
use stillpoint::rseq::change::{self, Change};
use stillpoint::rseq::word::{self, current_cpu};
use stillpoint::rseq::{exchange, fence, fence_cpu, part};

/// One way to do something, so many times.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn Fn(u64) + Sync>,
}

/// Each an operation in a loop of its own.
macro_rules! ways {
    ($($name:expr => $operation:expr;)*) => {
        vec![$(Way { name: $name, run: Box::new(move |n: u64| (0..n).for_each(|_| $operation)) }),*]
    };
}

pub(crate) const NOTHING: &str = "the loop alone";
const LOCK: &str = "parking_lot Mutex";

pub(crate) fn is_ours(name: &str) -> bool {
    let ours = ["word::", "part::", "change::", "exchange::", "fence"];
    ours.iter().any(|of| name.starts_with(of))
}

/// A number that the compiler does not know, in a register: outside the loop, since hiding it takes
/// a store.
fn opaque(number: u64) -> u64 {
    black_box(number)
}

/// Tries until it is done: an interrupt aborts a try, now and then.
#[inline(always)]
fn until<R>(attempt: impl Fn() -> Option<R>) -> R {
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(ensure_registered(), "a thread that cannot run sequences");
    }
}

/// Words of a part that may be staged.
const ROOM: usize = 32;
/// Words of a `RawPerCpu`: the one that commits, and those.
const POSITION: usize = 1;
const ITEMS: usize = 2;

/// A ring that nobody reads: what is written, by a position that only grows.
struct Part {
    stop: AtomicU64,
    position: AtomicU64,
    items: [AtomicU64; ROOM],
}

/// Where `N` words go.
#[inline(always)]
fn space<const N: usize>(position: u64) -> Range<usize> {
    let at = position as usize % (ROOM / N) * N;
    at..at + N
}

impl Part {
    const fn new() -> Part {
        let items = [const { AtomicU64::new(0) }; ROOM];
        Part { stop: AtomicU64::new(0), position: AtomicU64::new(0), items }
    }

    /// As the only one who writes there.
    #[inline(always)]
    fn append<const N: usize>(&self, from: &[u64; N]) {
        let old = self.position.load(Relaxed);
        for (to, from) in self.items[space::<N>(old)].iter().zip(from) {
            to.store(*from, Relaxed);
        }
        // Release: partner is who acquires the position, and would find the items.
        self.position.store(old + 1, Release);
    }
}

/// One for each CPU, for ever.
fn for_each_cpu<T>(make: impl Fn() -> T) -> &'static [CachePadded<T>] {
    let cpus = 0..stillpoint::machine().slots();
    Vec::from_iter(cpus.map(|_| CachePadded::new(make()))).leak()
}

static ONE: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));
static LOCKED: CachePadded<Mutex<u64>> = CachePadded::new(Mutex::new(0));
thread_local! {
    static OWN: AtomicU64 = const { AtomicU64::new(0) };
    static OWN_PART: Part = const { Part::new() };
    static OWN_LIST: List = const { List::new() };
}

/// Add one.
pub(crate) fn adds() -> Vec<Way> {
    static PARTS: RawPerCpu = RawPerCpu::new(POSITION + 1);
    let words = for_each_cpu(AtomicU64::default);
    let one = opaque(1);
    ways! {
        "word::add" => until(|| {
            let cpu = current_cpu()?;
            // SAFETY: a word for each CPU, to which only this line stores.
            unsafe { word::add(cpu, words.get(cpu as usize)?, one) }.then_some(())
        });
        "part::add" => until(|| PARTS.attempt(|place| {
            // SAFETY: a word of each part, to which only this line stores.
            unsafe { part::add(place, POSITION * 8, one) }.then_some(())
        }));
        "load, store; a word a thread" => OWN.with(|word| {
            word.store(word.load(Relaxed) + one, Relaxed);
        });
        "fetch_add; a word a thread" => _ = OWN.with(|word| word.fetch_add(one, Relaxed));
        "fetch_add, Relaxed; one word" => _ = ONE.fetch_add(one, Relaxed);
        "fetch_add, SeqCst; one word" => _ = ONE.fetch_add(one, SeqCst);
        LOCK => *LOCKED.lock() += one;
        NOTHING => _ = black_box(one);
    }
}

/// Makes a change that is planned on words of the CPU.
#[inline(always)]
fn changed(parts: &[CachePadded<Part>], make: impl Fn(&Change<'_>, &[AtomicU64; ROOM]) -> bool) {
    until(|| {
        let cpu = current_cpu()?;
        let Part { stop: also, position: word, items } = &**parts.get(cpu as usize)?;
        let old = word.load(Relaxed);
        make(&Change { cpu, word, old, new: old + 1, also, is: 0 }, items).then_some(())
    });
}

/// The same on a part of a `RawPerCpu`.
#[inline(always)]
fn changed_here(words: &RawPerCpu, make: impl Fn(&Change<'_>, RawPart<'_>) -> bool) {
    until(|| {
        words.attempt(|_| {
            let here = words.here()?;
            let old = here.word(POSITION).load(Relaxed);
            make(&here.change(POSITION, old, old + 1), here).then_some(())
        })
    });
}

/// One more than was there, if it still is there.
#[inline(always)]
fn compare_and_store(word: &AtomicU64, order: Ordering) {
    let mut old = word.load(Relaxed);
    while let Err(now) = word.compare_exchange_weak(old, old + 1, order, Relaxed) {
        old = now;
    }
}

/// Look at a word, and change it if it is as it was.
pub(crate) fn commits() -> Vec<Way> {
    static WORDS: RawPerCpu = RawPerCpu::new(POSITION + 1);
    let parts = for_each_cpu(Part::new);
    let words = for_each_cpu(AtomicPtr::<u8>::default);
    let one = opaque(1);
    ways! {
        "change::commit" => changed(parts, |change, _| {
            // SAFETY: words for each CPU, to which only this line stores.
            unsafe { change::commit(change) }
        });
        "change::commit, RawPerCpu" => changed_here(&WORDS, |change, _| {
            // SAFETY: as above.
            unsafe { change::commit(change) }
        });
        "word::replace" => until(|| {
            let cpu = current_cpu()?;
            let word = words.get(cpu as usize)?;
            let old = word.load(Relaxed);
            let new = without_provenance_mut(old.addr() + 1);
            // SAFETY: as above.
            unsafe { word::replace(cpu, word, old, new) }.then_some(())
        });
        "compare_exchange; a word a thread" => OWN.with(|word| compare_and_store(word, Relaxed));
        "compare_exchange, Relaxed; one word" => compare_and_store(&ONE, Relaxed);
        "compare_exchange, SeqCst; one word" => compare_and_store(&ONE, SeqCst);
        LOCK => *LOCKED.lock() += one;
        NOTHING => _ = black_box(one);
    }
}

/// Store an item, and then the position behind it.
pub(crate) fn stores() -> Vec<Way> {
    static WORDS: RawPerCpu = RawPerCpu::new(ITEMS + ROOM);
    let parts = for_each_cpu(Part::new);
    let value = opaque(7);
    let mut ways = ways! {
        "change::store" => changed(parts, |change, items| {
            let item = &items[change.old as usize % ROOM];
            // SAFETY: a part for each CPU, where only this line stores and nobody looks.
            unsafe { change::store(change, item, value) }
        });
        "change::store, RawPerCpu" => changed_here(&WORDS, |change, here| {
            let item = here.word(ITEMS + change.old as usize % ROOM);
            // SAFETY: as above.
            unsafe { change::store(change, item, value) }
        });
    };
    ways.extend(appends::<1>());
    ways
}

/// Copy `N` words, and then store the position behind them.
pub(crate) fn copies<const N: usize>() -> Vec<Way> {
    // Of all numbers of words: nobody looks what is there.
    static WORDS: RawPerCpu = RawPerCpu::new(ITEMS + ROOM);
    let parts = for_each_cpu(Part::new);
    let from: &'static [u64; N] = black_box(Box::leak(Box::new([7; N])));
    let mut ways = ways! {
        "change::copy" => changed(parts, |change, items| {
            // SAFETY: a part for each CPU, where only this line stores and nobody looks.
            unsafe { change::copy(change, &items[space::<N>(change.old)], from) }
        });
        "change::copy, RawPerCpu" => changed_here(&WORDS, |change, here| {
            let Range { start, end } = space::<N>(change.old);
            let to = here.words(ITEMS + start..ITEMS + end);
            // SAFETY: a part for each CPU, where only this line stores and nobody looks.
            unsafe { change::copy(change, to, from) }
        });
    };
    ways.extend(appends::<N>());
    ways
}

/// What stands beside both. Several that stage words in one place need a lock.
fn appends<const N: usize>() -> Vec<Way> {
    static RING: CachePadded<Mutex<(u64, [u64; ROOM])>> =
        CachePadded::new(Mutex::new((0, [0; ROOM])));
    let from: &'static [u64; N] = black_box(Box::leak(Box::new([7; N])));
    ways! {
        "stores; an array a thread" => OWN_PART.with(|part| part.append(from));
        LOCK => {
            let mut ring = RING.lock();
            let (position, items) = &mut *ring;
            items[space::<N>(*position)].copy_from_slice(from);
            *position += 1;
        };
        NOTHING => _ = black_box(from);
    }
}

/// Put a word in the place of what is there, and look at that.
pub(crate) fn swaps() -> Vec<Way> {
    static WORDS: RawPerCpu = RawPerCpu::new(POSITION + 1);
    let value = opaque(7);
    let swap = move || {
        WORDS.attempt(|place| {
            // SAFETY: a word of each part, to which only this line stores.
            unsafe { exchange::swap(place, POSITION * 8, value) }.ok()
        })
    };
    ways! {
        "exchange::swap" => _ = black_box(until(swap));
        "load, store; a word a thread" => OWN.with(|word| {
            black_box(word.load(Relaxed));
            word.store(value, Relaxed);
        });
        "swap; a word a thread" => _ = black_box(OWN.with(|word| word.swap(value, Relaxed)));
        "swap, Relaxed; one word" => _ = black_box(ONE.swap(value, Relaxed));
        "swap, SeqCst; one word" => _ = black_box(ONE.swap(value, SeqCst));
        LOCK => _ = black_box(std::mem::replace(&mut *LOCKED.lock(), value));
        NOTHING => _ = black_box(value);
    }
}

/// What comes behind each of four nodes, by their numbers; 0 is none. In a ring: it never ends.
const NEXT: [u32; 5] = [0, 2, 3, 4, 1];

/// A list whose nodes have numbers: with a count beside the first one's, by which who was preempted
/// between looking and popping finds out that others popped meanwhile.
struct List {
    /// The count is the upper half.
    first: AtomicU64,
    next: [AtomicU32; NEXT.len()],
}

impl List {
    const fn new() -> List {
        let mut next = [const { AtomicU32::new(0) }; NEXT.len()];
        let mut at = 0;
        while at < next.len() {
            next[at] = AtomicU32::new(NEXT[at]);
            at += 1;
        }
        List { first: AtomicU64::new(1), next }
    }

    #[inline(always)]
    fn pop(&self) -> Option<u32> {
        // Acquire: partner is the release of who put the node there.
        let mut old = self.first.load(Acquire);
        loop {
            let node = old as u32;
            if node == 0 {
                return None;
            }
            let next = self.next[node as usize].load(Relaxed);
            let new = ((old >> 32).wrapping_add(1) << 32) | u64::from(next);
            match self.first.compare_exchange_weak(old, new, AcqRel, Acquire) {
                Ok(_) => return Some(node),
                Err(now) => old = now,
            }
        }
    }
}

/// Take the first node of a list.
pub(crate) fn pops() -> Vec<Way> {
    static LISTS: RawPerCpu = RawPerCpu::new(POSITION + 1);
    static LIST: CachePadded<List> = CachePadded::new(List::new());
    static LOCKED: CachePadded<Mutex<(u32, [u32; NEXT.len()])>> =
        CachePadded::new(Mutex::new((1, NEXT)));
    const NODES: usize = NEXT.len() - 1;
    // Each holds the address of the one behind it. All CPUs have the same: nobody stores there.
    let nodes: &'static mut [u64; NODES] = Box::leak(Box::new([0; NODES]));
    let address = nodes.as_mut_ptr().expose_provenance();
    for (at, node) in nodes.iter_mut().enumerate() {
        *node = (address + (at + 1) % NODES * size_of::<u64>()) as u64;
    }
    LISTS.closed(|lists| {
        lists.iter().for_each(|list| list.word(POSITION).store(address as u64, Relaxed));
    });
    let pop = || {
        LISTS.attempt(|place| {
            // SAFETY: the word leads to nodes that live for ever, and do not change.
            unsafe { exchange::pop(place, POSITION * 8, 0) }.ok()
        })
    };
    ways! {
        "exchange::pop" => _ = black_box(until(pop));
        "compare_exchange, a count; a list a thread" => _ = black_box(OWN_LIST.with(List::pop));
        "compare_exchange, a count; one list" => _ = black_box(LIST.pop());
        LOCK => {
            let mut list = LOCKED.lock();
            let (first, next) = &mut *list;
            let node = *first;
            *first = next[node as usize];
            black_box(node);
        };
        NOTHING => _ = black_box(1);
    }
}

/// The system call, of which both fences are made: whether it is done.
fn membarrier(command: c_int, flags: c_int, cpu: u32) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) == 0 }
}

/// Wait until no sequence commits that has begun.
pub(crate) fn fences() -> Vec<Way> {
    let mut ways = ways! {
        "fence" => fence().expect("as it is on this tier");
        "membarrier, private expedited rseq" => assert!(membarrier(RSEQ, 0, 0));
    };
    // The library is registered for the other.
    if membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) {
        ways.extend(ways! {
            "membarrier, private expedited" => assert!(membarrier(PLAIN, 0, 0));
        });
    }
    ways
}

/// The same for those of one CPU.
pub(crate) fn fences_to(cpu: u32) -> Vec<Way> {
    /// The flag that says that there is a CPU.
    const CPU: c_int = 1;
    ways! {
        "fence_cpu" => fence_cpu(cpu).expect("as it is on this tier");
        "membarrier, private expedited rseq, a CPU" => assert!(membarrier(RSEQ, CPU, cpu));
    }
}
