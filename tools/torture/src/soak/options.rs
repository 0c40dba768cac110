//! What the user asks for.

use super::callbacks::FLOOD;
use super::modes::Mode;
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, Reclaimer};

/// Readers of every kind against every way to update, until something is wrong or time is up.
///
/// Exits with 0 if nothing was wrong, with 1 and the evidence if something was, with 2 if it was
/// asked nonsense.
#[derive(Clone, Debug, Parser)]
#[command(name = "torture")]
pub(crate) struct Options {
    /// The domain's tier: rseq, membarrier or fence [default: the best that this process has]
    #[arg(long)]
    tier: Option<Tier>,

    /// Torture the global domain, whose readers enter by a shorter way
    #[arg(long, conflicts_with = "tier")]
    pub(crate) global: bool,

    /// How long, in seconds
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// Seed of every thread's choices [default: random, and printed]
    ///
    /// The choices of each thread repeat; how the threads interleave does not.
    #[arg(long, default_value_t = fastrand::u64(..), hide_default_value = true)]
    pub(crate) seed: u64,

    /// Reader threads [default: two per CPU, at least four]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    readers: Option<u8>,

    /// Threads that only ask for grace periods
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(crate) fakes: u8,

    /// How long a single wait may take before it counts as a stall, in seconds [default: 30, or 8
    /// with --break]
    #[arg(long, value_parser = some_seconds)]
    stall: Option<Duration>,

    /// How long one reader and one writer, alone on a CPU each, fight first, in seconds
    /// [default: a tenth of --seconds; with --break, all or nothing]
    #[arg(long, value_parser = seconds)]
    duel: Option<Duration>,

    /// Who runs callbacks when nobody retires any more
    #[arg(long, value_enum, default_value_t = Reclaiming::Thread)]
    pub(crate) reclaimer: Reclaiming,

    /// The most callbacks that a single flood queues
    #[arg(long, default_value_t = 100_000, value_parser = floods())]
    pub(crate) flood: u64,

    /// Break the library on purpose: builds another binary, which must exit with 1
    #[arg(long = "break", value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
}

/// The kinds of [`Reclaimer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reclaiming {
    /// The library's own thread
    Thread,
    /// A new thread for each session
    Custom,
    /// Nobody
    Disabled,
}

impl Reclaiming {
    pub(crate) fn install(self) {
        let reclaimer = match self {
            Reclaiming::Thread => Reclaimer::Thread,
            Reclaiming::Custom => Reclaimer::Custom(Box::new(|session| {
                // Dropped, if there is no thread to be had: the next retirer asks again.
                let _ = std::thread::Builder::new().spawn(move || session.run());
            })),
            Reclaiming::Disabled => Reclaimer::Disabled,
        };
        reclaimer.install();
    }
}

fn floods() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=FLOOD as u64)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let time = Duration::try_from_secs_f64(number).map_err(|e| e.to_string())?;
    let years = Duration::from_hours(24 * 365 * 10);
    if time <= years { Ok(time) } else { Err("longer than ten years".to_owned()) }
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time.is_zero() { Err("no time at all".to_owned()) } else { Ok(time) }
}

impl Options {
    /// From the command line. Exits with 2 if that makes no sense.
    pub(crate) fn get() -> Options {
        let options = Options::parse();
        let wanted = options.tier();
        // A lower tier than the process's may be missing too.
        if Domain::builder().tier(wanted).build().tier() != wanted {
            let machine = stillpoint::machine();
            let (has, why) = (machine.tier(), machine.reason());
            let message = format!("no tier {wanted} here: this process has {has} ({why})\n");
            Options::command().error(ErrorKind::ValueValidation, message).exit();
        }
        options
    }

    pub(crate) fn tier(&self) -> Tier {
        self.tier.unwrap_or(stillpoint::machine().tier())
    }

    pub(crate) fn readers(&self) -> usize {
        self.readers.map_or_else(|| (2 * super::cpus::allowed().len()).clamp(4, 64), usize::from)
    }

    pub(crate) fn stall(&self) -> Duration {
        self.stall.unwrap_or(Duration::from_secs(if self.mode.is_some() { 8 } else { 30 }))
    }

    pub(crate) fn duel(&self) -> Duration {
        self.duel.unwrap_or(match self.mode {
            // The crowd is to find it.
            Some(mode) if !mode.needs_duel() => Duration::ZERO,
            Some(_) => self.seconds,
            None => self.seconds / 10,
        })
    }
}
