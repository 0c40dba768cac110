//! Violations: what was seen, by whom, with the numbers that prove it.
//!
//! Noting one takes no lock and allocates nothing: signal handlers do it.

use super::seat;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// What must never be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A reader sees an element older than 1.
    TooOld,
    /// A reader sees an element, or its memory, after it was freed.
    Freed,
    /// Two grace periods ended during one section.
    TwoPeriods,
    /// A reader is still with an element whose grace period is over.
    StillVisited,
    /// A counter went back, seen across a grace period.
    MailFromTheFuture,
    /// A callback ran before its grace period.
    EarlyCallback,
    /// A callback ran, though the guard under which it was queued lives.
    CallbackUnderGuard,
    /// Something was dropped, or ran, twice.
    Twice,
    /// A cookie completed, though the guard under which it was taken lives.
    CookieUnderGuard,
    /// A later cookie completed before an earlier one.
    CookiesOutOfOrder,
    /// A cookie was complete, and then was not.
    CookieTakenBack,
    /// A wait for a grace period returned before one had ended.
    ShortWait,
    /// A wait gave up before its time.
    EarlyTimeout,
    /// A barrier returned before a callback queued earlier had run.
    ShortBarrier,
    /// Callbacks that never ran, or not once each.
    UnevenBooks,
    /// Elements that nobody freed, or that were freed twice.
    LostElements,
    /// An exchange with something else than what was there succeeded.
    WrongExchange,
    /// Callbacks are pending where there can be none.
    StillPending,
    /// Nobody ran the callbacks, though everybody is silent.
    Forgotten,
    /// `try_retire` or `throttle` do not do what the limit says.
    WrongLimit,
    /// Someone has been waiting for too long.
    Stalled,
    /// No grace period ended for too long.
    NoProgress,
    /// A thread panicked.
    Panicked,
}

impl What {
    const COUNT: usize = What::Panicked as usize + 1;

    fn text(self) -> &'static str {
        match self {
            What::TooOld => "a reader sees an element after its grace period",
            What::Freed => "a reader sees a freed element",
            What::TwoPeriods => "two grace periods ended during one section",
            What::StillVisited => "a reader is with an element whose grace period is over",
            What::MailFromTheFuture => "a counter went back across a grace period",
            What::EarlyCallback => "a callback ran before its grace period",
            What::CallbackUnderGuard => "a callback ran under the guard it was queued under",
            What::Twice => "a callback ran twice",
            What::CookieUnderGuard => "a cookie completed under the guard it was taken under",
            What::CookiesOutOfOrder => "a later cookie completed before an earlier one",
            What::CookieTakenBack => "a complete cookie is incomplete again",
            What::ShortWait => "a wait returned before a grace period had ended",
            What::EarlyTimeout => "a wait gave up before its time",
            What::ShortBarrier => "a barrier returned before an earlier callback had run",
            What::UnevenBooks => "callbacks did not run once each",
            What::LostElements => "elements were not freed once each",
            What::WrongExchange => "an exchange succeeded with a stale value",
            What::StillPending => "callbacks are pending after a barrier in silence",
            What::Forgotten => "nobody runs the callbacks that are left",
            What::WrongLimit => "a limit is not what it was set to",
            What::Stalled => "a thread waits for too long",
            What::NoProgress => "no grace period ended for too long",
            What::Panicked => "a thread panicked",
        }
    }
}

/// A number and what it is; nothing, if the name is empty.
pub(crate) type Fact = (&'static str, u64);

/// One violation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    what: What,
    by: &'static str,
    thread: usize,
    facts: [Fact; 6],
}

/// Of each kind of violation, that many are kept.
const KEPT: usize = 4;

static FOUND: [[OnceLock<Evidence>; KEPT]; What::COUNT] =
    [const { [const { OnceLock::new() }; KEPT] }; What::COUNT];
static COUNTS: [AtomicUsize; What::COUNT] = [const { AtomicUsize::new(0) }; What::COUNT];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Notes a violation seen by the calling thread, which is at `by`.
#[cold]
pub(crate) fn note<const N: usize>(what: What, by: &'static str, facts: [Fact; N]) {
    const { assert!(N <= 6) };
    let mut all = [("", 0); 6];
    all[..N].copy_from_slice(&facts);
    let nth = COUNTS[what as usize].fetch_add(1, Relaxed);
    if let Some(room) = FOUND[what as usize].get(nth) {
        // The room is this call's alone, so nobody waits here.
        let _ = room.set(Evidence { what, by, thread: seat::number(), facts: all });
    }
    // Release: whoever sees the count finds the evidence.
    COUNT.fetch_add(1, Release);
}

/// How many there are.
pub(crate) fn count() -> usize {
    COUNT.load(Acquire)
}

/// Prints those that were kept, and how many there were.
pub(crate) fn print() {
    println!("{} VIOLATIONS", count());
    for (kept, count) in FOUND.iter().zip(&COUNTS) {
        kept.iter().filter_map(OnceLock::get).for_each(|evidence| println!("  {evidence}"));
        if count.load(Relaxed) > KEPT {
            println!("  ... {} of this kind in all", count.load(Relaxed));
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, thread {}]", self.what.text(), self.by, self.thread)?;
        let facts = self.facts.iter().filter(|(name, _)| !name.is_empty());
        facts.enumerate().try_for_each(|(n, (name, number))| {
            write!(f, "{} {name} {number}", if n == 0 { ":" } else { "," })
        })
    }
}
