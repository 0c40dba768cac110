//! The book hangs together: what `SUMMARY.md` lists is there, and each page below `docs/` is listed;
//! every relative link leads somewhere, to an anchor that exists; a file that a page names in code
//! is one; every chapter's examples are tests.

#[path = "support/pages.rs"]
mod pages;

use pages::root;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// What is looked at: Markdown by path, and whether a path exists.
struct Tree {
    pages: BTreeMap<PathBuf, String>,
    exists: Box<dyn Fn(&Path) -> bool>,
}

/// What one page says.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
    code: Vec<String>,
}

/// The anchor that forges and mdBook make of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn read(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let first = anchor(&heading.take().unwrap_or_default());
                let free = |n: &u32| *n == 0 || !page.anchors.contains(&format!("{first}-{n}"));
                let taken = page.anchors.contains(&first);
                let n = if taken { (1..).find(free).unwrap_or(0) } else { 0 };
                page.anchors.insert(if n == 0 { first } else { format!("{first}-{n}") });
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Code(code) => {
                heading.iter_mut().for_each(|heading| heading.push_str(&code));
                page.code.push(code.into_string());
            }
            Event::Text(text) => heading.iter_mut().for_each(|heading| heading.push_str(&text)),
            _ => {}
        }
    }
    page
}

/// `a/../b` is `b`. `None` if it leaves the tree.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => plain.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// Everything that is wrong with the links of all pages.
fn broken_links(tree: &Tree) -> Vec<String> {
    let pages: BTreeMap<_, _> = tree.pages.iter().map(|(path, text)| (path, read(text))).collect();
    let mut faults = Vec::new();
    for (path, page) in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().unwrap_or(Path::new(""));
            let target =
                if file.is_empty() { Some((*path).clone()) } else { plain(&folder.join(file)) };
            let fault = match &target {
                None => "leaves the repository",
                Some(target) if !(tree.exists)(target) => "leads to no file",
                // What is not in the book's folder would not be there in the rendered one.
                Some(target) if path.starts_with("docs") && !target.starts_with("docs") => {
                    "leaves the book"
                }
                Some(_) if fragment.is_empty() => continue,
                Some(target) => match pages.get(target) {
                    Some(page) if page.anchors.contains(fragment) => continue,
                    Some(_) => "leads to no heading",
                    None => "leads into a file that has no headings",
                },
            };
            faults.push(format!("{}: {link} {fault}", path.display()));
        }
    }
    faults
}

/// Differences between the list of pages and the pages.
fn unlisted(tree: &Tree) -> Vec<String> {
    let docs = Path::new("docs");
    let list = docs.join("SUMMARY.md");
    let Some(summary) = tree.pages.get(&list) else {
        return vec!["no SUMMARY.md".to_owned()];
    };
    let listed: Vec<_> =
        read(summary).links.iter().filter_map(|link| plain(&docs.join(link))).collect();
    let pages = tree.pages.keys().filter(|path| path.starts_with(docs) && **path != list);
    let mut faults = Vec::new();
    for page in pages.filter(|page| !listed.contains(page)) {
        faults.push(format!("{} is not in SUMMARY.md", page.display()));
    }
    // mdBook makes `index.html` of it, whose relative links stay as they are.
    if let Some(first) = listed.first().filter(|first| first.parent() != Some(docs)) {
        faults.push(format!("{} is the first page, and not beside SUMMARY.md", first.display()));
    }
    for (at, path) in listed.iter().enumerate() {
        if listed[..at].contains(path) {
            faults.push(format!("{} is twice in SUMMARY.md", path.display()));
        }
    }
    faults
}

