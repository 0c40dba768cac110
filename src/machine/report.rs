//! The report of what this process runs on.

use super::cpus::Source;
use super::decide::{Decision, Wish, decision};
use super::{Group, SelfTest, Tier, fence, membarrier, topology};
use crate::rseq::area::{Mode, Refusal, Registrar, Registration};
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

/// What this process has, and why: tier, registration, broadcasts, CPUs, nodes.
///
/// `Display` prints it in lines of `name: value`, made to be pasted into a bug report.
///
/// # Examples
///
/// ```
/// use stillpoint::Machine;
///
/// let machine: &Machine = stillpoint::machine();
/// assert!(machine.to_string().contains("\ntier: "));
/// ```
#[derive(Debug)]
pub struct Machine {
    decision: &'static Decision,
    kernel: String,
    nodes: Vec<Group>,
    caches: Vec<Group>,
}

/// What this process runs on.
///
/// The facts were found before `main` and never change; the first call reads the topology from
/// `/sys` (some hundred microseconds), later calls are a load. Not for signal handlers.
///
/// # Examples
///
/// ```
/// let machine = stillpoint::machine();
/// println!("{machine}");
/// assert!(machine.slots() >= 1);
/// ```
pub fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| Machine {
        decision: decision(),
        kernel: kernel_release(),
        nodes: topology::nodes(Path::new("/sys")),
        caches: topology::last_level_caches(Path::new("/sys")),
    })
}

fn kernel_release() -> String {
    // SAFETY: all-zero is a valid utsname, and uname fills it with C strings.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        name
    };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}

impl Machine {
    /// The tier of domains that ask for no other.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::machine().tier(), stillpoint::rcu::Domain::global().tier());
    /// ```
    pub fn tier(&self) -> Tier {
        self.decision.tier
    }

    /// Why it is that tier, in a sentence.
    ///
    /// # Examples
    ///
    /// ```
    /// let machine = stillpoint::machine();
    /// println!("{}: {}", machine.tier(), machine.reason());
    /// ```
    pub fn reason(&self) -> String {
        let d = self.decision;
        let best = d.best();
        match d.wish {
            Wish::AtMost(tier) if tier < best => {
                return format!("STILLPOINT_TIER={tier}; {best} would be possible");
            }
            Wish::AtMost(tier) if tier > best => {
                return format!("STILLPOINT_TIER={tier} is not possible: {}", missing(d));
            }
            _ => {}
        }
        let mut reason = match best {
            Tier::Rseq => "everything is there".to_owned(),
            _ => missing(d),
        };
        if d.wish == Wish::Unknown {
            reason += "; STILLPOINT_TIER is none of rseq, membarrier, fence: ignored";
        }
        reason
    }

    /// How the threads' rseq areas are registered, or why they are not.
    ///
    /// # Errors
    ///
    /// The kernel's or an emulator's refusal.
    ///
    /// # Examples
    ///
    /// ```
    /// match stillpoint::machine().registration() {
    ///     Ok(area) => println!("registered by {:?}, {:?} mode", area.registrar, area.mode()),
    ///     Err(refusal) => println!("{refusal}"),
    /// }
    /// ```
    pub fn registration(&self) -> Result<Registration, Refusal> {
        self.decision.registration
    }

    /// Whether this kernel aborts sections.
    ///
    /// # Examples
    ///
    /// ```
    /// println!("{:?}", stillpoint::machine().self_test());
    /// ```
    pub fn self_test(&self) -> SelfTest {
        self.decision.self_test
    }

    /// The length of per-CPU arrays: the highest possible CPU number plus one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(stillpoint::machine().slots() >= 1);
    /// ```
    pub fn slots(&self) -> u32 {
        self.decision.slots
    }

    /// Online memory nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!stillpoint::machine().nodes().is_empty());
    /// ```
    pub fn nodes(&self) -> &[Group] {
        &self.nodes
    }

    /// Last-level caches of online CPUs; empty where the kernel does not tell.
    ///
    /// # Examples
    ///
    /// ```
    /// for cache in stillpoint::machine().last_level_caches() {
    ///     println!("{:?} share a cache", cache.cpus);
    /// }
    /// ```
    pub fn last_level_caches(&self) -> &[Group] {
        &self.caches
    }

