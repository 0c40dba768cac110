//! The page: prose from `text/`, with what was measured woven in.
//!
//! `text/page.md` is the whole; a line `{{group NAME}}` in it stands for `text/NAME.md`. There, a
//! line of its own is one of
//!
//! | | |
//! |---|---|
//! | `{{conditions}}` | machine, command, date |
//! | `{{table TITLE}}` | all quantities of a table; `{{table TITLE \| METRIC}}` one of them |
//! | `{{plot TITLE \| METRIC}}` | one quantity as a picture |
//! | `{{targets}}` | what was asked of the group |
//! | `{{until measured}}`, `{{end}}` | what is between stands only where the group has no data |
//! | `{{once measured}}`, `{{end}}` | and that only where it has |
//! | `{{losses}}` | in `page.md`: the losing cases of all groups |
//!
//! Tables that the prose does not name come behind it, folded.

use crate::book::{Book, Group};
use crate::data::{Table, targets};
use crate::{losses, plot, tables};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What was written by hand.
#[derive(Clone, Debug)]
pub struct Prose {
    page: String,
    groups: Vec<(String, String)>,
}

impl Prose {
    /// Reads it from a directory.
    ///
    /// # Errors
    ///
    /// If `page.md`, or a file that it names, cannot be read.
    pub fn read(directory: &Path) -> Result<Prose> {
        let read = |name: &str| {
            let file = directory.join(format!("{name}.md"));
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let page = read("page")?;
        let mut groups = vec![];
        for line in page.lines() {
            if let Some(Directive::Group(name)) = Directive::of(line)? {
                groups.push((name.to_owned(), read(name)?));
            }
        }
        Ok(Prose { page, groups })
    }

    /// The groups and their prose, in the page's order.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &str)> {
        self.groups.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

/// The page and its pictures, by file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Markdown.
    pub text: String,
    /// SVG.
    pub plots: BTreeMap<String, String>,
}

enum Directive<'a> {
    Group(&'a str),
    Conditions,
    Table(&'a str, Option<&'a str>),
    Plot(&'a str, &'a str),
    Targets,
    UntilMeasured,
    OnceMeasured,
    End,
    Losses,
}

impl<'a> Directive<'a> {
    fn of(line: &'a str) -> Result<Option<Directive<'a>>> {
        let Some(inner) = line.strip_prefix("{{").and_then(|l| l.strip_suffix("}}")) else {
            return Ok(None);
        };
        let (word, rest) = inner.split_once(' ').unwrap_or((inner, ""));
        let parts = rest.split_once(" | ");
        Ok(Some(match (word, parts) {
            ("group", None) => Directive::Group(rest),
            ("table", None) => Directive::Table(rest, None),
            ("table", Some((title, metric))) => Directive::Table(title, Some(metric)),
            ("plot", Some((title, metric))) => Directive::Plot(title, metric),
            _ => match inner {
                "conditions" => Directive::Conditions,
                "targets" => Directive::Targets,
                "until measured" => Directive::UntilMeasured,
                "once measured" => Directive::OnceMeasured,
                "end" => Directive::End,
                "losses" => Directive::Losses,
                _ => bail!("what is {line}?"),
            },
        }))
    }
}

/// Makes the page.
///
/// # Errors
///
/// If the prose has a directive that is none, or names a table that was not measured though its
/// group was.
pub fn render(book: &Book, prose: &Prose) -> Result<Page> {
    let asked = targets();
    let mut page = Page { text: String::new(), plots: BTreeMap::new() };
    for line in prose.page.lines() {
        match Directive::of(line)? {
            None => _ = writeln!(page.text, "{line}"),
            Some(Directive::Group(name)) => {
                let text = prose.groups().find(|of| of.0 == name).context("read before")?.1;
                group(&mut page, name, text, book.0.get(name))
                    .with_context(|| format!("in the prose of {name}"))?;
            }
            Some(Directive::Losses) => page.text += &losses::section(book, prose, &asked),
            Some(_) => bail!("{line} belongs to a group's prose"),
        }
    }
    page.text = tidy(&page.text);
    Ok(page)
}

/// No more than one empty line in a row, none at the ends.
fn tidy(text: &str) -> String {
    let mut tidy = String::new();
    for line in text.lines() {
        if !(line.is_empty() && (tidy.is_empty() || tidy.ends_with("\n\n"))) {
            let _ = writeln!(tidy, "{line}");
        }
    }
    tidy.trim_end().to_owned() + "\n"
}

fn group(page: &mut Page, name: &str, text: &str, of: Option<&Group>) -> Result<()> {
    let mut shown = HashSet::new();
    let mut hidden = false;
    for line in text.lines() {
        let directive = Directive::of(line)?;
        match (directive, of) {
            (Some(Directive::UntilMeasured), _) => hidden = of.is_some(),
            (Some(Directive::OnceMeasured), _) => hidden = of.is_none(),
            (Some(Directive::End), _) => hidden = false,
            (None, _) => {
                if !hidden {
                    let _ = writeln!(page.text, "{line}");
                }
            }
            // Nothing to show.
            (Some(_), None) => {}
            (Some(Directive::Conditions), Some(of)) => page.text += &conditions(of),
            (Some(Directive::Targets), Some(of)) if of.report.claims.is_empty() => {}
            (Some(Directive::Targets), Some(of)) => {
                page.text += &losses::targets(&of.report.claims);
            }
            (Some(Directive::Table(title, metric)), Some(of)) => {
                let wanted = |t: &&Table| t.title == title && metric.is_none_or(|m| t.metric == m);
                let found: Vec<_> = of.report.tables.iter().filter(wanted).collect();
                if found.is_empty() && of.report.skipped.is_empty() {
                    bail!("{line}: no such table");
                }
                for table in found {
                    shown.insert((&table.title, &table.metric));
                    let _ = write!(page.text, "\n{}\n", tables::figures(table));
                }
            }
            (Some(Directive::Plot(title, metric)), Some(of)) => {
                let wanted = |t: &&Table| t.title == title && t.metric == metric;
                match of.report.tables.iter().find(wanted) {
                    Some(table) => draw(page, name, table)?,
                    None if of.report.skipped.is_empty() => bail!("{line}: no such table"),
                    None => {}
                }
            }
            (Some(Directive::Group(_) | Directive::Losses), _) => bail!("{line} is the page's"),
        }
    }
    let Some(of) = of else { return Ok(()) };
    let unnamed = |t: &&Table| !shown.contains(&(&t.title, &t.metric));
    let rest: Vec<_> = of.report.tables.iter().filter(unnamed).collect();
    if !rest.is_empty() {
        let _ = write!(page.text, "\n<details><summary>{} more tables</summary>\n", rest.len());
        for table in rest {
            let _ = write!(page.text, "\n{}", tables::figures(table));
        }
        let _ = write!(page.text, "\n</details>\n");
    }
    Ok(())
}

fn conditions(of: &Group) -> String {
    let c = &of.conditions;
    let s = if of.runs == 1 { "" } else { "s" };
    let spread = if of.runs == 1 { "quartiles of its rounds" } else { "least and most over runs" };
    let quick = if of.quick { ", **quick, for a look only**" } else { "" };
    let mut text = format!(
        "`{}`: {} run{s}{quick}, {}, commit {}, tier {}. {}, Linux {}; {}; load at the start {}. \
         Medians; beside them or in brackets the {spread}; *slanted* where a peer is ahead.\n",
        c.command,
        of.runs,
        c.date,
        c.commit,
        of.report.tier,
        c.machine,
        c.kernel,
        c.versions,
        c.load,
    );
    if !of.report.skipped.is_empty() {
        let _ = write!(text, "\nSkipped: {}.\n", of.report.skipped.join("; "));
    }
    text
}

fn draw(page: &mut Page, group: &str, table: &Table) -> Result<()> {
    let title = format!("{}, {}", table.title, table.metric);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: String = format!("{group} {title}").chars().map(plain).collect();
    let words: Vec<_> = words.split('-').filter(|word| !word.is_empty()).collect();
    let file = format!("{}.svg", words.join("-"));
    let _ = write!(page.text, "\n![{title}](plots/{file})\n\n");
    page.plots.insert(file, plot::svg(&title, table)?);
    Ok(())
}

/// All of a group's tables, with nothing around.
pub fn all_tables(of: &Group) -> String {
    let tables = of.report.tables.iter().map(|table| tables::figures(table) + "\n");
    conditions(of) + "\n" + &tables.collect::<String>()
}
