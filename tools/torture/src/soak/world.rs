//! What all threads share.

use super::element::Token;
use super::options::Options;
use super::section::Section;
use super::stage::Stage;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use stillpoint::rcu::{self, Domain, RcuCell, ReadGuard, SendGuard};

/// At how many callbacks, and bytes, `try_retire` refuses and `throttle` waits.
pub(crate) const LIMITS: (u64, u64) = (50_000, 256 << 20);

/// Cells of each kind.
pub(crate) const CELLS: usize = 4;

/// An element in a cell of the library's, whose memory goes to the quarantine.
#[derive(Debug)]
#[repr(align(256))]
pub(crate) struct Boxed(pub(crate) Token);

const _: () = assert!(align_of::<Boxed>() == super::quarantine::ALIGNMENT);

/// The shared state of the one run of this process. Never freed: late signals look at it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) domain: &'static Domain,
    /// Numbers of elements: cells of our own, for the calls that know no cells.
    pub(crate) naked: [AtomicU32; CELLS],
    pub(crate) boxed: [RcuCell<Boxed, &'static Domain>; CELLS],
    /// Guards on their way to another thread.
    pub(crate) pool: Mutex<Vec<Section<SendGuard<'static>>>>,
    pub(crate) stage: Stage,
    /// How many threads are readers; theirs are the seats from 1.
    pub(crate) readers: usize,
    /// Whether readers leave the CPUs to others most of the time. Where they do not, they are
    /// preempted inside their sections; where they do, there are many grace periods.
    pub(crate) calm: AtomicBool,
    start: Instant,
    next_sleep: AtomicU64,
}

static WORLD: OnceLock<World> = OnceLock::new();

/// The world, once there is one.
pub(crate) fn world() -> Option<&'static World> {
    WORLD.get()
}

/// The domain to be tortured. It lives as long as the process: late signals read in it.
pub(crate) fn domain(options: &Options) -> &'static Domain {
    let domain = if options.global {
        Domain::global()
    } else {
        Box::leak(Box::new(Domain::builder().name("torture").tier(options.tier()).build()))
    };
    domain.set_limit(LIMITS.0, LIMITS.1);
    domain
}

/// Begins a section of [`domain`]: of the global one by the way that only it has.
#[inline(always)]
pub(crate) fn read(domain: &'static Domain) -> ReadGuard<'static> {
    if std::ptr::eq(domain, Domain::global()) { rcu::read() } else { domain.read() }
}

/// How many grace periods have ended.
pub(crate) fn grace_periods() -> u64 {
    world().map_or(0, |world| world.domain.grace_periods())
}

impl World {
    /// Makes it, and the tokens of what is in the naked cells.
    pub(crate) fn create(options: &Options) -> (&'static World, [Token; CELLS]) {
        let domain = domain(options);
        let fresh = || Token::fresh().expect("a full arena");
        let tokens: [Token; CELLS] = std::array::from_fn(|_| fresh());
        let world = WORLD.get_or_init(|| World {
            domain,
            naked: std::array::from_fn(|n| AtomicU32::new(tokens[n].name().id)),
            boxed: std::array::from_fn(|_| RcuCell::new_in(Boxed(fresh()), domain)),
            pool: Mutex::new(Vec::new()),
            stage: Stage::new(),
            readers: options.readers(),
            calm: AtomicBool::new(false),
            start: Instant::now(),
            next_sleep: AtomicU64::new(1000),
        });
        (world, tokens)
    }

    /// The element in a cell, the naked ones first; nothing if its memory was freed.
    #[inline(always)]
    pub(crate) fn find(&self, cell: usize, guard: &ReadGuard<'_>) -> Option<u32> {
        match cell.checked_sub(CELLS) {
            None => Some(self.naked[cell].load(Acquire)),
            Some(n) => self.boxed[n % CELLS].load(guard).0.id(),
        }
    }

    /// True for one caller every few seconds: it may hold everybody up.
    pub(crate) fn may_sleep(&self, pause: u64) -> bool {
        let now = self.start.elapsed().as_millis() as u64;
        let next = self.next_sleep.load(Relaxed);
        now >= next && self.next_sleep.compare_exchange(next, now + pause, Relaxed, Relaxed).is_ok()
    }

    /// How many callbacks are waiting.
    pub(crate) fn pending(&self) -> u64 {
        self.domain.pending().callbacks
    }

    /// Ends the sections that are on their way to another thread.
    pub(crate) fn drain(&self) {
        let sections = std::mem::take(&mut *self.pool.lock().unwrap());
        drop(sections);
    }
}
