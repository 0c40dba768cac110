//! Scenarios: what [`child::run_for`] has children do, on both sides.

use super::seccomp::answer;
use super::surrounding::Surrounding;
use super::{child, surrounding};
use std::time::Instant;

/// What children may be asked to do, by name.
pub(crate) type Scenarios = [(&'static str, fn())];

/// Plays the one that the environment names.
pub(crate) fn play(scenarios: &Scenarios) {
    let Ok(name) = std::env::var(surrounding::SCENARIO) else { return };
    // At once, whatever other threads are waiting for.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}\n{}", std::backtrace::Backtrace::capture());
        // SAFETY: ends the process.
        unsafe { libc::_exit(101) };
    }));
    for rule in surrounding::own_rules() {
        let found = answer(rule.call, [rule.bits as usize, 0, 0]);
        assert_eq!(found, rule.errno, "the filter does not do what it should: {rule:?}");
    }
    print!("{}", stillpoint::machine());
    let (_, scenario) = scenarios.iter().find(|(n, _)| *n == name).expect("no such scenario");
    scenario();
    println!("{}", child::DONE);
}

/// Has a scenario played with each registrar and on each tier, well; gives what was printed.
/// Patient: its processes may be many, and the machine busy.
pub(crate) fn in_each(scenario: &str) -> Vec<String> {
    let in_one = |surrounding: &Surrounding| {
        let started = Instant::now();
        let outcome = child::run_for(4 * child::PATIENCE, scenario, surrounding);
        let outcome = outcome.expect("nothing here can be refused");
        outcome.assert_well(&format!("{scenario} in {surrounding:?}"));
        println!("{:?} {scenario}: {}", started.elapsed(), outcome.field("tier"));
        outcome.output
    };
    Surrounding::each().iter().map(in_one).collect()
}
