//! Settings of a new domain.

use super::domain::Domain;
use super::engine::Settings;
use crate::machine::Tier;
use crate::sync::const_unless_modelled;
use std::time::Duration;

/// Settings of a new [`Domain`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::Tier;
/// use stillpoint::rcu::Domain;
///
/// static ROUTES: Domain = Domain::builder()
///     .name("routes")
///     .limit(100_000)
///     .stall_timeout(Duration::from_secs(2))
///     .build();
///
/// // A domain for tests of the portable path, whatever the machine has.
/// static PORTABLE: Domain = Domain::builder().tier(Tier::Fence).build();
/// assert_eq!(PORTABLE.tier(), Tier::Fence);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DomainBuilder(Settings);

impl DomainBuilder {
    /// Forces a tier no higher than this one. The process's own tier
    /// ([`Machine::tier`](crate::Machine::tier)) bounds it as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{Tier, rcu::Domain};
    /// let domain = Domain::builder().tier(Tier::Membarrier).build();
    /// assert!(domain.tier() <= Tier::Membarrier);
    /// ```
    pub const fn tier(mut self, highest: Tier) -> DomainBuilder {
        self.0.ceiling = highest;
        self
    }

    /// A name for reports.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// static SESSIONS: Domain = Domain::builder().name("sessions").build();
    /// ```
    pub const fn name(mut self, name: &'static str) -> DomainBuilder {
        self.0.name = name;
        self
    }

    /// At most so many callbacks: see [`Domain::set_limit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::builder().limit(0).build();
    /// assert_eq!(domain.try_retire(1), Err(1));
    /// ```
    pub const fn limit(mut self, callbacks: u64) -> DomainBuilder {
        self.0.most_callbacks = callbacks;
        self
    }

    /// At most so many bytes of garbage: see [`Domain::set_limit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::builder().limit_bytes(4096).build();
    /// let guard = domain.read();
    /// assert_eq!(domain.try_retire([0_u8; 5000]).map_err(drop), Ok(()));
    /// assert!(domain.try_retire(0).is_err());
    /// ```
    pub const fn limit_bytes(mut self, bytes: u64) -> DomainBuilder {
        self.0.most_bytes = bytes;
        self
    }

    /// When a grace period counts as stalled: see [`Domain::set_stall_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::builder().stall_timeout(Duration::from_millis(500)).build();
    /// ```
    pub const fn stall_timeout(mut self, timeout: Duration) -> DomainBuilder {
        self.0.stall = timeout;
        self
    }

    const_unless_modelled! {
        /// The domain. Allocates nothing.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::Domain;
        /// let domain = Domain::builder().build();
        /// domain.synchronize();
        /// ```
        #[must_use]
        pub const fn build(self) -> Domain {
            Domain::with(self.0)
        }
    }
}

impl Domain {
    /// Settings for a domain that differs from [`Domain::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{Tier, rcu::Domain};
    /// static FENCES_ONLY: Domain = Domain::builder().tier(Tier::Fence).build();
    /// ```
    pub const fn builder() -> DomainBuilder {
        DomainBuilder(Settings::DEFAULT)
    }
}
