//! How a function's sections order their accesses, and that nothing else there does.

use super::{Arch, Image, Kind, audit, kinds};
use std::ops::Range;

pub(crate) use super::Order;

/// What is claimed of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Part of its name, and of no other's.
    pub(crate) function: &'static str,
    /// The commits of its sections, in any order.
    pub(crate) commits: &'static [Order],
}

/// The accesses of one section.
#[derive(Debug, Default)]
struct Accesses {
    loads: Vec<(u64, Order)>,
    stores: Vec<(u64, Order)>,
    /// The load that a read ends with.
    last: Option<u64>,
}

/// Everything in which an image is not as claimed.
pub(crate) fn faults(image: &Image, claim: &Claim) -> Vec<String> {
    let mut named = image.functions.iter().filter(|(name, _)| name.contains(claim.function));
    let (Some((_, function)), None) = (named.next(), named.next()) else {
        return vec![format!("no function {}, or several", claim.function)];
    };
    let mut faults = audit(image);
    let mut commits = Vec::new();
    // Where loads acquire, and the commit is atomic, by intention.
    let mut acquiring = Vec::new();
    for section in image.descriptors().map(|d| d.section()) {
        if !function.contains(&section.start) {
            continue;
        }
        let accesses = accesses(image, &section);
        let end = match accesses.stores[..] {
            [commit] => Some(commit),
            [] => accesses.last.map(|at| (at, Order::Nothing)),
            _ => None,
        };
        let Some(end) = end else {
            // It only waits.
            if claim.commits.is_empty() && accesses.stores.is_empty() {
                continue;
            }
            faults.push(format!("{:#x}: stores {:x?}", section.start, accesses.stores));
            continue;
        };
        commits.push(end);
        if matches!(end.1, Order::Nothing | Order::Locked) && claim.commits.contains(&end.1) {
            acquiring.push(section);
            continue;
        }
        for (at, _) in accesses.loads.iter().filter(|(_, order)| *order == Order::Ordered) {
            faults.push(format!("{at:#x}: a load that acquires, for nobody"));
        }
    }
    let releases = |order: &Order| image.arch == Arch::Aarch64 && matches!(order, Order::Ordered);
    let count = claim.commits.iter().filter(|order| releases(order)).count();
    let found = commits.iter().filter(|(_, order)| *order == Order::Ordered).count();
    let others = |order| {
        let claimed = claim.commits.iter().filter(|claimed| **claimed == order).count();
        claimed == commits.iter().filter(|(_, found)| *found == order).count()
    };
    if !others(Order::Call) {
        faults.push(format!("{}: {commits:x?}, other system calls", claim.function));
    }
    if (commits.len(), found) != (claim.commits.len(), count)
        || !others(Order::Nothing)
        || !others(Order::Locked)
    {
        faults.push(format!(
            "{}: {commits:x?}, not {} commits, {count} of them releases",
            claim.function,
            claim.commits.len()
        ));
    }
    for (at, what) in strays(image, function) {
        let meant = commits.contains(&(at, Order::Ordered))
            || what != "fence" && acquiring.iter().any(|section| section.contains(&at));
        if !meant {
            faults.push(format!("{at:#x}: stray: {what}"));
        }
    }
    faults
}

fn accesses(image: &Image, section: &Range<u64>) -> Accesses {
    let mut accesses = Accesses::default();
    let text = image.text(section.clone()).unwrap_or_default();
    for (at, kind) in kinds(image.arch, section.start, text) {
        match kind {
            Kind::Load(order) => accesses.loads.push((at.start, order)),
            Kind::Store(order) => accesses.stores.push((at.start, order)),
            Kind::Locked => accesses.stores.push((at.start, Order::Locked)),
            Kind::Last => accesses.last = Some(at.start),
            Kind::Call => accesses.stores.push((at.start, Order::Call)),
            _ => {}
        }
    }
    accesses
}

/// What in a function orders more than a plain access does.
fn strays(image: &Image, function: &Range<u64>) -> Vec<(u64, &'static str)> {
    let Some(text) = image.text(function.clone()) else {
        return vec![(function.start, "not code")];
    };
    match image.arch {
        Arch::X86_64 => super::x86_64::strays(function.start, text),
        Arch::Aarch64 => super::aarch64::strays(function.start, text),
    }
}
