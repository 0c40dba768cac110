//! Children under an alarm, callbacks that notice when they run twice, and load.

use super::reader::{Reader, soon};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep};
use std::time::Duration;
use stillpoint::rcu::{Domain, RcuCell};

/// A domain besides the global one.
pub(crate) static DOMAIN: Domain = Domain::new();

pub(crate) fn domains() -> [&'static Domain; 2] {
    [&DOMAIN, Domain::global()]
}

/// Does something with both.
pub(crate) fn each(f: impl FnMut(&'static Domain)) {
    domains().into_iter().for_each(f);
}

/// A child has ended by then, even where CPUs are emulated and busy, or hangs.
const SECONDS: u32 = 250;

/// A forked process of ours.
#[derive(Debug)]
pub(crate) struct Child(libc::pid_t);

impl Child {
    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub(crate) fn ends_well(self) {
        let mut status = 0;
        // SAFETY: our own child; `status` is live.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        let status = ExitStatus::from_raw(status);
        assert!(waited == self.0 && status.success(), "a forked child did not end well: {status}");
    }
}

/// How far this process is in [`everything`].
static STEP: AtomicUsize = AtomicUsize::new(0);

/// The child hangs: tells where, and ends. Telling may hang as well; the next alarm is the last.
extern "C" fn tell_where(_: libc::c_int) {
    // SAFETY: no preconditions.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(5);
    }
    eprintln!("a child hangs at step {}: {:?}", STEP.load(SeqCst), domains());
    // SAFETY: ends the process as the default action would have.
    unsafe {
        libc::raise(libc::SIGALRM);
    }
}

fn step(number: usize) {
    STEP.store(number, SeqCst);
}

/// `fork`: `None` in the child, which an alarm kills if it hangs.
pub(crate) fn fork() -> Option<Child> {
    // SAFETY: what the child calls is what these tests are about; threads of the parent hold no
    // locks of std's that it takes, and libc's are free in it. To have it so, no thread that the
    // parent has started by std may be beginning or ending: both lock a table of all threads,
    // without which the child can start none.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: the handler is of the right type, and the process is lost when it runs.
            unsafe {
                libc::signal(libc::SIGALRM, tell_where as *const () as usize);
                libc::alarm(SECONDS);
            }
            None
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            Some(Child(pid))
        }
    }
}

/// Ends a forked child that has found everything right.
pub(crate) fn well() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Runs `f` in a forked child.
pub(crate) fn in_fork(f: impl FnOnce()) -> Child {
    fork().unwrap_or_else(|| {
        f();
        well()
    })
}

const MOST: usize = 1 << 21;
/// How often each callback has run: in this process, or in its ancestors before they forked it.
static RAN: [AtomicU8; MOST] = [const { AtomicU8::new(0) }; MOST];
static QUEUED: AtomicUsize = AtomicUsize::new(0);

/// Queues a callback that may run once in each process; gives its number. `None` if there were
/// too many already.
pub(crate) fn queue(domain: &Domain) -> Option<usize> {
    let number = QUEUED.fetch_update(SeqCst, SeqCst, |n| (n < MOST).then_some(n + 1)).ok()?;
    domain.defer(move || run(number));
    Some(number)
}

/// Queues that many.
pub(crate) fn queue_some(domain: &Domain, some: usize) {
    (0..some).for_each(|_| _ = queue(domain));
}

pub(crate) fn run(number: usize) {
    assert_eq!(RAN[number].fetch_add(1, SeqCst), 0, "callback {number} ran twice");
}

pub(crate) fn has_run(number: usize) -> bool {
    RAN[number].load(SeqCst) != 0
}

/// How many have been queued, or nearly so.
pub(crate) fn queued() -> usize {
    QUEUED.load(SeqCst)
}

/// How many of the first `queued` have not run here.
fn lost(queued: usize) -> usize {
    (0..queued).filter(|&number| !has_run(number)).count()
}

