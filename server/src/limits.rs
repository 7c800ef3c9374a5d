//! How often one token, and one address, may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::config::LimitConfig;
use crate::peer::network_of;
use crate::problem::{Code, Problem};
use crate::token::TokenId;

/// A burst may be this many times what one second allows.
const BURST: u32 = 10;

/// Counts requests in memory: each server its own.
pub struct Limits {
    tokens: DefaultKeyedRateLimiter<TokenId>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Limits {
    /// With the rates of the configuration.
    pub fn new(config: &LimitConfig) -> Self {
        Limits {
            tokens: DefaultKeyedRateLimiter::keyed(quota(config.token_requests)),
            addresses: DefaultKeyedRateLimiter::keyed(quota(config.address_requests)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request from an address, before anything else is done for it.
    pub fn address(&self, address: IpAddr) -> Result<(), Problem> {
        self.addresses.check_key(&network_of(address)).map_err(|not_until| self.refused(&not_until, "address"))
    }

    /// Counts a request with a token.
    pub fn token(&self, token: &TokenId) -> Result<(), Problem> {
        self.tokens.check_key(token).map_err(|not_until| self.refused(&not_until, "token"))
    }

    fn refused(&self, not_until: &governor::NotUntil<<DefaultClock as Clock>::Instant>, who: &str) -> Problem {
        let wait = not_until.wait_time_from(self.clock.now()).as_secs() + 1;
        Problem::new(Code::RateLimited, format!("too many requests from this {who}; wait {wait} s")).retry_after(wait)
    }

    /// Forgets those that were quiet for long enough, so that memory does not grow with the number of addresses.
    pub fn forget_quiet(&self) {
        self.tokens.retain_recent();
        self.addresses.retain_recent();
    }
}

fn quota(per_second: u32) -> Quota {
    let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST - 1));
    Quota::per_second(rate).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_more_is_not() {
        let limits = Limits::new(&LimitConfig { address_requests: 1, ..LimitConfig::default() });
        let address = IpAddr::from([1, 2, 3, 4]);
        let refused = (0..100).find_map(|count| limits.address(address).err().map(|problem| (count, problem)));
        let (count, problem) = refused.expect("is refused");
        assert!(count >= 10, "{count}");
        assert_eq!(problem.code, Code::RateLimited);
        assert!(problem.retry_after.is_some_and(|seconds| seconds >= 1));
        assert!(limits.address(IpAddr::from([1, 2, 3, 5])).is_ok());
    }
}
