//! Decides, once per process, what it has: registration, broadcasts, self-test, slots, tier.
//!
//! An early constructor does it while the process has one thread. Code that runs before, or in
//! a program whose linker dropped the constructor, decides on first use. Nothing here
//! allocates, and signals are masked meanwhile, so that a first use in a signal handler
//! is one like any other.

use super::cpus::{self, Source};
use super::{SelfTest, Tier, membarrier, selftest};
use crate::rseq::area::{Refusal, Registration};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, Ordering};

/// What `STILLPOINT_TIER` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Not set, or empty.
    None,
    /// At most this tier.
    AtMost(Tier),
    /// Set to something else; ignored, and reported.
    Unknown,
}

/// What this process has. Never changes.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) tier: Tier,
    pub(crate) registration: Result<Registration, Refusal>,
    pub(crate) self_test: SelfTest,
    pub(crate) rseq_broadcast: Result<(), i32>,
    pub(crate) plain_broadcast: Result<(), i32>,
    pub(crate) wish: Wish,
    pub(crate) slots: u32,
    pub(crate) slots_source: Source,
}

impl Decision {
    /// The best tier that the facts allow, whatever was wished for.
    pub(crate) fn best(&self) -> Tier {
        self.at_most(Tier::Rseq)
    }

    /// The best tier that the facts allow and that is no higher than `ceiling`.
    pub(crate) fn at_most(&self, ceiling: Tier) -> Tier {
        let possible = |tier: &Tier| match tier {
            Tier::Rseq => {
                self.registration.is_ok()
                    && self.self_test == SelfTest::Passed
                    && self.rseq_broadcast.is_ok()
            }
            Tier::Membarrier => self.plain_broadcast.is_ok(),
            Tier::Fence => true,
        };
        let mut tiers = Tier::ALL.into_iter().filter(|tier| *tier <= ceiling);
        tiers.find(possible).unwrap_or(Tier::Fence)
    }

    fn make() -> Decision {
        #[cfg(stillpoint_mutants)]
        crate::sync::mutant::choose_early();
        let registration = register();
        let (slots, slots_source) = cpus::slots();
        let mut decision = Decision {
            tier: Tier::Fence,
            self_test: self_test(&registration),
            registration,
            rseq_broadcast: membarrier::enable_rseq(),
            plain_broadcast: membarrier::enable_plain(),
            wish: wish(),
            slots,
            slots_source,
        };
        decision.tier = match decision.wish {
            Wish::AtMost(tier) => decision.at_most(tier),
            Wish::None | Wish::Unknown => decision.best(),
        };
        decision
    }
}

#[cfg(stillpoint_sections)]
fn register() -> Result<Registration, Refusal> {
    crate::rseq::area::settle()
}

#[cfg(not(stillpoint_sections))]
fn register() -> Result<Registration, Refusal> {
    Err(Refusal::Target)
}

fn self_test(registration: &Result<Registration, Refusal>) -> SelfTest {
    registration.as_ref().map_or(SelfTest::NotRun, selftest::run)
}

fn wish() -> Wish {
    // SAFETY: the name is a C string. Reading the environment races with a thread that changes
    // it; the constructor runs before there are threads, and changing it is unsafe for this
    // very reason.
    let value = unsafe {
        let value = libc::getenv(c"STILLPOINT_TIER".as_ptr());
        if value.is_null() {
            return Wish::None;
        }
        std::ffi::CStr::from_ptr(value)
    };
    match value.to_bytes() {
        b"" => Wish::None,
        name => Tier::from_bytes(name).map_or(Wish::Unknown, Wish::AtMost),
    }
}

struct Cell(UnsafeCell<MaybeUninit<Decision>>);

// SAFETY: written once, by the thread that moved STATE from OPEN to BUSY, before it releases
// DONE; read only after acquiring DONE.
unsafe impl Sync for Cell {}

