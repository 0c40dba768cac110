//! What the demonstration asks the gateway, and the edits it makes meanwhile.
//!
//! Edit number `g` moves every upstream to another port, and which port follows
//! from `g`. So an answer that names its generation can be checked in full: one
//! that mixes two tables, or that was read from memory already reused, is wrong.

use hyper::Uri;

use crate::parse::parse;
use crate::table::{Route, RouteTable, Upstream};

/// Of a larger table, only some routes are asked for: working out the right
/// answers takes a scan of the table for each.
const MOST_ROUTES: usize = 500;

pub(crate) struct Traffic {
    routes: Vec<Route>,
    pub(crate) probes: Vec<Probe>,
}

/// A request, and the route that it must get.
pub(crate) struct Probe {
    pub(crate) host: String,
    pub(crate) path: String,
    /// The path with a query, as it goes over the wire.
    pub(crate) uri: Uri,
    pub(crate) expected: Option<Expected>,
}

pub(crate) struct Expected {
    pub(crate) id: usize,
    upstream: Upstream,
}

impl Expected {
    pub(crate) fn port(&self, generation: u64) -> u16 {
        moved(self.upstream.port, generation)
    }

    pub(crate) fn upstream(&self, generation: u64) -> Upstream {
        Upstream { host: self.upstream.host.clone(), port: self.port(generation) }
    }
}

impl Traffic {
    /// Derives the traffic from the table: for each route its prefix, two paths
    /// below it and a near miss, and now and then a host that is not listed.
    pub(crate) fn new(table: &RouteTable) -> Self {
        let routes = table.routes().to_vec();
        let mut probes = Vec::new();
        let step = routes.len().div_ceil(MOST_ROUTES);
        for (n, route) in routes.iter().step_by(step).enumerate() {
            let host = match &*route.host {
                "*" => "not-listed.example".to_owned(),
                suffix if suffix.starts_with('.') => format!("any{suffix}"),
                name => name.to_owned(),
            };
            let prefix = route.prefix.trim_end_matches('/');
            for tail in ["", "/42", "/42/items", "-x"] {
                let slash = if prefix.is_empty() && !tail.starts_with('/') { "/" } else { "" };
                probes.push(Probe::new(&routes, &host, format!("{prefix}{slash}{tail}")));
            }
            if n % 16 == 0 {
                probes.push(Probe::new(&routes, &format!("h{n}.invalid"), "/a/b".into()));
            }
        }
        Self { routes, probes }
    }

    /// The table after edit number `generation`, by way of its text, as a real
    /// edit would come.
    pub(crate) fn edition(&self, generation: u64) -> RouteTable {
        let mut text = String::new();
        for route in &self.routes {
            let mut target = (*route.target).clone();
            target.upstream.port = moved(target.upstream.port, generation);
            let edited = Route::new(route.host.clone(), route.prefix.clone(), target);
            text.push_str(&format!("{edited}\n"));
        }
        parse(&text, generation).expect("a table reads back as written")
    }
}

impl Probe {
    fn new(routes: &[Route], host: &str, path: String) -> Self {
        let uri = format!("{path}?page=2").parse().expect("prefixes fit in a URI");
        let expected = scan(routes, host, &path)
            .map(|route| Expected { id: route.target.id, upstream: route.target.upstream.clone() });
        Self { host: host.to_owned(), path, uri, expected }
    }
}

/// Routes by looking at every route, which is slow but plainly right, so that
/// the checks do not rest on the lookup they check.
fn scan<'r>(routes: &'r [Route], host: &str, path: &str) -> Option<&'r Route> {
    let names = |route: &&Route| {
        *route.host == *host
            || *route.host == *"*"
            || route.host.starts_with('.') && host.ends_with(&*route.host)
    };
    let rank = |route: &Route| (*route.host == *host, route.host.len());
    let best = routes.iter().filter(names).map(rank).max()?;
    let of_host = routes.iter().filter(names).filter(|route| rank(route) == best);
    of_host.filter(|route| route.covers(path)).max_by_key(|route| route.prefix.len())
}

fn moved(port: u16, generation: u64) -> u16 {
    let turned = (u64::from(port) - 1 + generation) % u64::from(u16::MAX);
    u16::try_from(turned + 1).expect("at most 65535")
}

/// The splitmix64 generator: quick, and the same numbers in every run and for
/// every lock.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The high half, scaled: a remainder would take much longer.
        ((u128::from(mixed) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_agrees_with_the_scan_in_every_edition() {
        let base = parse(crate::EMBEDDED, 0).expect("good");
        assert!((250..500).contains(&base.routes().len()), "a few hundred routes");
        let traffic = Traffic::new(&base);
        for generation in [0, 1, 60_000, 200_000] {
            let table = traffic.edition(generation);
            for probe in &traffic.probes {
                let found = table.lookup(&probe.host, &probe.path);
                let ids = (found.map(|r| r.target.id), probe.expected.as_ref().map(|e| e.id));
                assert_eq!(ids.0, ids.1, "{} {}", probe.host, probe.path);
                if let (Some(route), Some(expected)) = (found, &probe.expected) {
                    assert_eq!(route.target.upstream, expected.upstream(generation));
                }
            }
        }
        assert!(traffic.probes.iter().any(|p| p.expected.is_none()), "some answers are 404");
    }

    #[test]
    fn ports_stay_ports() {
        assert_eq!((moved(65_535, 0), moved(65_535, 1), moved(1, 65_535)), (65_535, 1, 1));
    }
}