/// Asserts that a barrier of both domains leaves no more than `most` callbacks behind, of those
/// that had been queued before it; gives how many.
pub(crate) fn barrier_leaves(most: usize) -> usize {
    let queued = queued();
    each(|domain| domain.barrier());
    let lost = lost(queued);
    assert!(lost <= most, "{lost} of {queued} callbacks are lost, not {most} at most");
    lost
}

/// Threads of this process that are reclaimers.
pub(crate) fn reclaimers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let comm = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(comm).filter(|name| name.trim() == "stillpoint-rcu").count()
}

/// All that one does with domains, in a process that has just been forked, with no guard alive and
/// outside of callbacks; and again in its children. Of the parent's callbacks, `lost` at most may
/// not run here.
pub(crate) fn everything(generation: u32, lost: usize) {
    step(1);
    assert_eq!(reclaimers(), 0, "a thread of the parent's");
    step(2);
    each(|domain| domain.synchronize());
    step(3);
    let lost = barrier_leaves(lost);
    for domain in domains() {
        step(4);
        let cell = RcuCell::new_in(0, domain);
        scope(|s| {
            let work = || {
                for n in 1..100 {
                    let guard = domain.read();
                    assert!(*cell.load(&guard) < 300);
                    cell.update(|n| n + 1);
                    drop(guard);
                    queue(domain);
                    if n % 30 == 0 {
                        domain.synchronize();
                    }
                }
            };
            // See `fork`: the end of a scope does not wait until its threads have ended.
            let threads = [(); 3].map(|()| s.spawn(work));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(cell.into_inner(), 3 * 99);
        step(5);
        let reader = Reader::of(domain);
        assert!(domain.synchronize_timeout(Duration::from_millis(1)).is_err());
        step(6);
        let leaving = reader.leave_after(Duration::from_millis(2));
        smol::future::block_on(domain.grace_period());
        leaving.join().unwrap();
        step(7);
        if let Some(number) = queue(domain) {
            soon("the child's own reclaimer", || has_run(number));
            assert_eq!(reclaimers(), 1);
        }
    }
    step(8);
    barrier_leaves(lost);
    if generation > 1 {
        // Threads that may hold something: the reclaimer.
        in_fork(|| everything(generation - 1, lost + 2)).ends_well();
    }
    step(9);
    for domain in domains() {
        queue(domain);
        domain.barrier();
        assert_eq!(domain.pending(), Default::default(), "after a barrier, with no other thread");
    }
}

/// Threads that may take a callback, or be about to queue one, when the others fork.
pub(crate) const LOAD: usize = 9;

/// Runs `work` while threads read, retire, wait, await, and make domains and drop them.
pub(crate) fn under_load(work: impl FnOnce()) {
    let end = AtomicBool::new(false);
    let started = Barrier::new(LOAD + 1);
    let until_end = |step: &dyn Fn()| {
        started.wait();
        while !end.load(SeqCst) {
            step();
        }
    };
    let until_end = &until_end;
    each(|domain| domain.set_limit(20_000, u64::MAX));
    scope(|s| {
        for domain in domains() {
            s.spawn(move || {
                until_end(&|| {
                    let guard = domain.read();
                    sleep(Duration::from_millis(fastrand::u64(0..20)));
                    drop(guard);
                });
            });
            s.spawn(move || until_end(&|| drop((domain.read(), domain.read().into_send()))));
            s.spawn(move || {
                until_end(&|| {
                    queue_some(domain, 100);
                    domain.throttle();
                    sleep(Duration::from_millis(1));
                });
            });
        }
        s.spawn(move || until_end(&|| smol::future::block_on(DOMAIN.grace_period())));
        s.spawn(move || until_end(&|| each(|domain| domain.barrier())));
        s.spawn(move || {
            until_end(&|| {
                let domain = Domain::new();
                domain.retire(vec![1; 10]);
                drop(domain.read());
            });
        });
        started.wait();
        work();
        end.store(true, SeqCst);
    });
}
