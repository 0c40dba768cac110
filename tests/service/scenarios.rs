//! What children do: whatever is set for a whole process, or ends it.

use crate::awaiting::under_every_executor;
use crate::child::DONE;
use crate::counted::{Counted, counted};
use crate::play::Scenarios;
use crate::reader::{Reader, soon};
use std::cell::Cell;
use std::hint::black_box;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{Builder, JoinHandle, sleep, spawn};
use std::time::Duration;
use stillpoint::rcu::{self, Domain, RcuCell, Reclaimer, Session};

pub(crate) const SCENARIOS: [(&str, fn()); 21] = [
    ("the reclaimer's thread", the_reclaimers_thread),
    ("the reclaimer's stack", the_reclaimers_stack),
    ("no reclaimer", no_reclaimer),
    ("custom sessions", custom_sessions),
    ("sessions that are kept", sessions_that_are_kept),
    ("hooks that panic in the end", hooks_that_panic_in_the_end),
    ("hooks that panic in the end, in sessions", hooks_that_panic_in_sessions),
    ("tasks without a reclaimer", tasks_without_a_reclaimer),
    ("tasks with custom sessions", tasks_with_custom_sessions),
    ("tasks whose sessions are dropped", tasks_whose_sessions_are_dropped),
    ("tasks while the process exits", tasks_while_the_process_exits),
    ("callbacks drop their domain", callbacks_drop_their_domain),
    ("a stall without a hook", a_stall_without_a_hook),
    ("returns with garbage", garbage),
    ("exits with garbage", exits_with_garbage),
    ("exits from a thread", exits_from_a_thread),
    ("exits while callbacks run", exits_while_callbacks_run),
    ("exits with callbacks left", exits_with_callbacks_left),
    ("exits with callbacks left to sessions", exits_with_callbacks_left_to_sessions),
    ("exits under a guard", exits_under_a_guard),
    ("retires in the main thread's destructors", retires_in_last_destructors),
];
const _: &Scenarios = &SCENARIOS;

/// The status files of this process's threads that are the reclaimer's.
fn reclaimers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        (name.trim() == "stillpoint-rcu").then(|| std::fs::read_to_string(path.join("status")).ok())
    };
    tasks.filter_map(status).flatten().collect()
}

/// Leaves some values to nobody; tells how many of them are gone.
fn garbage_of(domain: &Domain, values: u32) -> Arc<AtomicUsize> {
    let (drops, new) = counted();
    (0..values).for_each(|n| domain.retire(new(n)));
    drops
}

fn the_reclaimers_thread() {
    static DOMAIN: Domain = Domain::new();
    for domain in [Domain::global(), &DOMAIN] {
        drop(domain.read());
        domain.synchronize();
        domain.synchronize_timeout(Duration::ZERO).unwrap();
        assert!(domain.start_poll().is_complete());
        drop(domain.grace_period());
        domain.barrier();
        domain.throttle();
        domain.statistics();
        RcuCell::new_in(1, domain).swap(2).into_inner();
    }
    sleep(Duration::from_millis(50));
    assert_eq!(reclaimers().len(), 0, "nobody needed one");
    let drops = garbage_of(&DOMAIN, 1);
    soon("the reclaimer", || drops.load(SeqCst) == 1);
    let status = reclaimers();
    let mask = status[0].lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    // Those before are libc's own.
    let first = if cfg!(target_env = "musl") { 35 } else { 34 };
    for signal in (1..=31).chain(first..=64) {
        let cannot = [libc::SIGKILL, libc::SIGSTOP].contains(&signal);
        assert!(cannot || mask & 1 << (signal - 1) != 0, "signal {signal} is not blocked");
    }
    // Still the same one.
    for _ in 0..20 {
        let drops = garbage_of(Domain::global(), 3);
        soon("the reclaimer", || drops.load(SeqCst) == 3);
    }
    assert_eq!(reclaimers().len(), 1);
}

/// Takes as much of a stack in every build to drop another one within.
struct Chain(Option<Box<Chain>>);

impl Drop for Chain {
    fn drop(&mut self) {
        black_box(&mut [0_u8; 1024]);
        drop(self.0.take());
    }
}

