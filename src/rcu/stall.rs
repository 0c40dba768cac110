//! Grace periods that take long, and what is known of whom they wait for: readers, or a kernel that
//! refuses the broadcast. Who must wait panics for the latter; who advances in passing, polls or
//! awaits cannot tell that nobody else may broadcast, so it is reported as readers are.

use super::domain::Domain;
use super::engine::{Engine, nanos_of};
use super::readers::{self, Reader};
use super::statistics::add;
use crate::machine::Tier;
use crate::sync::nanos;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When the period in progress began, and when somebody should hear of it next. Used under
/// the grace period's lock.
#[derive(Debug)]
pub(super) struct Stalled {
    begun: AtomicU64,
    /// Reports on this period so far: the n-th comes when it is 2^n times the stall time old.
    reports: AtomicU64,
}

impl Stalled {
    pub(super) fn new() -> Stalled {
        Stalled { begun: AtomicU64::new(0), reports: AtomicU64::new(0) }
    }

    pub(super) fn begin(&self, now: u64) {
        self.begun.store(now, Ordering::Relaxed);
        self.reports.store(0, Ordering::Relaxed);
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// A report, if it is time for one. With the number of the error, if the broadcast was refused.
    pub(super) fn check(
        &self,
        engine: &Engine,
        number: u64,
        refused: Option<i32>,
    ) -> Option<Box<StallReport>> {
        if cfg!(stillpoint_loom) {
            return None;
        }
        let age = nanos().saturating_sub(self.begun());
        let reports = self.reports.load(Ordering::Relaxed);
        // Not zero, which would never double.
        let first = engine.stall_nanos.load(Ordering::Relaxed).max(1);
        let due = first.saturating_mul(1 << reports.min(60));
        if age < due {
            return None;
        }
        self.reports.store(reports + 1, Ordering::Relaxed);
        add(&engine.counts.stalls);
        Some(Box::new(engine.report(Duration::from_nanos(age), number, reports + 1, refused)))
    }
}

/// A grace period that readers have been holding up for longer than the domain's
/// [stall time](super::DomainBuilder::stall_timeout); or the kernel, which refuses its broadcast.
///
/// It is reported once, and again each time its age has doubled, to the domain's
/// [`on_stall`](Domain::on_stall) hook. [`Display`](fmt::Display) gives the whole report.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use stillpoint::rcu::Domain;
///
/// let domain = Domain::builder().name("routes").stall_timeout(Duration::from_millis(5)).build();
/// let (heard, reports) = mpsc::channel();
/// domain.on_stall(move |report| drop(heard.send(report.clone())));
///
/// let guard = domain.read();
/// std::thread::scope(|s| {
///     s.spawn(|| domain.synchronize());
///     let report = reports.recv().unwrap();
///     assert!(report.age >= Duration::from_millis(5));
///     assert_eq!((report.domain, report.sections), ("routes", 1));
///     drop(guard);
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallReport {
    /// The domain's name, if it was given one.
    pub domain: &'static str,
    /// How many grace periods of the domain have ended.
    pub grace_periods: u64,
    /// How long the one in progress takes so far.
    pub age: Duration,
    /// The how manieth report on this grace period it is.
    pub report: u64,
    /// Read-side critical sections in progress, in both phases: those the grace period waits
    /// for, and later ones.
    pub sections: u64,
    /// The phase that readers enter now: 0 or 1.
    pub phase: usize,
    /// Where the sections in progress were counted.
    pub counts: Vec<PhaseCount>,
    /// The sections in progress: only with feature `debug-readers`, or in a build with debug
    /// assertions; and at most some hundreds.
    pub readers: Vec<Reader>,
    /// The number of the error with which the kernel has just refused the `membarrier` that it
    /// granted at start-up: then it is not for readers that the grace period waits. Nothing is
    /// freed until some thread may make that call.
    pub refused: Option<i32>,
}

/// What one CPU counted in one phase; part of a [`StallReport`].
///
/// # Examples
///
/// ```
/// fn print(report: &stillpoint::rcu::StallReport) {
///     for count in &report.counts {
///         println!("CPU {:?}: {} sections entered, {} left", count.cpu, count.entered, count.left);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseCount {
    /// The CPU; `None` for what was counted atomically.
    pub cpu: Option<usize>,
    /// 0 or 1.
    pub phase: usize,
    /// Sections that began there.
    pub entered: u64,
    /// Sections that ended there, wherever they began.
    pub left: u64,
}

impl Engine {
    fn report(&self, age: Duration, number: u64, report: u64, refused: Option<i32>) -> StallReport {
        let sequences = self.tier() == Tier::Rseq;
        let mut counts = Vec::new();
        let mut sections = 0_u64;
        for (i, line) in self.lines().iter().enumerate() {
            for (phase, count) in line.phases.iter().enumerate() {
                let left = count.left.load(Ordering::Acquire);
                let entered = count.entered.load(Ordering::Acquire);
                sections = sections.wrapping_add(entered).wrapping_sub(left);
                if entered != left {
                    let cpu = i.checked_sub(1).filter(|_| sequences);
                    counts.push(PhaseCount { cpu, phase, entered, left });
                }
            }
        }
        StallReport {
            domain: self.name,
            grace_periods: number / 2,
            age,
            report,
            // Counted one after the other, so a few that come and go may be missing.
            sections: (sections as i64).max(0) as u64,
            phase: self.current_phase(),
            counts,
            readers: readers::of(self),
            refused,
        }
    }
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.domain.is_empty() { "an unnamed domain" } else { self.domain };
        write!(
            f,
            "stillpoint: grace period {} of {name} is held up for {:.3?} by ",
            self.grace_periods + 1,
            self.age,
        )?;
        match self.refused {
            None => f.write_str("read-side critical sections")?,
            Some(errno) => write!(f, "the kernel, which refuses {}", Refusal(errno))?,
        }
        write!(f, ": {} in progress, phase {}", self.sections, self.phase)?;
        for count in &self.counts {
            match count.cpu {
                Some(cpu) => write!(f, "; CPU {cpu}")?,
                None => write!(f, "; atomic")?,
            }
            write!(f, " phase {}: entered {}, left {}", count.phase, count.entered, count.left)?;
        }
        for reader in &self.readers {
            write!(f, "; {reader}")?;
        }
        Ok(())
    }
}

/// What is to be said of a broadcast that was refused with this error.
pub(super) struct Refusal(pub(super) i32);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the membarrier it granted at start-up ({}). A filter installed after start-up must \
             allow membarrier, or STILLPOINT_TIER=fence be set",
            io::Error::from_raw_os_error(self.0)
        )
    }
}

impl Domain {
    /// From now on a grace period counts as stalled when it takes longer than this;
    /// [`Duration::MAX`] means never. The default is ten seconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// stillpoint::rcu::Domain::global().set_stall_timeout(Duration::from_secs(1));
    /// ```
    pub fn set_stall_timeout(&self, timeout: Duration) {
        self.engine().stall_nanos.store(nanos_of(timeout), Ordering::Relaxed);
    }
}
