//! The table file: one route a line, made to be edited by hand.
//!
//! ```text
//! # host          path prefix   upstream              options
//! shop.example    /             storefront.svc:8080
//! shop.example    /api/cart     cart.svc:8080         timeout=250ms strip=yes
//! *.shop.example  /             tenants.svc:8080
//! *               /             landing.svc:8080
//! ```
//!
//! `#` at the start of a word begins a comment. `/api` and `/api/` are the same
//! prefix. `timeout=` is how long the upstream may take (`ms` or `s`) and
//! `strip=yes` takes the prefix off the path that the upstream sees.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::table::{Route, RouteTable, Target, Upstream, is_dot_segment};

/// The first thing wrong with a table, and where.
#[derive(Debug, PartialEq)]
pub(crate) struct TableError {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.reason)
    }
}

/// As [`parse`], for bytes that may not be text.
pub(crate) fn parse_bytes(bytes: &[u8], generation: u64) -> Result<RouteTable, TableError> {
    let text = str::from_utf8(bytes).map_err(|e| TableError {
        line: 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count(),
        reason: "not UTF-8 text".into(),
    })?;
    parse(text, generation)
}

pub(crate) fn parse(text: &str, generation: u64) -> Result<RouteTable, TableError> {
    let mut routes = Vec::new();
    let mut first_seen: HashMap<(Box<str>, Box<str>), usize> = HashMap::new();
    // Some editors put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, content) in (1..).zip(text.lines()) {
        let fail = |reason| TableError { line, reason };
        let Some(route) = parse_line(content).map_err(fail)? else {
            continue;
        };
        let key = (route.host.clone(), route.prefix.clone());
        if let Some(first) = first_seen.insert(key, line) {
            return Err(fail(format!("same host and path prefix as line {first}")));
        }
        routes.push(route);
    }
    if routes.is_empty() {
        return Err(TableError { line: 1, reason: "the table has no routes".into() });
    }
    Ok(RouteTable::new(generation, routes))
}

fn parse_line(content: &str) -> Result<Option<Route>, String> {
    let mut words = content.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(host) = words.next() else {
        return Ok(None);
    };
    let host = parse_host(host)?;
    let prefix = parse_prefix(words.next().ok_or("no path prefix after the host")?)?;
    let upstream = parse_upstream(words.next().ok_or("no upstream after the path prefix")?)?;
    let mut target = Target { id: 0, upstream, timeout: None, strip: 0 };
    let mut strip = None;
    for option in words {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("`{option}` is not a key=value option"))?;
        let again = match key {
            "timeout" => target.timeout.replace(parse_timeout(value)?).is_some(),
            "strip" => strip.replace(parse_yes_no(value)?).is_some(),
            _ => {
                return Err(format!("unknown option `{key}` (there are `timeout` and `strip`)"));
            }
        };
        if again {
            return Err(format!("option `{key}` given twice"));
        }
    }
    if strip == Some(true) && prefix != "/" {
        target.strip = prefix.len();
    }
    Ok(Some(Route::new(host, prefix.into(), target)))
}

/// Returns the host in the form in which [`RouteTable`] keys it.
fn parse_host(word: &str) -> Result<Box<str>, String> {
    let host = word.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let (key, good) = match host.strip_prefix('*') {
        Some("") => (host, true),
        Some(suffix) => (suffix, suffix.strip_prefix('.').is_some_and(is_host)),
        None => (host, is_host(host)),
    };
    if good {
        Ok(key.into())
    } else {
        Err(format!("bad host `{word}` (a name, `*.name`, or `*` for every other host)"))
    }
}

fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn parse_prefix(word: &str) -> Result<&str, String> {
    if !word.starts_with('/') {
        return Err(format!("path prefix must start with '/', got `{word}`"));
    }
    // What RFC 3986 allows in a path; no request could match anything else.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    if let Some(bad) = word.chars().find(|&c| !allowed(c)) {
        return Err(format!("path prefix `{word}` may not contain {bad:?}"));
    }
    let prefix = match word.strip_suffix('/') {
        None | Some("") => word,
        Some(prefix) => prefix,
    };
    let mut segments = prefix[1..].split('/');
    if prefix != "/" && segments.any(|s| s.is_empty() || is_dot_segment(s)) {
        return Err(format!("path prefix `{word}` has an empty or dot segment"));
    }
    Ok(prefix)
}

fn parse_upstream(word: &str) -> Result<Upstream, String> {
    let parts = word.rsplit_once(':').filter(|(host, _)| is_host(host));
    let port = |port: &str| port.parse().ok().filter(|&port| port != 0);
    match parts.and_then(|(host, number)| Some((host, port(number)?))) {
        Some((host, port)) => Ok(Upstream { host: host.into(), port }),
        None => Err(format!("bad upstream `{word}` (host:port, port 1 to 65535)")),
    }
}

