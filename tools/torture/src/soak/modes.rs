//! What may be broken on purpose.

use clap::ValueEnum;

/// Deliberate defects, each of which must be noticed.
macro_rules! modes {
    ($($(#[$doc:meta])+ $mode:ident: $mutant:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        pub(crate) enum Mode {
            $($(#[$doc])+ $mode,)*
            /// The books count some callbacks twice: a defect of this tool, for its own check
            DoubleCallback,
        }

        /// Breaks the library.
        #[cfg(stillpoint_mutants)]
        fn choose(mode: Mode) {
            use stillpoint::mutant::{Mutant, choose};
            match mode {
                $(Mode::$mode => choose(Mutant::$mutant),)*
                Mode::DoubleCallback => {}
            }
        }
    };
}

modes! {
    /// A grace period waits for nobody
    NoWait: NoWait;
    /// A callback runs before its grace period
    EarlyCallback: EarlyCallback;
    /// A wait takes the grace period in progress for its own
    NoRoundUp: NoRoundUp;
    /// A grace period sends no broadcast (needs two CPUs)
    NoBroadcast: NoBroadcast;
    /// One callback in a hundred is never run
    LostCallback: LostCallback;
    /// A barrier does not wait for the last grace period
    BarrierEarly: BarrierEarly;
    /// A cookie counts as complete one grace period too soon
    PollEarly: PollEarly;
    /// Who waits for a grace period that others lead is not woken
    LostWakeup: LostWakeup;
}

impl Mode {
    /// True for what shows only where two CPUs race for nanoseconds.
    pub(crate) fn needs_duel(self) -> bool {
        self == Mode::NoBroadcast
    }
}

/// True if this process is broken in this way.
#[cfg(not(stillpoint_mutants))]
pub(crate) fn broken(_: Mode) -> bool {
    false
}

#[cfg(stillpoint_mutants)]
static CHOSEN: std::sync::OnceLock<Mode> = std::sync::OnceLock::new();

#[cfg(stillpoint_mutants)]
pub(crate) fn broken(mode: Mode) -> bool {
    CHOSEN.get() == Some(&mode)
}

/// Breaks this process.
#[cfg(stillpoint_mutants)]
pub(crate) fn enter(mode: Mode) {
    CHOSEN.get_or_init(|| mode);
    choose(mode);
}

/// Builds the binary that can be broken, and becomes it. The library of this one has no switches.
#[cfg(not(stillpoint_mutants))]
pub(crate) fn enter(_: Mode) {
    let error = become_broken().expect_err("exec returned");
    eprintln!("torture: {error}");
    std::process::exit(2);
}

#[cfg(not(stillpoint_mutants))]
fn become_broken() -> Result<std::convert::Infallible, String> {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    let here = std::env::current_exe().map_err(|e| format!("where am I? {e}"))?;
    // target/release/torture: profile and target directory of the other one as well.
    let profile = here.parent().ok_or("no folder around me")?;
    let target = profile.parent().ok_or("no folder around my folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(["build", "--quiet", "--package", "torture-broken", "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/broken/Cargo.toml"));
    build.arg("--target-dir").arg(target);
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => {}
        Some(name) => {
            build.args(["--profile", name]);
        }
        None => return Err("not in a folder of cargo's".to_owned()),
    }
    eprintln!("torture: building torture-broken, the same tool over a library with defects");
    let status = build.status().map_err(|e| format!("{}: {e}", cargo.display()))?;
    if !status.success() {
        return Err(format!("building torture-broken: {status}"));
    }
    let broken = profile.join("torture-broken");
    let error = Command::new(&broken).args(std::env::args_os().skip(1)).exec();
    Err(format!("{}: {error}", broken.display()))
}
