//! `SnapshotCell`: what it promises, on whatever tier the process has.

#![cfg(target_os = "linux")]

#[path = "support/ptrace.rs"]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod ptrace;
#[path = "support/stopped.rs"]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod stopped;
#[path = "support/tiers.rs"]
mod tiers;

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::thread;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, SnapshotCell};
use tiers::on_every_tier;

/// Bytes that differ from each other, and from those of another seed.
fn bytes<const N: usize>(seed: u8) -> [u8; N] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
}

fn whole<const N: usize>(domain: &'static Domain) {
    let cell = SnapshotCell::new_in(bytes::<N>(1), domain);
    assert_eq!(cell.get(), bytes(1), "{N} bytes");
    cell.set(bytes(2));
    assert_eq!(cell.get(), bytes(2), "{N} bytes");
    assert_eq!(cell.swap(bytes(3)), bytes(2), "{N} bytes");
    // Elsewhere, and so is what the cell was made with.
    let mut moved = Box::new((0_u64, cell));
    assert_eq!(moved.1.get(), bytes(3), "{N} bytes");
    moved.1.get_mut()[N / 2..].fill(7);
    assert_eq!(moved.1.get()[N / 2..], [7; N][N / 2..], "{N} bytes");
    assert_eq!(moved.1.into_inner()[..N / 2], bytes::<N>(3)[..N / 2], "{N} bytes");
}

macro_rules! whole {
    ($domain:ident: $($size:literal)*) => { $(whole::<$size>($domain);)* };
}

#[test]
fn values_of_every_size() {
    on_every_tier(|domain| {
        whole!(domain: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
            29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57
            58 59 60 61 62 63 64 65 66 67 72 79 80 81 95 96 97 111 112 113 127 128 129 130 144 145
            160 176 192 193 255 256 257 300 511 512 513 1000 4000 4095 4096 4097 5000 8192);
    });
}

/// With padding, which is copied for what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Padded {
    a: u8,
    b: u64,
    c: u8,
}

macro_rules! aligned {
    ($($name:ident: $align:literal, $size:literal;)*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq)]
            #[repr(align($align))]
            struct $name([u8; $size]);
        )*

        fn aligned(domain: &'static Domain) {
            $(
                let cell = SnapshotCell::new_in($name(bytes(1)), domain);
                (2..100).for_each(|n| {
                    cell.set($name(bytes(n)));
                    assert_eq!(cell.get(), $name(bytes(n)));
                });
            )*
        }
    };
}

aligned! {
    Aligned16: 16, 5;
    Aligned32: 32, 32;
    Aligned64: 64, 1;
    Aligned128: 128, 200;
    Aligned4096: 4096, 17;
}

#[test]
fn values_of_every_kind() {
    on_every_tier(|domain| {
        aligned(domain);
        let value = Padded { a: 1, b: u64::MAX, c: 3 };
        let cell = SnapshotCell::new_in(value, domain);
        cell.set(Padded { a: 2, ..value });
        assert_eq!(cell.get(), Padded { a: 2, ..value });

        // Nothing in it was ever written.
        let cell = SnapshotCell::new_in(MaybeUninit::<[u8; 100]>::uninit(), domain);
        cell.set(MaybeUninit::uninit());
        let _: MaybeUninit<[u8; 100]> = cell.get();
        cell.set(MaybeUninit::new(bytes(5)));
        // SAFETY: just written.
        assert_eq!(unsafe { cell.get().assume_init() }, bytes(5));

        // What it points at is borrowed from this very function.
        let text = String::from("still");
        let cell = SnapshotCell::new_in("", domain);
        cell.set(&text[..]);
        assert_eq!(cell.get(), "still");
        cell.set(Box::leak(Box::new(String::from("point"))));
        assert_eq!(cell.get(), "point");

        let cell = SnapshotCell::new_in(None::<fn(u8) -> u8>, domain);
        assert!(cell.get().is_none());
        cell.set(Some(|n| n + 1));
        assert_eq!(cell.get().unwrap()(1), 2);

        let cell = SnapshotCell::new_in((), domain);
        cell.set(());
        cell.get();
    });
}

