//! The matrix: which programs run on which machine, and what they must find there.

use crate::bundle::Libc;
use crate::guest::Mode;
use crate::kernels::{self, Arch, Kernel};
use std::fmt::Write;

/// A program, run once.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) program: String,
    args: Vec<String>,
    with: Option<&'static str>,
    want: i32,
    limit: u32,
}

/// A step with the tests' environment; `args` between blanks.
pub(crate) fn step(program: &str, args: &str) -> Step {
    let args = args.split_whitespace().map(str::to_owned).collect();
    Step { program: program.to_owned(), args, with: None, want: 0, limit: 400 }
}

impl Step {
    fn with(self, what: &'static str) -> Step {
        Step { with: Some(what), ..self }
    }

    fn must_fail(self) -> Step {
        Step { want: 1, ..self }
    }
}

/// One machine and what it does.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kernel: &'static Kernel,
    pub(crate) cpus: u32,
    pub(crate) nodes: u32,
    pub(crate) mode: Mode,
    pub(crate) libc: Libc,
    /// Our own registration instead of libc's.
    pub(crate) own: bool,
    pub(crate) words: Vec<String>,
    pub(crate) online: u32,
    /// Aborts nothing.
    pub(crate) broken: bool,
    pub(crate) steps: Vec<Step>,
    /// One of those that CI has time for.
    pub(crate) short: bool,
}

/// The kernel with the time-slice extension.
const SLICE: &str = "x86-slice";

/// Makes a kernel check what it otherwise trusts.
const STRICT: &str = "rseq_debug=1";

/// A machine of four CPUs that does nothing yet.
fn row(kernel: &str) -> Row {
    of(kernels::named(kernel).expect("the matrix names kernels of the table"))
}

/// A machine of four CPUs, with this kernel, that does nothing yet.
pub(crate) fn of(kernel: &'static Kernel) -> Row {
    Row {
        name: kernel.label.to_owned(),
        kernel,
        cpus: 4,
        nodes: 1,
        mode: Mode::Plain,
        libc: Libc::Static,
        own: false,
        words: Vec::new(),
        online: 4,
        broken: false,
        steps: Vec::new(),
        short: false,
    }
}

impl Row {
    fn does(mut self, what: &str, steps: Vec<Step>) -> Row {
        write!(self.name, " {what}").expect("a string");
        self.steps = steps;
        self
    }

    fn shape(self, cpus: u32, nodes: u32) -> Row {
        Row { cpus, nodes, online: cpus, ..self }
    }

    fn libc(self, libc: Libc) -> Row {
        Row { libc, ..self }
    }

    fn counted(self, shift: u8) -> Row {
        Row { mode: Mode::Counted(shift), ..self }
    }

    fn words(self, words: &[&str]) -> Row {
        Row { words: words.iter().map(|&word| word.to_owned()).collect(), ..self }
    }

    fn own(self) -> Row {
        Row { own: true, ..self }
    }

    fn short(self) -> Row {
        Row { short: true, ..self }
    }

    /// Larger for what may take longer.
    pub(crate) fn length(&self) -> (bool, usize) {
        (matches!(self.mode, Mode::Counted(_)), self.steps.len())
    }

    /// The shape, for people.
    pub(crate) fn shape_name(&self) -> String {
        let mut text = format!("{} CPUs", self.cpus);
        if self.nodes > 1 {
            write!(text, ", {} nodes", self.nodes).expect("a string");
        }
        if self.online < self.cpus {
            write!(text, ", {} online", self.online).expect("a string");
        }
        for word in self.words.iter().filter(|word| !word.starts_with("maxcpus")) {
            write!(text, ", {word}").expect("a string");
        }
        text
    }

    /// The C library and who registers, for people.
    pub(crate) fn libc_name(&self) -> String {
        let own = if self.own { ", not registering" } else { "" };
        format!("{}{own}", self.libc.name())
    }

