//! Why nothing is counted, and what can be done about it.

use super::Event;
use std::{fmt, io};

/// Why an event cannot be counted, or read. Its text says what to do.
///
/// # Examples
///
/// ```
/// use stillpoint::perf::{Counters, Error, Event};
///
/// match Counters::open(&[Event::Cycles]) {
///     Ok(_) => println!("this machine counts"),
///     Err(error @ Error::Absent { .. }) => println!("it has no counters: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No CPU of this machine counts it: `ENOENT`, `ENODEV`, `EOPNOTSUPP` or `EINVAL`. Virtual machines
    /// often have no counters.
    Absent {
        /// What was asked for.
        event: Event,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel forbids it to this process: `EACCES` or `EPERM`.
    Denied {
        /// What was asked for.
        event: Event,
        /// `kernel.perf_event_paranoid`, if it can be read.
        paranoid: Option<i32>,
        /// The highest value of it that would do.
        needed: i32,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no such system call: `ENOSYS`. A filter for system calls says so too.
    NoSystemCall,
    /// Every CPU and event takes a file, and there are not so many to be had: `EMFILE`, `ENFILE`.
    TooManyFiles {
        /// How many it would have been.
        wanted: usize,
    },
    /// The calling thread is on a CPU without events: it went online later, or counts no such thing.
    NotOnThisCpu {
        /// Which one.
        cpu: u32,
    },
    /// This process is the child of a fork: the events are its parent's.
    Forked,
    /// There is no event of that number.
    NoSuchEvent,
    /// Something else.
    Io(io::Error),
}

impl Error {
    /// By what the kernel said to `perf_event_open`.
    pub(super) fn of_open(
        event: Event,
        whole_cpus: bool,
        wanted: usize,
        error: io::Error,
    ) -> Error {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL) => {
                Error::Absent { event, error }
            }
            Some(libc::EACCES | libc::EPERM) => Error::Denied {
                event,
                paranoid: paranoid(),
                needed: needed(event, whole_cpus),
                error,
            },
            Some(libc::ENOSYS) => Error::NoSystemCall,
            Some(libc::EMFILE | libc::ENFILE) => Error::TooManyFiles { wanted },
            _ => Error::Io(error),
        }
    }
}

/// The highest `kernel.perf_event_paranoid` with which an unprivileged process may count it.
fn needed(event: Event, whole_cpus: bool) -> i32 {
    match (whole_cpus, event.happens_in_kernel()) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

fn paranoid() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Absent { event, error } if event.is_hardware() => write!(
                f,
                "no CPU of this machine counts {event} ({error}): a virtual machine may have to be \
                 given a performance-monitoring unit; software events are counted everywhere",
            ),
            Error::Absent { event, error } => {
                write!(f, "this kernel does not count {event} ({error})")
            }
            Error::Denied { event, paranoid, needed, error } => {
                write!(f, "counting {event} is forbidden ({error}): ")?;
                match paranoid {
                    Some(now) if now > needed => write!(
                        f,
                        "kernel.perf_event_paranoid is {now}; set it to {needed} or less, or give the \
                         program CAP_PERFMON",
                    ),
                    // The level would do.
                    _ => write!(
                        f,
                        "a security module or a filter for system calls, as of containers, must \
                         allow perf_event_open",
                    ),
                }
            }
            Error::NoSystemCall => write!(
                f,
                "there is no perf_event_open: the kernel was built without CONFIG_PERF_EVENTS, or a \
                 filter for system calls, as of containers, hides it",
            ),
            Error::TooManyFiles { wanted } => write!(
                f,
                "it takes {wanted} files, one for each CPU and event: raise the limit (ulimit -n), or \
                 count less at once",
            ),
            Error::NotOnThisCpu { cpu } => {
                write!(
                    f,
                    "CPU {cpu} has no such event: was it offline when the events were opened?"
                )
            }
            Error::Forked => {
                write!(f, "the events are those of the parent: open some in the child")
            }
            Error::NoSuchEvent => write!(f, "there are fewer events"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Absent { error, .. } | Error::Denied { error, .. } | Error::Io(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let said = |errno, event, whole| {
            Error::of_open(event, whole, 12, io::Error::from_raw_os_error(errno)).to_string()
        };
        for (errno, event, word) in [
            (libc::ENOENT, Event::Cycles, "virtual machine"),
            (libc::EOPNOTSUPP, Event::Cycles, "virtual machine"),
            (libc::ENODEV, Event::Instructions, "software events"),
            (libc::ENOENT, Event::PageFaults, "this kernel does not count page faults"),
            (libc::ENOSYS, Event::Cycles, "filter"),
            (libc::EMFILE, Event::Cycles, "it takes 12 files"),
        ] {
            let text = said(errno, event, false);
            assert!(text.contains(word), "{errno}: {text}");
        }
        let denied = |paranoid, needed| {
            let error = io::Error::from_raw_os_error(libc::EACCES);
            Error::Denied { event: Event::Cycles, paranoid, needed, error }.to_string()
        };
        assert!(denied(Some(3), 2).contains("perf_event_paranoid is 3; set it to 2 or less"));
        assert!(denied(Some(2), 2).contains("security module"));
        assert!(denied(None, 2).contains("security module"));
        let error = said(libc::EPERM, Event::ContextSwitches, false);
        assert!(error.contains("forbidden"), "{error}");
        assert_eq!([needed(Event::Cycles, false), needed(Event::Cycles, true)], [2, 0]);
        assert_eq!(needed(Event::ContextSwitches, false), 1);
    }
}