#[test]
fn traits() {
    static CELL: SnapshotCell<[u16; 3]> = SnapshotCell::new([1, 2, 3]);
    CELL.set([4, 5, 6]);
    assert_eq!(format!("{CELL:?}"), "SnapshotCell([4, 5, 6])");
    assert_eq!(SnapshotCell::<u32>::default().get(), 0);
    assert_eq!(SnapshotCell::from('x').get(), 'x');
    assert_eq!(CELL.compare_exchange([4, 5, 6], [7; 3]), Ok([4, 5, 6]));
    assert_eq!(CELL.compare_exchange([4, 5, 6], [8; 3]), Err([7; 3]));
}

/// Of all that many writers do, nothing is lost.
#[test]
fn many_writers() {
    const EACH: u64 = 2000;
    on_every_tier(|domain| {
        let sums = SnapshotCell::new_in([0_u64; 5], domain);
        let slots = SnapshotCell::new_in(0_u64, domain);
        let won = AtomicU64::new(0);
        let begin = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    for n in 0..EACH {
                        let before = sums.update(|sum| sum.map(|word| word + 1));
                        assert!(before.iter().all(|word| *word == before[0]));
                        won.fetch_add(slots.compare_exchange(n, n + 1).is_ok().into(), SeqCst);
                    }
                });
            }
        });
        assert_eq!(sums.get(), [4 * EACH; 5]);
        assert_eq!(won.load(SeqCst), slots.get());
        domain.barrier();
        assert_eq!(domain.pending().callbacks, 0);
    });
}

/// What readers see never goes back, and what was written before a value is there with it.
#[test]
fn values_bring_what_came_before() {
    on_every_tier(|domain| {
        let (cell, data) = (SnapshotCell::new_in([0_u64; 2], domain), AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut before = 0;
                    while !stop.load(SeqCst) {
                        let [a, b] = cell.get();
                        assert_eq!(a, b);
                        assert!(
                            before <= a && a <= data.load(std::sync::atomic::Ordering::Relaxed)
                        );
                        before = a;
                    }
                });
            }
            for n in 1..20_000 {
                data.store(n, std::sync::atomic::Ordering::Relaxed);
                cell.set([n; 2]);
            }
            stop.store(true, SeqCst);
        });
    });
}

#[test]
fn functions_that_panic() {
    #[derive(Clone, Copy)]
    struct Unequal;
    impl PartialEq for Unequal {
        fn eq(&self, _: &Unequal) -> bool {
            panic!("as told")
        }
    }
    on_every_tier(|domain| {
        let cell = SnapshotCell::new_in(1, domain);
        let panic = catch_unwind(AssertUnwindSafe(|| cell.update(|_| panic!("as told"))));
        assert!(panic.is_err());
        assert_eq!(cell.get(), 1);
        let strange = SnapshotCell::new_in(Unequal, domain);
        let compare = || strange.compare_exchange(Unequal, Unequal).is_ok();
        assert!(catch_unwind(AssertUnwindSafe(compare)).is_err());
        // Nobody is left inside a section.
        domain.synchronize();
    });
}

/// A value's memory is freed behind two broadcasts, since kernels may lose the abort of one; and
/// nothing else is pending then.
#[test]
fn broadcasts_come_before_the_end() {
    on_every_tier(|domain| {
        let cell = SnapshotCell::new_in([0_u8; 100], domain);
        cell.set([1; 100]);
        domain.barrier();
        assert_eq!(domain.pending().callbacks, 0);
        for n in 2..50 {
            let before = domain.statistics().broadcasts;
            cell.set([n; 100]);
            assert_eq!(domain.pending().callbacks, 1);
            domain.barrier();
            assert_eq!(domain.pending().callbacks, 0);
            let sent = domain.statistics().broadcasts - before;
            assert!(sent >= 2 || domain.tier() == Tier::Fence, "{sent} broadcasts");
        }
    });
}

