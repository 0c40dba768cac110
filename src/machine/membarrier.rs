//! The `membarrier` system call.

use crate::rseq::abi;

/// One call. Returns what the kernel returns, or the error number.
pub(crate) fn call(command: libc::c_int) -> Result<i32, i32> {
    call_with(command, 0, 0)
}

/// The broadcast that aborts sections, to one CPU. A CPU that does not run us, or that is offline,
/// or no CPU at all, has no section to abort: that is no error.
pub(crate) fn call_on(cpu: u32) -> Result<(), i32> {
    let (command, flag) = (abi::MEMBARRIER_PRIVATE_EXPEDITED_RSEQ, abi::MEMBARRIER_FLAG_CPU);
    match call_with(command, flag, cpu as libc::c_int) {
        Ok(_) | Err(libc::ENXIO) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(target_os = "linux")]
fn call_with(command: libc::c_int, flags: libc::c_int, cpu: libc::c_int) -> Result<i32, i32> {
    // SAFETY: membarrier takes no pointers.
    let r = unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) };
    if r >= 0 {
        Ok(r as i32)
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

/// Here, an error.
#[cfg(not(target_os = "linux"))]
fn call_with(_: libc::c_int, _: libc::c_int, _: libc::c_int) -> Result<i32, i32> {
    Err(libc::ENOSYS)
}

/// Registers the process for a broadcast and tries it once. The kernel must name it first:
/// emulators exist that accept every command and do nothing.
///
/// Cheap (microseconds) as long as the process has one thread, a kernel grace period
/// (milliseconds) afterwards: hence the early constructor.
fn enable(register: libc::c_int, command: libc::c_int) -> Result<(), i32> {
    if call(abi::MEMBARRIER_QUERY)? & command == 0 {
        return Err(libc::EINVAL);
    }
    call(register)?;
    call(command).map(drop)
}

/// The broadcast that also aborts sections (Linux 5.10).
pub(crate) fn enable_rseq() -> Result<(), i32> {
    enable(abi::MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_RSEQ, abi::MEMBARRIER_PRIVATE_EXPEDITED_RSEQ)
}

/// In place of an error number: the kernel knows the broadcast, and does not carry all of it out.
pub(crate) const INCOMPLETE: i32 = -1;

/// True if this kernel's broadcast misses threads that are just being switched to: its scheduler had
/// no full barrier there, on riscv64 before Linux 6.9 (`membarrier: riscv: Add full memory barrier
/// in switch_mm()`). Stable kernels got it later; the version lies in one direction only, and being
/// wrong costs speed.
fn is_incomplete(release: [u32; 2]) -> bool {
    cfg!(target_arch = "riscv64") && release < [6, 9]
}

/// The plain broadcast (Linux 4.14).
pub(crate) fn enable_plain() -> Result<(), i32> {
    if is_incomplete(super::fence::release()) {
        return Err(INCOMPLETE);
    }
    enable(abi::MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, abi::MEMBARRIER_PRIVATE_EXPEDITED)
}

#[cfg(test)]
mod tests {
    use super::is_incomplete;

    #[test]
    fn releases_that_are_not_believed() {
        let here = cfg!(target_arch = "riscv64");
        assert_eq!(is_incomplete([6, 8]), here);
        assert_eq!(is_incomplete([5, 19]), here);
        assert!(!is_incomplete([6, 9]) && !is_incomplete([7, 0]));
    }
}
