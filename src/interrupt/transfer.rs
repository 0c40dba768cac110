//! The calls that the kernel makes again behind a handler with `SA_RESTART`.
//!
//! Before Linux 6.19 a section is aborted by that. From then on it is not, so they are not left to
//! block: first `ppoll`, which is never made again, then the call, which does not block, because it
//! is asked not to, or because nobody else took what was there. Below `Rseq` it is the same.
//!
//! Legacy registrations of Linux 7.0.10 and later behave like those before 6.19; we do not count on
//! it.

use super::calls::{masked, outcome, unarmed};
use super::flag::Made;
use super::{Error, Flag, PollFd, poll};
use crate::rseq::syscall::Call;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const AGAIN: isize = -(libc::EAGAIN as isize);

/// True if this kernel may make a call again behind a handler, in a section, without an abort. A
/// release that cannot be is not believed (`personality`): sections began with 4.18.
fn makes_again() -> bool {
    use crate::sync::{AtomicU32, Ordering};
    const YES: u32 = 1;
    const NO: u32 = 2;
    static KNOWN: AtomicU32 = AtomicU32::new(0);
    // Relaxed: who asks gets the same answer.
    match KNOWN.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => {
            let yes = !([4, 18]..[6, 19]).contains(&crate::machine::fence::release());
            KNOWN.store(if yes { YES } else { NO }, Ordering::Relaxed);
            yes
        }
    }
}

/// Makes `call` in a section if it is interrupted for good there. Elsewhere, and where the
/// descriptor is non-blocking and has nothing, waits, and makes the call that `now` says, which
/// does not block. If there is none, `call` is made all the same.
fn make(
    flag: &Flag,
    fd: BorrowedFd<'_>,
    call: Call,
    now: impl Fn() -> Option<Call>,
) -> Result<usize, Error> {
    let (mut blocks, mut has_now) = (!makes_again(), true);
    loop {
        if !blocks {
            poll(flag, &mut [PollFd::new(&fd, libc::POLLIN)], None)?;
        }
        let quick = if blocks || !has_now { None } else { now() };
        let result = match flag.attempt(|| quick.unwrap_or(call)) {
            Made::Set => return Err(Error::Interrupted),
            Made::Done(result) => result,
            Made::Unable if blocks => AGAIN,
            Made::Unable => match quick {
                Some(quick) => masked(flag, |_| unarmed(&quick))?,
                None => unarmed(&call),
            },
        };
        if result == AGAIN {
            blocks = false;
        } else if quick.is_some() && is_unable(result) {
            has_now = false;
        } else if let Some(done) = outcome(result)? {
            return Ok(done);
        }
    }
}

/// What `preadv2` says of a file that it cannot read without blocking.
fn is_unable(result: isize) -> bool {
    [libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL, libc::ESPIPE].contains(&(-result as i32))
}

/// Reads what is there, or waits for it, also where the descriptor is non-blocking. 0 means that
/// nothing will come any more. Timeouts of a socket (`SO_RCVTIMEO`) are not looked at: [`poll`] has
/// one.
///
/// See [where it holds](super#where-it-holds).
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set; those of `read`, but for `EINTR` and `EAGAIN`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use stillpoint::interrupt::{Flag, read};
///
/// static STOP: Flag = Flag::new();
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"bytes")?;
/// let mut buffer = [0; 16];
/// assert_eq!(read(&STOP, &reader, &mut buffer)?, 5);
/// drop(writer);
/// assert_eq!(read(&STOP, &reader, &mut buffer)?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read(flag: &Flag, from: &impl AsFd, buffer: &mut [u8]) -> Result<usize, Error> {
    let fd = from.as_fd();
    let (raw, into, length) = (fd.as_raw_fd() as usize, buffer.as_mut_ptr(), buffer.len());
    let with = |number, rest: [usize; 5]| {
        let [a, b, c, d, e] = rest;
        Call { number, arguments: [raw, a, b, c, d, e] }
    };
    let vector = libc::iovec { iov_base: into.cast(), iov_len: length };
    let plain = with(libc::SYS_read, [into as usize, length, 0, 0, 0]);
    make(flag, fd, plain, || match kind(fd) {
        libc::S_IFSOCK => {
            let how = libc::MSG_DONTWAIT as usize;
            Some(with(libc::SYS_recvfrom, [into as usize, length, how, 0, 0]))
        }
        // These never wait for somebody.
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Some(plain),
        _ => {
            // From where the last one ended; there are two words for the position.
            let (here, how) = (-1_isize as usize, libc::RWF_NOWAIT as usize);
            Some(with(libc::SYS_preadv2, [&raw const vector as usize, 1, here, here, how]))
        }
    })
}

/// What a descriptor is of.
fn kind(fd: BorrowedFd<'_>) -> libc::mode_t {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: an all-zero record is valid; the call writes another.
    unsafe {
        libc::fstat(fd.as_raw_fd(), status.as_mut_ptr());
        status.assume_init().st_mode & libc::S_IFMT
    }
}

/// Whether a descriptor is non-blocking.
fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK != 0
}

/// Accepts a connection, or waits for one, also where the listener is non-blocking. The connection
/// is blocking, and closed by `exec`. Timeouts of the listener are not looked at.
///
/// Listeners that several threads, or processes, accept from should be non-blocking: see
/// [where it holds](super#where-it-holds).
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set; those of `accept4`, but for `EINTR` and `EAGAIN`.
/// `ECONNABORTED` and errors of the network are of that connection only.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use stillpoint::interrupt::{Flag, accept};
///
/// static STOP: Flag = Flag::new();
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = TcpStream::from(accept(&STOP, &listener)?);
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn accept(flag: &Flag, listener: &impl AsFd) -> Result<OwnedFd, Error> {
    let fd = listener.as_fd();
    let call = Call {
        number: libc::SYS_accept4,
        arguments: [fd.as_raw_fd() as usize, 0, 0, libc::SOCK_CLOEXEC as usize, 0, 0],
    };
    let accepted = make(flag, fd, call, || is_nonblocking(fd).then_some(call))?;
    let accepted = i32::try_from(accepted).map_err(|_| Error::Io(io::ErrorKind::Other.into()))?;
    // SAFETY: the kernel just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}