/// What fits the stacks of the program's threads does not kill the reclaimer's.
fn the_reclaimers_stack() {
    let (drops, new) = counted();
    let large = new(1);
    // On its way to the heap it is on that thread's stack, several times.
    let retire = move || rcu::retire(([0_u8; 9 << 20], large));
    Builder::new().stack_size(256 << 20).spawn(retire).unwrap().join().unwrap();
    soon("a value larger than a stack", || drops.load(SeqCst) == 1);
    // More than half a mebibyte, and less than two.
    let chain = (0..600).fold(None, |next, _| Some(Box::new(Chain(next))));
    let deep: (_, Counted) = (chain, new(2));
    rcu::retire(deep);
    soon("a drop within drops", || drops.load(SeqCst) == 2);
    assert_eq!(reclaimers().len(), 1);
}

fn no_reclaimer() {
    Reclaimer::Disabled.install();
    let drops = garbage_of(Domain::global(), 5);
    sleep(Duration::from_millis(300));
    assert_eq!((drops.load(SeqCst), rcu::pending().callbacks, reclaimers().len()), (0, 5, 0));
    rcu::barrier();
    assert_eq!(drops.load(SeqCst), 5);
    // The next retirer calls it, and it frees what others have left.
    let left = garbage_of(Domain::global(), 5);
    Reclaimer::Thread.install();
    let called = garbage_of(Domain::global(), 1);
    soon("the reclaimer", || left.load(SeqCst) == 5 && called.load(SeqCst) == 1);
}

fn custom_sessions() {
    let (send, sessions) = channel::<Session>();
    Reclaimer::Custom(Box::new(move |session| drop(send.send(session)))).install();
    for _ in 0..5 {
        // As long as a session is on its way, no other one comes.
        let drops = garbage_of(Domain::global(), 100);
        let session = sessions.recv().unwrap();
        assert!(sessions.try_recv().is_err());
        sleep(Duration::from_millis(20));
        session.run();
        assert_eq!((drops.load(SeqCst), rcu::pending().callbacks), (100, 0));
    }
    // Sessions that nobody runs.
    let (guard, mut all) = (rcu::read(), Vec::new());
    for _ in 0..10 {
        all.push(garbage_of(Domain::global(), 1));
        drop(sessions.recv().unwrap());
    }
    drop(guard);
    all.push(garbage_of(Domain::global(), 1));
    sessions.recv().unwrap().run();
    assert!(all.iter().all(|drops| drops.load(SeqCst) == 1));
    // Nobody takes them any more.
    drop(sessions);
    let drops = garbage_of(Domain::global(), 10);
    rcu::barrier();
    assert_eq!((drops.load(SeqCst), reclaimers().len()), (10, 0));
}