    /// What `tests/machine.rs` must find, and other tests must not do without
    /// (`tests/support/expect.rs`).
    fn expectations(&self) -> String {
        let features = self.kernel.features;
        let own = self.own || self.libc == Libc::Musl;
        // The 32 bytes that every kernel takes, or all that this one fills; glibc asks for more than
        // 32 since 2.41.
        let full = features.max(32);
        let length = if own || self.libc != Libc::Static { full } else { 32 };
        let registrar = if own { "stillpoint" } else { "libc" };
        // Without aborts, a longer registration shows it; of a shorter one the library knows better.
        let (tier, reason) = match (self.broken, length) {
            (false, _) => ("rseq", "everything is there"),
            (true, 32) => (
                "membarrier",
                "self-test could not be run: arm64 Linux 6.19 to 7.0.13, registered with 32 bytes",
            ),
            (true, _) => ("membarrier", "self-test failed: this kernel does not abort sections"),
        };
        let mut text = format!(
            "tier={tier};reason={reason};registrar={registrar};length={length};slots={};nodes={};\
             online={};features={}",
            self.cpus,
            self.nodes,
            self.online,
            features.min(length),
        );
        if self.kernel.label.ends_with("-7") {
            let strict = self.words.iter().any(|word| word == STRICT);
            write!(text, ";debug={}", if strict { "on" } else { "off" }).expect("a string");
        }
        if !own {
            // Before glibc 2.41 in the thread's descriptor, since then in an extra block of TLS; which of
            // them lies behind the thread pointer depends on the processor's TLS layout.
            let behind = (self.libc == Libc::Static) == (self.kernel.arch == Arch::X86);
            let sign = if behind { "positive" } else { "negative" };
            write!(text, ";offset={sign}").expect("a string");
        }
        // What tests are there for: they would be skipped without.
        if self.kernel.label == SLICE {
            // A short registration is granted nothing.
            let slices = if length > 32 { "yes" } else { "no" };
            write!(text, ";slices={slices}").expect("a string");
        }
        if self.kernel.arch == Arch::Arm && matches!(self.mode, Mode::Counted(_)) {
            text += ";counters=yes";
        }
        text
    }

    /// The plan for the first process.
    pub(crate) fn plan(&self) -> String {
        let mut text = String::new();
        for (number, step) in self.steps.iter().enumerate() {
            let mut fields = vec![
                format!("name={}-{}", number + 1, step.program),
                format!("limit={}", step.limit),
                format!("want={}", step.want),
                "env=STILLPOINT_STRESS_SECONDS=2".to_owned(),
                "env=STILLPOINT_INTERRUPT_ROUNDS=3000".to_owned(),
                "env=RUST_TEST_THREADS=4".to_owned(),
                format!("env=STILLPOINT_EXPECT={}", self.expectations()),
            ];
            fields.extend(step.with.map(|what| format!("with={what}")));
            if self.own {
                fields.push("env=GLIBC_TUNABLES=glibc.pthread.rseq=0".to_owned());
            }
            fields.push(format!("arg=/t/{}", step.program));
            fields.extend(step.args.iter().map(|arg| format!("arg={arg}")));
            text += &fields.join("\t");
            text.push('\n');
        }
        text
    }
}

/// What every machine does first.
fn first() -> Vec<Step> {
    ["doctor", "machine", "instructions", "abort_points"].map(|program| step(program, "")).into()
}

/// The tests of the service, without one whose bound is of time: emulated CPUs take turns of a
/// tenth of a second, a grace period takes some of them, and garbage gathers accordingly.
fn service() -> Step {
    step("service", "--skip bounds::a_million_values_are_not_kept")
}

/// The tests of locks of one holder, without those whose bound is of CPU time, of the locks whose
/// waiters spin for half a millisecond: an emulated CPU that loses its turn meanwhile charges the
/// waiter for that, too.
fn locks() -> Step {
    step("locks", "--skip cohort_mutex::waiters_of_a_sleeping_holder_sleep")
}

/// For the same reason without one.
fn cohort() -> Step {
    step("cohort", "--skip waiters_of_a_holder_that_does_not_run_use_no_cpu")
}

/// Per-CPU data.
fn percpu() -> Vec<Step> {
    ["percpu_stress", "stack", "pool", "remote", "floor", "ring"]
        .map(|program| step(program, ""))
        .into()
}

/// What takes long elsewhere too, but not here.
fn most() -> Vec<Step> {
    let mut steps = core();
    steps.extend(percpu());
    steps.extend([step("interrupt", ""), step("lib", ""), service(), locks()]);
    steps.push(step("perf", ""));
    steps.extend(torture("", 4));
    steps
}

/// And forks and surroundings, which are many processes.
fn everything() -> Vec<Step> {
    let mut steps = most();
    steps.extend([step("fork", ""), step("surroundings", "")]);
    steps
}

