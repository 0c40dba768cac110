//! Every piece of memory of a pool belongs to one value at a time, while threads migrate, are
//! preempted and interrupted, hand values to each other, and others trim and drain.

#[path = "crowd.rs"]
pub(crate) mod crowd;

use crowd::Report;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use stillpoint::percpu::{Pool, PoolBox, PoolLimits};

/// Values that a worker has at most.
const MOST: usize = 48;

/// Filled with its number as long as it lives.
type Value = [u64; 6];
type Owned = PoolBox<Value>;

const LIMITS: PoolLimits = PoolLimits::new().per_cpu(16, 4096).depot(64, 1 << 20).room(32);
static POOL: Pool<Value> = Pool::with_limits(LIMITS);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn make() -> Owned {
    crowd::count();
    POOL.boxed([NUMBERS.fetch_add(1, Relaxed); 6])
}

fn end(mut value: Owned) {
    let number = value[0];
    if number == 0 || value.iter().any(|n| *n != number) {
        crowd::violation();
    }
    *value = [0; 6];
}

fn work(seed: u64, to: &SyncSender<Owned>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut mine = Vec::with_capacity(MOST);
    while !crowd::is_over() {
        match random.u32(..1000) {
            0..2 => crowd::wander(&mut random),
            2..500 if mine.len() < MOST => mine.push(make()),
            500..510 => {
                if let Some(Err(error)) = mine.pop().map(|value| to.try_send(value)) {
                    let (TrySendError::Full(value) | TrySendError::Disconnected(value)) = error;
                    end(value);
                }
            }
            _ if !mine.is_empty() => {
                let at = random.usize(..mine.len());
                end(mine.swap_remove(at));
            }
            _ => {}
        }
    }
    mine.into_iter().for_each(end);
}

/// The limits change, and what CPUs keep goes back.
fn disturb(random: &mut fastrand::Rng) {
    match random.usize(..9) {
        0 => POOL.trim(),
        8 => POOL.set_limits(LIMITS.per_cpu(random.usize(..40), 4096)),
        cpu => POOL.drain(cpu % stillpoint::machine().slots() as usize),
    }
}

/// The stress, once in a process.
pub(crate) fn run(time: Duration) -> Report {
    let (to, from) = sync_channel(MOST);
    let from = Mutex::new(from);
    let end_others = |_: &mut fastrand::Rng| from.lock().unwrap().try_iter().for_each(end);
    crowd::run(time, crowd::nothing, &|seed| work(seed, &to), &[&disturb, &end_others]);
    drop((to, from));
    // All is free, and each piece is there once.
    let seen = POOL.statistics();
    let free = seen.cached() + seen.depot;
    if free != seen.cells {
        eprintln!("{free} pieces of {} are free", seen.cells);
        crowd::violation();
    }
    POOL.trim();
    let seen = POOL.statistics();
    if (seen.cells, seen.cached(), seen.depot) != (0, 0, 0) {
        eprintln!("{seen:?} after trimming");
        crowd::violation();
    }
    crowd::report()
}