/// Or forgotten: until another reclaimer is installed.
fn sessions_that_are_kept() {
    let (send, sessions) = channel::<Session>();
    for forget in [true, false] {
        let send = send.clone();
        Reclaimer::Custom(Box::new(move |session| drop(send.send(session)))).install();
        // The thread's session, if there is one, goes on until it finds nothing.
        let session = loop {
            drop(garbage_of(Domain::global(), 1));
            if let Ok(session) = sessions.recv_timeout(Duration::from_millis(50)) {
                break session;
            }
        };
        let drops = garbage_of(Domain::global(), 5);
        let mut kept = Some(session);
        if forget {
            std::mem::forget(kept.take());
        }
        sleep(Duration::from_millis(50));
        assert_eq!(drops.load(SeqCst), 0, "there is nobody to run them");
        Reclaimer::Thread.install();
        soon("another reclaimer", || drops.load(SeqCst) == 5);
        // Should it be run after all, there may be two for a while.
        let more = garbage_of(Domain::global(), 5);
        if let Some(session) = kept {
            session.run();
        }
        soon("either of them", || more.load(SeqCst) == 5);
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("this panic is part of the test");
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {}
}

/// Drops a domain whose hooks, and the wakers that were left in it, panic when dropped, while the
/// reclaimer knows it: so they are dropped there.
fn hooks_that_panic_in_the_end() {
    static OTHER: Domain = Domain::new();
    // The children's one ends the process.
    drop(std::panic::take_hook());
    for _ in 0..3 {
        let domain = Domain::new();
        let (first, second) = (Bomb, Bomb);
        domain.on_stall(move |_| assert_eq!(size_of_val(&first), 0));
        domain.on_callback_panic(move |_| assert_eq!(size_of_val(&second), 0));
        std::mem::forget(domain.read());
        for _ in 0..2 {
            let mut period = Box::pin(domain.grace_period());
            let waker = Waker::from(Arc::new(Bomb));
            assert!(period.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            std::mem::forget(period);
        }
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        OTHER.defer(move || {
            begun.send(()).unwrap();
            let _ = may_end.recv();
        });
        has_begun.recv().unwrap();
        // The reclaimer is in its look at all domains, this one among them.
        drop(domain);
        drop(end);
        let drops = garbage_of(&OTHER, 5);
        soon("the reclaimer goes on", || drops.load(SeqCst) == 5);
    }
}

fn hooks_that_panic_in_sessions() {
    Reclaimer::Custom(Box::new(|session| drop(spawn(|| session.run())))).install();
    hooks_that_panic_in_the_end();
    assert_eq!(reclaimers().len(), 0);
}

fn tasks_without_a_reclaimer() {
    Reclaimer::Disabled.install();
    under_every_executor(Domain::global());
    assert_eq!(reclaimers().len(), 0);
}

fn tasks_with_custom_sessions() {
    Reclaimer::Custom(Box::new(|session| drop(spawn(|| session.run())))).install();
    under_every_executor(Domain::global());
    assert_eq!(reclaimers().len(), 0);
}

/// At once, or some time later.
fn tasks_whose_sessions_are_dropped() {
    Reclaimer::Custom(Box::new(drop)).install();
    under_every_executor(Domain::global());
    Reclaimer::Custom(Box::new(|session| {
        spawn(move || {
            sleep(Duration::from_millis(1));
            drop(session);
        });
    }))
    .install();
    under_every_executor(Domain::global());
}

/// A handler of the program's own that waits for its tasks: the reclaimer has stopped by then.
fn tasks_while_the_process_exits() {
    static TASK: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
    extern "C" fn finish() {
        let leaving = Reader::of(Domain::global()).leave_after(Duration::from_millis(50));
        TASK.lock().unwrap().take().unwrap().join().unwrap();
        smol::future::block_on(rcu::grace_period());
        leaving.join().unwrap();
        // SAFETY: as in `Late`.
        unsafe { libc::write(1, c"tasks have ended\n".as_ptr().cast(), 17) };
    }
    // SAFETY: the function may be called at any time. Before the library asks for the same.
    unsafe { libc::atexit(finish) };
    let leaving = Reader::of(Domain::global()).leave_after(Duration::from_millis(50));
    *TASK.lock().unwrap() = Some(spawn(|| smol::future::block_on(rcu::grace_period())));
    sleep(Duration::from_millis(20));
    println!("{DONE}");
    drop(leaving);
    exit(0);
}

/// Runs `last` in a callback with others before and behind it in the same list, many times at
/// once. All others must run, once.
fn drop_domains(last: fn(Arc<Domain>)) {
    const DOMAINS: usize = 20;
    let ran: Arc<[AtomicUsize; DOMAINS]> = Arc::new([const { AtomicUsize::new(0) }; DOMAINS]);
    for n in 0..DOMAINS {
        let domain = Arc::new(Domain::new());
        let before_and_behind = || {
            for _ in 0..10 {
                let ran = ran.clone();
                domain.defer(move || {
                    ran[n].fetch_add(1, SeqCst);
                });
            }
        };
        before_and_behind();
        last(domain.clone());
        before_and_behind();
    }
    soon("all callbacks", || ran.iter().all(|ran| ran.load(SeqCst) >= 20));
    sleep(Duration::from_millis(100));
    assert!(ran.iter().all(|ran| ran.load(SeqCst) == 20), "{ran:?}");
}

fn callbacks_drop_their_domain() {
    drop_domains(|domain| {
        let also = domain.clone();
        domain.defer(move || drop(also));
    });
    drop_domains(|domain| {
        let cell = RcuCell::new_in(String::from("value"), domain.clone());
        domain.retire(cell);
    });
    // The callback that is running when the domain ends has not run yet.
    drop_domains(|domain| {
        let also = domain.clone();
        domain.defer(move || {
            also.retire([1; 100]);
            drop(also);
        });
    });
}

fn a_stall_without_a_hook() {
    static DOMAIN: Domain =
        Domain::builder().name("printed").stall_timeout(Duration::from_millis(5)).build();
    let reader = Reader::of(&DOMAIN);
    let waiter = spawn(|| DOMAIN.synchronize());
    soon("two reports", || DOMAIN.statistics().stalls >= 2);
    // The second one is counted before it is printed.
    reader.leave();
    waiter.join().unwrap();
}

/// On many threads, of two domains, some of it held up.
fn garbage() {
    static DOMAIN: Domain = Domain::new();
    std::mem::forget(DOMAIN.read());
    for domain in [Domain::global(), &DOMAIN] {
        let threads: Vec<_> = (0..4).map(|_| spawn(|| garbage_of(domain, 2000))).collect();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        garbage_of(domain, 100);
    }
}

fn exits_with_garbage() {
    garbage();
    println!("{DONE}");
    exit(0);
}

fn exits_from_a_thread() {
    garbage();
    println!("{DONE}");
    let exits = spawn(|| {
        garbage_of(Domain::global(), 100);
        exit(0);
    });
    let _ = exits.join();
    sleep(Duration::MAX);
}

fn exits_while_callbacks_run() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    for _ in 0..100 {
        rcu::defer(|| {
            BEGUN.store(true, SeqCst);
            sleep(Duration::from_secs(1000));
        });
    }
    soon("the reclaimer", || BEGUN.load(SeqCst));
    println!("{DONE}");
    exit(0);
}

/// Nothing may run beside the handler of the program's own that comes behind the library's.
fn exits_with_callbacks_left() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static EXITS: AtomicBool = AtomicBool::new(false);
    static LATE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn finish() {
        EXITS.store(true, SeqCst);
        sleep(Duration::from_millis(100));
        let late = LATE.load(SeqCst);
        println!("{late} callbacks began while the process exited");
        if late == 0 {
            println!("{DONE}");
        }
    }
    // SAFETY: the function may be called at any time. Before the library asks for the same.
    unsafe { libc::atexit(finish) };
    for _ in 0..30 {
        rcu::defer(|| {
            LATE.fetch_add(usize::from(EXITS.load(SeqCst)), SeqCst);
            // This one has begun before, and goes on.
            BEGUN.store(true, SeqCst);
            while !EXITS.load(SeqCst) {
                sleep(Duration::from_millis(1));
            }
        });
    }
    soon("the reclaimer", || BEGUN.load(SeqCst));
    exit(0);
}

fn exits_with_callbacks_left_to_sessions() {
    Reclaimer::Custom(Box::new(|session| drop(spawn(|| session.run())))).install();
    exits_with_callbacks_left();
}

fn exits_under_a_guard() {
    let _guard = rcu::read();
    spawn(rcu::synchronize);
    spawn(|| smol::future::block_on(rcu::grace_period()));
    garbage();
    println!("{DONE}");
    exit(0);
}

/// Retires when the thread ends, if told so.
struct Late(Cell<bool>);

impl Drop for Late {
    fn drop(&mut self) {
        if self.0.get() {
            drop(garbage_of(Domain::global(), 1000));
        }
        let text = if self.0.get() { "a destructor has retired\n" } else { "a destructor ran\n" };
        // SAFETY: writes a live text to an open file.
        unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    }
}

fn retires_in_last_destructors() {
    thread_local! {
        static LATE: Late = const { Late(Cell::new(false)) };
        static ANY: Late = const { Late(Cell::new(false)) };
    }
    ANY.with(|_| ());
    LATE.with(|late| late.0.set(true));
    drop(garbage_of(Domain::global(), 10));
    println!("{DONE}");
    exit(0);
}