/// True of what looks like the path of a file here. Patterns and names with a part left open are
/// no paths.
fn is_path(code: &str) -> bool {
    const ROOTS: [&str; 12] = [
        "src/",
        "asm/",
        "tests/",
        "docs/",
        "models/",
        "guide/",
        "tools/",
        "benches/",
        "examples/",
        "loom-tests/",
        "mutant-tests/",
        ".ci/",
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    ROOTS.iter().any(|root| code.starts_with(root))
        && code.chars().all(is_plain)
        && !code.contains("NAME")
}

/// Files that a page names and that are not there. The change log tells of some that are gone.
fn unknown_files(tree: &Tree) -> Vec<String> {
    let pages = tree.pages.iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md"));
    let mut faults = Vec::new();
    for (path, text) in pages {
        for code in read(text).code.iter().filter(|code| is_path(code)) {
            if !(tree.exists)(Path::new(code)) {
                faults.push(format!("{}: `{code}` is no file", path.display()));
            }
        }
    }
    faults
}

/// Chapters that `lib.rs` does not make tests of.
fn untested(tree: &Tree, library: &str) -> Vec<String> {
    let chapters = tree.pages.keys().filter(|path| path.starts_with("docs/guide"));
    let is_there = |path: &&PathBuf| library.contains(&format!("\"../{}\"", path.display()));
    chapters.filter(|path| !is_there(path)).map(|path| path.display().to_string()).collect()
}

/// The repository's.
fn real() -> Tree {
    Tree { pages: pages::all(), exists: Box::new(|path| root().join(path).exists()) }
}

#[test]
fn the_book_hangs_together() {
    let tree = real();
    let library = std::fs::read_to_string(root().join("guide/lib.rs")).unwrap();
    let mut faults = broken_links(&tree);
    faults.extend(unlisted(&tree));
    faults.extend(unknown_files(&tree));
    faults.extend(untested(&tree, &library));
    assert!(faults.is_empty(), "{faults:#?}");
    let guide = tree.pages.keys().filter(|path| path.starts_with("docs/guide")).count();
    assert!(guide >= 16, "only {guide} chapters were looked at");
}

/// A book of a few pages, with which nothing is wrong, and changes that break one thing each.
#[test]
fn what_is_wrong_is_noticed() {
    let pages = [
        ("docs/SUMMARY.md", "- [All](index.md)\n- [One](guide/one.md)\n- [Two](two.md)\n"),
        ("docs/index.md", "# All\n[one](guide/one.md)\n"),
        ("docs/guide/one.md", "# One `x`\n[two](../two.md#a-b-1), [here](#one-x), `src/lib.rs`\n"),
        ("docs/two.md", "# Two\n## A, b\n## A b\n[one](guide/one.md) <https://example.com/#x>\n"),
        ("CHANGELOG.md", "`src/gone.rs`\n"),
    ];
    let library = "one: \"../docs/guide/one.md\"";
    let faults = |change: &dyn Fn(&str) -> String, library: &str| {
        let pages: BTreeMap<_, _> =
            pages.iter().map(|&(path, text)| (PathBuf::from(path), change(text))).collect();
        let others = ["src/lib.rs", "README.md", "docs/plot.svg"].map(PathBuf::from);
        let files: Vec<_> = pages.keys().cloned().chain(others).collect();
        let tree =
            Tree { pages, exists: Box::new(move |path| files.iter().any(|file| file == path)) };
        let all =
            [broken_links(&tree), unlisted(&tree), unknown_files(&tree), untested(&tree, library)];
        all.concat()
    };
    assert_eq!(faults(&str::to_owned, library), Vec::<String>::new());
    for (from, to, fault) in [
        ("../two.md#a-b-1", "../three.md", "leads to no file"),
        ("../two.md#a-b-1", "../two.md#a-b-2", "leads to no heading"),
        ("#one-x", "#one", "leads to no heading"),
        ("../two.md#a-b-1", "../../../two.md", "leaves the repository"),
        ("../two.md#a-b-1", "../../README.md", "leaves the book"),
        ("../two.md#a-b-1", "../../src/lib.rs", "leaves the book"),
        ("../two.md#a-b-1", "../plot.svg#x", "has no headings"),
        ("- [One](guide/one.md)\n", "", "one.md is not in SUMMARY.md"),
        (
            "- [All](index.md)\n- [One](guide/one.md)",
            "- [One](guide/one.md)\n- [All](index.md)",
            "is the first page",
        ),
        ("- [Two](two.md)\n", "", "two.md is not in SUMMARY.md"),
        ("- [Two](two.md)", "- [Two](two.md)\n- [2](guide/one.md)", "is twice in SUMMARY.md"),
        ("`src/lib.rs`", "`src/lob.rs`", "one.md: `src/lob.rs` is no file"),
        ("## A, b", "## A, b\n`tests/two.rs`", "two.md: `tests/two.rs` is no file"),
    ] {
        let faults = faults(&|text| text.replace(from, to), library);
        assert_eq!(faults.len(), 1, "{from:?} to {to:?}: {faults:?}");
        assert!(faults[0].contains(fault), "{from:?} to {to:?}: {faults:?}");
    }
    assert_eq!(faults(&str::to_owned, ""), ["docs/guide/one.md"]);
}
