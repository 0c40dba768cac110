//! Hardware counters of each CPU, read without a system call.
//!
//! [`Counters`] count what the calling thread does, on each CPU by events of its own; so sums can be
//! told by the type of CPU, on machines that have several. [`CpuCounters`] count what everybody does
//! on each CPU. Both read the counter of the CPU they run on by one [section](crate::rseq::counter),
//! which cannot mix one CPU's number with another's counter.
//!
//! Where a counter cannot be read like that, `read` on the event's file does it: for software events,
//! which no processor counts; while events take turns on too few counters; below
//! [tier `Rseq`](crate::Tier::Rseq); if the system forbids it. [`Reading::was_direct`] tells.
//!
//! # What it takes
//!
//! | | counts | `kernel.perf_event_paranoid` | direct reads |
//! |---|---|---|---|
//! | [`Counters`] | the thread, in user mode | 2; for [`ContextSwitches`](Event::ContextSwitches) and [`Migrations`](Event::Migrations) 1 | x86-64; arm64 with `kernel.perf_user_access` 1, Linux 5.17 |
//! | [`CpuCounters`] | everybody, user and kernel mode | 0, or `CAP_PERFMON` | x86-64 |
//!
//! If an administrator takes the right to read counters away while they are open (`rdpmc` in
//! `/sys/devices/cpu` or `kernel.perf_user_access` set to 0), the kernel may kill the reader by a
//! signal.
//!
//! # CPUs, threads and processes that come and go
//!
//! Events are opened on the CPUs that are online then. On others [`Error::NotOnThisCpu`] is what reading
//! gives; and [`profile`](Counters::profile) does not see what happened there. [`Counters`] go on when
//! their CPU comes back; [`CpuCounters`] stay where they were: open them again. Threads that the closure
//! starts are not counted. The child of a fork gets [`Error::Forked`], and may drop what it inherited;
//! `exec` closes everything.
//!
//! # Cost
//!
//! A file for each event and online CPU, and one more a CPU for [`Counters`]; a page of the user's
//! locked memory where it can be read directly; a system call or two for each to open and to close. A
//! direct reading is 34 instructions on x86-64, no allocation, and is async-signal-safe; `read` costs
//! some hundred nanoseconds.
//!
//! The protocol is the kernel's (`linux/perf_event.h`); that sections make it right for the events of
//! CPUs is Mathieu Desnoyers' observation (the manual page of `rseq`).

mod error;
mod event;
mod page;
mod reading;
mod set;
mod types;

pub use error::Error;
pub use event::Event;
pub use reading::{Count, OnType, Profile, Reading};
pub use types::{CpuType, cpu_types};

use page::Values;
use set::Set;
use std::marker::PhantomData;
use std::time::Duration;

/// Counts what the calling thread does in user mode, on each CPU.
///
/// # Examples
///
/// ```
/// use stillpoint::perf::{Counters, Event};
///
/// // Software events are counted wherever there are events at all.
/// let counters = match Counters::open(&[Event::Instructions]) {
///     Ok(counters) => counters,
///     Err(error) => {
///         eprintln!("{error}");
///         Counters::open(&[Event::TaskClock])?
///     }
/// };
/// let (sum, profile) = counters.profile(|| (0..1000_u64).sum::<u64>());
/// assert_eq!(sum, 499_500);
/// println!("{}", profile?);
/// # Ok::<(), stillpoint::perf::Error>(())
/// ```
#[derive(Debug)]
pub struct Counters {
    set: Set,
    /// The events are this thread's.
    thread: PhantomData<*const ()>,
}

impl Counters {
    /// Opens each event for the calling thread on each CPU that is online, and starts to count.
    ///
    /// # Errors
    ///
    /// If no CPU has one of the events, or the system forbids it. The error's text says what to do.
    ///
    /// # Examples
    ///
    /// See [`Counters`].
    pub fn open(events: &[Event]) -> Result<Counters, Error> {
        Ok(Counters { set: Set::open(events, false)?, thread: PhantomData })
    }

    /// What the thread has done so far on the CPU it is on: `event` is the place in what was opened.
    ///
    /// Two readings of one CPU can be [compared](Reading::since). Between them the time for which the
    /// event was wanted is all the thread's, also what it spent on other CPUs: an event that took turns
    /// is scaled too high by then. [`profile`](Counters::profile) knows better.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    ///
    /// [`Error::NotOnThisCpu`], [`Error::Forked`], [`Error::NoSuchEvent`], or what `read` says.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let before = counters.read_here(0)?;
    /// (0..1000).for_each(|n| _ = std::hint::black_box(n));
    /// match counters.read_here(0)?.since(&before) {
    ///     Some(count) => println!("{} ns", count.counted()),
    ///     None => println!("moved to another CPU"),
    /// }
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    #[inline]
    pub fn read_here(&self, event: usize) -> Result<Reading, Error> {
        read_here(&self.set, event)
    }

    /// Calls the closure and tells what the thread did meanwhile, by type of CPU.
    ///
    /// The counts include the cost of reading them: some hundred instructions, and the time of two
    /// system calls. Before and after there is one more call for each event and CPU. Counts of events
    /// that took turns are scaled by the time for which the thread was on CPUs of each type, which is
    /// counted too.
    ///
    /// # Errors
    ///
    /// The profile is an error if an event could not be read.
    ///
    /// # Panics
    ///
    /// If the closure does.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::PageFaults])?;
    /// let (pages, profile) = counters.profile(|| vec![1_u8; 1 << 24]);
    /// let profile = profile?;
    /// for on in &profile.types {
    ///     println!("{}: {:?} in {:?}", on.cpu_type.name, on.counts[0], on.time);
    /// }
    /// assert!(profile.total(0).is_some_and(|faults| faults >= 1));
    /// # drop(pages);
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn profile<R>(&self, f: impl FnOnce() -> R) -> (R, Result<Profile, Error>) {
        let before = Snapshot::take(&self.set, Side::Before);
        let result = f();
        let after = Snapshot::take(&self.set, Side::After);
        let profile =
            before.and_then(|before| after.map(|after| profile(&self.set, &before, &after)));
        (result, profile)
    }

