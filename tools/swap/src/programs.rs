//! The crates whose tests are run, and how their lock is swapped.

/// A change to a file of the source.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    /// What is replaced, which must be there; the whole file if this is empty.
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
}

#[derive(Debug)]
pub(crate) enum Swap {
    /// It uses `parking_lot::RwLock`: the copy of parking_lot is patched in.
    ParkingLot,
    /// Its own source is changed.
    Edits(&'static [Edit]),
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// As in a manifest.
    pub(crate) version: &'static str,
    pub(crate) swap: Swap,
    /// For `cargo test`.
    pub(crate) arguments: &'static [&'static str],
    /// So many of its tests make no sense with our lock.
    pub(crate) left_out: u32,
}

/// These two make the `RwLock` of parking_lot ours.
const OUR_EXPORT: Edit = Edit {
    file: "src/lib.rs",
    old: "pub use self::raw_rwlock::RawRwLock;",
    new: "pub use stillpoint::lock::v04::RawRwLock;",
};
const OUR_IMPORT: Edit = Edit {
    file: "src/rwlock.rs",
    old: "use crate::raw_rwlock::RawRwLock;",
    new: "use stillpoint::lock::v04::RawRwLock;",
};

/// parking_lot itself. Ours has no recursive reads: the test of them becomes a function that nobody
/// calls, and the other that uses one reads as usual.
pub(crate) const PARKING_LOT: Program = Program {
    name: "parking_lot",
    version: "0.12",
    swap: Swap::Edits(&[
        OUR_EXPORT,
        OUR_IMPORT,
        Edit {
            file: "src/rwlock.rs",
            old: "#[test]\n    fn test_rwlock_recursive()",
            new: "#[allow(dead_code)]\n    fn test_rwlock_recursive()",
        },
        Edit { file: "src/rwlock.rs", old: ".read_recursive()", new: ".read()" },
    ]),
    arguments: &[],
    left_out: 1,
};

pub(crate) const PROGRAMS: &[Program] = &[
    PARKING_LOT,
    // A concurrent map: shards behind locks of its own, for lock_api 0.4.
    Program {
        name: "dashmap",
        version: "6",
        swap: Swap::Edits(&[Edit {
            file: "src/lock.rs",
            old: "",
            new: "pub use stillpoint::lock::v04::{RawRwLock, RwLock, RwLockReadGuard, \
                  RwLockWriteGuard};\n",
        }]),
        arguments: &["--lib"],
        left_out: 0,
    },
    // A concurrent cache; shards behind parking_lot's.
    Program {
        name: "quick_cache",
        version: "0.7",
        swap: Swap::ParkingLot,
        arguments: &["--lib"],
        left_out: 0,
    },
    // Metrics; the registry and families of metrics behind parking_lot's.
    Program {
        name: "prometheus",
        version: "0.14",
        swap: Swap::ParkingLot,
        arguments: &["--lib"],
        left_out: 0,
    },
];
