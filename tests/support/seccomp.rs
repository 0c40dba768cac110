//! Seccomp filters that answer chosen system calls with an error number.

use std::ffi::{c_int, c_long, c_ulong};
use std::io;

/// One system call, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) call: c_long,
    /// Only calls whose first argument has one of these bits; 0 for every call.
    pub(crate) bits: u32,
    /// The error number; with 0 the call succeeds and does nothing.
    pub(crate) errno: c_int,
}

impl Rule {
    pub(crate) const fn rseq(errno: c_int) -> Rule {
        Rule { call: libc::SYS_rseq, bits: 0, errno }
    }

    pub(crate) const fn membarrier(errno: c_int) -> Rule {
        Rule { call: libc::SYS_membarrier, bits: 0, errno }
    }
}

/// A program for the kernel. Made before it is needed: installing allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    pub(crate) fn new(rules: &[Rule]) -> Filter {
        /// Offsets in `struct seccomp_data`: the call's number, its first argument's lower half.
        const NUMBER: u32 = 0;
        const ARGUMENT: u32 = if cfg!(target_endian = "big") { 20 } else { 16 };
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        const UNLESS_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const UNLESS_ANY: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
        let step = |code: u32, k: u32, skip: u8| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: skip,
            k,
        };
        let mut program = Vec::new();
        for rule in rules {
            program.push(step(LOAD, NUMBER, 0));
            program.push(step(UNLESS_EQUAL, rule.call as u32, if rule.bits == 0 { 1 } else { 3 }));
            if rule.bits != 0 {
                program.push(step(LOAD, ARGUMENT, 0));
                program.push(step(UNLESS_ANY, rule.bits, 1));
            }
            program.push(step(RETURN, libc::SECCOMP_RET_ERRNO | rule.errno as u32, 0));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0));
        Filter(program)
    }

    /// Puts the filter on the calling thread, and on what it creates or executes, for ever.
    /// Async-signal-safe.
    pub(crate) fn install(&self) -> io::Result<()> {
        let program =
            libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        let [zero, one, mode]: [c_ulong; 3] = [0, 1, libc::SECCOMP_MODE_FILTER.into()];
        // SAFETY: the program is live, and the kernel copies it.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) != 0
        };
        if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// What a raw system call of three arguments without memory answers: 0, or the error number.
pub(crate) fn answer(call: c_long, arguments: [usize; 3]) -> c_int {
    let [a, b, c] = arguments;
    // SAFETY: callers pass no addresses but null.
    let r = unsafe { libc::syscall(call, a, b, c, 0) };
    if r == 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
}
