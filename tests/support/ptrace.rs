//! Requests of a tracer, about threads of its child.

use std::io;

/// Of those requests that write to nothing but the thread, or to a live vector whose address is
/// `data`.
pub(crate) fn request(
    request: libc::c_uint,
    thread: libc::pid_t,
    address: usize,
    data: usize,
) -> io::Result<u64> {
    // SAFETY: a request on a thread of our own child; none that writes to our memory but the one
    // that is given a live vector.
    let found = unsafe {
        *libc::__errno_location() = 0;
        libc::ptrace(request as _, thread, address, data)
    };
    let error = io::Error::last_os_error();
    if found == -1 && error.raw_os_error() != Some(0) { Err(error) } else { Ok(found as u64) }
}

/// Becomes the tracer of a thread, which goes on.
pub(crate) fn seize(thread: libc::pid_t) -> io::Result<()> {
    request(libc::PTRACE_SEIZE as _, thread, 0, 0).map(drop)
}

/// Stops a thread, wherever it is, and returns when it has stopped.
pub(crate) fn interrupt(thread: libc::pid_t) {
    request(libc::PTRACE_INTERRUPT as _, thread, 0, 0).unwrap();
    let mut status = 0;
    // SAFETY: `status` is a live local.
    let found = unsafe { libc::waitpid(thread, &mut status, libc::__WALL) };
    assert!(found == thread && libc::WIFSTOPPED(status), "{status:#x}");
}

/// Lets a stopped thread go on, for good.
pub(crate) fn detach(thread: libc::pid_t) {
    request(libc::PTRACE_DETACH as _, thread, 0, 0).unwrap();
}
