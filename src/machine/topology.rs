//! Memory nodes and last-level caches, as `/sys` tells them.

use super::cpus::{highest, members, read_short};
use std::collections::BTreeMap;
use std::path::Path;

/// CPUs that share something: a memory node, or a last-level cache.
///
/// # Examples
///
/// ```
/// for node in stillpoint::machine().nodes() {
///     println!("node {}: CPUs {:?}", node.id, node.cpus);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// The node's number; for a cache, the lowest CPU that shares it.
    pub id: u32,
    /// CPU numbers, rising. Empty for a node that has memory only.
    pub cpus: Vec<u32>,
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Online memory nodes; one node 0 without CPUs where `/sys` does not tell.
pub(crate) fn nodes(sys: &Path) -> Vec<Group> {
    let base = sys.join("devices/system/node");
    let ids = read(&base.join("online")).and_then(|list| members(&list));
    let cpus_of = |id: u32| read(&base.join(format!("node{id}/cpulist"))).and_then(|l| members(&l));
    ids.unwrap_or_else(|| vec![0])
        .into_iter()
        .map(|id| Group { id, cpus: cpus_of(id).unwrap_or_default() })
        .collect()
}

/// Last-level caches of the CPUs that are online; empty where `/sys` does not tell.
pub(crate) fn last_level_caches(sys: &Path) -> Vec<Group> {
    let base = sys.join("devices/system/cpu");
    let online = read(&base.join("online")).and_then(|list| members(&list)).unwrap_or_default();
    let mut found = BTreeMap::new();
    for cpu in online {
        if let Some(cpus) = last_level_of(&base.join(format!("cpu{cpu}/cache"))) {
            found.entry(cpus[0]).or_insert(cpus);
        }
    }
    found.into_iter().map(|(id, cpus)| Group { id, cpus }).collect()
}

/// The CPUs that share the highest data cache of one CPU.
fn last_level_of(cache: &Path) -> Option<Vec<u32>> {
    let mut best: Option<(u32, Vec<u32>)> = None;
    for entry in std::fs::read_dir(cache).ok()?.flatten() {
        let field = |name: &str| read(&entry.path().join(name));
        let level = field("level").and_then(|text| highest(&text));
        let shared = field("shared_cpu_list").and_then(|list| members(&list));
        let (Some(level), Some(mut shared)) = (level, shared) else { continue };
        let instructions = field("type").is_some_and(|kind| kind.trim() == "Instruction");
        if !instructions && best.as_ref().is_none_or(|(l, _)| *l < level) {
            shared.sort_unstable();
            best = Some((level, shared));
        }
    }
    best.map(|(_, cpus)| cpus)
}

/// Whether one memory node is online, and no more. Allocates nothing. No, where nobody says.
#[cfg(not(stillpoint_loom))]
pub(crate) fn is_one_node() -> bool {
    match read_short("/sys/devices/system/node/online", &mut [0; 512]) {
        Some(list) => !list.contains(['-', ',']),
        // A kernel without nodes, if there is a `/sys` at all.
        None => read_short(ONLINE_CPUS, &mut [0; 512]).is_some(),
    }
}

/// Whether all CPUs that are online share one cache: then that of the last level is one, too.
/// Allocates nothing. No, where nobody says.
#[cfg(not(stillpoint_loom))]
pub(crate) fn is_one_cache() -> bool {
    macro_rules! caches {
        ($($index:literal)*) => {
            [$(concat!("/sys/devices/system/cpu/cpu0/cache/index", $index, "/shared_cpu_list")),*]
        };
    }
    let mut cpus = [0; 512];
    let Some(all) = read_short(ONLINE_CPUS, &mut cpus) else { return false };
    caches!(4 3 2 1 0).iter().any(|of| read_short(of, &mut [0; 512]) == Some(all))
}

#[cfg(not(stillpoint_loom))]
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> std::path::PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static N: AtomicU32 = AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("stillpoint-topology-{}-{n}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn two_nodes_with_a_gap_and_a_memory_only_node() {
        let root = tree(&[
            ("devices/system/node/online", "0,2-3\n"),
            ("devices/system/node/node0/cpulist", "0-3,8\n"),
            ("devices/system/node/node2/cpulist", "4-7\n"),
            ("devices/system/node/node3/cpulist", "\n"),
        ]);
        let nodes = nodes(&root);
        let expected = [(0, vec![0, 1, 2, 3, 8]), (2, vec![4, 5, 6, 7]), (3, vec![])]
            .map(|(id, cpus)| Group { id, cpus });
        assert_eq!(nodes, expected);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn caches_are_the_highest_data_caches() {
        let mut files = vec![("devices/system/cpu/online".to_owned(), "0-3\n".to_owned())];
        for cpu in 0..4_u32 {
            for (index, (level, kind, shared)) in [
                ("1", "Data", format!("{cpu}")),
                ("4", "Instruction", "0-3".to_owned()),
                ("3", "Unified", format!("{}-{}", cpu & !1, cpu | 1)),
            ]
            .into_iter()
            .enumerate()
            {
                let dir = format!("devices/system/cpu/cpu{cpu}/cache/index{index}");
                files.push((format!("{dir}/level"), format!("{level}\n")));
                files.push((format!("{dir}/type"), format!("{kind}\n")));
                files.push((format!("{dir}/shared_cpu_list"), format!("{shared}\n")));
            }
        }
        let files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        let root = tree(&files);
        let expected = [(0, vec![0, 1]), (2, vec![2, 3])].map(|(id, cpus)| Group { id, cpus });
        assert_eq!(last_level_caches(&root), expected);
        fs::remove_dir_all(root).unwrap();
    }

    /// The short way to the same answers, on this machine.
    #[test]
    #[cfg(target_os = "linux")]
    fn one_is_one() {
        let sys = Path::new("/sys");
        if sys.join("devices/system/cpu/online").exists() {
            assert_eq!(is_one_node(), nodes(sys).len() == 1);
        }
        let caches = last_level_caches(sys);
        // CPUs of which nobody tells are in none.
        let of_all = |cache: &Group| Some(&cache.cpus) == super::super::cpus::online().as_ref();
        assert_eq!(is_one_cache(), caches.iter().any(of_all));
    }

    #[test]
    fn no_sys_is_one_node_and_no_caches() {
        let root = Path::new("/nonexistent");
        assert_eq!(nodes(root), [Group { id: 0, cpus: vec![] }]);
        assert_eq!(last_level_caches(root), []);
    }
}
