//! What the process finds around it: rseq or `membarrier` denied, a libc that does not register,
//! other people's areas, odd CPU numbers, signals, forks, valgrind. Nothing may panic, abort
//! or hang, and every grace period must still be one.
//!
//! Each case is a child: this binary again, in a surrounding prepared between fork and exec,
//! under a time limit. What the machine cannot do is printed as `SKIPPED`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/child.rs"]
mod child;
#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/early.rs"]
mod early;
#[path = "support/play.rs"]
mod play;
#[path = "support/protection.rs"]
mod protection;
#[path = "support/scenarios.rs"]
mod scenarios;
#[path = "support/seccomp.rs"]
mod seccomp;
#[path = "support/surrounding.rs"]
mod surrounding;
#[path = "support/workload.rs"]
mod workload;

use child::{End, run, run_for};
use play::in_each;
use seccomp::Rule;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rseq::area::ensure_registered;
use stillpoint::rseq::reader::{Gate, Line, Mark, enter, leave, leave_here};
use surrounding::Surrounding;

#[test]
#[ignore = "what the children run"]
fn scenario() {
    scenarios::run();
}

/// The tier of an ordinary start on this machine.
static BEST: LazyLock<Tier> = LazyLock::new(|| {
    let outcome = run("nothing", &Surrounding::ordinary()).expect("an ordinary start");
    outcome.assert_well("nothing, in an ordinary surrounding");
    let tier = outcome.field("tier").parse().unwrap();
    if tier != Tier::Rseq {
        println!("SKIPPED reasons: this machine's own tier is {tier}: {}", outcome.field("reason"));
    }
    tier
});

/// Runs the workload; asserts tier and reason, as far as the machine could do better by itself.
fn expect(surrounding: &Surrounding, tier: Tier, reason: &str) -> Option<child::Outcome> {
    let what = format!("{surrounding:?}");
    let started = Instant::now();
    let outcome = run("workload", surrounding)?;
    outcome.assert_well(&what);
    assert!(outcome.output.contains("at exit: read"), "{what}: {}", outcome.output);
    assert_eq!(outcome.field("tier"), tier.min(*BEST).name(), "{what}: {}", outcome.output);
    let found = outcome.field("reason");
    if *BEST == Tier::Rseq {
        assert!(found.contains(reason), "{what}: {found:?} instead of {reason:?}");
    }
    println!("{:?} {tier}: {found}", started.elapsed());
    Some(outcome)
}

const FULL: &str = "everything is there";

#[test]
fn ordinary() {
    expect(&Surrounding::ordinary(), Tier::Rseq, FULL);
}

#[test]
fn libc_does_not_register() {
    let outcome = expect(&Surrounding::ordinary().without_libc(), Tier::Rseq, FULL).unwrap();
    if *BEST == Tier::Rseq {
        let found = outcome.field("rseq");
        assert!(found.starts_with("registered by stillpoint, "), "{found}");
    }
}

#[test]
fn rseq_denied() {
    for (errno, reason) in [
        (libc::ENOSYS, "rseq refused: "),
        (libc::EPERM, "rseq refused: "),
        (libc::EFAULT, "rseq refused: "),
        (libc::EINVAL, "another library registered its own rseq area"),
        (libc::EBUSY, IGNORED),
    ] {
        let denied = Surrounding::ordinary().rule(Rule::rseq(errno));
        expect(&denied, Tier::Membarrier, reason);
        expect(&denied.without_libc(), Tier::Membarrier, reason);
    }
}

/// Emulators exist in which the call succeeds and nothing happens. Where libc believes it, and has
/// set up an area that looks alive, it is the self-test that notices.
#[test]
fn rseq_ignored() {
    let ignored = Surrounding::ordinary().rule(Rule::rseq(0));
    let own = expect(&ignored.clone().without_libc(), Tier::Membarrier, IGNORED);
    assert!(own.is_some());
    let outcome = expect(&ignored, Tier::Membarrier, "").unwrap();
    let reason = outcome.field("reason");
    let noticed = [IGNORED, "self-test failed"].iter().any(|why| reason.contains(why));
    assert!(noticed || *BEST < Tier::Rseq, "{reason}");
}

const IGNORED: &str = "rseq is accepted but not carried out";

#[test]
fn membarrier_denied() {
    for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL] {
        let denied = Surrounding::ordinary().rule(Rule::membarrier(errno));
        let reason = std::io::Error::from_raw_os_error(errno).to_string();
        expect(&denied, Tier::Fence, &format!("membarrier with rseq refused: {reason}"));
        let both = denied.rule(Rule::rseq(errno));
        expect(&both, Tier::Fence, &format!("; membarrier refused: {reason}"));
        expect(&both.without_libc(), Tier::Fence, &format!("; membarrier refused: {reason}"));
    }
}

/// Refuses some commands of `membarrier`.
const fn without_commands(bits: u32) -> Rule {
    Rule { bits, ..Rule::membarrier(libc::EINVAL) }
}

/// To register for the broadcast that aborts sections, and to send it: absent before Linux 5.10.
const WITH_RSEQ: Rule = without_commands(3 << 7);
/// The same of the plain broadcast.
const PLAIN: Rule = without_commands(3 << 3);

