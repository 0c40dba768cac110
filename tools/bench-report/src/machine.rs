//! Where something is measured.

use bench_report::book::Conditions;
use std::fs;
use std::process::Command;

/// As of now. What cannot be found out is left out.
pub(crate) fn conditions(command: String) -> Conditions {
    Conditions {
        machine: machine(),
        kernel: read("/proc/sys/kernel/osrelease"),
        versions: versions(),
        commit: commit(),
        date: says("date", &["-u", "+%F"]),
        command,
        load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// What a program prints, if it is there.
fn says(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn machine() -> String {
    let info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().map(str::trim) == Some(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (model, family) = (field("model name"), field("cpu family"));
    let guest = field("flags").split(' ').any(|flag| flag == "hypervisor");
    let guest = if guest { ", a virtual machine" } else { "" };
    format!("{cpus} CPUs of {model} (family {family}, model {}){guest}", field("model"))
}

fn versions() -> String {
    let mut all = vec![says("rustc", &["--version"])];
    all.push(says("getconf", &["GNU_LIBC_VERSION"]));
    let urcu = says("pkg-config", &["--modversion", "liburcu"]);
    all.push(match urcu.as_str() {
        "" => "no liburcu".to_owned(),
        version => format!("liburcu {version}"),
    });
    all.retain(|version| !version.is_empty());
    all.join(", ")
}

fn commit() -> String {
    let commit = says("git", &["rev-parse", "--short", "HEAD"]);
    let sources = ["status", "--porcelain", "--", "src", "asm", "benches", "examples", "tools"];
    let changed = if says("git", &sources).is_empty() { "" } else { " and changes" };
    format!("{commit}{changed}")
}
