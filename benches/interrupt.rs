//! What a call costs that a signal handler can stop, beside those that it cannot, and beside the
//! ways that programs take without it.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::time::Duration;
use stillpoint::interrupt::{Flag, PollFd, poll, read};

static STOP: Flag = Flag::new();

fn reads(c: &mut Criterion) {
    let zeros = std::fs::File::open("/dev/zero").expect("there are zeros");
    let (stop, _end) = std::io::pipe().expect("a pipe");
    let (fd, mut byte) = (zeros.as_raw_fd(), [0_u8; 1]);
    let mut group = c.benchmark_group("read a byte that is there");
    let plain = |byte: &mut [u8; 1]| {
        // SAFETY: a buffer of one byte.
        assert_eq!(unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) }, 1);
    };
    group.bench_function("interrupt::read", |b| {
        b.iter(|| read(&STOP, &zeros, black_box(&mut byte)).expect("it is there"));
    });
    group.bench_function("a flag, then read: loses stops", |b| {
        b.iter(|| {
            assert!(!STOP.is_set());
            plain(black_box(&mut byte));
        });
    });
    group.bench_function("poll with a pipe to oneself, then read", |b| {
        let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        b.iter(|| {
            let mut fds = [wanted(fd), wanted(stop.as_raw_fd())];
            // SAFETY: two live records.
            assert_eq!(unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) }, 1);
            plain(black_box(&mut byte));
        });
    });
    group.finish();
}

fn polls(c: &mut Criterion) {
    let zeros = std::fs::File::open("/dev/zero").expect("there are zeros");
    let mut group = c.benchmark_group("poll one that is ready");
    group.bench_function("interrupt::poll", |b| {
        b.iter(|| {
            let fds = &mut [PollFd::new(&zeros, libc::POLLIN)];
            poll(&STOP, fds, Some(Duration::from_secs(1))).expect("it is ready")
        });
    });
    group.bench_function("ppoll: loses stops", |b| {
        let until = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        b.iter(|| {
            let mut fds = libc::pollfd { fd: zeros.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: live records.
            assert_eq!(unsafe { libc::ppoll(&mut fds, 1, &until, std::ptr::null()) }, 1);
        });
    });
    group.finish();
}

criterion_group!(benches, reads, polls);
criterion_main!(benches);
