//! The three ways a domain can work, and which of them this process gets.

use std::fmt;

/// How readers mark themselves and how a grace period orders against them.
///
/// Tiers are ordered: a lower one needs less of the kernel and costs readers more.
///
/// | tier | needs | a reader marks by | a grace period orders by |
/// |---|---|---|---|
/// | `Rseq` | registered rseq, `membarrier` with rseq, self-test | plain stores in sequences | one broadcast |
/// | `Membarrier` | `membarrier`, private expedited | one atomic add, no fence | one broadcast |
/// | `Fence` | nothing | one atomic add and a full fence | a full fence |
///
/// # Examples
///
/// ```
/// use stillpoint::Tier;
///
/// assert!(Tier::Fence < Tier::Membarrier && Tier::Membarrier < Tier::Rseq);
/// assert_eq!("fence".parse(), Ok(Tier::Fence));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Atomics and full fences on both sides.
    Fence,
    /// Atomics on the reader's side, a broadcast on the other.
    Membarrier,
    /// Restartable sequences.
    Rseq,
}

impl Tier {
    /// All tiers, highest first.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(stillpoint::Tier::ALL.is_sorted_by(|a, b| a > b));
    /// ```
    pub const ALL: [Tier; 3] = [Tier::Rseq, Tier::Membarrier, Tier::Fence];

    /// The name that `STILLPOINT_TIER` takes.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::Tier::Rseq.name(), "rseq");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Rseq => "rseq",
            Tier::Membarrier => "membarrier",
            Tier::Fence => "fence",
        }
    }

    #[cfg_attr(stillpoint_loom, allow(dead_code, reason = "the model has no environment"))]
    pub(crate) fn from_bytes(name: &[u8]) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.name().as_bytes() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The error of parsing a [`Tier`].
///
/// # Examples
///
/// ```
/// let error = "fast".parse::<stillpoint::Tier>().unwrap_err();
/// assert!(error.to_string().contains("fast"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTier(String);

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown tier {:?}: rseq, membarrier or fence", self.0)
    }
}

impl std::error::Error for UnknownTier {}

impl std::str::FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Tier, UnknownTier> {
        Tier::ALL
            .into_iter()
            .find(|tier| tier.name() == name)
            .ok_or_else(|| UnknownTier(name.to_owned()))
    }
}
