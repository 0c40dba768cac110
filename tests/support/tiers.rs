//! Tests that must pass on every tier, and must end.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, DomainBuilder};

/// Whatever has not happened by then never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `test` with a fresh domain of each tier, which it must not use after it returns.
pub(crate) fn on_every_tier(test: impl Fn(&'static Domain)) {
    on_every_tier_with(|builder| builder, test);
}

/// [`on_every_tier`] for domains with other settings.
pub(crate) fn on_every_tier_with(
    settings: impl Fn(DomainBuilder) -> DomainBuilder,
    test: impl Fn(&'static Domain),
) {
    for tier in Tier::ALL {
        let domain = Box::into_raw(Box::new(settings(Domain::builder().tier(tier)).build()));
        {
            // SAFETY: freed below, after the test.
            let domain: &'static Domain = unsafe { &*domain };
            assert_eq!(domain.tier(), tier.min(stillpoint::machine().tier()));
            in_time(|| test(domain));
        }
        // SAFETY: made above; the tests join their threads and drop their cells. A leak checker
        // now tells whether the domain freed everything that was retired into it.
        in_time(|| drop(unsafe { Box::from_raw(domain) }));
    }
}

/// Runs `test`. Aborts the process if that does not end: a hang must be a failure.
pub(crate) fn in_time(test: impl FnOnce()) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let (ended, end) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    test();
    drop(ended);
    watch.join().unwrap();
}
