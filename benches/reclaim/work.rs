//! The runs that are measured.

use crate::clock;
use crate::object::{count_frees, freed};
use crate::schemes::{SLOTS, Scheme};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Who works in a run, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// Threads that retire, each in a place of its own, or that synchronize.
    pub(crate) threads: usize,
    /// The CPU of a thread that comes and goes as fast as it can, if there is one.
    pub(crate) reader: Option<usize>,
    /// The CPUs that threads which retire are spread over. One at least.
    pub(crate) cpus: &'a [usize],
}

impl Setting<'_> {
    fn run<R>(&self, scheme: &dyn Scheme, work: impl FnOnce() -> R) -> R {
        let read = |times| _ = black_box(scheme.read(0, times));
        match self.reader {
            Some(cpu) => clock::beside(read, cpu, work),
            None => work(),
        }
    }
}

/// What some retiring took.
pub(crate) struct Retired {
    /// Until the last thread had retired its last object.
    pub(crate) retiring: Duration,
    /// Until all of that was freed.
    pub(crate) until_freed: Duration,
    /// Of a million retirements.
    pub(crate) broadcasts: Option<f64>,
}

/// Retires so many objects in each thread.
pub(crate) fn retire(scheme: &dyn Scheme, setting: Setting<'_>, times: u64) -> Retired {
    let before = scheme.broadcasts();
    let ends: Vec<_> = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
    let begun = Instant::now();
    let nanos = |at: Instant| (at - begun).as_nanos() as u64;
    let work = |slot: usize| {
        scheme.replace(slot, times);
        ends[slot].store(nanos(Instant::now()), Ordering::Relaxed);
        scheme.hand_over();
    };
    let prepare = |slot| scheme.replace(slot, clock::WARM_UP);
    let (start, drained) = setting.run(scheme, || {
        let span = clock::together(setting.threads, setting.cpus, prepare, work);
        scheme.drain();
        (nanos(span.start), nanos(Instant::now()))
    });
    let last = ends.iter().map(|end| end.load(Ordering::Relaxed)).max().unwrap_or(start);
    let sent = scheme.broadcasts().zip(before).map(|(after, before)| after - before);
    let millions = ((times + clock::WARM_UP) * setting.threads as u64) as f64 / 1e6;
    Retired {
        retiring: Duration::from_nanos(last - start),
        until_freed: Duration::from_nanos(drained - start),
        broadcasts: sent.map(|sent| sent as f64 / millions),
    }
}

/// Objects retired and not yet freed.
pub(crate) struct Garbage {
    pub(crate) peak: u64,
    pub(crate) mean: f64,
    /// Never freed, although everything should have been.
    pub(crate) left: u64,
}

/// Retirements between two looks at the garbage. A prime: a look that always comes when a batch of
/// 32 or 64 has just been freed sees none of it.
const STRIDE: u64 = 61;

/// Retires so many objects in each thread, counting them: a run of its own, since that takes time.
pub(crate) fn garbage(scheme: &dyn Scheme, setting: Setting<'_>, times: u64) -> Garbage {
    /// On a line of its own.
    #[derive(Default)]
    #[repr(align(128))]
    struct Tally {
        allocated: AtomicU64,
        peak: AtomicU64,
        sum: AtomicU64,
    }
    let tallies: [Tally; SLOTS] = Default::default();
    // Something there to retire, from the first that is counted on.
    (0..SLOTS).for_each(|slot| scheme.replace(slot, 1));
    scheme.hand_over();
    scheme.drain();
    count_frees(true);
    let before = freed();
    let live = || {
        let freed = freed() - before;
        let allocated = tallies.iter().map(|tally| tally.allocated.load(Ordering::Relaxed));
        allocated.sum::<u64>().saturating_sub(freed)
    };
    let looks = times.div_ceil(STRIDE);
    let work = |slot: usize| {
        let tally = &tallies[slot];
        for _ in 0..looks {
            scheme.replace(slot, STRIDE);
            tally.allocated.fetch_add(STRIDE, Ordering::Relaxed);
            let live = live();
            tally.peak.fetch_max(live, Ordering::Relaxed);
            tally.sum.fetch_add(live, Ordering::Relaxed);
        }
        scheme.hand_over();
    };
    setting.run(scheme, || {
        clock::together(setting.threads, setting.cpus, |_| {}, work);
        scheme.drain();
    });
    // Somebody may be freeing still what somebody else saw as done.
    let patience = Instant::now() + Duration::from_millis(100);
    while live() > 0 && Instant::now() < patience {
        thread::yield_now();
    }
    let left = live();
    count_frees(false);
    let all = |of: fn(&Tally) -> &AtomicU64| {
        tallies.iter().map(move |tally| of(tally).load(Ordering::Relaxed))
    };
    Garbage {
        peak: all(|tally| &tally.peak).max().unwrap_or(0),
        mean: all(|tally| &tally.sum).sum::<u64>() as f64 / (looks * setting.threads as u64) as f64,
        left,
    }
}

/// What some grace periods took.
pub(crate) struct Synchronized {
    /// From the first caller's first call to the last one's last.
    pub(crate) wall: Duration,
    pub(crate) calls: u64,
    pub(crate) grace_periods: Option<u64>,
    pub(crate) broadcasts: Option<u64>,
}

/// Waits for so many grace periods in each thread.
pub(crate) fn synchronize(
    scheme: &dyn Scheme,
    setting: Setting<'_>,
    times: u64,
) -> Option<Synchronized> {
    let synchronize = scheme.synchronize()?;
    let counts = || (scheme.grace_periods(), scheme.broadcasts());
    let since = |after: Option<u64>, before| after.zip(before).map(|(a, b): (u64, u64)| a - b);
    // One by itself stays off the reader's CPU, where it would interrupt nobody. More of them run
    // where they like.
    let cpus = if setting.threads == 1 { &setting.cpus[..1] } else { &[] };
    setting.run(scheme, || {
        let before = counts();
        let work = |_| (0..times).for_each(|_| synchronize());
        let span = clock::together(setting.threads, cpus, |_| {}, work);
        let after = counts();
        Some(Synchronized {
            wall: span.length(),
            calls: times * setting.threads as u64,
            grace_periods: since(after.0, before.0),
            broadcasts: since(after.1, before.1),
        })
    })
}
