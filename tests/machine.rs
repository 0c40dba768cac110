//! What the library finds out about the machine, against what the kernel says by other ways; and,
//! where somebody knows beforehand, against that.
//!
//! `STILLPOINT_EXPECT="tier=rseq;slots=4"`: who boots a machine tells what it is
//! (`tests/support/expect.rs`).

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/expect.rs"]
mod expect;

use std::fs::read_to_string;
use stillpoint::lock::has_slice_extension;
use stillpoint::perf::{Counters, Event};
use stillpoint::rseq::area::{Registrar, ensure_registered, thread_area};
use stillpoint::{Tier, machine};

/// Bytes of `struct rseq` that this kernel fills, by its own word; 20 before it gave one.
fn filled() -> u32 {
    const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;
    // SAFETY: no memory is involved.
    match unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE) } {
        0 => 20,
        bytes => bytes as u32,
    }
}

/// Numbers in a list such as `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().unwrap();
    let runs = text.trim().split(',').filter(|run| !run.is_empty());
    let run = |run: &str| match run.split_once('-') {
        Some((first, last)) => (number(first)..=number(last)).collect(),
        None => vec![number(run)],
    };
    runs.flat_map(run).collect()
}

fn listed(file: &str) -> Vec<u32> {
    list(&read_to_string(format!("/sys/devices/system/{file}")).unwrap())
}

#[test]
fn expected() {
    let Some(wanted) = expect::told() else {
        println!("SKIPPED expected: nobody told what to expect (STILLPOINT_EXPECT)");
        return;
    };
    let area = machine().registration();
    let area = area.as_ref();
    let yes_or_no = |is_there: bool| String::from(if is_there { "yes" } else { "no" });
    for (key, value) in expect::pairs(&wanted) {
        let found = match key {
            "tier" => machine().tier().to_string(),
            "reason" => machine().reason(),
            "registrar" => match area.unwrap().registrar {
                Registrar::Libc => "libc".to_owned(),
                _ => "stillpoint".to_owned(),
            },
            "length" => area.unwrap().length.to_string(),
            "features" => area.unwrap().features.to_string(),
            "offset" if area.unwrap().offset < 0 => "negative".to_owned(),
            "offset" => "positive".to_owned(),
            "slots" => machine().slots().to_string(),
            "nodes" => machine().nodes().len().to_string(),
            "debug" => debug_mode(),
            "online" => listed("cpu/online").len().to_string(),
            "slices" => yes_or_no(has_slice_extension()),
            // Of the processor, and those that tests/perf.rs cannot do without.
            "counters" => yes_or_no(Counters::open(&[Event::Instructions, Event::Cycles]).is_ok()),
            _ => panic!("no such key: {key}={value}"),
        };
        assert_eq!(found, value, "{key}, in\n{}", machine());
    }
}

/// What the kernel says of its rseq debug mode, in which it checks what it otherwise trusts.
fn debug_mode() -> String {
    match read_to_string("/sys/kernel/debug/rseq/debug").as_deref().map(str::trim) {
        Ok("1" | "Y") => "on".to_owned(),
        Ok("0" | "N") => "off".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The length of per-CPU arrays covers every CPU that may ever come.
#[test]
fn slots_cover_every_possible_cpu() {
    let possible = listed("cpu/possible");
    assert_eq!(machine().slots(), possible.iter().max().unwrap() + 1);
}

#[test]
fn nodes_are_the_kernels() {
    let found: Vec<u32> = machine().nodes().iter().map(|node| node.id).collect();
    assert_eq!(found, listed("node/online"));
    let mut cpus: Vec<u32> = machine().nodes().iter().flat_map(|n| n.cpus.clone()).collect();
    cpus.sort_unstable();
    assert_eq!(cpus, listed("cpu/online"));
}

/// Fields are said to be there exactly where the kernel fills them; and there they are right, on
/// every CPU.
#[test]
fn fields_are_used_where_they_are_filled() {
    let Ok(area) = machine().registration() else {
        println!("SKIPPED fields: {}", machine().reason());
        return;
    };
    assert_eq!(area.has_node_id(), filled() >= 24, "{area:?}");
    assert_eq!(area.has_mm_cid(), filled() >= 28, "{area:?}");
    assert_eq!(area.has_slice_ctrl(), filled() >= 32 && area.length > 32, "{area:?}");
    assert!(ensure_registered());
    let at = thread_area().cast::<u32>();
    // SAFETY: the thread's own area, at least 32 bytes; the kernel writes it while we do not run.
    let word = |offset: usize| unsafe { at.byte_add(offset).read_volatile() };
    for cpu in cpus::allowed() {
        if !cpus::restrict(0, &[cpu]) {
            println!("CPU {cpu} has gone");
            continue;
        }
        let (mut now, mut node) = (0_u32, 0_u32);
        // SAFETY: both are live locals.
        unsafe { libc::syscall(libc::SYS_getcpu, &raw mut now, &raw mut node, 0) };
        assert_eq!(word(4), cpu as u32, "cpu_id");
        assert_eq!(now, cpu as u32, "getcpu");
        if area.has_node_id() {
            assert_eq!(word(20), node, "node_id on CPU {cpu}");
        }
        if area.has_mm_cid() {
            assert!(word(24) < machine().slots(), "mm_cid {} on CPU {cpu}", word(24));
        }
    }
}

/// A reason is given for the tier, and the tier is what the parts allow.
#[test]
fn the_tier_follows() {
    let found = machine();
    println!("{found}");
    if std::env::var_os("STILLPOINT_TIER").is_none() {
        let full = found.registration().is_ok()
            && found.self_test() == stillpoint::SelfTest::Passed
            && found.reason() == "everything is there";
        assert_eq!(found.tier() == Tier::Rseq, full, "{found}");
    }
    assert!(!found.reason().is_empty());
}
