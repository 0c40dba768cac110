//! A template: comments, the programs, the mutants.

use super::{NEVER, SOMETIMES};
use std::io;

/// A file, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) expect: &'static str,
    pub(super) mutants: Vec<Mutant>,
    pub(super) arch: String,
    pub(super) init: String,
    /// The programs, instruction by instruction.
    pub(super) columns: Vec<Vec<String>>,
    pub(super) condition: String,
}

/// One deliberate defect.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) expect: &'static str,
    /// Instructions, and what stands in their place; nothing, if that is empty.
    pub(super) changes: Vec<(String, String)>,
}

fn wrong<T>(what: impl Into<String>) -> io::Result<T> {
    Err(io::Error::other(what.into()))
}

fn expectation(word: &str) -> io::Result<&'static str> {
    match word.trim() {
        NEVER => Ok(NEVER),
        SOMETIMES => Ok(SOMETIMES),
        other => wrong(format!("neither never nor sometimes: {other:?}")),
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> io::Result<Template> {
        // A comment that ends with a semicolon goes on in the next line.
        let text = text.replace(";\n#", ";");
        let (head, body): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('#'));
        let field = |prefix: &'static str| {
            head.iter().filter_map(move |line| line[1..].trim().strip_prefix(prefix))
        };
        let Some(expect) = field("expect:").next() else { return wrong("expects nothing") };
        let mutants = field("mutant ").map(Mutant::parse).collect::<io::Result<Vec<_>>>()?;
        let body = body.join("\n");
        let parts = (|| {
            let (arch, rest) = body.trim_start().split_once('\n')?;
            let (init, rest) = rest.split_once('{')?.1.split_once('}')?;
            let (programs, condition) = rest.split_once("\nexists")?;
            Some((arch.split_whitespace().next()?, init, programs, condition))
        })();
        let Some((arch, init, programs, condition)) = parts else { return wrong("no litmus test") };
        let rows = programs.split(';').filter(|row| !row.trim().is_empty());
        let mut rows = rows.map(|row| row.split('|').map(str::trim));
        let width = rows.next().map_or(0, Iterator::count);
        let mut columns = vec![Vec::new(); width];
        for row in rows {
            for (column, cell) in row.enumerate() {
                match columns.get_mut(column) {
                    Some(_) if cell.is_empty() => {}
                    Some(program) => program.push(cell.to_owned()),
                    None => return wrong(format!("a cell too many: {cell}")),
                }
            }
        }
        let expect = expectation(expect)?;
        if expect == NEVER && !mutants.iter().any(|mutant| mutant.expect == SOMETIMES) {
            return wrong("nothing breaks this property: it may be empty");
        }
        Ok(Template {
            expect,
            mutants,
            arch: arch.to_owned(),
            init: init.trim().to_owned(),
            columns,
            condition: condition.trim().to_owned(),
        })
    }

    /// The same with one defect.
    pub(super) fn broken(&self, mutant: &Mutant) -> io::Result<Template> {
        let mut broken = self.clone();
        for (from, to) in &mutant.changes {
            let (program, from) = match from.split_once(": ") {
                Some((program, from)) => (program.strip_prefix('P'), from),
                None => (None, from.as_str()),
            };
            let program = program.and_then(|n| n.parse::<usize>().ok());
            let mut changed = 0;
            for (n, column) in broken.columns.iter_mut().enumerate() {
                if program.is_none_or(|program| program == n) {
                    for cell in column.iter_mut().filter(|cell| *cell == from) {
                        cell.clone_from(to);
                        changed += 1;
                    }
                }
                column.retain(|cell| !cell.is_empty());
            }
            if changed == 0 {
                return wrong(format!("mutant {}: no {from:?}", mutant.name));
            }
        }
        Ok(broken)
    }
}

impl Mutant {
    fn parse(line: &str) -> io::Result<Mutant> {
        let Some((head, changes)) = line.split_once(": ") else {
            return wrong(format!("a mutant without changes: {line}"));
        };
        let Some((name, expect)) = head.split_once(',') else {
            return wrong(format!("a mutant that expects nothing: {line}"));
        };
        let change = |change: &str| {
            change
                .split_once("=>")
                .map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned()))
                .ok_or_else(|| io::Error::other(format!("no change: {change}")))
        };
        Ok(Mutant {
            name: name.to_owned(),
            expect: expectation(expect)?,
            changes: changes.split(';').map(change).collect::<io::Result<_>>()?,
        })
    }
}
