//! The run, from its options to its exit code.
//!
//! * What is checked: [`element`] (ages, visitors, mail), [`section`] (one reader's view),
//!   [`callbacks`] (the books), [`evidence`] (what went wrong), [`quarantine`] and [`crash`].
//!   In silence: [`audit`].
//! * Who does it: [`readers`], [`timer`], [`churn`], [`writer`], [`fakes`]; apart, [`duel`].
//! * What they share: [`world`], [`seat`] (one thread's own), [`stage`] (pauses).
//! * Who looks after them: [`conductor`], [`progress`], [`summary`].

mod audit;
mod callbacks;
mod churn;
mod conductor;
mod crash;
mod duel;
mod element;
mod evidence;
mod fakes;
mod modes;
mod options;
mod progress;
mod quarantine;
mod readers;
mod seat;
mod section;
mod stage;
mod summary;
mod timer;
mod world;
mod writer;

#[path = "../../../../tests/support/cpus.rs"]
mod cpus;
#[path = "../../../../tests/support/obstacles.rs"]
mod obstacles;

/// Does what the command line says, and exits.
pub(crate) fn main() -> ! {
    let options = options::Options::get();
    if let Some(mode) = options.mode {
        modes::enter(mode);
    }
    crash::report(options.seed, options.mode.is_some());
    conductor::run(&options)
}
