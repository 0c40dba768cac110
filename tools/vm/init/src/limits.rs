//! A control group with limits, as containers have.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const ROOT: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/limited";

/// Runs `command` in a group that may use two CPUs, and of every 20 ms no more than 10.
pub(crate) fn within(
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> io::Result<String>,
) -> io::Result<String> {
    let set = |file: &str, value: &str| {
        let told = |e: io::Error| io::Error::other(format!("{value} > {file}: {e}"));
        fs::write(file, value).map_err(told)
    };
    set(&format!("{ROOT}/cgroup.subtree_control"), "+cpu +cpuset")?;
    fs::create_dir_all(GROUP)?;
    set(&format!("{GROUP}/cpu.max"), "10000 20000")?;
    set(&format!("{GROUP}/cpuset.cpus"), "1-2")?;
    // SAFETY: between fork and exec: one write of a constant to an open file, no allocation.
    unsafe {
        let join = std::os::fd::OwnedFd::from(
            fs::File::options().write(true).open(format!("{GROUP}/cgroup.procs"))?,
        );
        command.pre_exec(move || {
            use std::os::fd::AsRawFd;
            match libc::write(join.as_raw_fd(), b"0".as_ptr().cast(), 1) {
                1 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    let outcome = run(command);
    let used = fs::read_to_string(format!("{GROUP}/cpu.stat")).unwrap_or_default();
    let throttled = used.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    println!("GUEST limits: throttled {} times", throttled.unwrap_or("no"));
    if throttled.is_none_or(|times| times == "0") {
        return Err(io::Error::other("never throttled: the limit limited nothing"));
    }
    outcome
}
