//! Starts everyone, lets them run, pauses them, moves them about, and looks for who is stuck.

use super::evidence::{self, What, note};
use super::options::{Options, Reclaiming};
use super::progress::Progress;
use super::seat::{self, SEATS};
use super::timer::{self, Timer};
use super::world::World;
use super::{audit, callbacks, churn, cpus, duel, element, fakes, readers, summary, writer};
use fastrand::Rng;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often we look.
const TICK: Duration = Duration::from_millis(20);
/// Once something is wrong, how long we wait for more of it.
const AFTERMATH: Duration = Duration::from_millis(100);
const TIMER: Duration = Duration::from_millis(1);

/// Does everything, and exits: with 1 if anything was wrong.
pub(crate) fn run(options: &Options) -> ! {
    let (start, tier) = (Instant::now(), options.tier());
    println!(
        "torture: {}tier {tier}, {} s, seed {}, {} readers, {} fake writers, {} CPUs{}",
        if options.global { "global domain, " } else { "" },
        options.seconds.as_secs_f64(),
        options.seed,
        options.readers(),
        options.fakes,
        cpus::allowed().len(),
        options.mode.map_or(String::new(), |mode| format!(", broken: {mode:?}")),
    );
    let duel = options.duel();
    if !duel.is_zero() {
        match duel::fight(options) {
            Some(periods) => {
                let took = start.elapsed().as_secs_f64();
                println!("duel of {took:.2} s: {periods} grace periods");
            }
            None => println!("SKIPPED duel: one CPU"),
        }
    }
    if evidence::count() > 0 {
        println!("tier {tier}, seed {}", options.seed);
        summary::print_violations();
        leave(false);
    }
    element::fill();
    options.reclaimer.install();
    let mut conductor = Conductor::start(options);
    conductor.conduct(start + options.seconds);
    conductor.end();
    summary::print_all(conductor.world, options.seed, start.elapsed());
    leave(evidence::count() == 0);
}

/// Ends the process: at once, since threads that are stuck, or still at it, must not see it torn
/// down.
fn leave(clean: bool) -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process.
    unsafe { libc::_exit(if clean { 0 } else { 1 }) }
}

struct Conductor {
    world: &'static World,
    random: Rng,
    stall: Duration,
    /// Whether the library runs callbacks when nobody retires.
    reclaims: bool,
    threads: Vec<JoinHandle<()>>,
    /// How many grace periods had ended when we last saw one end, and when that was.
    seen: (u64, Instant),
}

impl Conductor {
    /// Starts all threads.
    fn start(options: &Options) -> Conductor {
        let (world, tokens) = World::create(options);
        timer::handle();
        let mut random = Rng::with_seed(options.seed);
        let mut conductor = Conductor {
            world,
            random: random.fork(),
            stall: options.stall(),
            reclaims: options.reclaimer != Reclaiming::Disabled,
            threads: Vec::new(),
            seen: (0, Instant::now()),
        };
        for _ in 0..world.readers {
            let random = random.fork();
            conductor.spawn("reader", move || readers::run(world, random));
        }
        let random_of = [(); 3].map(|()| random.fork());
        let [of_writer, of_flood, of_churn] = random_of;
        conductor.spawn("writer", move || writer::run(world, of_writer, tokens));
        let most = options.flood;
        conductor.spawn("flood", move || flood(world, of_flood, most));
        for _ in 0..options.fakes {
            let random = random.fork();
            conductor.spawn("fake writer", move || fakes::run(world, random));
        }
        let children = conductor.threads.len() + 2;
        assert!(children + churn::CHILDREN <= SEATS, "more threads than seats");
        conductor.spawn("churn", move || churn::run(world, of_churn, children));
        conductor
    }

