//! The page is well-formed, and says what clients have seen.

use crate::metrics::{ROUTES, STATUSES};
use crate::page::Page;
use crate::{load, metrics, start};
use std::collections::BTreeMap;
use stillpoint::percpu::Histogram;

/// Labels but `le`, rising.
type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    le: Option<String>,
    value: String,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `name{label="value",…} value`, as strictly as the format's description has it.
fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let (mut labels, mut le) = (Labels::new(), None);
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").expect("a value of a label");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (mut value, mut chars) = (String::new(), behind.char_indices());
            let end = loop {
                match chars.next().expect("a quote") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("something escaped").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            rest = &behind[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if label == "le" {
                assert!(le.replace(value).is_none(), "{line}");
            } else {
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            }
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("one space").to_owned();
    value.parse::<f64>().expect("a number");
    Sample { name: name.to_owned(), labels, le, value }
}

fn parse(page: &str) -> Vec<Family> {
    assert!(page.ends_with('\n') && !page.contains("\n\n"), "{page:?}");
    let mut families: Vec<Family> = vec![];
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type");
            let (same, kind) = kind.split_once(' ').expect("a type");
            assert!(is_name(name) && name == same, "{line}");
            assert!(families.iter().all(|family| family.name != name), "{name} twice");
            let help = help.replace(r"\n", "\n").replace(r"\\", "\\");
            let (name, kind) = (name.to_owned(), kind.to_owned());
            families.push(Family { name, kind, help, samples: vec![] });
            continue;
        }
        let family = families.last_mut().expect("a head");
        let sample = sample(line);
        let suffix = sample.name.strip_prefix(&*family.name).expect("a sample of the family");
        match (&*family.kind, suffix) {
            ("counter", "") => assert!(family.name.ends_with("_total")),
            ("gauge", "") | ("histogram", "_sum" | "_count") => {}
            ("histogram", "_bucket") => assert!(sample.le.is_some()),
            _ => panic!("{} of a {}", sample.name, family.kind),
        }
        assert_eq!(sample.le.is_some(), suffix == "_bucket", "{line}");
        let same = |other: &&Sample| {
            (&other.name, &other.labels, &other.le) == (&sample.name, &sample.labels, &sample.le)
        };
        assert!(family.samples.iter().find(same).is_none(), "twice: {line}");
        family.samples.push(sample);
    }
    families.iter().filter(|family| family.kind == "histogram").for_each(check_histogram);
    families
}

/// Buckets rise, in limits and counts, to one without a limit, which has the count.
fn check_histogram(family: &Family) {
    let series: Vec<&Labels> = family.samples.iter().map(|sample| &sample.labels).collect();
    for labels in series {
        let all = family.samples.iter().filter(|sample| sample.labels == *labels);
        let (buckets, others): (Vec<_>, Vec<_>) = all.partition(|sample| sample.le.is_some());
        let limits: Vec<f64> =
            buckets.iter().map(|sample| sample.le.as_ref().unwrap().parse().unwrap()).collect();
        let counts: Vec<u64> = buckets.iter().map(|sample| sample.value.parse().unwrap()).collect();
        assert!(limits.is_sorted_by(|a, b| a < b) && counts.is_sorted(), "{buckets:?}");
        assert_eq!(buckets.last().unwrap().le.as_deref(), Some("+Inf"));
        assert_eq!(others.len(), 2, "{others:?}");
        let count = others.iter().find(|sample| sample.name.ends_with("_count")).unwrap();
        assert_eq!(counts.last().unwrap().to_string(), count.value);
    }
}

/// What the page has of a name, with these labels.
fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Labels =
        labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let samples = families.iter().flat_map(|family| &family.samples);
    let mut found = samples.filter(|sample| sample.name == name && sample.labels == labels);
    found.next().unwrap_or_else(|| panic!("no {name} {labels:?}")).value.clone()
}

#[test]
fn the_server_counts_what_its_clients_see() {
    const CLIENTS: usize = 5;
    const EACH: u64 = 400;
    let (runtime, addr) = start("127.0.0.1:0").unwrap();
    let answers = runtime.block_on(load::run(addr, CLIENTS, |n| n < EACH)).unwrap();
    let page = runtime.block_on(load::scrape(addr)).unwrap();
    assert_eq!(answers.values().sum::<u64>(), CLIENTS as u64 * EACH);
    assert_eq!(metrics::requests(), CLIENTS as u64 * EACH);
    let families = parse(&page);
    for (at, route) in ROUTES.iter().enumerate() {
        let mut of_route = 0;
        for status in STATUSES {
            let seen = answers.get(&(at, status)).copied().unwrap_or(0);
            let labels = [("route", *route), ("status", status.as_str())];
            let counted = value(&families, "http_requests_total", &labels);
            assert_eq!(counted, seen.to_string(), "{route} {status}");
            of_route += seen;
        }
        assert!(of_route > 0, "nobody asked for {route}");
        let name = "http_request_duration_seconds";
        let timed = value(&families, &format!("{name}_count"), &[("route", route)]);
        assert_eq!(timed, of_route.to_string(), "{route}");
        let seconds = value(&families, &format!("{name}_sum"), &[("route", route)]);
        assert!(seconds.parse::<f64>().unwrap() > 0.0, "{route}");
    }
    assert_eq!(value(&families, "http_requests_in_flight", &[]), "0");
    let info = families.iter().find(|family| family.name == "stillpoint_info").unwrap();
    let tier = stillpoint::machine().tier().to_string();
    assert_eq!(info.samples[0].labels["tier"], tier);
    assert_eq!(info.samples[0].labels["reason"], stillpoint::machine().reason().to_string());
}

#[test]
fn what_needs_it_is_escaped() {
    let odd = "a \\ \"quoted\"\nline, {braces}=\"\\n\"";
    let mut page = Page::default();
    page.head("odd", "gauge", "one \\\nand two");
    page.sample("odd", &[("label", odd), ("other", "")], -1);
    page.sample("odd", &[], 2);
    let text = page.into_text();
    assert!(text.starts_with("# HELP odd one \\\\\\nand two\n# TYPE odd gauge\n"), "{text}");
    let families = parse(&text);
    assert_eq!(value(&families, "odd", &[("label", odd), ("other", "")]), "-1");
    assert_eq!(value(&families, "odd", &[]), "2");
    assert_eq!(families[0].help.lines().count(), 2);
}

#[test]
fn histograms_are_cumulative_and_exact() {
    let nanos = Histogram::new();
    let values = [0, 1023, 1024, 1_000_000, 1_073_741_823, 1_073_741_824, 5_000_000_000];
    values.iter().for_each(|value| nanos.record(*value));
    let mut page = Page::default();
    page.head("took_seconds", "histogram", "Time.");
    page.seconds("took_seconds", &[], &nanos.snapshot());
    let families = parse(&page.into_text());
    assert_eq!(value(&families, "took_seconds_sum", &[]), "7.148485694");
    assert_eq!(value(&families, "took_seconds_count", &[]), "7");
    for sample in families[0].samples.iter().filter(|sample| sample.le.is_some()) {
        let limit: f64 = sample.le.as_ref().unwrap().parse().unwrap();
        let nanos = (limit * 1e9).round();
        let truth = values.iter().filter(|value| **value as f64 <= nanos).count();
        assert_eq!(sample.value, truth.to_string(), "{sample:?}");
    }
    assert_eq!(value(&families, "took_seconds_bucket", &[]), "2");
}
