//! What `around` debugs, profiles and builds many times.
//!
//! `subject stress SECONDS`: readers, a writer, counters and stacks, whose books must be even.
//! `subject enter TIMES`: one attempt at a section, so many times, for a debugger.
//! `subject read`: a few lines with a guard, for a debugger.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::percpu::Counter;
use stillpoint::rcu::{self, RcuCell};
use stillpoint::rseq::area::{ensure_registered, thread_area};
use stillpoint::rseq::reader::{Gate, Line, enter};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let number = arguments.next().and_then(|text| text.parse::<f64>().ok());
    let good = match (what.as_str(), number) {
        ("stress", Some(seconds)) if seconds >= 0.0 => stress(Duration::from_secs_f64(seconds)),
        ("enter", Some(times)) => enter_often(times as u32),
        ("read", None) => read_lines(),
        _ => {
            eprintln!("usage: subject stress SECONDS | enter TIMES | read");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Poison of what was freed.
const FREED: u64 = 0xdead_dead_dead_dead;

/// A value that says so when it was freed.
struct Canary([u64; 4]);

impl Drop for Canary {
    fn drop(&mut self) {
        for word in &mut self.0 {
            // SAFETY: a live word of ours. Volatile: the store is what a late reader would see.
            unsafe { std::ptr::from_mut(word).write_volatile(FREED) };
        }
    }
}

static VALUE: LazyLock<RcuCell<Canary>> = LazyLock::new(|| RcuCell::new(Canary([0; 4])));
static COUNTED: Counter = Counter::new();

fn stress(time: Duration) -> bool {
    const READERS: usize = 4;
    let (stop, torn, own) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut updates = 0;
    let known = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut reads = 0;
                while !stop.load(SeqCst) {
                    let guard = rcu::read();
                    let words = VALUE.load(&guard).0;
                    let again = black_box(VALUE.load(&guard)).0;
                    drop(guard);
                    let whole = |w: [u64; 4]| w[0] != FREED && w.iter().all(|&x| x == w[0]);
                    if !whole(words) || !whole(again) || again[0] < words[0] {
                        torn.fetch_add(1, SeqCst);
                    }
                    COUNTED.add(1);
                    reads += 1;
                    if reads % 4096 == 0 {
                        std::thread::yield_now();
                    }
                }
                own.fetch_add(reads, SeqCst);
                known.fetch_add(u32::from(known_to_the_kernel()), SeqCst);
            });
        }
        let until = Instant::now() + time;
        while Instant::now() < until {
            updates += 1;
            VALUE.store(Canary([updates; 4]));
            if updates % 64 == 0 {
                rcu::synchronize();
            }
        }
        stop.store(true, SeqCst);
    });
    rcu::barrier();
    let (reads, counted) = (own.load(SeqCst), COUNTED.sum());
    let torn = torn.load(SeqCst);
    println!("{}", stillpoint::machine());
    println!("{known:?} of {READERS} readers are registered");
    println!("{reads} reads, {counted} counted, {updates} updates, {torn} torn or freed");
    torn == 0 && i128::from(reads) == i128::from(counted) && reads > 0 && updates > 0
}

/// True if the calling thread's area is registered, by the kernel's own word: registering it again
/// is refused. An area alone can look alive when nobody looks after it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn known_to_the_kernel() -> bool {
    const SIGNATURE: u32 = if cfg!(target_arch = "x86_64") { 0x5305_3053 } else { 0xd428_bc00 };
    let Ok(area) = stillpoint::machine().registration() else { return false };
    // SAFETY: this thread's area, of that length, in static thread-local storage.
    let answer = unsafe { libc::syscall(libc::SYS_rseq, thread_area(), area.length, 0, SIGNATURE) };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBUSY)
}

/// No sections here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn known_to_the_kernel() -> bool {
    false
}

/// Not inlined, and named: a debugger stops here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn subject_enter(gate: &Gate) -> bool {
    // SAFETY: the gate's lines live as long as the caller's.
    unsafe { enter(gate) }.is_some()
}

fn enter_often(times: u32) -> bool {
    let slots = stillpoint::machine().slots() as usize;
    let mut lines: Vec<Line> = (0..=slots).map(|_| Line::default()).collect();
    let gate = Gate {
        phase: AtomicPtr::new(&mut lines[1].phases[0]),
        slots: AtomicU32::new(slots as u32),
    };
    let registered = ensure_registered();
    let told = (0..times).filter(|_| subject_enter(black_box(&gate))).count() as u64;
    let counted: u64 = lines.iter().map(|line| line.phases[0].entered.load(SeqCst)).sum();
    println!("registered {registered}, {times} attempts, told {told}, counted {counted}");
    told == counted
}

/// Lines for a debugger: their order is known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn subject_lines() -> u64 {
    let value = &*VALUE; // line: begin
    let guard = rcu::read(); // line: enter
    let word = value.load(&guard).0[0]; // line: load
    drop(guard); // line: leave
    COUNTED.add(1); // line: count
    word + 1 // line: end
}

fn read_lines() -> bool {
    let word = black_box(subject_lines());
    println!("read {word}, counted {}", COUNTED.sum());
    word == 1
}
