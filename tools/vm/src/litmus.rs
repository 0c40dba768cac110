//! Runs the templates of `litmus/` through herd7, once for each place where the broadcast's
//! interrupts may fall. The notation: `litmus/README.md`.

mod expand;
mod template;

use std::io;
use std::path::Path;
use std::process::Command;
use template::Template;

/// What became of a property, or of one of its mutants.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The file's name; for a mutant, a dot and its own behind it.
    pub(crate) name: String,
    /// What should come out: `never` in no place, or `sometimes` in at least one.
    pub(crate) expect: &'static str,
    /// In how many places the interrupts were tried, until it was certain.
    pub(crate) positions: usize,
    /// True if that came out.
    pub(crate) held: bool,
    /// The last place, and what herd7 said of it.
    pub(crate) said: String,
}

pub(crate) const NEVER: &str = "never";
pub(crate) const SOMETIMES: &str = "sometimes";

/// Runs every template of `dir`. `herd7` is the command, with its arguments.
///
/// # Errors
///
/// If a template is wrong, herd7 cannot be run, or it says nothing of what it was asked.
pub(crate) fn run(herd7: &[String], dir: &Path) -> io::Result<Vec<Outcome>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "litmus"));
    paths.sort();
    let mut outcomes = Vec::new();
    for path in paths {
        let of_file = |e: io::Error| io::Error::other(format!("{}: {e}", path.display()));
        let template = Template::parse(&std::fs::read_to_string(&path)?).map_err(of_file)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found = check(herd7, name.clone(), template.expect, &template).map_err(of_file)?;
        outcomes.push(found);
        for mutant in &template.mutants {
            let broken = template.broken(mutant).map_err(of_file)?;
            let name = format!("{name}.{}", mutant.name);
            outcomes.push(check(herd7, name, mutant.expect, &broken).map_err(of_file)?);
        }
    }
    Ok(outcomes)
}

/// Runs a test, in place after place, until its expectation is certain to be met or missed.
fn check(
    herd7: &[String],
    name: String,
    expect: &'static str,
    test: &Template,
) -> io::Result<Outcome> {
    let mut outcome =
        Outcome { name, expect, positions: 0, held: expect == NEVER, said: String::new() };
    for place in test.places() {
        outcome.positions += 1;
        let observed = observe(herd7, &test.interrupted_at(&place)?)?;
        outcome.said = if place.is_empty() {
            observed
        } else {
            format!("interrupts before {place:?}: {observed}")
        };
        // Anything else is `Sometimes` or `Always`.
        if !outcome.said.contains(" Never ") {
            outcome.held = expect == SOMETIMES;
            break;
        }
    }
    Ok(outcome)
}

/// What herd7 says of one test.
fn observe(herd7: &[String], test: &str) -> io::Result<String> {
    let Some((program, arguments)) = herd7.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let file = std::env::temp_dir().join(format!("stillpoint-{}.litmus", std::process::id()));
    std::fs::write(&file, test)?;
    // It may stop at the first run that meets the condition.
    let output =
        Command::new(program).args(arguments).args(["-speedcheck", "fast"]).arg(&file).output();
    std::fs::remove_file(&file)?;
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find(|line| line.starts_with("Observation ")) {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("herd7: {text}{errors}of:\n{test}")))
        }
    }
}