fn torture(more: &str, seconds: u32) -> Vec<Step> {
    let tier =
        |tier| step("torture", &format!("--tier {tier} --seconds {seconds} --seed 1 {more}"));
    ["rseq", "membarrier", "fence"].map(tier).into()
}

/// The main interfaces, where little is to be expected from more.
fn core() -> Vec<Step> {
    let mut steps = first();
    steps.extend([step("rcu", ""), step("stress", "")]);
    steps
}

/// For machines that count instructions: the sections interrupted anywhere.
fn interrupted() -> Vec<Step> {
    let mut steps = core();
    steps.extend(percpu());
    steps.extend([locks(), step("cpu_lock", ""), cohort(), step("interrupt", "")]);
    // Emulated arm64 has counters of cycles and, here, of instructions; x86-64 has none.
    steps.push(step("perf", "--nocapture"));
    steps.push(step("perf", "--ignored --nocapture where_user_access_is_allowed"));
    steps.push(step("torture", "--seconds 4 --seed 1"));
    steps
}

/// CPUs go and come while everything else happens; the audits tell whether something was lost.
fn hotplug() -> Vec<Step> {
    let mut steps = first();
    let mut more = torture("", 8);
    more.push(step("stress", ""));
    more.push(step("rcu", ""));
    // Those that bind themselves to one CPU are not for this.
    more.extend([
        step("percpu_stress", ""),
        step("stack", "conservation"),
        step("pool", "no_memory_has_two_owners ten_thousand_threads"),
        step("remote", "no_number_is_had_twice"),
        step("floor", "no_number_is_had_twice"),
        step("ring", "each_record_once_or_counted"),
    ]);
    steps.extend(more.into_iter().map(|step| step.with("hotplug")));
    steps.push(step("remote", "--ignored what_a_cpu_keeps_that_goes_offline"));
    steps.push(step("perf", "--ignored --nocapture a_cpu_that_goes_offline"));
    steps.push(step("machine", ""));
    steps
}

/// In a group that may use half of each of two CPUs.
fn limited() -> Vec<Step> {
    let mut steps = first();
    let more = [step("rcu", ""), step("stress", ""), step("torture", "--seconds 8 --seed 1")];
    steps.extend(more.map(|step| step.with("limits")));
    steps
}

/// Broken builds, each of which must be noticed there.
fn mutants() -> Vec<Step> {
    let mut steps = first();
    steps.push(step("mutants-abort_points", ""));
    let modes = ["no-wait", "early-callback", "no-round-up", "poll-early", "lost-callback"];
    let broken = modes.map(|m| format!("--break {m} --seconds 20 --seed 1"));
    steps.extend(broken.iter().map(|args| step("torture-broken", args).must_fail()));
    steps
}

