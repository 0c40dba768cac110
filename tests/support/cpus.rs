//! Which CPUs a thread may run on.

/// CPUs that the calling thread may run on, rising.
pub(crate) fn allowed() -> Vec<usize> {
    // SAFETY: all-zero is an empty set, which the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Restricts a thread, 0 for the calling one, to `cpus`. True if the kernel agrees.
pub(crate) fn restrict(thread: libc::pid_t, cpus: &[usize]) -> bool {
    // SAFETY: all-zero is an empty set; the numbers are below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(thread, size_of_val(&set), &set) == 0
    }
}
