//! CPUs that go and come while a program runs.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Runs `program` while every CPU but the first goes offline and comes back, in turn. Fails as
/// `program` does, or if no CPU could be taken, or one did not come back.
pub(crate) fn during(program: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    let switches = switches();
    if switches.is_empty() {
        return Err(io::Error::other("no CPU can be taken offline"));
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let turns = scope.spawn(|| take_and_give(&switches, &over));
        let outcome = program();
        over.store(true, Relaxed);
        let turns = turns.join().expect("no panic there")?;
        println!("GUEST hotplug: {turns} times a CPU went and came, {} CPUs", switches.len());
        if turns < 3 {
            return Err(io::Error::other("hardly any CPU went"));
        }
        outcome
    })
}

/// The switches of the CPUs that may go: all but the first.
fn switches() -> Vec<String> {
    let all = (1..4096).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/online"));
    all.take_while(|path| fs::metadata(path).is_ok()).collect()
}

/// Takes a CPU, lets the others work without it, gives it back, and the next. Returns how often.
/// One that is offline from the start comes first, then goes: then too, all are there at the end.
fn take_and_give(switches: &[String], over: &AtomicBool) -> io::Result<usize> {
    let mut turns = 0;
    for switch in switches.iter().cycle() {
        if over.load(Relaxed) {
            break;
        }
        if fs::read_to_string(switch)?.trim() == "0" {
            set(switch, "1")?;
        }
        set(switch, "0")?;
        thread::sleep(Duration::from_millis(20));
        set(switch, "1")?;
        thread::sleep(Duration::from_millis(20));
        turns += 1;
    }
    Ok(turns)
}

fn set(switch: &str, value: &str) -> io::Result<()> {
    let told = |e: io::Error| io::Error::other(format!("{value} > {switch}: {e}"));
    fs::write(switch, value).map_err(told)
}
