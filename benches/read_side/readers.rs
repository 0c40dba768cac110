//! The implementations, all doing the same work.
//!
//! A [`Workload`] is a loop over a shared value, a [`Protect`] a way to read one. Each pair is
//! compiled into one function that nobody inlines, just as the loop of the C shim, so
//! that a harness costs all of them the same: one call for many rounds.

use crate::clock;
use arc_swap::ArcSwap;
use crossbeam_epoch as epoch;
use crossbeam_utils::sync::ShardedLock;
use left_right::{Absorb, ReadHandle};
use libloading::Library;
use seize::Guard as _;
use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rcu::{self, Domain, RcuCell};

pub(crate) const BARE: &str = "no protection";
pub(crate) const GLOBAL: &str = "stillpoint";
pub(crate) const OWN: &str = "stillpoint, own domain";
pub(crate) const SHARED_OBJECT: &str = "stillpoint, shared object";
pub(crate) const URCU: &str = "liburcu-memb";
pub(crate) const URCU_SHARED_OBJECT: &str = "liburcu-memb, shared object";
pub(crate) const URCU_BP: &str = "liburcu-bp";
pub(crate) const URCU_QSBR: &str = "liburcu-qsbr, each 1024 reads";
pub(crate) const URCU_QSBR_EACH: &str = "liburcu-qsbr, each read";
pub(crate) const CROSSBEAM: &str = "crossbeam-epoch";
pub(crate) const LEFT_RIGHT: &str = "left-right";
pub(crate) const SHARDED: &str = "crossbeam ShardedLock";
pub(crate) const PARKING_LOT: &str = "parking_lot RwLock";
pub(crate) const STD: &str = "std RwLock";

pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// One implementation with its shared value.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    rounds: Box<dyn Fn(u64) -> u64 + Sync>,
    /// Waits for a grace period, where there is such a thing.
    pub(crate) synchronize: Option<Box<dyn Fn() + Sync>>,
}

impl Reader {
    fn new(name: &'static str, rounds: impl Fn(u64) -> u64 + Sync + 'static) -> Reader {
        Reader { name, rounds: Box::new(rounds), synchronize: None }
    }

    fn over<W: Workload>(name: &'static str, shared: impl Protect<W> + Sync + 'static) -> Reader {
        Reader::new(name, move |rounds| W::run(&shared, rounds))
    }

    fn with_synchronize(self, synchronize: impl Fn() + Sync + 'static) -> Reader {
        Reader { synchronize: Some(Box::new(synchronize)), ..self }
    }

    /// Reads that many times.
    pub(crate) fn run(&self, rounds: u64) {
        black_box((self.rounds)(black_box(rounds)));
    }

    /// The time from the first thread's start to the last one's end, when one thread on each of
    /// `cpus` reads that many times.
    pub(crate) fn wall(&self, cpus: &[usize], rounds: u64) -> Duration {
        let warm_up = |_| self.run(clock::WARM_UP);
        clock::together(cpus.len(), cpus, warm_up, |_| self.run(rounds)).length()
    }

    /// What `work` returns, done while a thread on `cpu` does nothing but read.
    pub(crate) fn beside<R>(&self, cpu: usize, work: impl FnOnce() -> R) -> R {
        clock::beside(|rounds| self.run(rounds), cpu, work)
    }
}

/// What is read, and in what manner.
pub(crate) trait Workload: Clone + Send + Sync + 'static {
    fn run(shared: &impl Protect<Self>, rounds: u64) -> u64;
}

/// Next to no work: one load that depends on the shared pointer.
#[derive(Clone)]
pub(crate) struct Words(pub(crate) [u64; 4]);

impl Workload for Words {
    #[inline(never)]
    fn run(shared: &impl Protect<Words>, rounds: u64) -> u64 {
        let mut sum = 0_u64;
        for i in 0..rounds {
            sum = sum.wrapping_add(shared.read(|words| words.0[(i & 3) as usize]));
        }
        sum
    }
}

/// A lookup of some 5 ns: each index is what the lookup before it found.
#[derive(Clone)]
pub(crate) struct Chain(&'static [usize]);

impl Chain {
    /// The shortest chain of which an unprotected step takes 5 ns.
    pub(crate) fn new() -> Chain {
        let mut length = 1 << 10;
        loop {
            let chain = Chain::of(length);
            let bare = Bare::new(chain.clone());
            let lap = || time(|| _ = black_box(Chain::run(&bare, length as u64)));
            // The best of some laps: a slow one is somebody else's doing.
            let best = (0..8).map(|_| lap()).min().unwrap_or_default();
            // Far beyond any cache that takes 5 ns, there is something wrong with the clock.
            if best.as_nanos() >= 5 * length as u128 || length > 1 << 22 {
                return chain;
            }
            length += length / 8;
        }
    }

    /// One cycle through all of the table, in an order that no prefetcher guesses.
    fn of(length: usize) -> Chain {
        let mut table: Vec<usize> = (0..length).collect();
        let mut random = fastrand::Rng::with_seed(1);
        // Sattolo's shuffle: exchanging only with earlier places leaves a single cycle.
        for i in (1..length).rev() {
            table.swap(i, random.usize(..i));
        }
        Chain(table.leak())
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0)
    }
}

