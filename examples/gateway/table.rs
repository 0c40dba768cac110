//! The route table: one immutable value that answers "which upstream serves
//! this host and path?".
//!
//! The host is chosen first: an exact name, else the longest `*.suffix`, else
//! `*`. Within that host the longest prefix wins. A table is never changed once
//! built; an edit builds a new one and puts it in the place of the old.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct RouteTable {
    generation: u64,
    /// Sorted by host, then by prefix.
    routes: Vec<Route>,
    /// `a.b` and `*` are stored as they are and `*.b` as `.b`, so that it can be
    /// looked up by a suffix of the host.
    hosts: Map<Host>,
    has_wildcards: bool,
}

type Map<V> = HashMap<Box<str>, V, BuildHasherDefault<KeyHasher>>;

#[derive(Default)]
struct Host {
    /// Positions in [`RouteTable::routes`].
    by_prefix: Map<usize>,
    longest_prefix: usize,
}

#[derive(Clone)]
pub(crate) struct Route {
    /// In the form used as a key of [`RouteTable::hosts`].
    pub(crate) host: Box<str>,
    /// Without a trailing slash, but for `/` itself.
    pub(crate) prefix: Box<str>,
    /// What a request handler takes with it once it lets go of the table.
    pub(crate) target: Arc<Target>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// This route's position in the sorted table.
    pub(crate) id: usize,
    pub(crate) upstream: Upstream,
    pub(crate) timeout: Option<Duration>,
    /// How many leading bytes of the path the upstream does not get to see.
    pub(crate) strip: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Upstream {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl RouteTable {
    /// `routes` must not name the same host and prefix twice.
    pub(crate) fn new(generation: u64, mut routes: Vec<Route>) -> Self {
        routes.sort_unstable_by(|a, b| (&a.host, &a.prefix).cmp(&(&b.host, &b.prefix)));
        let mut hosts: Map<Host> = Map::default();
        for (at, route) in routes.iter_mut().enumerate() {
            Arc::make_mut(&mut route.target).id = at;
            let host = hosts.entry(route.host.clone()).or_default();
            host.by_prefix.insert(route.prefix.clone(), at);
            host.longest_prefix = host.longest_prefix.max(route.prefix.len());
        }
        let has_wildcards = hosts.keys().any(|host| host.starts_with('.'));
        Self { generation, routes, hosts, has_wildcards }
    }

    /// Which edition of the table this is; every replacement has a higher one.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(crate) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Finds the route for a host already passed through [`normalize_host`] and
    /// a path without its query.
    pub(crate) fn lookup(&self, host: &str, path: &str) -> Option<&Route> {
        let host = self.host(host)?;
        // Prefixes end where a segment of the path does. Try the longest that
        // this host could have first, which also keeps a path of a thousand
        // slashes from making a thousand attempts.
        let slash_before = |end| path.as_bytes()[..end].iter().rposition(|&b| b == b'/');
        let mut end = path.len();
        if end > host.longest_prefix {
            end = slash_before(host.longest_prefix + 1)?;
        }
        loop {
            // The slash that begins the path is not the end of a segment but `/`.
            let prefix = path.get(..end.max(1))?;
            if let Some(&at) = host.by_prefix.get(prefix) {
                return Some(&self.routes[at]);
            }
            end = slash_before(end)?;
        }
    }

    fn host(&self, host: &str) -> Option<&Host> {
        let suffix = || {
            let dots = host.match_indices('.').filter(|_| self.has_wildcards);
            dots.map(|(at, _)| &host[at..]).find_map(|suffix| self.hosts.get(suffix))
        };
        self.hosts.get(host).or_else(suffix).or_else(|| self.hosts.get("*"))
    }
}

impl Route {
    /// `target.id` is set when the route takes its place in a table.
    pub(crate) fn new(host: Box<str>, prefix: Box<str>, target: Target) -> Self {
        Self { host, prefix, target: Arc::new(target) }
    }

    /// `/api` covers `/api` and `/api/x`, but not `/apix`.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Route {
    /// The line of a table file that reads back as this route.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.host.starts_with('.') { "*" } else { "" };
        let Target { upstream, timeout, strip, .. } = &*self.target;
        write!(f, "{star}{}  {}  {upstream}", self.host, self.prefix)?;
        if let Some(timeout) = timeout {
            write!(f, "  timeout={}ms", timeout.as_millis())?;
        }
        if *strip > 0 {
            f.write_str("  strip=yes")?;
        }
        Ok(())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Brings the host of a request into the form that tables use: no port, no
/// trailing dot, lower case. `None` if there is no name left.
pub(crate) fn normalize_host(authority: &str) -> Option<Cow<'_, str>> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let host = &authority[..end];
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.starts_with('.') {
        return None;
    }
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    })
}