/// What a kernel that aborts nothing leaves to do: everything, on the lower tiers.
fn demoted() -> Vec<Step> {
    let mut steps = vec![step("doctor", ""), step("machine", "")];
    steps.extend(["lib", "rcu", "stress"].map(|test| step(test, "")));
    steps.push(step("torture", "--seconds 4 --seed 1"));
    steps
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kernel in ["x86-5.10", "x86-6.1", "x86-6.12", "x86-7", "arm-6.1", "arm-6.12", "arm-7"] {
        match kernel {
            "x86-5.10" | "x86-7" | "arm-7" => {
                rows.push(row(kernel).does("everything", everything()))
            }
            _ => rows.push(row(kernel).does("most", most())),
        }
        rows.push(row(kernel).own().does("own registration", core()));
        rows.push(row(kernel).counted(3).does("counted", interrupted()));
    }
    // Its image may be without sockets, without which std starts no programs after a fork.
    let mut steps = core();
    steps.push(step("lib", ""));
    steps.extend(torture("", 4));
    rows.push(row(SLICE).does("almost everything", steps));
    // With more than 32 bytes registered it grants. Counted, or a grant is over before an emulated
    // CPU has got anywhere.
    let mut steps = first();
    steps.extend([step("slices", "--nocapture"), locks()]);
    rows.push(row(SLICE).own().counted(2).does("grants, counted", steps));
    // Blocking calls are tested with sockets.
    let mut steps = interrupted();
    steps.retain(|step| step.program != "interrupt");
    rows.push(row(SLICE).libc(Libc::Trixie).counted(3).does("counted", steps));
    // Other C libraries: registration with 33 bytes, before the thread pointer; none at all.
    for kernel in ["x86-5.10", "x86-6.12", "x86-7"] {
        for libc in [Libc::Trixie, Libc::Sid, Libc::Musl] {
            let steps = match (kernel, libc) {
                ("x86-7", Libc::Musl) => everything(),
                ("x86-7", _) => most(),
                _ => core(),
            };
            rows.push(row(kernel).libc(libc).does(libc.name(), steps));
        }
    }
    rows.push(row("arm-7").libc(Libc::Trixie).does(Libc::Trixie.name(), core()));
    rows.push(row("x86-7").libc(Libc::Trixie).own().counted(4).does("own, counted", interrupted()));
    rows.push(row("x86-7").libc(Libc::Musl).counted(2).does("musl, counted", interrupted()));
    // Shapes.
    for kernel in ["x86-5.10", "x86-6.12", "x86-7", "arm-7"] {
        rows.push(row(kernel).shape(8, 4).does("four nodes", core()));
        let sparse = Row { online: 2, ..row(kernel) }.words(&["maxcpus=2"]);
        rows.push(sparse.does("possible, not online", core()));
        rows.push(row(kernel).does("hotplug", hotplug()));
    }
    rows.push(row("x86-7").counted(3).does("hotplug, counted", hotplug()));
    rows.push(row("x86-7").shape(64, 4).does("64 CPUs", core()));
    for kernel in ["x86-6.12", "x86-7", "arm-7"] {
        rows.push(row(kernel).does("limits", limited()));
    }
    // Kernels that kill for what others forgive.
    for libc in [Libc::Static, Libc::Trixie] {
        let what = format!("strict, {}", libc.name());
        rows.push(row("x86-7").libc(libc).words(&[STRICT]).does(&what, most()));
    }
    let own = row("x86-7").own().words(&[STRICT]);
    rows.push(own.counted(3).does("strict, own, counted", interrupted()));
    // Kernels that abort nothing, and one that does for signals alone if 32 bytes are registered.
    for (kernel, libc) in [
        ("arm-6.19", Libc::Static),
        ("arm-7.0.9", Libc::Trixie),
        ("arm-7.0", Libc::Static),
        ("arm-7.0", Libc::Trixie),
    ] {
        let what = format!("no aborts, {}", libc.name());
        rows.push(Row { broken: true, ..row(kernel).libc(libc) }.does(&what, demoted()));
    }
    rows.push(row("x86-7").counted(3).does("mutants", mutants()));
    rows.push(row("arm-7").counted(3).does("mutants", mutants()));
    // One of each kind, none of the long ones.
    let in_ci = [
        "x86-5.10 own registration",
        "x86-6.12 four nodes",
        "x86-6.12 musl",
        "x86-7 possible, not online",
        "x86-7 hotplug",
        "x86-7 limits",
        "x86-7 strict, own, counted",
        "x86-slice almost everything",
        "x86-slice grants, counted",
        "arm-6.1 counted",
        "arm-7 four nodes",
        "arm-7 hotplug",
        "arm-7 mutants",
        "arm-7.0 no aborts, glibc 2.36",
    ];
    let short = |row: Row| if in_ci.contains(&row.name.as_str()) { row.short() } else { row };
    rows.into_iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::{Row, rows};

    #[test]
    fn names_are_unique_and_those_of_ci_are_there() {
        let rows = rows();
        for (i, row) in rows.iter().enumerate() {
            assert!(rows[..i].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(!row.steps.is_empty() && row.plan().lines().count() == row.steps.len());
        }
        assert_eq!(rows.iter().filter(|row| row.short).count(), 14);
    }

    #[test]
    fn what_a_machine_is_there_for_is_demanded() {
        let rows = rows();
        let that_demand = |what: &str| -> Vec<&str> {
            let demands = |row: &&Row| row.expectations().split(';').any(|pair| pair == what);
            rows.iter().filter(demands).map(|row| row.name.as_str()).collect()
        };
        let granting = ["x86-slice grants, counted", "x86-slice counted"];
        assert_eq!(that_demand("slices=yes"), granting);
        assert_eq!(that_demand("slices=no"), ["x86-slice almost everything"]);
        let counting = ["arm-6.1 counted", "arm-6.12 counted", "arm-7 counted", "arm-7 mutants"];
        assert_eq!(that_demand("counters=yes"), counting);
    }
}
