//! What whoever started the tests knows of the machine: `STILLPOINT_EXPECT="tier=rseq;slices=yes"`.
//!
//! `tests/machine.rs` looks for all of it. Other tests skip, loudly, what the machine has not. But
//! what it was said to have, with `yes`, is not skipped: that is a failure. Else a machine that is
//! there for a test might do without it for ever, and nobody would notice.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::fmt::Display;

/// What was told, if anybody did.
pub(crate) fn told() -> Option<String> {
    std::env::var("STILLPOINT_EXPECT").ok()
}

/// Keys and values of what was told.
pub(crate) fn pairs(told: &str) -> impl Iterator<Item = (&str, &str)> {
    told.split(';').map(|pair| pair.split_once('=').expect("key=value"))
}

/// What `key` is about is not there: prints that and why. Panics if it was said to be there.
#[track_caller]
pub(crate) fn skip(key: &str, why: impl Display) {
    match judge(told().as_deref(), key, &why) {
        Ok(skipped) => println!("{skipped}"),
        Err(missed) => panic!("{missed}"),
    }
}

fn judge(told: Option<&str>, key: &str, why: &dyn Display) -> Result<String, String> {
    if told.is_some_and(|told| pairs(told).any(|pair| pair == (key, "yes"))) {
        return Err(format!("{why}: but {key}=yes was told (STILLPOINT_EXPECT)"));
    }
    Ok(format!("SKIPPED: {why}"))
}

#[test]
fn what_was_said_to_be_there_is_not_skipped() {
    let is_skipped = |told, key| judge(told, key, &"none").is_ok();
    assert!(is_skipped(None, "slices"));
    assert!(is_skipped(Some("tier=rseq;slots=4"), "slices"));
    assert!(is_skipped(Some("tier=rseq;slices=no"), "slices"));
    assert!(is_skipped(Some("counters=yes"), "slices"));
    assert!(!is_skipped(Some("slices=yes"), "slices"));
    assert!(!is_skipped(Some("tier=rseq;slices=yes;counters=yes"), "slices"));
    assert!(!is_skipped(Some("tier=rseq;slices=yes;counters=yes"), "counters"));
}
