//! A task whose grace period ends while somebody leads on to a later one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;
use stillpoint::rcu::Domain;

/// Tells when it is woken.
struct Tells(Sender<()>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        _ = self.0.send(());
    }
}

/// A reader on a thread of its own, inside when this returns, that leaves when it is told.
fn reader<'s>(scope: &'s thread::Scope<'s, '_>, domain: &'static Domain) -> Sender<()> {
    let (leave, told) = channel();
    let (inside, is_inside) = channel();
    scope.spawn(move || {
        let guard = domain.read();
        inside.send(()).unwrap();
        _ = told.recv();
        drop(guard);
    });
    is_inside.recv().unwrap();
    leave
}

/// True if a task is woken at the end of its grace period, though somebody leads on, and a reader
/// holds up the next one for longer than `patience`.
pub(crate) fn is_woken(domain: &'static Domain, patience: Duration) -> bool {
    let (told, woken): (_, Receiver<()>) = channel();
    let waker = Waker::from(Arc::new(Tells(told)));
    thread::scope(|scope| {
        let first = reader(scope, domain);
        let mut period = pin!(domain.grace_period());
        // Begins the period, up to where the first reader is waited for.
        let poll = |period: std::pin::Pin<&mut _>| {
            Future::poll(period, &mut Context::from_waker(&waker)).is_ready()
        };
        assert!(!poll(period.as_mut()));
        thread::sleep(Duration::from_millis(50));
        // Holds up the next one only.
        let second = reader(scope, domain);
        scope.spawn(|| domain.synchronize());
        // Until it has the lead.
        thread::sleep(Duration::from_millis(200));
        while woken.try_recv().is_ok() {
            assert!(!poll(period.as_mut()));
        }
        drop(first);
        let is_woken = woken.recv_timeout(patience).is_ok();
        // It knows that it is complete, woken or not.
        let is_ready = poll(period.as_mut());
        drop(second);
        is_woken && is_ready
    })
}