/// Thousands of values, of several cells, for one broadcast.
#[test]
fn broadcasts_are_shared() {
    on_every_tier(|domain| {
        let cells: [_; 10] = std::array::from_fn(|n| SnapshotCell::new_in(n, domain));
        for n in 0..10_000 {
            cells.iter().for_each(|cell| cell.set(n));
        }
        let sent = domain.statistics().broadcasts;
        // One for each list of 1024, and there is one for each CPU.
        assert!(sent < 2 * 100_000 / 1024 + 100, "{sent} broadcasts");
    });
}

static HANDLED: AtomicPtr<SnapshotCell<[u64; 20], &'static Domain>> =
    AtomicPtr::new(std::ptr::null_mut());

extern "C" fn read_in_handler(_: libc::c_int) {
    // SAFETY: set as long as the signal may come.
    let words = unsafe { &*HANDLED.load(SeqCst) }.get();
    // SAFETY: ends the process.
    words.iter().any(|word| *word != words[0]).then(|| unsafe { libc::abort() });
}

/// A signal in the middle of a read, or of a write, whose handler reads.
#[test]
fn reads_in_handlers() {
    on_every_tier(|domain| {
        let cell = SnapshotCell::new_in([1; 20], domain);
        HANDLED.store((&raw const cell).cast_mut(), SeqCst);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (to, from) = std::sync::mpsc::channel();
            let (cell, stop) = (&cell, &stop);
            let reader = scope.spawn(move || {
                // SAFETY: a handler that only does what is async-signal-safe.
                unsafe {
                    libc::signal(libc::SIGUSR1, read_in_handler as *const () as libc::sighandler_t);
                    to.send(libc::pthread_self()).unwrap();
                }
                let mut n = 1;
                while !stop.load(SeqCst) {
                    let words = cell.get();
                    assert_eq!(words, [words[0]; 20]);
                    n += 1;
                    cell.set([n; 20]);
                }
            });
            let thread = from.recv().unwrap();
            for _ in 0..1000 {
                // SAFETY: not joined yet.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                (0..2000).for_each(|_| std::hint::spin_loop());
            }
            stop.store(true, SeqCst);
            reader.join().unwrap();
        });
        // SAFETY: the signal is handled by the system's default, and comes no more.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    });
}

/// A thread that the kernel does not know, and so does not abort, copies under a guard.
#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn a_thread_that_is_not_registered() {
    on_every_tier(|domain| {
        let cell = SnapshotCell::new_in([1; 20], domain);
        cell.set([2; 20]);
        thread::scope(|scope| {
            let cell = &cell;
            scope.spawn(move || {
                println!("unregistered: {}", stopped::unregister());
                let before = domain.statistics().sections;
                // A call, lest the thread's registration be asked for before it ends.
                let get: fn(&SnapshotCell<_, _>) -> [u8; 20] =
                    std::hint::black_box(|cell| cell.get());
                assert_eq!(get(cell), [2; 20]);
                let sections = domain.statistics().sections - before;
                if stopped::is_unregistered() || domain.tier() != Tier::Rseq {
                    assert_eq!(sections, 1, "a section of the domain");
                }
            });
        });
        // A leaf is no section.
        let before = domain.statistics().sections;
        let reads = (0..1000).map(|_| cell.get()).filter(|value| *value == [2; 20]).count();
        let sections = domain.statistics().sections - before;
        assert_eq!(reads, 1000);
        assert!(sections < 10 || domain.tier() != Tier::Rseq, "{sections} sections");
    });
}

#[test]
#[ignore = "what the child runs"]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn child_of_a_stopped_reader() {
    stopped::child();
}

/// A reader that stands still in the middle of its section, for as long as it takes to write a
/// hundred thousand values.
#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn a_stopped_reader_holds_up_nothing() {
    if stillpoint::machine().tier() != Tier::Rseq {
        return println!("SKIPPED: leaf reads are sections on tier rseq only");
    }
    tiers::in_time(|| stopped::parent("child_of_a_stopped_reader"));
}