impl Workload for Chain {
    #[inline(never)]
    fn run(shared: &impl Protect<Chain>, rounds: u64) -> u64 {
        let mut at = 0;
        for _ in 0..rounds {
            at = shared.read(|chain| chain.0[at]);
        }
        at as u64
    }
}

/// A value that can be read while others might replace it.
pub(crate) trait Protect<T> {
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R;
}

/// The floor: the load of the pointer, and nobody who keeps the value alive.
struct Bare<T>(AtomicPtr<T>);

impl<T> Bare<T> {
    fn new(value: T) -> Bare<T> {
        Bare(AtomicPtr::new(Box::leak(Box::new(value))))
    }
}

impl<T: Sync + 'static> Protect<T> for Bare<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        // SAFETY: made of a leaked box, and never replaced.
        look(unsafe { &*self.0.load(Ordering::Acquire) })
    }
}

impl<T: Send + Sync + 'static> Protect<T> for RcuCell<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(self.load(&rcu::read()))
    }
}

/// A cell of a domain in a `static` that the reader names.
struct Own<T>(RcuCell<T, &'static Domain>);

static DOMAIN: Domain = Domain::new();

impl<T: Send + Sync + 'static> Protect<T> for Own<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(self.0.load(&DOMAIN.read()))
    }
}

/// A cell of a domain that the reader learns from the cell.
impl<T: Send + Sync + 'static> Protect<T> for RcuCell<T, &'static Domain> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(self.load(&self.domain().read()))
    }
}

impl<T: Send + Sync + 'static> Protect<T> for epoch::Atomic<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let guard = epoch::pin();
        // SAFETY: never null, never replaced.
        look(unsafe { self.load(Ordering::Acquire, &guard).deref() })
    }
}

struct Seize<T> {
    collector: seize::Collector,
    value: Bare<T>,
}

impl<T: Sync + 'static> Protect<T> for Seize<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let guard = self.collector.enter();
        // SAFETY: made of a leaked box, and never replaced.
        look(unsafe { &*guard.protect(&self.value.0, Ordering::Acquire) })
    }
}

impl<T: Send + Sync + 'static> Protect<T> for ArcSwap<T> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.load())
    }
}

/// What left-right has two copies of. Nobody changes it.
#[derive(Clone)]
struct Twice<T>(T);

impl<T: Clone> Absorb<Infallible> for Twice<T> {
    fn absorb_first(&mut self, never: &mut Infallible, _: &Twice<T>) {
        match *never {}
    }

    fn sync_with(&mut self, first: &Twice<T>) {
        self.clone_from(first);
    }
}

/// A handle is one thread's.
impl<T> Protect<T> for ReadHandle<Twice<T>> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.enter().expect("the writer is there").0)
    }
}

/// Each call has a handle of its own, as each thread of a program would: that takes a lock once for
/// all its rounds.
fn of_left_right<W: Workload>(value: W) -> Reader {
    let (writer, handle) = left_right::new_from_empty::<_, Infallible>(Twice(value));
    // Readers find nothing once it is dropped.
    std::mem::forget(writer);
    let handles = handle.factory();
    Reader::new(LEFT_RIGHT, move |rounds| W::run(&handles.handle(), rounds))
}

impl<T: Send + Sync + 'static> Protect<T> for ShardedLock<Box<T>> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&ShardedLock::read(self).expect("nobody panics"))
    }
}

impl<T: Send + Sync + 'static> Protect<T> for parking_lot::RwLock<Box<T>> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&parking_lot::RwLock::read(self))
    }
}

impl<T: Send + Sync + 'static> Protect<T> for std::sync::RwLock<Box<T>> {
    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&std::sync::RwLock::read(self).expect("nobody panics"))
    }
}

