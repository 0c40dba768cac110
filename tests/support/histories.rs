//! Is a recorded history linearizable? The search of Wing and Gong, with Lowe's memory of what was
//! tried.
//!
//! A history is a set of operations, each with the moments of its call and its return. It is
//! linearizable if there is an order of them that no two moments contradict, in which each returns
//! what a sequential object would. Objects that do not know each other may be judged one by one, so
//! a map is judged key by key.
//!
//! No crate fits: those that have a checker drive the threads themselves, or record under a lock
//! that orders them.

use std::collections::HashSet;

/// What one operation on one key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Get(Option<u64>),
    /// What was put in, and what was there.
    Insert(u64, Option<u64>),
    Remove(Option<u64>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) done: Done,
}

impl Done {
    /// What the key has after it, if it had `before` and this is what such a key answers.
    fn after(self, before: Option<u64>) -> Option<Option<u64>> {
        let (said, after) = match self {
            Done::Get(said) => (said, before),
            Done::Insert(new, said) => (said, Some(new)),
            Done::Remove(said) => (said, None),
        };
        (said == before).then_some(after)
    }
}

/// True if there is an order. At most 64 operations on one key, which has nothing at first.
pub(crate) fn is_linearizable(history: &[Call]) -> bool {
    assert!(history.len() <= 64, "split it");
    let all = u64::MAX.checked_shr(64 - history.len() as u32).unwrap_or(0);
    let mut tried = HashSet::new();
    // What was ordered already, and what the key has after it.
    let mut open = vec![(0_u64, None)];
    while let Some((ordered, value)) = open.pop() {
        if ordered == all {
            return true;
        }
        if !tried.insert((ordered, value)) {
            continue;
        }
        let left = || history.iter().enumerate().filter(|(n, _)| ordered >> n & 1 == 0);
        // The next one was called before any that is left returned.
        let first = left().map(|(_, call)| call.returned).min().unwrap_or(u64::MAX);
        for (n, call) in left().filter(|(_, call)| call.called <= first) {
            if let Some(after) = call.done.after(value) {
                open.push((ordered | 1 << n, after));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::Done::{Get, Insert, Remove};
    use super::*;

    fn judge(history: &[(u64, u64, Done)]) -> bool {
        let call = |&(called, returned, done)| Call { called, returned, done };
        is_linearizable(&history.iter().map(call).collect::<Vec<_>>())
    }

    #[test]
    fn good_histories() {
        assert!(judge(&[]));
        assert!(judge(&[(0, 1, Insert(1, None)), (2, 3, Get(Some(1))), (4, 5, Remove(Some(1)))]));
        // While it is put in, one sees it and one does not.
        assert!(judge(&[(0, 9, Insert(1, None)), (1, 2, Get(None)), (3, 4, Get(Some(1)))]));
        // Two that replace each other.
        assert!(judge(&[
            (0, 9, Insert(1, Some(2))),
            (0, 9, Insert(2, None)),
            (10, 11, Get(Some(1)))
        ]));
    }

    #[test]
    fn bad_histories() {
        // Nobody put it in.
        assert!(!judge(&[(0, 1, Get(Some(1)))]));
        // Lost.
        assert!(!judge(&[(0, 1, Insert(1, None)), (2, 3, Get(None))]));
        // Stale.
        assert!(!judge(&[(0, 1, Insert(1, None)), (2, 3, Remove(Some(1))), (4, 5, Get(Some(1))),]));
        // Seen, and then not, while it is put in.
        assert!(!judge(&[(0, 9, Insert(1, None)), (1, 2, Get(Some(1))), (3, 4, Get(None))]));
        // Taken out twice.
        assert!(!judge(&[
            (0, 1, Insert(1, None)),
            (2, 9, Remove(Some(1))),
            (2, 9, Remove(Some(1))),
        ]));
        // Each before the other.
        assert!(!judge(&[(0, 9, Insert(1, Some(2))), (0, 9, Insert(2, Some(1)))]));
    }
}