fn parse_timeout(value: &str) -> Result<Duration, String> {
    let number = |text: &str| text.parse().ok().filter(|&n: &u32| n > 0);
    let timeout = if let Some(millis) = value.strip_suffix("ms") {
        number(millis).map(|n| Duration::from_millis(n.into()))
    } else {
        value.strip_suffix('s').and_then(number).map(|n| Duration::from_secs(n.into()))
    };
    timeout.ok_or_else(|| format!("bad timeout `{value}` (such as 250ms or 2s)"))
}

fn parse_yes_no(value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{value}` is neither `yes` nor `no`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_routes_comments_and_options() {
        let text = "\u{feff}# routes\r\n\r\nShop.Example.  /api/  cart.svc:80 timeout=2s strip=yes # x\r\n\
                    *.example / [::1]:443 strip=no\n* /a#b-is-no-comment-start x:1 #y\n";
        let error = parse(text, 1).err().expect("'#' within a word");
        assert_eq!((error.line, error.reason.contains("'#'")), (5, true));

        let table = parse(text.rsplit_once("* ").expect("the last line").0, 9).expect("good");
        assert_eq!(table.generation(), 9);
        let route = table.lookup("shop.example", "/api/7").expect("a route");
        let upstream = Upstream { host: "cart.svc".into(), port: 80 };
        let timeout = Some(Duration::from_secs(2));
        assert_eq!(*route.target, Target { id: route.target.id, upstream, timeout, strip: 4 });
        assert_eq!(route.to_string(), "shop.example  /api  cart.svc:80  timeout=2000ms  strip=yes");
        let wild = table.lookup("any.example", "/").expect("a route");
        assert_eq!(wild.to_string(), "*.example  /  [::1]:443");
    }

    #[test]
    fn reports_line_and_reason() {
        for (line, reason) in [
            ("a.io", "no path prefix after the host"),
            ("a.io /x # u:1", "no upstream after the path prefix"),
            ("a.io api u:1", "path prefix must start with '/', got `api`"),
            ("a.io /a//b u:1", "path prefix `/a//b` has an empty or dot segment"),
            ("a.io /.. u:1", "path prefix `/..` has an empty or dot segment"),
            ("a.io /a?b u:1", "path prefix `/a?b` may not contain '?'"),
            ("a.io /é u:1", "path prefix `/é` may not contain 'é'"),
            ("a..io / u:1", "bad host `a..io` (a name, `*.name`, or `*` for every other host)"),
            ("*a.io / u:1", "bad host `*a.io` (a name, `*.name`, or `*` for every other host)"),
            ("a.io:80 / u:1", "bad host `a.io:80` (a name, `*.name`, or `*` for every other host)"),
            (". / u:1", "bad host `.` (a name, `*.name`, or `*` for every other host)"),
            ("a.io / u", "bad upstream `u` (host:port, port 1 to 65535)"),
            ("a.io / u:0", "bad upstream `u:0` (host:port, port 1 to 65535)"),
            ("a.io / u:65536", "bad upstream `u:65536` (host:port, port 1 to 65535)"),
            ("a.io / http://u:1", "bad upstream `http://u:1` (host:port, port 1 to 65535)"),
            ("a.io / u:1 fast", "`fast` is not a key=value option"),
            ("a.io / u:1 w=1", "unknown option `w` (there are `timeout` and `strip`)"),
            ("a.io / u:1 timeout=0s", "bad timeout `0s` (such as 250ms or 2s)"),
            ("a.io / u:1 timeout=1s timeout=1s", "option `timeout` given twice"),
            ("a.io / u:1 strip=1", "`1` is neither `yes` nor `no`"),
            ("OK.io. /ok u:1", "same host and path prefix as line 2"),
        ] {
            let text = format!("# head\nok.io /ok/ u:1\n\n{line}\nok.io / u:1\n");
            let error = parse(&text, 1).err().expect(line);
            assert_eq!(error, TableError { line: 4, reason: reason.into() }, "{line}");
        }
    }

    #[test]
    fn a_table_needs_routes_and_text() {
        for text in ["", "\n\n", "# nothing\n"] {
            assert_eq!(parse(text, 1).err().map(|e| e.line), Some(1));
        }
        let error = parse_bytes(b"a.io / u:1\n\xff\n", 1).err().expect("not text");
        assert_eq!(error.to_string(), "2: not UTF-8 text");
    }
}
