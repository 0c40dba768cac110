//! The gateway as a program, under load from another process: what of a lock is left when there
//! are sockets, a parser and a scheduler around it.
//!
//! The example serves with each lock in turn, its table replaced so many times a second; `wrk`
//! asks, from its own process, over connections that stay. Wrk counts requests and times them;
//! what the server used of the CPUs is read from the kernel, thread by thread, so that the thread
//! of the updates can be told from those of the requests.

use anyhow::{Context, Result, bail};
use bench_report::data::{Better, Cell, Ratio, Report, Role, Spread, Table};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// As the gateway calls them; ours first.
const LOCKS: [&str; 5] = ["rcu", "stillpoint-rwlock", "rwlock", "parking_lot", "arc-swap"];
const OURS: [&str; 2] = ["rcu", "stillpoint-rwlock"];
/// Updates a second.
const STORMS: [u16; 3] = [0, 20, 200];
const CONNECTIONS: &str = "32";

/// How long, and how often.
struct Plan {
    rounds: usize,
    seconds: u32,
}

/// What one turn of one lock brought, by quantity.
type Turn = Vec<f64>;

const METRICS: [(&str, Better); 8] = [
    ("requests/s", Better::More),
    ("p50, µs", Better::Less),
    ("p99, µs", Better::Less),
    ("p99.9, µs", Better::Less),
    ("CPU µs / request", Better::Less),
    ("CPU µs / update", Better::Less),
    ("slowest update, µs", Better::Less),
    ("updates/s", Better::Neither),
];

/// Every lock in every storm.
pub(crate) fn measure(root: &Path, quick: bool) -> Result<Report> {
    let mut report = Report { bench: "gateway".to_owned(), ..Report::default() };
    let plan = if quick { Plan { rounds: 2, seconds: 1 } } else { Plan { rounds: 5, seconds: 5 } };
    if Command::new("wrk").arg("--version").output().is_err() {
        eprintln!("SKIPPED the gateway under load: there is no wrk (Debian's package wrk)");
        report.skipped.push("load from another process: wrk is not installed".to_owned());
        return Ok(report);
    }
    let program = build(root)?;
    for storm in STORMS {
        let mut turns: Vec<Vec<Turn>> = vec![vec![]; LOCKS.len()];
        for round in 0..plan.rounds {
            for at in 0..LOCKS.len() {
                // Another one is first each time.
                let at = (round + at) % LOCKS.len();
                let (tier, turn) = turn(root, &program, LOCKS[at], storm, plan.seconds)
                    .with_context(|| format!("{}, {storm} updates a second", LOCKS[at]))?;
                report.tier = tier;
                eprintln!("{:<18} {storm:>5} updates/s {:>9.0} requests/s", LOCKS[at], turn[0]);
                turns[at].push(turn);
            }
        }
        take_down(&mut report, storm, &turns);
    }
    Ok(report)
}

fn take_down(report: &mut Report, storm: u16, turns: &[Vec<Turn>]) {
    const TITLE: &str = "The gateway under load";
    let setting = match storm {
        0 => "no updates".to_owned(),
        _ => format!("{storm} updates/s"),
    };
    for (at, (metric, better)) in METRICS.into_iter().enumerate() {
        let of = |lock: usize| turns[lock].iter().map(move |turn| turn[at]);
        let same = |table: &Table| table.title == TITLE && table.metric == metric;
        let place = report.tables.iter().position(same).unwrap_or_else(|| {
            let (title, metric) = (TITLE.to_owned(), metric.to_owned());
            report.tables.push(Table { title, metric, better, cells: vec![], ratios: vec![] });
            report.tables.len() - 1
        });
        let table = &mut report.tables[place];
        for (lock, name) in LOCKS.into_iter().enumerate() {
            let is_ours = OURS.contains(&name);
            let role = if is_ours { Role::Ours } else { Role::Peer };
            let Some(value) = Spread::quartiles(of(lock)) else { continue };
            table.cells.push(Cell { setting: setting.clone(), name: name.to_owned(), role, value });
            if is_ours {
                continue;
            }
            for (ours, name_of_ours) in LOCKS.into_iter().enumerate() {
                let ratios = of(ours).zip(of(lock)).map(|(a, b)| a / b);
                let Some(value) = Spread::quartiles(ratios) else { continue };
                if OURS.contains(&name_of_ours) {
                    let [ours, theirs] = [name_of_ours, name].map(str::to_owned);
                    let setting = setting.clone();
                    table.ratios.push(Ratio { setting, ours, theirs, value });
                }
            }
        }
    }
}

