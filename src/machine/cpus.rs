//! CPU numbers: how high they go, and the kernel's list notation.
//!
//! A per-CPU array is as long as the highest *possible* CPU number plus one. Not a count:
//! numbers may have gaps. Not the online CPUs, nor the affinity mask: a thread may be moved
//! later. `sysconf` answers with one of these wrong things, by libc.

use std::io::Read;

/// One above the highest CPU number we believe. Linux stops at 8192; what claims more is nonsense.
pub(crate) const CEILING: u32 = 1 << 16;

/// Where the number of slots came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `/sys/devices/system/cpu/possible`.
    Possible,
    /// That was absent or unreadable; the highest of the affinity mask and libc's count. CPUs
    /// beyond it use the fallback.
    Guess,
}

/// The ranges of a CPU list such as `0-3,8,10-11`, each inclusive; `None` at the first part
/// that is not one.
pub(crate) fn ranges(list: &str) -> impl Iterator<Item = Option<(u32, u32)>> {
    let number = |digits: &str| match digits.parse::<u32>() {
        Ok(n) if n < CEILING && digits.bytes().all(|b| b.is_ascii_digit()) => Some(n),
        _ => None,
    };
    list.trim_end_matches(['\n', '\0']).split(',').map(move |part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (number(low)?, number(high)?);
        (low <= high).then_some((low, high))
    })
}

/// Every CPU of a list, in its order.
pub(crate) fn members(list: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for range in ranges(list) {
        let (low, high) = range?;
        all.extend(low..=high);
    }
    Some(all)
}

/// The highest CPU of a list.
pub(crate) fn highest(list: &str) -> Option<u32> {
    ranges(list).try_fold(0, |max, range| Some(max.max(range?.1)))
}

/// How many slots a per-CPU array needs. Allocates nothing.
pub(crate) fn slots() -> (u32, Source) {
    let mut text = [0_u8; 4096];
    match read_short("/sys/devices/system/cpu/possible", &mut text).and_then(highest) {
        Some(cpu) => (cpu + 1, Source::Possible),
        None => (guess(), Source::Guess),
    }
}

/// The CPUs that are online now; `None` where nobody says.
#[cfg(not(stillpoint_loom))]
pub(crate) fn online() -> Option<Vec<u32>> {
    let mut text = [0_u8; 4096];
    read_short("/sys/devices/system/cpu/online", &mut text).and_then(members)
}

/// A small text file's contents, unless it is missing, not text, or fills the buffer.
pub(crate) fn read_short<'b>(path: &str, buffer: &'b mut [u8]) -> Option<&'b str> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => return std::str::from_utf8(&buffer[..length]).ok(),
            Ok(n) => length += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}

fn guess() -> u32 {
    // SAFETY: sysconf has no preconditions.
    let counted = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    let counted = u32::try_from(counted).unwrap_or(1).clamp(1, CEILING);
    counted.max(highest_allowed().map_or(0, |cpu| cpu + 1))
}

#[cfg(target_os = "linux")]
fn highest_allowed() -> Option<u32> {
    // SAFETY: all-zero is a valid, empty set; the kernel fills at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &mut set) != 0 {
            return None;
        }
        set
    };
    // SAFETY: the index is below the set's size.
    (0..libc::CPU_SETSIZE as u32).rev().find(|&cpu| unsafe { libc::CPU_ISSET(cpu as usize, &set) })
}

#[cfg(not(target_os = "linux"))]
fn highest_allowed() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_the_kernel_writes_them() {
        assert_eq!(members("0\n"), Some(vec![0]));
        assert_eq!(members("0-1\n"), Some(vec![0, 1]));
        assert_eq!(members("0-2,8,10-11"), Some(vec![0, 1, 2, 8, 10, 11]));
        assert_eq!(highest("0,2-3,64-127\n"), Some(127));
        assert_eq!(highest("5,1"), Some(5));
    }

    #[test]
    fn nonsense_is_refused() {
        for list in [
            "",
            "\n",
            "a",
            "0-",
            "-3",
            "3-1",
            "0,,2",
            "0-1-2",
            "0-4294967295",
            "99999999999",
            "65536",
            "+1",
            " 0-1",
            "0-1\n2",
            "0x1",
            "١",
        ] {
            assert_eq!(highest(list), None, "{list:?}");
            assert_eq!(members(list), None, "{list:?}");
        }
    }

    #[test]
    fn there_are_slots_for_where_we_may_run() {
        let (slots, _) = slots();
        assert!(highest_allowed().is_none_or(|cpu| cpu < slots));
        assert!(guess() >= 1);
    }

    #[test]
    fn unreadable_files_are_no_answer() {
        let mut small = [0; 4];
        assert_eq!(read_short("/nonexistent", &mut small), None);
        assert_eq!(read_short("/proc", &mut small), None);
        assert_eq!(read_short("/proc/version", &mut small), None, "longer than the buffer");
    }
}
