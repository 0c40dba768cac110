//! A logger that does not hold up who logs: lines are formatted into the ring of their CPU, without
//! allocation, and a thread of its own prints them, merged by time.
//!
//! ```text
//! cargo run --release --features log --example ring_log
//! ```

use log::{Level, LevelFilter, Log, Metadata, info};
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stillpoint::percpu::{Consumer, PushError, Ring};

/// A line is cut behind so many bytes, and then is still copied in one go.
const LONGEST: usize = Ring::SMALL;

/// Formats into an array, and cuts what does not fit.
struct Line {
    bytes: [u8; LONGEST],
    length: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let space = &mut self.bytes[self.length..];
        let fits = text.floor_char_boundary(space.len());
        space[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Where log records go.
struct RingLog {
    ring: Ring,
    ended: AtomicBool,
}

static LOG: RingLog = RingLog { ring: Ring::new(1 << 18), ended: AtomicBool::new(false) };

impl Log for RingLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line { bytes: [0; LONGEST], length: 0 };
        // An error means that it was cut.
        let _ = write!(line, "{:5} {}: {}", record.level(), record.target(), record.args());
        match self.ring.push(&line.bytes[..line.length]) {
            // What is full is counted, and reported in the end.
            Ok(()) | Err(PushError::Full) => {}
            Err(error) => eprintln!("log: {error}"),
        }
    }

    fn flush(&self) {}
}

/// Prints lines until the program ends and all are printed. Returns how many.
fn print(mut lines: Consumer<'_>, to: impl Write) -> io::Result<u64> {
    let (mut to, mut printed, mut first) = (BufWriter::new(to), 0, None);
    loop {
        let over = LOG.ended.load(Ordering::Acquire);
        let line = lines.recv_merged_timeout(Duration::from_millis(100), |line| {
            let first = *first.get_or_insert(line.stamp);
            let since = Duration::from_nanos(line.stamp.saturating_sub(first));
            let text = String::from_utf8_lossy(line.bytes);
            match line.cpu {
                Some(cpu) => writeln!(to, "{since:>12?} [{cpu}] {text}"),
                None => writeln!(to, "{since:>12?} [-] {text}"),
            }
        });
        match line {
            Some(written) => written?,
            None if over => break,
            None => to.flush()?,
        }
        printed += 1;
    }
    to.flush()?;
    Ok(printed)
}

/// Logs from several threads; returns how many lines that were, and what a line took who logged it.
fn work(threads: u64, lines: u64) -> (u64, Duration) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..threads {
            scope.spawn(move || {
                for n in 0..lines {
                    info!("worker {worker} has done step {n} of {lines}");
                }
            });
        }
    });
    (threads * lines, begin.elapsed() / lines as u32)
}

fn main() -> io::Result<()> {
    log::set_logger(&LOG).map_err(|error| io::Error::other(error.to_string()))?;
    log::set_max_level(LevelFilter::Info);
    let consumer = LOG.ring.consumer().map_err(io::Error::other)?;
    let printer = std::thread::spawn(move || print(consumer, io::stdout().lock()));
    let (logged, each) = work(4, 500);
    LOG.ended.store(true, Ordering::Release);
    let printed = printer.join().expect("the printer does not panic")?;
    eprintln!("{logged} lines, {each:?} each; {printed} printed, {} dropped", LOG.ring.dropped());
    Ok(())
}

#[test]
fn every_line_is_printed_in_order_or_counted() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(LevelFilter::Trace);
    log::trace!("not this");
    let consumer = LOG.ring.consumer().unwrap();
    let printer = std::thread::spawn(move || {
        let mut text = Vec::new();
        print(consumer, &mut text).map(|printed| (printed, text))
    });
    let (logged, _) = work(4, 2000);
    info!("{}", "é".repeat(LONGEST));
    LOG.ended.store(true, Ordering::Release);
    let (printed, text) = printer.join().unwrap().unwrap();
    assert_eq!(printed + LOG.ring.dropped(), logged + 1);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() as u64, printed);
    let steps = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("worker ")?;
        let mut words = rest.split(' ');
        let worker: u64 = words.next()?.parse().ok()?;
        Some((worker, words.nth(3)?.parse::<u64>().ok()?))
    });
    let mut next = [0; 4];
    for (worker, step) in steps {
        assert!(step >= next[worker as usize], "worker {worker}: {step}");
        next[worker as usize] = step + 1;
    }
}