fn build(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--example", "gateway", "--message-format", "json"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("the gateway does not build: {}", output.status);
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout);
    let executable = |message: serde_json::Value| {
        let gateway = message["target"]["name"] == "gateway";
        message["executable"].as_str().filter(|_| gateway).map(PathBuf::from)
    };
    let mut found = messages.into_iter().filter_map(Result::ok).filter_map(executable);
    found.next().context("cargo names no executable")
}

/// The server; killed when dropped, whatever went wrong.
struct Serving {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
    tier: String,
}

impl Serving {
    fn start(program: &Path, lock: &str, storm: u16) -> Result<Serving> {
        let mut command = Command::new(program);
        command.args(["--serve", "127.0.0.1:0", "--lock", lock]).stdout(Stdio::piped());
        if storm > 0 {
            command.args(["--storm", &storm.to_string()]);
        }
        let mut child = command.spawn().context("the gateway does not start")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let (address, tier) = (String::new(), String::new());
        let mut serving = Serving { child, output, address, tier };
        let mut line = String::new();
        serving.output.read_line(&mut line)?;
        let text = line.strip_prefix("listening on ").context(line.clone())?;
        serving.address = text.split(": ").next().unwrap_or_default().to_owned();
        serving.tier = text.trim().rsplit("tier ").next().unwrap_or_default().to_owned();
        Ok(serving)
    }

    /// Nanoseconds that its threads ran: those of the requests, and the one of the updates.
    fn cpu(&self) -> Result<[f64; 2]> {
        let mut cpu = [0.0; 2];
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            let ran = fs::read_to_string(task.join("schedstat"))?;
            let ran: f64 = ran.split(' ').next().unwrap_or_default().parse()?;
            cpu[usize::from(name.trim() == "storm")] += ran;
        }
        Ok(cpu)
    }

    /// Ends it, as a user would; the updates that it made, over how long, and the slowest one.
    fn stop(mut self) -> Result<Storm> {
        // SAFETY: our own child, which nobody has waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the gateway ended with {status}");
        }
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("storm: ")) else {
            return Ok(Storm { per_second: 0.0, slowest: f64::NAN });
        };
        let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let [updates, millis, nanos] = numbers.collect::<Vec<f64>>()[..] else {
            bail!("what is {line}?");
        };
        Ok(Storm { per_second: updates * 1e3 / millis, slowest: nanos / 1e3 })
    }
}

struct Storm {
    per_second: f64,
    /// In microseconds.
    slowest: f64,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One lock, for so long; the tier with it.
fn turn(
    root: &Path,
    program: &Path,
    lock: &str,
    storm: u16,
    seconds: u32,
) -> Result<(String, Turn)> {
    let serving = Serving::start(program, lock, storm)?;
    // Connections, caches and branch predictors settle before anything counts.
    load(root, &serving.address, Duration::from_secs(1))?;
    let (before, begin) = (serving.cpu()?, Instant::now());
    let counted = load(root, &serving.address, Duration::from_secs(seconds.into()))?;
    let (after, elapsed) = (serving.cpu()?, begin.elapsed().as_secs_f64());
    let (tier, storm) = (serving.tier.clone(), serving.stop()?);
    let of = |name: &str| counted.get(name).copied().context("wrk said too little");
    let requests = of("requests")?;
    if of("errors")? > 0.0 {
        bail!("{} of {requests} requests failed", of("errors")?);
    }
    let cpu = [0, 1].map(|at| (after[at] - before[at]) / 1e3);
    let turn = vec![
        requests / (of("duration")? / 1e6),
        of("p50")?,
        of("p99")?,
        of("p99.9")?,
        cpu[0] / requests,
        // Without updates: of none.
        cpu[1] / (storm.per_second * elapsed),
        storm.slowest,
        storm.per_second,
    ];
    Ok((tier, turn))
}

/// What wrk says of so long a load, by name: microseconds and counts.
fn load(root: &Path, address: &str, length: Duration) -> Result<BTreeMap<String, f64>> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", CONNECTIONS, "--duration"])
        .arg(format!("{}s", length.as_secs()))
        .arg("--script")
        .arg(root.join("tools/bench-report/gateway.lua"))
        .arg(address)
        .args(["--", "examples/gateway/default.routes"])
        .current_dir(root)
        .output()
        .context("wrk does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("counted: ")?.split_once(' '));
    Ok(lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}
