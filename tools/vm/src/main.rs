//! Runs the tests on other kernels, architectures and shapes of machine, under full emulation.
//!
//! And under memory models: `litmus` asks herd7 about the orderings, which no emulator shows.
//!
//! Kernels, emulator and compilers come from Debian's archive; what a machine cannot get is a
//! printed skip, or, if nothing works without it, an error.
//!
//! Exit codes: 0, all passed; 1, something failed; 2, wrong usage; 77, this machine cannot do any
//! of it.

mod archive;
mod bundle;
mod guest;
mod kernels;
mod litmus;
mod matrix;
mod plain;
mod report;
mod run;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Boots other machines under emulation and runs the tests there.
#[derive(Debug, Parser)]
#[command(name = "vm")]
struct Options {
    /// Where packages, kernels, builds and logs are kept
    #[arg(long, default_value = "target/vm", global = true)]
    cache: PathBuf,

    /// A kernel image with the time-slice extension, which no distribution has
    #[arg(long, env = "STILLPOINT_SLICE_KERNEL", global = true)]
    slice_kernel: Option<PathBuf>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints the names of all machines; an asterisk marks those of `run --short`
    List,
    /// Boots machines, prints a line for each
    Run(Which),
    /// Writes the table of all machines, each as of its last run, between the marks in a file
    Report {
        /// Such as docs/testing.md
        file: PathBuf,
    },
    /// Builds the programs of the machines, prints name and file of each
    Build {
        /// Of which architecture
        #[arg(value_enum)]
        arch: kernels::Arch,

        /// For which C library
        #[arg(long, value_enum, default_value_t = bundle::Libc::Static)]
        libc: bundle::Libc,

        /// These only, such as doctor or rcu; all of them without any
        programs: Vec<String>,
    },
    /// Builds and runs the portable tiers for architectures without sequences, here, under user
    /// emulation, or booted
    Plain {
        /// Their names; all of them without any
        names: Vec<String>,

        /// Only those that CI has time for
        #[arg(long)]
        short: bool,

        /// Under their own kernels and full emulation, those that have one
        #[arg(long, conflicts_with = "short")]
        booted: bool,
    },
    /// Runs the litmus tests through herd7: the orderings under the architectures' formal models
    Litmus,
    /// Fetches the newest CRIU, prints the command that runs it
    Criu,
    /// Boots one machine for one program of the bundle, and prints all it says
    Boot(Single),
}

/// One machine, one program.
#[derive(Debug, clap::Args)]
struct Single {
    /// A label of the matrix: x86-6.12, arm-7, ...
    #[arg(value_parser = kernel)]
    kernel: &'static kernels::Kernel,

    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,

    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    nodes: u32,

    /// Counts instructions, of 2^SHIFT ns each: another SHIFT is another schedule, the same one
    /// repeats it exactly
    #[arg(long, value_name = "SHIFT", value_parser = clap::value_parser!(u8).range(0..=7))]
    counted: Option<u8>,

    /// Runs the CPUs side by side, each in a thread of its own
    #[arg(long, conflicts_with = "counted")]
    parallel: bool,

    #[arg(long, value_enum, default_value_t = bundle::Libc::Static)]
    libc: bundle::Libc,

    /// Words of the kernel's command line
    #[arg(long)]
    words: Vec<String>,

    /// The program: doctor, torture, torture-broken, or a test such as rcu
    program: String,

    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn kernel(label: &str) -> Result<&'static kernels::Kernel, String> {
    kernels::named(label).ok_or_else(|| {
        let labels: Vec<_> = kernels::KERNELS.iter().map(|kernel| kernel.label).collect();
        format!("one of {}", labels.join(", "))
    })
}

impl Single {
    fn row(&self) -> matrix::Row {
        let mode = match self.counted {
            Some(shift) => guest::Mode::Counted(shift),
            None if self.parallel => guest::Mode::Parallel,
            None => guest::Mode::Plain,
        };
        matrix::Row {
            cpus: self.cpus,
            nodes: self.nodes,
            mode,
            libc: self.libc,
            words: self.words.clone(),
            online: self.cpus,
            steps: vec![matrix::step(&self.program, &self.args.join(" "))],
            ..matrix::of(self.kernel)
        }
    }
}

/// Which machines, and what to do about them.
#[derive(Debug, Default, clap::Args)]
struct Which {
    /// Those whose name contains one of these words; all of them without any
    words: Vec<String>,

    /// Only those that CI has time for
    #[arg(long)]
    short: bool,

    /// How many at a time [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Fetches and builds what they need, boots none
    #[arg(long)]
    prepare: bool,

    /// Prints what each machine said
    #[arg(long)]
    verbose: bool,
}

impl Which {
    fn chooses(&self, row: &matrix::Row) -> bool {
        let named = self.words.is_empty() || self.words.iter().any(|word| row.name.contains(word));
        named && (row.short || !self.short)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match work(&options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<u8> {
    match &options.verb {
        Verb::List => {
            for row in matrix::rows() {
                let mark = if row.short { '*' } else { ' ' };
                let (shape, libc) = (row.shape_name(), row.libc_name());
                println!("{mark} {:32} {shape}, {}, {libc}", row.name, row.mode.name());
            }
            Ok(0)
        }
        Verb::Run(which) => {
            let rows: Vec<_> = matrix::rows().into_iter().filter(|r| which.chooses(r)).collect();
            if rows.is_empty() {
                eprintln!("vm: no machine of that name; see `list`");
                return Ok(2);
            }
            run::run(options, &rows, which)
        }
        Verb::Build { arch, libc, programs } => run::build(options, *arch, *libc, programs),
        Verb::Report { file } => run::report(options, file),
        Verb::Litmus => run::litmus(options),
        Verb::Criu => run::criu(options),
        Verb::Plain { names, short, booted } => {
            let all = plain::PLAIN.iter().filter(|plain| plain.own_kernel.is_some() || !booted);
            let known: Vec<_> = all.map(|plain| plain.name).collect();
            if !names.iter().all(|name| known.contains(&name.as_str())) {
                eprintln!("vm: one of {}", known.join(", "));
                return Ok(2);
            }
            run::with_cache(options, |cache| {
                plain::run(cache, *booted, |plain| {
                    let named = names.is_empty() || names.iter().any(|name| name == plain.name);
                    named && known.contains(&plain.name) && (plain.short || !short)
                })
            })
        }
        Verb::Boot(single) => {
            let which = Which { verbose: true, ..Which::default() };
            run::run(options, &[single.row()], &which)
        }
    }
}
