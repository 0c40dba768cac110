//! Reload storms: a thread that replaces the table of a serving gateway many times a second, by
//! way of its text, as a real edit would come.
//!
//! What it did is printed when it ends, for whoever measures the gateway from outside; the thread
//! has a name, so that its share of the CPU time can be told from the requests'.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::guard::Guard;
use crate::say;
use crate::table::RouteTable;
use crate::traffic::Traffic;

/// Ends with its owner.
pub(crate) struct Storm {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// `traffic` knows the table's routes; `table` has an edition of them.
    pub(crate) fn start<G: Guard<RouteTable>>(
        traffic: Traffic,
        table: Arc<G>,
        per_second: u16,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let pause = Duration::from_secs(1) / u32::from(per_second);
        let blow = move || {
            let (mut updates, mut slowest) = (0_u64, Duration::ZERO);
            let begin = Instant::now();
            let mut next = begin;
            loop {
                // By the clock, so that every lock gets as many, however long one takes.
                next += pause;
                let wait = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                // The table that serves has generation 1.
                let edited = traffic.edition(updates + 2);
                let begin = Instant::now();
                table.replace(edited);
                slowest = slowest.max(begin.elapsed());
                updates += 1;
            }
            say(format_args!(
                "storm: {updates} updates in {} ms, slowest {} ns",
                begin.elapsed().as_millis(),
                slowest.as_nanos()
            ));
        };
        let thread = thread::Builder::new().name("storm".into()).spawn(blow)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}
