//! The commands on the pages name what there is: packages, examples, benchmarks, tests, programs,
//! features. That they do what the pages say is for `.ci/run`, which runs the more important ones.

#[path = "support/code.rs"]
mod code;
#[path = "support/pages.rs"]
mod pages;

use code::Code;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// A package of the workspace.
#[derive(Debug, Default)]
struct Package {
    /// By kind: `example`, `bench`, `test`, `bin`.
    targets: BTreeMap<String, BTreeSet<String>>,
    features: BTreeSet<String>,
    /// What a command without `-p` looks at.
    is_default: bool,
}

impl Package {
    fn has(&self, kind: &str, name: &str) -> bool {
        self.targets.get(kind).is_some_and(|names| names.contains(name))
    }
}

type Workspace = BTreeMap<String, Package>;

fn workspace() -> Workspace {
    let output = Command::new(env!("CARGO"))
        .current_dir(pages::root())
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let default = list(&metadata["workspace_default_members"]);
    let package = |value: &Value| {
        let mut targets = BTreeMap::<_, BTreeSet<_>>::new();
        for target in list(&value["targets"]) {
            for kind in list(&target["kind"]) {
                targets.entry(text(&kind)).or_default().insert(text(&target["name"]));
            }
        }
        let features = value["features"].as_object().unwrap().keys().cloned().collect();
        Package { targets, features, is_default: default.contains(&value["id"]) }
    };
    list(&metadata["packages"]).iter().map(|value| (text(&value["name"]), package(value))).collect()
}

/// The commands of a piece of code, each as words: what stands before the first comment, pipe or
/// the like. Of what stands in a sentence, a command is what begins with `cargo`.
fn commands(code: &Code) -> Vec<Vec<String>> {
    let is_shell = |language: &str| ["sh", "console", "bash", "shell"].contains(&language);
    match &code.language {
        Some(language) if !is_shell(language) => return Vec::new(),
        None if !code.text.starts_with("cargo ") => return Vec::new(),
        _ => {}
    }
    let mut commands = Vec::new();
    for line in code.text.replace("\\\n", " ").replace(['(', ')'], " ").lines() {
        let words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        let words: Vec<_> = words.take_while(|word| !word.starts_with('#')).collect();
        let is_between = |word: &&str| ["|", "||", "&", "&&", ";", ">", "<"].contains(word);
        for words in words.split(|word| is_between(word)) {
            // Behind `VARIABLE=value`, `env`, `$`.
            if let Some(at) = words.iter().position(|word| *word == "cargo") {
                commands.push(words[at..].iter().copied().map(str::to_owned).collect());
            }
        }
    }
    commands
}

/// What is wrong with a command.
fn faults(workspace: &Workspace, command: &[String]) -> Vec<String> {
    let (mut packages, mut targets, mut features) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = command[1..].iter().flat_map(|word| match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => vec![option, value],
        _ => vec![word.as_str()],
    });
    let subcommand = words.next().unwrap_or_default();
    let mut is_for_all = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word {
            // What follows is the program's.
            "--" => break,
            "-p" | "--package" => packages.push(value()),
            "--workspace" => is_for_all = true,
            "--example" | "--bench" | "--test" | "--bin" => {
                targets.push((word.trim_start_matches('-'), value()));
            }
            "--features" => features.extend(value().split(',')),
            _ => {}
        }
    }
    let mut faults = Vec::new();
    for name in packages.iter().filter(|name| !workspace.contains_key(**name)) {
        faults.push(format!("there is no package {name}"));
    }
    let is_meant = |(name, package): &(&String, &Package)| {
        is_for_all
            || if packages.is_empty() {
                package.is_default
            } else {
                packages.contains(&name.as_str())
            }
    };
    let meant: Vec<_> = workspace.iter().filter(is_meant).map(|(_, package)| package).collect();
    if meant.is_empty() {
        return faults;
    }
    for (kind, name) in &targets {
        if !meant.iter().any(|package| package.has(kind, name)) {
            faults.push(format!("there is no {kind} {name}"));
        }
    }
    for feature in features {
        let is_there = match feature.split_once('/') {
            Some((of, feature)) => {
                workspace.get(of).is_some_and(|of| of.features.contains(feature))
            }
            None => meant.iter().any(|package| package.features.contains(feature)),
        };
        if !is_there {
            faults.push(format!("there is no feature {feature}"));
        }
    }
    let programs =
        || meant.iter().filter_map(|package| package.targets.get("bin")).flatten().count();
    if subcommand == "run" && targets.is_empty() && programs() != 1 {
        faults.push(format!("{} programs to run", programs()));
    }
    faults
}

#[test]
fn commands_name_what_there_is() {
    let workspace = workspace();
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for (path, page) in pages::all() {
        for command in code::pieces(&page).iter().flat_map(commands) {
            looked_at += 1;
            for fault in faults(&workspace, &command) {
                wrong.push(format!("{}: `{}`: {fault}", path.display(), command.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at >= 50, "only {looked_at} commands were looked at");
    println!("{looked_at} commands");
}

/// Commands as they stand on pages, with one thing wrong in each.
#[test]
fn what_is_wrong_is_noticed() {
    let workspace = workspace();
    let found = |language: Option<&str>, text: &str| {
        let code = Code { language: language.map(str::to_owned), text: text.to_owned() };
        let commands = commands(&code);
        let faults = commands.iter().flat_map(|command| faults(&workspace, command));
        (commands.len(), faults.collect::<Vec<_>>())
    };
    for (right, wrong, fault) in [
        ("cargo run -p vm -- list", "cargo run -p wm -- list", "there is no package wm"),
        (
            "cargo run --release --example gateway   # the main job",
            "cargo run --release --example getaway   # the main job",
            "there is no example getaway",
        ),
        (
            "cargo bench --bench map -- get",
            "cargo bench --bench mop -- get",
            "there is no bench mop",
        ),
        ("A=1 cargo test --test stress", "A=1 cargo test --test stres", "there is no test stres"),
        ("cargo test --test=stress", "cargo test --test=stres", "there is no test stres"),
        ("cargo test \\\n  --test rcu", "cargo test \\\n  --test rco", "there is no test rco"),
        ("x=$(cargo run -p vm --bin vm)", "x=$(cargo run -p vm --bin v)", "there is no bin v"),
        ("cargo bench -p benches --bench map", "cargo bench -p vm --bench map", "no bench map"),
        ("cargo test --features log,metrics", "cargo test --features log,matrics", "matrics"),
        ("cargo run -p torture", "cargo run -p guide", "0 programs to run"),
        ("cargo doc --open -p stillpoint", "cargo doc --open -p stilpoint", "package stilpoint"),
    ] {
        assert_eq!(found(Some("sh"), right), (1, Vec::<String>::new()), "{right}");
        let (count, faults) = found(Some("sh"), wrong);
        assert_eq!((count, faults.len()), (1, 1), "{wrong}: {faults:?}");
        assert!(faults[0].contains(fault), "{wrong}: {faults:?}");
    }
    // What is the program's, what is no command, and two in one line.
    assert_eq!(found(Some("sh"), "cargo run -p vm -- --example none").1, Vec::<String>::new());
    assert_eq!(found(Some("rust"), "cargo run -p none").0, 0);
    assert_eq!(found(None, "the cargo run of -p none").0, 0);
    assert_eq!(found(None, "cargo run -p none").1.len(), 1);
    assert_eq!(found(Some("sh"), "cargo build && cargo run -p none | tee log").0, 2);
}
