//! Cohorts by the last-level cache that a CPU shares with others.

use super::{Cohorts, Extent};
use std::sync::OnceLock;

/// Threads on CPUs that share a last-level cache are a cohort.
///
/// For processors that are made of several dies, whose memory is one node all the same.
///
/// The table is read from `/sys` when it is first needed: by the first call that has to queue, or
/// by yours to [`cohort`](Cohorts::cohort). That reads some files and allocates; later calls are
/// two loads. CPUs that were offline then, or of which `/sys` does not tell, are cohorts by their
/// [node](crate::current_node).
///
/// # Examples
///
/// ```
/// use stillpoint::CohortMutex;
/// use stillpoint::lock::{ByLastLevelCache, Cohorts};
///
/// ByLastLevelCache::cohort(); // reads the table
/// static QUEUE: CohortMutex<Vec<u64>, ByLastLevelCache> = CohortMutex::new(Vec::new());
/// QUEUE.lock().push(1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByLastLevelCache;

impl Cohorts for ByLastLevelCache {
    const EXTENT: Extent = Extent::LastLevelCaches;

    fn cohort() -> u32 {
        static TABLE: OnceLock<Box<[u32]>> = OnceLock::new();
        let table = TABLE.get_or_init(|| table(crate::machine().last_level_caches()));
        match table.get(crate::current_cpu() as usize) {
            Some(&cache) if cache != UNKNOWN => cache,
            _ => NODE | crate::current_node(),
        }
    }
}

/// A CPU of which nothing is known.
const UNKNOWN: u32 = u32::MAX;
/// Tells cohorts that are nodes from those that are caches, which have the number of a CPU.
const NODE: u32 = 1 << 31;

/// For each CPU, its cache.
fn table(caches: &[crate::Group]) -> Box<[u32]> {
    let highest = caches.iter().flat_map(|cache| &cache.cpus).max();
    let mut table = vec![UNKNOWN; highest.map_or(0, |cpu| *cpu as usize + 1)];
    for cache in caches {
        for &cpu in &cache.cpus {
            table[cpu as usize] = cache.id;
        }
    }
    table.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Group;

    #[test]
    fn caches_with_a_gap_between_them() {
        let caches = [(0, vec![0, 1, 4]), (2, vec![2, 6])].map(|(id, cpus)| Group { id, cpus });
        assert_eq!(*table(&caches), [0, 0, 2, UNKNOWN, 0, UNKNOWN, 2]);
        assert_eq!(*table(&[]), []);
    }
}