    /// What was opened.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    /// assert_eq!(Counters::open(&[Event::TaskClock])?.events(), [Event::TaskClock]);
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn events(&self) -> &[Event] {
        &self.set.events
    }

    /// True if this event can be read without a system call, while a counter counts it; on arm64 only
    /// if the system's setting allows it at that time.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    /// assert!(!Counters::open(&[Event::TaskClock])?.is_direct(0));
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn is_direct(&self, event: usize) -> bool {
        self.set.is_mapped(event)
    }
}

/// Counts what everybody does on each CPU, in user and kernel mode.
///
/// # Examples
///
/// ```
/// use stillpoint::perf::{CpuCounters, Event};
///
/// match CpuCounters::open(&[Event::Instructions]) {
///     Ok(counters) => println!("{:?}", counters.read_here(0)?),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), stillpoint::perf::Error>(())
/// ```
#[derive(Debug)]
pub struct CpuCounters {
    set: Set,
}

impl CpuCounters {
    /// Opens each event on each CPU that is online, for all that run there, and starts to count.
    ///
    /// # Errors
    ///
    /// As for [`Counters::open`].
    ///
    /// # Examples
    ///
    /// See [`CpuCounters`].
    pub fn open(events: &[Event]) -> Result<CpuCounters, Error> {
        Ok(CpuCounters { set: Set::open(events, true)? })
    }

    /// What was counted on the CPU that the thread is on: `event` is the place in what was opened.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    ///
    /// As for [`Counters::read_here`].
    ///
    /// # Examples
    ///
    /// See [`CpuCounters`].
    #[inline]
    pub fn read_here(&self, event: usize) -> Result<Reading, Error> {
        read_here(&self.set, event)
    }

    /// What was counted on each CPU, by a system call for each, which sends it an interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Counters::read_here`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{CpuCounters, Event};
    ///
    /// if let Ok(counters) = CpuCounters::open(&[Event::ContextSwitches]) {
    ///     for reading in counters.read_all(0)? {
    ///         println!("CPU {}: {}", reading.cpu(), reading.count());
    ///     }
    /// }
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn read_all(&self, event: usize) -> Result<Vec<Reading>, Error> {
        let what = *self.set.events.get(event).ok_or(Error::NoSuchEvent)?;
        let mut readings = Vec::new();
        for (at, (cpu, _)) in self.set.cpus().enumerate() {
            if let Some(values) = self.set.read_on(at, event)? {
                readings.push(Reading { cpu, event: what, values, by_page: false });
            }
        }
        Ok(readings)
    }
}

#[inline]
fn read_here(set: &Set, event: usize) -> Result<Reading, Error> {
    let (cpu, values, by_page) = set.read_here(event)?;
    Ok(Reading { cpu, event: set.events[event], values, by_page })
}

/// Which side of the closure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The thread's counts on every CPU.
struct Snapshot {
    /// By CPU: how long it was there; its events.
    cpus: Vec<(u64, Vec<Option<Values>>)>,
}

impl Snapshot {
    /// The CPU that the thread is on is read nearest to the closure, and there the clock nearer than the
    /// events: so an event that was always counted has not run for less time than the clock tells, and is
    /// not taken for one that took turns.
    fn take(set: &Set, side: Side) -> Result<Snapshot, Error> {
        let events = set.events.len();
        let mut cpus: Vec<(u64, Vec<Option<Values>>)> =
            set.cpus().map(|_| (0, vec![None; events])).collect();
        let here = crate::current_cpu();
        let mut order: Vec<(usize, u32)> =
            set.cpus().enumerate().map(|(at, (cpu, _))| (at, cpu)).collect();
        order.sort_by_key(|&(_, cpu)| (cpu == here) == (side == Side::Before));
        for (at, cpu) in order {
            let (clock, counts) = &mut cpus[at];
            if side == Side::After {
                *clock = set.clock_on(at)?;
            }
            for (event, count) in counts.iter_mut().enumerate() {
                let direct = if cpu == here { set.read_by_page(event) } else { None };
                *count = match direct {
                    Some((read_on, values)) if read_on == cpu => Some(values),
                    _ => set.read_on(at, event)?,
                };
            }
            if side == Side::Before {
                *clock = set.clock_on(at)?;
            }
        }
        Ok(Snapshot { cpus })
    }
}

fn profile(set: &Set, before: &Snapshot, after: &Snapshot) -> Profile {
    let none = |cpu_type: &CpuType| OnType {
        cpu_type: cpu_type.clone(),
        time: Duration::ZERO,
        counts: vec![None; set.events.len()],
    };
    let mut types: Vec<OnType> = set.types.iter().map(none).collect();
    for ((_, kind), (before, after)) in set.cpus().zip(before.cpus.iter().zip(&after.cpus)) {
        let on = &mut types[kind];
        let nanos = after.0.saturating_sub(before.0);
        on.time += Duration::from_nanos(nanos);
        for (sum, (before, after)) in on.counts.iter_mut().zip(before.1.iter().zip(&after.1)) {
            if let (Some(before), Some(after)) = (before, after) {
                // What the kernel says the event was wanted for is the thread's time everywhere.
                let count = Count::between(before, after).wanted_for(nanos);
                sum.get_or_insert_default().add(&count);
            }
        }
    }
    Profile { events: set.events.clone(), types }
}
