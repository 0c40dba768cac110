//! What a machine is to do: one step a line, fields `key=value` between tabs.
//!
//! `name`, `limit` (seconds), `with` (`hotplug`, `limits`, or absent), `want` (the exit code of
//! success, 0 if absent), then any number of `env` (`NAME=VALUE`) and `arg` (the first is the
//! program).

/// What goes on around a step's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// Nothing.
    Nothing,
    /// CPUs go and come all the time.
    Hotplug,
    /// A control group that limits CPU time and CPUs.
    Limits,
}

/// One program, run once.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) limit: u64,
    pub(crate) with: With,
    pub(crate) want: i32,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) args: Vec<String>,
}

/// The steps of a plan, or the line that makes no sense.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    text.lines().filter(|line| !line.is_empty()).map(step).collect()
}

fn step(line: &str) -> Result<Step, String> {
    let mut step = Step {
        name: String::new(),
        limit: 120,
        with: With::Nothing,
        want: 0,
        env: Vec::new(),
        args: Vec::new(),
    };
    for field in line.split('\t') {
        let nonsense = || format!("{field:?} in {line:?}");
        let (key, value) = field.split_once('=').ok_or_else(nonsense)?;
        match (key, value) {
            ("name", _) => step.name = value.to_owned(),
            ("limit", _) => step.limit = value.parse().map_err(|_| nonsense())?,
            ("want", _) => step.want = value.parse().map_err(|_| nonsense())?,
            ("with", "hotplug") => step.with = With::Hotplug,
            ("with", "limits") => step.with = With::Limits,
            ("arg", _) => step.args.push(value.to_owned()),
            ("env", _) => {
                let (name, value) = value.split_once('=').ok_or_else(nonsense)?;
                step.env.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(nonsense()),
        }
    }
    if step.args.is_empty() { Err(format!("no program in {line:?}")) } else { Ok(step) }
}

#[cfg(test)]
mod tests {
    use super::{With, parse};

    #[test]
    fn a_plan() {
        let text = "name=a\targ=/t/x\targ=--y=z\n\nname=b\twith=hotplug\tlimit=7\twant=1\tenv=A=B=C\targ=/t/z\n";
        let steps = parse(text).unwrap();
        let [a, b] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((a.name.as_str(), a.limit, a.with), ("a", 120, With::Nothing));
        assert_eq!(a.args, ["/t/x", "--y=z"]);
        assert_eq!((b.limit, b.with, b.want), (7, With::Hotplug, 1));
        assert_eq!(b.env, [("A".to_owned(), "B=C".to_owned())]);
    }

    #[test]
    fn nonsense() {
        for text in ["name=a", "what=a\targ=b", "name=a\tlimit=x\targ=b", "arg", "env=A\targ=b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
