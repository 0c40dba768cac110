//! What a child process finds around it, and how it is put there.

use super::seccomp::{Filter, Rule};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null;
use stillpoint::Tier;

/// Which scenario a child is to run.
pub(crate) const SCENARIO: &str = "STILLPOINT_TEST_SCENARIO";
/// The rules of the filter it was started with, for it to check.
pub(crate) const RULES: &str = "STILLPOINT_TEST_RULES";
/// What it does before the library's constructor: see `early`.
pub(crate) const EARLY: &str = "STILLPOINT_TEST_EARLY";
/// Set if it is to do less of everything.
pub(crate) const LIGHT: &str = "STILLPOINT_TEST_LIGHT";

/// Where the library learns how many slots it needs.
const POSSIBLE: &CStr = c"/sys/devices/system/cpu/possible";

/// Everything that differs from an ordinary start. The child's own environment variables for the
/// library and for glibc are always set or removed, never inherited.
#[derive(Clone, Debug)]
pub(crate) struct Surrounding {
    rules: Vec<Rule>,
    tunable: bool,
    wish: Option<&'static str>,
    possible: Option<&'static str>,
    early: Option<&'static str>,
    signals_blocked: bool,
    valgrind: bool,
}

impl Surrounding {
    /// An ordinary start.
    pub(crate) fn ordinary() -> Surrounding {
        Surrounding {
            rules: Vec::new(),
            tunable: true,
            wish: None,
            possible: None,
            early: None,
            signals_blocked: false,
            valgrind: false,
        }
    }

    /// The registrars, and the tiers: where scenarios must work that are not about either.
    pub(crate) fn each() -> [Surrounding; 4] {
        let ordinary = Surrounding::ordinary();
        [
            ordinary.clone(),
            ordinary.clone().without_libc(),
            ordinary.clone().wish("membarrier"),
            ordinary.wish("fence"),
        ]
    }

    /// With a filter's rule.
    pub(crate) fn rule(mut self, rule: Rule) -> Surrounding {
        self.rules.push(rule);
        self
    }

    /// With a glibc that registers no rseq areas.
    pub(crate) fn without_libc(self) -> Surrounding {
        Surrounding { tunable: false, ..self }
    }

    /// With `STILLPOINT_TIER` set.
    pub(crate) fn wish(self, wish: &'static str) -> Surrounding {
        Surrounding { wish: Some(wish), ..self }
    }

    /// The best tier that this wish leaves.
    pub(crate) fn tier(&self) -> Tier {
        self.wish.map_or(Tier::Rseq, |wish| wish.parse().unwrap())
    }

    /// With another list of possible CPUs, in a mount namespace of its own.
    pub(crate) fn possible(self, list: &'static str) -> Surrounding {
        Surrounding { possible: Some(list), ..self }
    }

    /// With something done before the library's constructor.
    pub(crate) fn early(self, what: &'static str) -> Surrounding {
        Surrounding { early: Some(what), ..self }
    }

    /// Started with every signal blocked, and those ignored that the self-test would like to use.
    pub(crate) fn signals_blocked(self) -> Surrounding {
        Surrounding { signals_blocked: true, ..self }
    }

    /// Under valgrind, doing less.
    pub(crate) fn valgrind(self) -> Surrounding {
        Surrounding { valgrind: true, ..self }
    }

    /// The command that runs this test binary in this surrounding.
    pub(crate) fn command(&self, scenario: &str) -> io::Result<Command> {
        let binary = std::env::current_exe()?;
        let mut command = if self.valgrind {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=9", "--fair-sched=try"]).arg(binary);
            valgrind
        } else {
            Command::new(binary)
        };
        command
            .args(["scenario", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, scenario)
            .env(RULES, encode(&self.rules))
            .env_remove("STILLPOINT_TIER")
            .env_remove("GLIBC_TUNABLES")
            .envs(self.wish.map(|wish| ("STILLPOINT_TIER", wish)))
            .envs((!self.tunable).then_some(("GLIBC_TUNABLES", "glibc.pthread.rseq=0")))
            .envs(self.early.map(|what| (EARLY, what)))
            .envs(self.valgrind.then_some((LIGHT, "1")))
            .process_group(0);
        let possible = self.possible.map(list_in_a_file).transpose()?;
        let filter = (!self.rules.is_empty()).then(|| Filter::new(&self.rules));
        let signals_blocked = self.signals_blocked;
        let prepare = move || {
            if let Some(path) = &possible {
                cover(path, POSSIBLE)?;
            }
            if signals_blocked {
                block_signals();
            }
            filter.as_ref().map_or(Ok(()), Filter::install)
        };
        // SAFETY: runs between fork and exec, makes system calls, and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        Ok(command)
    }
}

fn encode(rules: &[Rule]) -> String {
    let each = rules.iter().map(|r| format!("{}:{}:{}", r.call, r.bits, r.errno));
    each.collect::<Vec<_>>().join(",")
}

/// The rules that [`Surrounding::command`] told this process.
pub(crate) fn own_rules() -> Vec<Rule> {
    let text = std::env::var(RULES).unwrap_or_default();
    let rule = |text: &str| {
        let mut fields = text.split(':');
        let mut next = || fields.next().unwrap();
        Rule {
            call: next().parse().unwrap(),
            bits: next().parse().unwrap(),
            errno: next().parse().unwrap(),
        }
    };
    text.split(',').filter(|part| !part.is_empty()).map(rule).collect()
}

/// A file with a list of CPUs, to be mounted over the kernel's.
fn list_in_a_file(list: &str) -> io::Result<CString> {
    let name = format!("possible-{}", list.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, format!("{list}\n"))?;
    Ok(CString::new(path.into_os_string().into_vec())?)
}

/// Mounts one file over another, for this process only.
fn cover(with: &CStr, what: &CStr) -> io::Result<()> {
    // SAFETY: C strings; null where the call allows it. The namespace is private before
    // anything is mounted.
    let refused = unsafe {
        let none = null();
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) != 0
            || libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, null()) != 0
            || libc::mount(with.as_ptr(), what.as_ptr(), none, libc::MS_BIND, null()) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn block_signals() {
    // SAFETY: the set is filled before it is used; to ignore a signal takes no handler.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        libc::signal(libc::SIGURG, libc::SIG_IGN);
        libc::signal(libc::SIGWINCH, libc::SIG_IGN);
    }
}