#[test]
fn membarrier_denied_in_part() {
    let ordinary = Surrounding::ordinary();
    let reason = "membarrier with rseq refused: ";
    expect(&ordinary.clone().rule(WITH_RSEQ), Tier::Membarrier, reason);
    expect(&ordinary.clone().rule(PLAIN).rule(WITH_RSEQ), Tier::Fence, reason);
    expect(&ordinary.rule(PLAIN).rule(Rule::rseq(libc::EPERM)), Tier::Fence, "membarrier refused");
}

#[test]
fn plain_membarrier_denied() {
    let denied = Surrounding::ordinary().rule(PLAIN);
    for wish in ["membarrier", "fence", "rseq"] {
        let outcome = run("workload", &denied.clone().wish(wish)).unwrap();
        outcome.assert_well(wish);
    }
}

#[test]
fn membarrier_ignored() {
    let ignored = Surrounding::ordinary().rule(Rule::membarrier(0));
    expect(&ignored, Tier::Fence, "membarrier");
    expect(&ignored.rule(Rule::rseq(0)), Tier::Fence, "membarrier");
}

/// Without a timer, nobody knows whether sections are aborted.
#[test]
fn timers_denied() {
    for (call, errno, reason) in [
        (libc::SYS_timer_create, libc::EAGAIN, "self-test could not be run: no timer"),
        (libc::SYS_timer_settime, libc::EPERM, "self-test could not be run: timer refused"),
    ] {
        let denied = Surrounding::ordinary().rule(Rule { call, bits: 0, errno });
        expect(&denied, Tier::Membarrier, reason);
    }
}

/// Where the self-test's signals never come, a preemption may still abort the section.
#[test]
fn timers_ignored() {
    let rule = Rule { call: libc::SYS_timer_settime, bits: 0, errno: 0 };
    let Some(outcome) = run("workload", &Surrounding::ordinary().rule(rule)) else { return };
    outcome.assert_well("timers are ignored");
    let test = outcome.field("self-test");
    println!("{}: {test}", outcome.field("tier"));
    assert!(
        test == "could not be run: no signal came"
            || test.starts_with("passed")
            || *BEST < Tier::Rseq,
        "{test}"
    );
}

#[test]
fn wishes() {
    let ordinary = Surrounding::ordinary();
    let wish = |tier| ordinary.clone().wish(tier);
    expect(&wish(""), Tier::Rseq, FULL);
    expect(&wish("rseq"), Tier::Rseq, FULL);
    expect(&wish("membarrier"), Tier::Membarrier, "rseq would be possible");
    expect(&wish("fence"), Tier::Fence, "rseq would be possible");
    expect(&wish("RSEQ"), Tier::Rseq, "STILLPOINT_TIER is none of rseq, membarrier, fence");
    let denied = wish("rseq").rule(Rule::rseq(libc::EPERM));
    expect(&denied, Tier::Membarrier, "STILLPOINT_TIER=rseq is not possible: rseq refused");
}

#[test]
fn signals_blocked() {
    expect(&Surrounding::ordinary().signals_blocked(), Tier::Rseq, FULL);
    expect(&Surrounding::ordinary().signals_blocked().without_libc(), Tier::Rseq, FULL);
}

/// Something comes before the library's constructor: a reader, or another owner of rseq.
#[test]
fn early_constructors() {
    let ordinary = Surrounding::ordinary();
    expect(&ordinary.clone().early("read"), Tier::Rseq, FULL);
    expect(&ordinary.clone().early("read").without_libc(), Tier::Rseq, FULL);
    if *BEST == Tier::Rseq {
        let foreign = ordinary.without_libc().early("register");
        expect(&foreign, Tier::Membarrier, "another library registered its own rseq area");
    }
}

/// Fewer slots than CPUs, many more, and lists that make no sense.
#[test]
fn odd_lists_of_cpus() {
    for (list, slots) in [
        ("0", "1 (possible CPUs)"),
        ("0,5-6,1023", "1024 (possible CPUs)"),
        ("", "(a guess: no list of possible CPUs)"),
        ("0-", "(a guess: no list of possible CPUs)"),
    ] {
        for surrounding in Surrounding::each() {
            let tier = surrounding.tier();
            if let Some(outcome) = expect(&surrounding.possible(list), tier, "") {
                assert!(outcome.field("slots").ends_with(slots), "{}", outcome.output);
            }
        }
    }
}

/// Moves the calling thread to a CPU.
fn pin(cpu: usize) {
    assert!(cpus::restrict(0, &[cpu]));
}