    /// Starts a thread in the next seat. Seat 0 is our own.
    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        let number = self.threads.len() + 1;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            seat::sit(number);
            let _timer = Timer::every(TIMER);
            work();
        });
        self.threads.push(thread.expect("a thread"));
    }

    /// Until the time is up or something is wrong.
    fn conduct(&mut self, end: Instant) {
        let time = end.saturating_duration_since(Instant::now());
        let mut progress = Progress::start(self.world, time);
        let mut next_shuffle = Instant::now();
        let mut next_pause = Instant::now() + self.between(2000..5000);
        while Instant::now() < end && evidence::count() == 0 {
            thread::sleep(TICK);
            progress.tick(self.world);
            self.watch();
            if Instant::now() >= next_shuffle {
                self.shuffle();
                next_shuffle = Instant::now() + self.between(200..500);
            }
            if Instant::now() >= next_pause {
                self.stutter();
                next_pause = Instant::now() + self.between(2000..5000);
            }
        }
        if evidence::count() > 0 {
            thread::sleep(AFTERMATH);
        }
        progress.end();
    }

    fn between(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(millis))
    }

    /// Grace periods must end all the time.
    fn watch(&mut self) {
        let now = self.world.domain.grace_periods();
        if now != self.seen.0 {
            self.seen = (now, Instant::now());
        } else if self.seen.1.elapsed() > self.stall {
            let (pending, seconds) = (self.world.pending(), self.seen.1.elapsed().as_secs());
            let facts = [("grace periods", now), ("seconds", seconds), ("pending", pending)];
            note(What::NoProgress, "watchdog", facts);
        }
        for (number, seat) in seat::all().iter().enumerate() {
            if let Some((what, since)) = seat.look()
                && since.elapsed() > self.stall
            {
                stalled(number, what, since, now);
            }
        }
    }

    /// Lets every thread run on some CPUs only, and changes how busy readers are.
    fn shuffle(&mut self) {
        self.world.calm.store(self.random.u8(..4) > 0, Relaxed);
        let allowed = cpus::allowed();
        for seat in seat::all().iter().take(self.threads.len() + 1).skip(1) {
            let mut cpus = allowed.clone();
            self.random.shuffle(&mut cpus);
            cpus.truncate(self.random.usize(1..=allowed.len()));
            // A thread that is gone is not moved.
            cpus::restrict(seat.thread.load(Relaxed), &cpus);
        }
    }

    /// Everybody pauses; in the silence, the books must be even.
    fn stutter(&mut self) {
        self.world.stage.pause();
        let world = self.world;
        if self.silence(|conductor| world.stage.paused() == conductor.threads.len()) {
            self.audit("silence");
            let pause = self.between(1..300);
            thread::sleep(pause);
        }
        world.stage.resume();
        self.seen.1 = Instant::now();
    }

    /// Waits until all threads are there. If they do not come, says who does not.
    fn silence(&mut self, silent: impl Fn(&Conductor) -> bool) -> bool {
        let begin = Instant::now();
        while !silent(self) {
            // Guards on their way would hold up those who wait.
            self.world.drain();
            if begin.elapsed() > self.stall {
                let periods = self.world.domain.grace_periods();
                for (number, seat) in seat::all().iter().enumerate() {
                    if let Some((what, since)) = seat.look() {
                        stalled(number, what, since, periods);
                    }
                }
                if evidence::count() == 0 {
                    note(What::Stalled, "all pause, but a reader does not", []);
                }
                return false;
            }
            if evidence::count() > 0 {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.world.drain();
        true
    }

    /// With nobody at work: everything must be in order.
    fn audit(&mut self, by: &'static str) {
        let (world, stall, sits) = (self.world, self.stall, self.reclaims && self.random.bool());
        let (done, audited) = mpsc::channel();
        // Elsewhere: it may never end.
        thread::spawn(move || {
            if sits {
                audit::sit(world, stall, by);
            }
            audit::check(world, by);
            let _ = done.send(());
        });
        if audited.recv_timeout(2 * self.stall) == Err(mpsc::RecvTimeoutError::Timeout) {
            note(What::Stalled, by, [("seconds", self.stall.as_secs())]);
        }
    }

    /// Ends the run; whoever does not end is a violation.
    fn end(&mut self) {
        if evidence::count() > 0 {
            // A broken domain cannot be left in an orderly way.
            return;
        }
        self.world.stage.stop();
        let finished =
            |conductor: &Conductor| conductor.threads.iter().all(JoinHandle::is_finished);
        if self.silence(finished) {
            for thread in self.threads.drain(..) {
                // The panic hook has told, if it panicked.
                let _: thread::Result<()> = thread.join();
            }
            self.audit("end");
        }
    }
}

fn stalled(number: usize, what: &'static str, since: Instant, periods: u64) {
    let seconds = since.elapsed().as_secs();
    let facts = [("thread", number as u64), ("seconds", seconds), ("grace periods", periods)];
    note(What::Stalled, what, facts);
}

/// Many callbacks at once, every second or so.
fn flood(world: &'static World, mut random: Rng, most: u64) {
    while world.stage.goes_on() {
        let callbacks = random.u64(1..=most) as usize;
        let doing = seat::mine().doing("flood");
        callbacks::flood(world, callbacks);
        drop(doing);
        let end = Instant::now() + Duration::from_millis(random.u64(..2000));
        while Instant::now() < end && world.stage.runs() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
