//! Each deliberate defect is noticed, in less than 30 seconds.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Instant;
use stillpoint::Tier;

fn torture(arguments: &[&str]) -> (Option<i32>, String) {
    let begin = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_torture-broken"));
    let output = command.args(arguments).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    println!("{arguments:?}: {}, {:.1} s", output.status, begin.elapsed().as_secs_f64());
    (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
}

/// The modes, as the tool lists them when it is asked for one that there is not.
fn modes() -> Vec<String> {
    let (_, printed) = torture(&["--break", "list"]);
    let list = printed.split_once("[possible values: ").and_then(|(_, rest)| rest.split_once(']'));
    let modes = list.unwrap_or_else(|| panic!("no list: {printed}")).0;
    modes.split(", ").map(str::to_owned).collect()
}

fn is_caught(mode: &str, tier: Tier) {
    let (code, printed) =
        torture(&["--break", mode, "--tier", tier.name(), "--seconds", "28", "--stall", "8"]);
    assert_eq!(code, Some(1), "{mode} on {tier}:\n{printed}");
    assert!(printed.contains("VIOLATION"), "{printed}");
}

/// A race of nanoseconds: needs two real CPUs and some luck. The models need neither.
const RACE: &str = "no-broadcast";

/// One test: runs at the same time would starve each other.
#[test]
fn every_defect_is_noticed() {
    let modes = modes();
    assert!(modes.len() > 3, "{modes:?}");
    for mode in modes.iter().filter(|&mode| mode != RACE) {
        is_caught(mode, stillpoint::machine().tier());
    }
    for tier in Tier::ALL.into_iter().filter(|&tier| tier < stillpoint::machine().tier()) {
        is_caught("no-wait", tier);
    }
}

#[test]
#[ignore = "a race of nanoseconds: needs two real CPUs and some luck; the models need neither"]
fn a_missing_broadcast_is_noticed() {
    // Below, readers count by instructions that are fences on x86.
    if stillpoint::machine().tier() < Tier::Rseq {
        println!("SKIPPED {RACE}: needs restartable sequences");
        return;
    }
    is_caught(RACE, Tier::Rseq);
}

#[test]
fn without_a_defect_it_is_clean() {
    let (code, printed) = torture(&["--seconds", "2"]);
    assert_eq!(code, Some(0), "{printed}");
}
