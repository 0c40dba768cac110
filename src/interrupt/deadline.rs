//! Until when a call may wait, in the kernel's terms: calls that are made again must not wait
//! longer.

use std::time::Duration;

/// Farther than that is never. (No kernel refuses it.)
const NEVER: i64 = 1 << 40;

/// A time of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(libc::timespec);

fn now() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local, and the clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now
}

impl Deadline {
    /// Never, or almost, if there is no timeout: some calls are interrupted for good only if they
    /// have one.
    pub(super) fn behind(timeout: Option<Duration>) -> Deadline {
        let Some(timeout) = timeout else {
            return Deadline(libc::timespec { tv_sec: NEVER, tv_nsec: 0 });
        };
        let now = now();
        let nanos = now.tv_nsec + i64::from(timeout.subsec_nanos());
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(NEVER).min(NEVER);
        let seconds = (now.tv_sec + seconds + nanos / 1_000_000_000).min(NEVER);
        Deadline(libc::timespec { tv_sec: seconds, tv_nsec: nanos % 1_000_000_000 })
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How long it is until then; 0 if it is over.
    pub(super) fn left(&self) -> Duration {
        let now = now();
        let nanos = |time: libc::timespec| {
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        let left = u128::try_from(nanos(self.0) - nanos(now)).unwrap_or(0);
        Duration::new((left / 1_000_000_000) as u64, (left % 1_000_000_000) as u32)
    }

    /// The same, as the kernel takes it.
    pub(super) fn left_timespec(&self) -> libc::timespec {
        let left = self.left();
        libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
    }

    /// The earlier of this and one after `timeout`.
    pub(super) fn at_most(&self, timeout: Duration) -> Deadline {
        let other = Deadline::behind(Some(timeout));
        if other.left() < self.left() { other } else { *self }
    }

    pub(super) fn as_timespec(&self) -> &libc::timespec {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert!(Deadline::behind(Some(Duration::ZERO)).is_over());
        for timeout in [None, Some(Duration::MAX), Some(Duration::from_secs(u64::MAX / 2))] {
            let deadline = Deadline::behind(timeout);
            assert!(deadline.left() > Duration::from_secs(1 << 38), "{timeout:?}");
            assert!(deadline.as_timespec().tv_sec <= NEVER);
        }
        let second = Duration::new(1, 999_999_999);
        let deadline = Deadline::behind(Some(second));
        assert!(deadline.left() <= second && deadline.as_timespec().tv_nsec < 1_000_000_000);
        assert!(deadline.at_most(Duration::from_nanos(1)).left() <= Duration::from_nanos(1));
        assert!(deadline.at_most(Duration::MAX).left() <= second);
    }
}