/// Every implementation in this executable, over copies of `value`.
pub(crate) fn all<W: Workload>(value: W) -> Vec<Reader> {
    static MEMBARRIER: Domain = Domain::builder().tier(Tier::Membarrier).build();
    static FENCE: Domain = Domain::builder().tier(Tier::Fence).build();
    let lower = |name, domain: &'static Domain| {
        Reader::over(name, RcuCell::new_in(value.clone(), domain))
            .with_synchronize(|| domain.synchronize())
    };
    let bare = || Bare::new(value.clone());
    let boxed = || Box::new(value.clone());
    vec![
        Reader::over(BARE, bare()),
        Reader::over(GLOBAL, RcuCell::new(value.clone())).with_synchronize(rcu::synchronize),
        Reader::over(OWN, Own(RcuCell::new_in(value.clone(), &DOMAIN)))
            .with_synchronize(|| DOMAIN.synchronize()),
        lower("stillpoint, tier membarrier", &MEMBARRIER),
        lower("stillpoint, tier fence", &FENCE),
        Reader::over(CROSSBEAM, epoch::Atomic::new(value.clone())),
        Reader::over("seize", Seize { collector: seize::Collector::new(), value: bare() }),
        Reader::over("arc-swap", ArcSwap::from_pointee(value.clone())),
        of_left_right(value.clone()),
        Reader::over(SHARDED, ShardedLock::new(boxed())),
        Reader::over(PARKING_LOT, parking_lot::RwLock::new(boxed())),
        Reader::over(STD, std::sync::RwLock::new(boxed())),
    ]
}

/// The loops over [`Words`] that are compiled elsewhere. Says which are missing.
pub(crate) fn foreign() -> Vec<Reader> {
    let made = [
        (SHARED_OBJECT, shared_object()),
        (URCU, urcu()),
        (URCU_SHARED_OBJECT, urcu_shared_object()),
        (URCU_BP, urcu_bp()),
        (URCU_QSBR, urcu_qsbr(URCU_QSBR, peers::Qsbr::read)),
        (URCU_QSBR_EACH, urcu_qsbr(URCU_QSBR_EACH, peers::Qsbr::read_each)),
    ];
    let loud = |(name, reader): (_, Result<_, String>)| {
        reader.inspect_err(|why| println!("SKIPPED {name}: {why}")).ok()
    };
    made.into_iter().filter_map(loud).collect()
}

/// Builds the shared object where this executable was built, and loads it.
fn shared_object() -> Result<Reader, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?;
    let built = Command::new(env!("CARGO"))
        .env_remove("CARGO_BUILD_TARGET")
        .args(["build", "--offline", "--release", "--package", "shared-object", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if !built.as_ref().is_ok_and(|status| status.success()) {
        return Err(format!("it does not build: {built:?}"));
    }
    let library = load(&target.join("release/libshared_object.so"))?;
    type Read = extern "C" fn(u64) -> u64;
    // SAFETY: the signature that the shared object's source has.
    let read = unsafe { library.get::<Read>("shared_object_read") }.map_err(|e| e.to_string())?;
    Ok(Reader::new(SHARED_OBJECT, move |rounds| read(rounds)))
}

/// Loads one of our shared objects for good.
fn load(path: &Path) -> Result<&'static Library, String> {
    // SAFETY: its initialisers are the library's or liburcu's, both in this process already.
    let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
    // Never unloaded: the kernel may hold a pointer to one of its descriptors.
    Ok(Box::leak(Box::new(library)))
}

static WORDS: &[u64; 4] = &[1, 2, 3, 4];

fn urcu() -> Result<Reader, String> {
    let urcu = liburcu()?;
    let read = move |rounds| urcu.registered(|thread| thread.read(&WORDS, rounds));
    // Registered, although it need not be: with nobody registered there is nothing to wait for.
    let synchronize = move || urcu.registered(|_| urcu.synchronize());
    Ok(Reader::new(URCU, read).with_synchronize(synchronize))
}

fn urcu_shared_object() -> Result<Reader, String> {
    let urcu = liburcu()?;
    let library = load(Path::new(urcu.shared_object().ok_or("it was not linked")?))?;
    type Read = unsafe extern "C" fn(*const &[u64; 4], u64) -> u64;
    // SAFETY: the signature that the shim's source has.
    let read = unsafe { library.get::<Read>("peers_urcu_read") }.map_err(|e| e.to_string())?;
    Ok(Reader::new(URCU_SHARED_OBJECT, move |rounds| {
        // SAFETY: the thread is registered, and the table lives for ever.
        urcu.registered(|_| unsafe { read(&raw const WORDS, rounds) })
    }))
}

fn urcu_bp() -> Result<Reader, String> {
    let bp = liburcu()?.bp();
    let reader = Reader::new(URCU_BP, move |rounds| bp.read(&WORDS, rounds));
    Ok(reader.with_synchronize(move || bp.synchronize()))
}

type ReadQsbr = fn(peers::Qsbr, &&[u64; 4], u64) -> u64;

fn urcu_qsbr(name: &'static str, read: ReadQsbr) -> Result<Reader, String> {
    let qsbr = liburcu()?.qsbr();
    let reader = Reader::new(name, move |rounds| read(qsbr, &WORDS, rounds));
    Ok(reader.with_synchronize(move || qsbr.synchronize()))
}

fn liburcu() -> Result<peers::Urcu, String> {
    peers::urcu().ok_or_else(|| "liburcu-dev was not installed when this was built".to_owned())
}
