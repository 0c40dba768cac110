//! What a call costs that a signal handler can stop, beside those that it cannot, and beside the
//! ways that programs take without it.
//!
//! ```text
//! cargo bench --bench interrupt               criterion's groups, then the summary
//! cargo bench --bench interrupt -- summary    the summary alone, some seconds
//! ```

#[path = "common/claims.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod claims;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;

use claims::{Measured, Run};
use criterion::Criterion;
use std::fs::File;
use std::hint::black_box;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stillpoint::interrupt::{Flag, PollFd, poll, read};

static STOP: Flag = Flag::new();

const READ: &str = "interrupt::read";
const READ_WITHOUT: &str = "a flag, then read: loses stops";
const READ_BY_PIPE: &str = "poll with a pipe to oneself, then read";
const POLL: &str = "interrupt::poll";
const POLL_WITHOUT: &str = "ppoll: loses stops";

/// A call, by the name of the way that it takes.
type Way<'a> = (&'static str, Box<dyn Fn() + 'a>);

struct Files {
    zeros: File,
    stop: PipeReader,
    /// Without it the other end would be readable.
    _end: PipeWriter,
}

impl Files {
    fn new() -> Files {
        let (stop, _end) = std::io::pipe().expect("a pipe");
        Files { zeros: File::open("/dev/zero").expect("there are zeros"), stop, _end }
    }

    /// To read a byte that is there.
    fn reads(&self) -> [Way<'_>; 3] {
        let fd = self.zeros.as_raw_fd();
        let plain = move || {
            let mut byte = [0_u8; 1];
            // SAFETY: a buffer of one byte.
            let read = unsafe { libc::read(fd, black_box(&mut byte).as_mut_ptr().cast(), 1) };
            assert_eq!(read, 1);
        };
        let ours = || {
            let mut byte = [0_u8; 1];
            read(&STOP, &self.zeros, black_box(&mut byte)).expect("it is there");
        };
        let without = move || {
            assert!(!STOP.is_set());
            plain();
        };
        let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let by_pipe = move || {
            let mut fds = [wanted(fd), wanted(self.stop.as_raw_fd())];
            // SAFETY: two live records.
            assert_eq!(unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) }, 1);
            plain();
        };
        [
            (READ, Box::new(ours)),
            (READ_WITHOUT, Box::new(without)),
            (READ_BY_PIPE, Box::new(by_pipe)),
        ]
    }

    /// To wait for one that is ready.
    fn polls(&self) -> [Way<'_>; 2] {
        let ours = || {
            let fds = &mut [PollFd::new(&self.zeros, libc::POLLIN)];
            poll(&STOP, fds, Some(Duration::from_secs(1))).expect("it is ready");
        };
        let until = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let without = move || {
            let fd = self.zeros.as_raw_fd();
            let mut fds = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: live records.
            assert_eq!(unsafe { libc::ppoll(&mut fds, 1, &until, std::ptr::null()) }, 1);
        };
        [(POLL, Box::new(ours)), (POLL_WITHOUT, Box::new(without))]
    }
}

static BENCH: record::Bench = record::Bench {
    name: "interrupt",
    is_ours: |name| name.starts_with("interrupt::"),
    floors: &[],
};

fn main() -> ExitCode {
    let files = Files::new();
    harness::main(&BENCH, |criterion| criterion_groups(criterion, &files), |o| summary(o, &files))
}

fn criterion_groups(criterion: &mut Criterion, files: &Files) {
    let groups = [
        ("read a byte that is there", Vec::from(files.reads())),
        ("poll one that is ready", Vec::from(files.polls())),
    ];
    for (name, ways) in groups {
        let mut group = criterion.benchmark_group(name);
        for (way, call) in ways {
            group.bench_function(way, |b| b.iter(&call));
        }
        group.finish();
    }
}

/// Rounds, and calls in one of them.
const ROUNDS: usize = 301;
const CALLS: u32 = 2_000;

fn summary(options: &harness::Quick, files: &Files) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");
    let reads = files.reads().map(run).into();
    let m = Measured::interleaved("Read a byte that is there", rounds, reads);
    m.claim(READ, READ_WITHOUT);
    m.claim(READ, READ_BY_PIPE);
    let polls = files.polls().map(run).into();
    let m = Measured::interleaved("Poll one that is ready", rounds, polls);
    m.claim(POLL, POLL_WITHOUT);
}

fn run((way, call): Way<'_>) -> Run<'_> {
    Run::new(way, move || {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    })
}
