//! The tool itself: short runs on every tier, and what it refuses.

#![cfg(target_os = "linux")]

use std::process::{Command, Output};
use stillpoint::Tier;

fn torture(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torture"));
    command.args(arguments);
    command
}

fn ends(mut command: Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(status.code(), Some(code), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout + &stderr
}

/// One test: runs at the same time would starve each other.
#[test]
fn the_library_as_shipped_is_clean() {
    for tier in Tier::ALL {
        if tier > stillpoint::machine().tier() {
            println!("SKIPPED torture on tier {tier}");
            continue;
        }
        let arguments = ["--seconds", "2", "--seed", "12", "--tier", tier.name()];
        let printed = ends(torture(&arguments), 0);
        assert!(printed.contains(&format!("tier {tier}, seed 12, ")), "{printed}");
        assert!(printed.contains("clean: no violation"), "{printed}");
    }
    for arguments in [&["--global"][..], &["--reclaimer", "custom"], &["--reclaimer", "disabled"]] {
        let mut short = torture(arguments);
        short.args(["--seconds", "2"]);
        ends(short, 0);
    }
}

#[test]
fn nonsense_is_refused() {
    let nonsense: [&[&str]; 11] = [
        &["--tier", "fastest"],
        &["--break", "everything"],
        &["--readers", "0"],
        &["--seconds", "-1"],
        &["--seconds", "soon"],
        &["--seconds", "1e300"],
        &["--stall", "0"],
        &["--flood", "0"],
        &["--fakes", "1000"],
        &["--global", "--tier", "fence"],
        &["--help-me"],
    ];
    for arguments in nonsense {
        ends(torture(arguments), 2);
    }
    let mut lower = torture(&["--tier", "membarrier", "--seconds", "1"]);
    lower.env("STILLPOINT_TIER", "fence");
    let printed = ends(lower, 2);
    assert!(printed.contains("no tier membarrier here: this process has fence"), "{printed}");
}