static DECISION: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));
static STATE: AtomicU8 = AtomicU8::new(OPEN);
const OPEN: u8 = 0;
const BUSY: u8 = 1;
const DONE: u8 = 2;

/// What this process has, decided now if it was not before.
#[inline]
pub(crate) fn decision() -> &'static Decision {
    // Acquire: partner is the release of DONE in `decide`.
    if STATE.load(Ordering::Acquire) != DONE {
        decide();
    }
    // SAFETY: DONE was acquired, here or in `decide`; nobody writes any more.
    unsafe { (*DECISION.0.get()).assume_init_ref() }
}

#[cold]
fn decide() {
    masked(|| {
        // Acquire on failure: the winner may be done.
        match STATE.compare_exchange(OPEN, BUSY, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let decision = Decision::make();
                // SAFETY: only the thread that moved OPEN to BUSY comes here, once.
                unsafe { (*DECISION.0.get()).write(decision) };
                STATE.store(DONE, Ordering::Release);
            }
            // Another thread decides: not this one below a handler, since signals are masked.
            Err(_) => {
                while STATE.load(Ordering::Acquire) != DONE {
                    std::thread::yield_now();
                }
            }
        }
    });
}

/// Runs `f` with signals masked, and keeps `errno`.
#[cfg(target_os = "linux")]
pub(crate) fn masked(f: impl FnOnce()) {
    use crate::rseq::quiet::{preserving_errno, with_signals_masked};
    preserving_errno(|| with_signals_masked(f));
}

/// Runs `f`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn masked(f: impl FnOnce()) {
    f();
}

/// Runs `decide` before main, among the first constructors.
#[cfg(target_os = "linux")]
#[used]
// SAFETY: the loader calls every pointer of this section as a C function, which this one is;
// it uses nothing that is not ready by then.
#[unsafe(link_section = ".init_array.00099")]
static EARLY: extern "C" fn() = {
    extern "C" fn early() {
        #[cfg(stillpoint_sections)]
        crate::rseq::pin::stay_loaded();
        decision();
    }
    early
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rseq::area::Registrar;

    fn decision(
        registration: Result<Registration, Refusal>,
        self_test: SelfTest,
        rseq_broadcast: Result<(), i32>,
        plain_broadcast: Result<(), i32>,
    ) -> Decision {
        Decision {
            tier: Tier::Fence,
            registration,
            self_test,
            rseq_broadcast,
            plain_broadcast,
            wish: Wish::None,
            slots: 1,
            slots_source: Source::Possible,
        }
    }

    #[test]
    fn every_missing_piece_costs_a_tier() {
        let with = |area, test, rseq, plain| decision(area, test, rseq, plain).best();
        let area = Registration { registrar: Registrar::Libc, length: 32, features: 28, offset: 8 };
        let eperm = Err(libc::EPERM);
        assert_eq!(with(Ok(area), SelfTest::Passed, Ok(()), Ok(())), Tier::Rseq);
        assert_eq!(with(Ok(area), SelfTest::Failed, Ok(()), Ok(())), Tier::Membarrier);
        let untried = SelfTest::Inconclusive("no timer");
        assert_eq!(with(Ok(area), untried, Ok(()), Ok(())), Tier::Membarrier);
        assert_eq!(with(Ok(area), SelfTest::Passed, eperm, Ok(())), Tier::Membarrier);
        assert_eq!(with(Ok(area), SelfTest::Passed, eperm, eperm), Tier::Fence);
        let refused = Err(Refusal::Denied(libc::ENOSYS));
        assert_eq!(with(refused, SelfTest::NotRun, Ok(()), Ok(())), Tier::Membarrier);
        assert_eq!(with(refused, SelfTest::NotRun, eperm, eperm), Tier::Fence);
        // The plain broadcast may be refused although the other is granted.
        let decision = decision(Ok(area), SelfTest::Passed, Ok(()), eperm);
        assert_eq!(decision.best(), Tier::Rseq);
        assert_eq!(decision.at_most(Tier::Membarrier), Tier::Fence);
    }
}