/// Whether a path segment is `.` or `..`, in plain or percent-encoded dots. An
/// upstream would resolve `/public/../admin` to a path that was never routed.
pub(crate) fn is_dot_segment(segment: &str) -> bool {
    let spellings = [".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"];
    spellings.iter().any(|dots| segment.eq_ignore_ascii_case(dots))
}

/// A multiply-and-rotate hash, eight bytes at a time. Only the operator's file
/// puts keys into the maps, never a request, so there is no flood of collisions
/// to guard against, and the default SipHash would take longer than the rest of
/// a lookup.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for &word in words {
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }

    /// Only ever the mark that ends a string, and a key is a single string.
    fn write_u8(&mut self, _: u8) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The map picks its bucket by the low bits, the weakest after a multiply.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> RouteTable {
        crate::parse::parse(text, 7).expect("a good table")
    }

    /// The upstream's host name stands for the route.
    fn find<'t>(table: &'t RouteTable, host: &str, path: &str) -> Option<&'t str> {
        let host = normalize_host(host).expect("a host");
        table.lookup(&host, path).map(|route| &*route.target.upstream.host)
    }

    #[test]
    fn longest_prefix_on_segment_boundaries() {
        let t = table(
            "a.io / root:1\na.io /api api:1\na.io /api-v2 v2:1\na.io /api/users/ users:1\n\
             a.io /api!x bang:1\nb.io /only only:1",
        );
        for (path, expected) in [
            ("/", "root"),
            ("/api", "api"),
            ("/api/", "api"),
            ("/api/x", "api"),
            ("/apix", "root"),
            ("/api-v2", "v2"),
            ("/api-v2x", "root"),
            ("/api-v1/x", "root"),
            ("/api!x/1", "bang"),
            ("/api/users", "users"),
            ("/api/users/", "users"),
            ("/api/users/9", "users"),
            ("/api/usersx", "api"),
            ("/API", "root"),
            ("/zzz", "root"),
        ] {
            assert_eq!(find(&t, "a.io", path), Some(expected), "{path}");
        }
        assert_eq!(find(&t, "b.io", "/only/x"), Some("only"));
        assert_eq!(find(&t, "b.io", "/onl"), None);
        assert_eq!(find(&t, "b.io", "/other"), None);
        assert_eq!(find(&t, "c.io", "/"), None);
        for odd in ["", "*", "api", "x/api"] {
            assert_eq!(find(&t, "a.io", odd), None, "{odd}");
        }
    }

    #[test]
    fn exact_host_then_longest_wildcard_then_default() {
        let t = table(
            "* / any:1\n*.b.io / wide:1\n*.a.b.io / narrow:1\nx.b.io /in exact:1\nb.io / apex:1",
        );
        assert_eq!(find(&t, "x.b.io", "/in"), Some("exact"));
        assert_eq!(find(&t, "x.b.io", "/out"), None, "a listed host has only its own routes");
        assert_eq!(find(&t, "y.b.io", "/"), Some("wide"));
        assert_eq!(find(&t, "z.y.b.io", "/"), Some("wide"));
        assert_eq!(find(&t, "z.a.b.io", "/"), Some("narrow"));
        assert_eq!(find(&t, "b.io", "/"), Some("apex"));
        assert_eq!(find(&t, "nb.io", "/"), Some("any"));
        assert_eq!(find(&t, "[::1]:80", "/"), Some("any"));
    }

    #[test]
    fn hosts_lose_port_case_and_trailing_dot() {
        for raw in ["Shop.Example", "shop.example.", "SHOP.EXAMPLE.:8080", "shop.example:80"] {
            assert_eq!(normalize_host(raw).as_deref(), Some("shop.example"), "{raw}");
        }
        assert_eq!(normalize_host("[::1]:8080").as_deref(), Some("[::1]"));
        for raw in ["", ":80", ".", ".shop.example", "[::1"] {
            assert_eq!(normalize_host(raw), None, "{raw}");
        }
    }

    #[test]
    fn dot_segments_in_any_spelling() {
        assert!([".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"].into_iter().all(is_dot_segment));
        assert!(!["", "...", ".x", "%2ex", "%2"].into_iter().any(is_dot_segment));
    }

    #[test]
    fn a_table_reads_back_as_written() {
        let first = table(crate::EMBEDDED);
        let text = |t: &RouteTable| t.routes().iter().map(|r| format!("{r}\n")).collect::<String>();
        assert_eq!(text(&first), text(&table(&text(&first))));
    }
}
