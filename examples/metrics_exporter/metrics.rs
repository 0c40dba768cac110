//! What is counted.

use crate::page::Page;
use hyper::StatusCode;
use std::time::Instant;
use stillpoint::percpu::{Counter, Histogram};

/// Paths that are served, and what stands for all others.
pub(crate) const ROUTES: [&str; 4] = ["/", "/search", "/checkout", "other"];
/// What requests may be answered.
pub(crate) const STATUSES: [StatusCode; 3] =
    [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE];

static REQUESTS: [[Counter; STATUSES.len()]; ROUTES.len()] =
    [const { [const { Counter::new() }; STATUSES.len()] }; ROUTES.len()];
static NANOS: [Histogram; ROUTES.len()] = [const { Histogram::new() }; ROUTES.len()];
static IN_FLIGHT: Counter = Counter::new();

/// The number of a path's route.
pub(crate) fn route(path: &str) -> usize {
    let other = ROUTES.len() - 1;
    ROUTES[..other].iter().position(|route| *route == path).unwrap_or(other)
}

/// A request under way; also one whose client hangs up before it has an answer.
pub(crate) struct Request {
    route: usize,
    begin: Instant,
}

impl Request {
    pub(crate) fn begin(path: &str) -> Request {
        IN_FLIGHT.add(1);
        Request { route: route(path), begin: Instant::now() }
    }

    /// Counts it, before the client can know of its answer.
    pub(crate) fn end(self, status: StatusCode) {
        NANOS[self.route].record(self.begin.elapsed().as_nanos() as u64);
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            REQUESTS[self.route][at].add(1);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        IN_FLIGHT.sub(1);
    }
}

/// How many requests were answered.
pub(crate) fn requests() -> u64 {
    REQUESTS.iter().flatten().map(Counter::sum).sum()
}

/// All of it.
pub(crate) fn page() -> String {
    let machine = stillpoint::machine();
    let mut page = Page::default();
    let name = "http_requests_total";
    page.head(name, "counter", "Requests that were answered.");
    for (route, counters) in ROUTES.iter().zip(&REQUESTS) {
        for (status, counter) in STATUSES.iter().zip(counters) {
            // What has never happened is shown, too: else its first occurrence is no rise.
            page.sample(name, &[("route", route), ("status", status.as_str())], counter.sum());
        }
    }
    let name = "http_request_duration_seconds";
    page.head(name, "histogram", "From a request's head to its answer.");
    for (route, nanos) in ROUTES.iter().zip(&NANOS) {
        page.seconds(name, &[("route", route)], &nanos.snapshot());
    }
    let name = "http_requests_in_flight";
    page.head(name, "gauge", "Requests that have no answer yet.");
    // Exact: a sum could see the end of a request whose beginning it has missed.
    page.sample(name, &[], IN_FLIGHT.sum_exact() as i64);
    let name = "stillpoint_info";
    page.head(name, "gauge", "How the counters count here, and why.");
    let (tier, reason) = (machine.tier().to_string(), machine.reason().to_string());
    page.sample(name, &[("tier", tier.as_str()), ("reason", reason.as_str())], 1);
    page.into_text()
}