    /// How many broadcasts this process has sent so far: what grace periods cost others.
    ///
    /// # Examples
    ///
    /// ```
    /// let before = stillpoint::machine().broadcasts();
    /// stillpoint::rcu::synchronize();
    /// println!("{} broadcasts", stillpoint::machine().broadcasts() - before);
    /// ```
    pub fn broadcasts(&self) -> u64 {
        fence::broadcasts()
    }
}

const INCOMPLETE: &str = "without a barrier in the scheduler: riscv64 before Linux 6.9";

/// What keeps the process from the next better tier.
fn missing(d: &Decision) -> String {
    let errno = |e: i32| std::io::Error::from_raw_os_error(e);
    let sections = match (d.registration, d.self_test, d.rseq_broadcast) {
        (Err(refusal), ..) => refusal.to_string(),
        (Ok(_), SelfTest::Passed, Err(e)) => format!("membarrier with rseq refused: {}", errno(e)),
        (Ok(_), SelfTest::Passed, Ok(())) => String::new(),
        (Ok(_), test, _) => format!("self-test {}", describe(test)),
    };
    match d.plain_broadcast {
        Err(membarrier::INCOMPLETE) if d.best() == Tier::Fence => {
            format!("{sections}; membarrier: {INCOMPLETE}")
        }
        Err(e) if d.best() == Tier::Fence => {
            format!("{sections}; membarrier refused: {}", errno(e))
        }
        _ => sections,
    }
}

fn describe(test: SelfTest) -> String {
    match test {
        SelfTest::Passed => "passed: sections are aborted".to_owned(),
        SelfTest::NotRun => "not run".to_owned(),
        SelfTest::Failed => "failed: this kernel does not abort sections".to_owned(),
        SelfTest::Inconclusive(missing) => format!("could not be run: {missing}"),
    }
}

/// CPU numbers in the kernel's list notation.
struct List<'a>(&'a [u32]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.decision;
        writeln!(f, "stillpoint: {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "tier: {}", self.tier())?;
        writeln!(f, "reason: {}", self.reason())?;
        writeln!(f, "kernel: {}", self.kernel)?;
        match d.registration {
            Ok(r) => {
                let who = match r.registrar {
                    Registrar::Libc => "by libc",
                    Registrar::Own => "by stillpoint",
                };
                let mode = match r.mode() {
                    Mode::Legacy => "legacy",
                    Mode::Optimized => "optimized",
                };
                writeln!(f, "rseq: registered {who}, {} bytes, {mode} mode", r.length)?;
                writeln!(f, "rseq offset: {} from the thread pointer", r.offset)?;
                let yes = |has| if has { "yes" } else { "no" };
                writeln!(
                    f,
                    "rseq features: {} bytes (node_id {}, mm_cid {}, slice_ctrl {})",
                    r.features,
                    yes(r.has_node_id()),
                    yes(r.has_mm_cid()),
                    yes(r.has_slice_ctrl()),
                )?;
            }
            Err(refusal) => writeln!(f, "rseq: {refusal}")?,
        }
        writeln!(f, "self-test: {}", describe(d.self_test))?;
        let verdict = |r: Result<(), i32>| match r {
            Ok(()) => "yes".to_owned(),
            Err(membarrier::INCOMPLETE) => INCOMPLETE.to_owned(),
            Err(e) => std::io::Error::from_raw_os_error(e).to_string(),
        };
        writeln!(f, "membarrier with rseq: {}", verdict(d.rseq_broadcast))?;
        writeln!(f, "membarrier: {}", verdict(d.plain_broadcast))?;
        let source = match d.slots_source {
            Source::Possible => "possible CPUs",
            Source::Guess => "a guess: no list of possible CPUs",
        };
        writeln!(f, "slots: {} ({source})", d.slots)?;
        for (what, groups) in [("node", &self.nodes), ("last-level cache", &self.caches)] {
            for group in groups {
                writeln!(f, "{what} {}: CPUs {}", group.id, List(&group.cpus))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn lists_read_like_the_kernels() {
        assert_eq!(List(&[]).to_string(), "none");
        assert_eq!(List(&[3]).to_string(), "3");
        assert_eq!(List(&[0, 1, 2, 5, 7, 8]).to_string(), "0-2,5,7-8");
    }
}
