//! A child under `ptrace`: run to an address, moved, looked at.

use super::cpus;
use std::ffi::c_void;
use std::io;
use stillpoint::rseq::area::thread_area;

/// A stopped child under trace.
pub(crate) struct Child {
    pub(crate) pid: libc::pid_t,
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

pub(super) use cpu::instructions;

#[cfg(target_arch = "x86_64")]
mod cpu {
    pub(crate) const BREAKPOINT: u64 = 0xcc;
    pub(crate) const MASK: u64 = 0xff;
    pub(crate) type Registers = libc::user_regs_struct;
    /// After a breakpoint the instruction pointer is behind it.
    pub(crate) const BEHIND: u64 = 1;
    pub(crate) fn ip(registers: &mut Registers) -> &mut u64 {
        &mut registers.rip
    }
    /// Addresses of the instructions from `from` up to `to`, inclusive.
    pub(crate) fn instructions(from: u64, to: u64) -> Vec<u64> {
        let length = usize::try_from(to - from).unwrap() + 16;
        // SAFETY: this program's own text, readable at least a few bytes beyond a function's
        // middle.
        let code = unsafe { std::slice::from_raw_parts(from as *const u8, length) };
        let mut decoder =
            iced_x86::Decoder::with_ip(64, code, from, iced_x86::DecoderOptions::NONE);
        let mut all = Vec::new();
        while decoder.ip() <= to {
            all.push(decoder.ip());
            assert!(!decoder.decode().is_invalid(), "not code at {:#x}", all[all.len() - 1]);
        }
        all
    }
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    pub(crate) const BREAKPOINT: u64 = 0xd420_0000;
    pub(crate) const MASK: u64 = 0xffff_ffff;
    pub(crate) type Registers = libc::user_regs_struct;
    pub(crate) const BEHIND: u64 = 0;
    pub(crate) fn ip(registers: &mut Registers) -> &mut u64 {
        &mut registers.pc
    }
    pub(crate) fn instructions(from: u64, to: u64) -> Vec<u64> {
        (from..=to).step_by(4).collect()
    }
}

/// What each libc takes for a number of `ptrace`.
#[cfg(not(target_env = "musl"))]
pub(crate) type Request = libc::c_uint;
#[cfg(target_env = "musl")]
pub(crate) type Request = libc::c_int;

impl Child {
    pub(crate) fn trace(
        request: Request,
        pid: libc::pid_t,
        address: u64,
        data: u64,
    ) -> io::Result<u64> {
        // SAFETY: a request on our own stopped child; requests that write to our memory are
        // not made through here.
        let r = unsafe {
            *libc::__errno_location() = 0;
            libc::ptrace(request, pid, address as *mut c_void, data as *mut c_void)
        };
        let error = io::Error::last_os_error();
        if r == -1 && error.raw_os_error() != Some(0) { Err(error) } else { Ok(r as u64) }
    }

    pub(crate) fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: our own child; `status` is a live local.
        if unsafe { libc::waitpid(self.pid, &mut status, 0) } != self.pid {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::other(format!("the child is gone, status {status:#x}")));
        }
        Ok(libc::WSTOPSIG(status))
    }

    pub(super) fn resume(&self) -> io::Result<i32> {
        self.resume_with(0)
    }

    /// Lets the child go on, with a signal, to its next stop.
    pub(crate) fn resume_with(&self, signal: libc::c_int) -> io::Result<i32> {
        Child::trace(libc::PTRACE_CONT, self.pid, 0, signal as u64)?;
        self.wait()
    }

    fn registers(&self, request: Request, registers: &mut cpu::Registers) -> io::Result<()> {
        const NT_PRSTATUS: usize = 1;
        let mut vector = libc::iovec {
            iov_base: (&raw mut *registers).cast(),
            iov_len: size_of::<cpu::Registers>(),
        };
        // SAFETY: the vector describes a live local of the type the kernel expects.
        let r = unsafe { libc::ptrace(request, self.pid, NT_PRSTATUS, &raw mut vector) };
        if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Replaces what of the instruction at `address` a breakpoint covers. Returns what was there.
    fn patch(&self, address: u64, code: u64) -> io::Result<u64> {
        let text = Child::trace(libc::PTRACE_PEEKTEXT, self.pid, address, 0)?;
        let patched = (text & !cpu::MASK) | (code & cpu::MASK);
        Child::trace(libc::PTRACE_POKETEXT, self.pid, address, patched)?;
        Ok(text)
    }

    /// Lets the child run to one of `addresses`, and back up to it. Returns which.
    pub(crate) fn run_to(&self, addresses: &[u64]) -> io::Result<u64> {
        let reached = self.run_to_unless_done(addresses)?;
        reached.ok_or_else(|| io::Error::other(format!("done, not at {addresses:#x?}")))
    }

    /// The same; `None` if the child stopped of itself before it came there.
    pub(crate) fn run_to_unless_done(&self, addresses: &[u64]) -> io::Result<Option<u64>> {
        let covered = addresses.iter().map(|&at| Ok((at, self.patch(at, cpu::BREAKPOINT)?)));
        let covered: Vec<_> = covered.collect::<io::Result<_>>()?;
        let signal = self.resume()?;
        for &(at, text) in covered.iter().rev() {
            self.patch(at, text)?;
        }
        if signal == libc::SIGSTOP {
            return Ok(None);
        }
        // SAFETY: all-zero registers are valid, and overwritten.
        let mut registers: cpu::Registers = unsafe { std::mem::zeroed() };
        self.registers(libc::PTRACE_GETREGSET, &mut registers)?;
        let ip = *cpu::ip(&mut registers);
        let reached = addresses.iter().copied().find(|at| at + cpu::BEHIND == ip);
        let Some(reached) = reached.filter(|_| signal == libc::SIGTRAP) else {
            return Err(io::Error::other(format!(
                "signal {signal} at {ip:#x}, not {addresses:#x?}"
            )));
        };
        *cpu::ip(&mut registers) = reached;
        self.registers(libc::PTRACE_SETREGSET, &mut registers)?;
        Ok(Some(reached))
    }

    /// The CPU number that the child's area shows it.
    pub(super) fn cpu(&self) -> io::Result<usize> {
        // A forked child's area is where the forking thread's is.
        let area = thread_area() as u64;
        Ok((Child::trace(libc::PTRACE_PEEKDATA, self.pid, area, 0)? >> 32) as usize)
    }

    /// Moves the child to one of `cpus`. If it cannot be moved, the test is weaker.
    pub(super) fn move_to(&self, cpus: &[usize]) {
        cpus::restrict(self.pid, cpus);
    }
}