/// Sequences on CPUs below a gate's bound count on that CPU's line; on others they count nothing.
#[test]
fn bounds_of_gates() {
    // A thread of its own: it is moved about.
    std::thread::spawn(|| {
        let mut lines: Vec<Line> =
            (0..=libc::CPU_SETSIZE as usize).map(|_| Line::default()).collect();
        let phase = AtomicPtr::new(&mut lines[1].phases[0]);
        let gate = Gate { phase, slots: AtomicU32::new(0) };
        let cpus = cpus::allowed().into_iter().take(8).collect::<Vec<_>>();
        for &cpu in &cpus {
            pin(cpu);
            assert_eq!(enter_soon(&gate), None, "no slots, CPU {cpu}");
        }
        if !ensure_registered() {
            return println!("SKIPPED bounds of gates: rseq is not registered");
        }
        for (&bound, &cpu) in cpus.iter().flat_map(|bound| cpus.iter().map(move |cpu| (bound, cpu)))
        {
            gate.slots.store(bound as u32 + 1, SeqCst);
            pin(cpu);
            let counts = || {
                let phase = &lines[cpu + 1].phases[0];
                [phase.entered.load(SeqCst), phase.left.load(SeqCst)]
            };
            let before = counts();
            let mark = enter_soon(&gate);
            assert_eq!(mark.is_some(), cpu <= bound, "CPU {cpu}, bound {bound}");
            if let Some(mark) = mark {
                // Nor is it left on another CPU where it was entered,
                for &other in cpus.iter().filter(|&&other| other != cpu) {
                    pin(other);
                    // SAFETY: a mark that this gate gave, to live lines.
                    assert!(!(0..100).any(|_| unsafe { leave_here(mark) }), "CPU {other}");
                }
                pin(cpu);
                // nor by a gate that has lost its slots.
                gate.slots.store(0, SeqCst);
                // SAFETY: as above.
                assert!(!(0..100).any(|_| unsafe { leave(&gate, mark) }));
                gate.slots.store(bound as u32 + 1, SeqCst);
                // SAFETY: as above; nothing was counted yet.
                assert!((0..100).any(|_| unsafe { leave(&gate, mark) }));
                assert_eq!(counts(), before.map(|n| n + 1));
            }
        }
        assert_eq!(lines[0].phases[0].entered.load(SeqCst), 0, "line 0 belongs to no CPU");
    })
    .join()
    .unwrap();
}

/// More than one attempt, since any may be aborted. The gate must be as `enter` wants it.
fn enter_soon(gate: &Gate) -> Option<Mark> {
    // SAFETY: the caller's gate.
    (0..100).find_map(|_| unsafe { enter(gate) })
}

#[test]
fn valgrind() {
    if cfg!(target_env = "musl") {
        return println!("SKIPPED valgrind: it does not know the allocator of a static musl");
    }
    let valgrind = Surrounding::ordinary().valgrind();
    let Some(outcome) = run("reads freed memory", &valgrind) else { return };
    assert_eq!(outcome.end, End::Exited(9), "not found: {}", outcome.output);
    expect(&valgrind, Tier::Membarrier, "rseq refused");
    expect(&valgrind.wish("fence"), Tier::Fence, "");
}

/// True if threads can be given filters. The child finds out whether its own works.
fn filters_work() -> bool {
    let rule = Rule { call: libc::SYS_acct, bits: 0, errno: libc::EPERM };
    run("nothing", &Surrounding::ordinary().rule(rule)).is_some()
}

#[test]
fn one_thread_refused() {
    // With libc's registration it is too late to refuse: threads are born registered.
    if filters_work() {
        in_each("one thread refused");
    }
}

#[test]
fn one_thread_foreign() {
    in_each("one thread foreign");
}

#[test]
fn one_thread_unregistered() {
    if filters_work() {
        in_each("one thread unregistered");
    }
}

#[test]
fn nothing_planted_unregistered() {
    in_each("unregistered, nothing planted");
}

#[test]
fn first_use_in_handlers() {
    if filters_work() {
        in_each("first use in handlers");
    }
}

#[test]
fn fork() {
    in_each("fork");
}

#[test]
fn storm() {
    in_each("storm");
}

#[test]
fn exiting_threads() {
    in_each("exiting threads");
}

#[test]
fn forgotten_guards() {
    in_each("forgotten guards");
}

#[test]
fn many_domains() {
    in_each("many domains");
}

#[test]
fn late_refusal() {
    if filters_work() {
        in_each("late refusal");
    }
}

#[test]
fn retirers_after_refusal() {
    if filters_work() {
        in_each("retirers after a refusal");
    }
}

#[test]
fn who_cannot_wait_after_refusal() {
    if filters_work() {
        in_each("who cannot wait after a refusal");
    }
}

/// These tests notice what they are there to notice.
#[test]
fn bad_ends_are_noticed() {
    let end = |scenario| {
        let patience = Duration::from_secs(4);
        let outcome = run_for(patience, scenario, &Surrounding::ordinary()).unwrap();
        println!("{scenario}: {:?}", outcome.end);
        (outcome.end, outcome.output)
    };
    assert_eq!(end("panics").0, End::Exited(101));
    assert_eq!(end("aborts").0, End::Killed(libc::SIGABRT));
    assert_eq!(end("no such scenario").0, End::Exited(101));
    let (end, output) = end("waits for itself");
    // Where guards are recorded, it is told so.
    let told = End::Exited(101);
    let expected =
        if cfg!(any(debug_assertions, feature = "debug-readers")) { told } else { End::Hung };
    assert!(end == expected && output.contains("about to wait"), "{end:?}: {output}");
}
