//! The token: compared by its SHA-256 in constant time, and not compared at all for a source that has been wrong too often.

use crate::limits::{RateTable, SourcePrefix};
use crate::secret::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use std::net::IpAddr;
use std::time::Instant;

/// Wrong tokens of one source: so many at once, and then one for each interval.
const FAILURES_BURST: u64 = 10;
const FAILURE_INTERVAL_US: u64 = 500_000;
/// Sources that are told apart; beyond, the longest silent one makes room.
const SOURCES: usize = 4096;

/// How a request's token was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Judgement {
    Good,
    Missing,
    Wrong,
    /// Not looked at: this source has been wrong too often.
    Limited,
}

/// Judges tokens. Those of the settings change with them, the memory of failures stays.
#[derive(Debug)]
pub(super) struct Access {
    failures: RateTable,
    since: Instant,
}

/// A token, ready to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &Secret) -> Self {
        Self::of_bytes(token.expose().as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl Access {
    pub(super) fn new(since: Instant, seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(21), 1);
        Self {
            failures: RateTable::new(SOURCES, hasher),
            since,
        }
    }

    pub(super) fn judge(
        &self,
        token: TokenHash,
        headers: &HeaderMap,
        client: IpAddr,
        now: Instant,
    ) -> Judgement {
        let since = now.saturating_duration_since(self.since);
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let source = SourcePrefix::of(client.to_canonical());
        let (every, burst) = (FAILURE_INTERVAL_US, FAILURES_BURST);
        if self.failures.is_exhausted(&source, now_ns, every, burst) {
            return Judgement::Limited;
        }
        let judgement = match bearer(headers) {
            Some(given) if matches(token, given) => return Judgement::Good,
            Some(_) => Judgement::Wrong,
            None => Judgement::Missing,
        };
        self.failures.allow(&source, now_ns, every, burst);
        judgement
    }
}

fn matches(token: TokenHash, given: &[u8]) -> bool {
    verify_slices_are_equal(&token.0, &TokenHash::of_bytes(given).0).is_ok()
}

/// RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1). Two Authorization headers are none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next().map(HeaderValue::as_bytes), all.next()) else {
        return None;
    };
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn the_token_is_taken_in_one_well_formed_header_only() {
        let now = Instant::now();
        let token = TokenHash::of(&Secret::new("correct horse battery"));
        let judge = |values: &[&str]| {
            let access = Access::new(now, 1);
            access.judge(token, &headers(values), CLIENT, now)
        };
        assert_eq!(judge(&["Bearer correct horse battery"]), Judgement::Good);
        assert_eq!(judge(&["bearer correct horse battery"]), Judgement::Good);
        assert_eq!(judge(&["Bearer correct horse"]), Judgement::Wrong);
        for missing in [
            &[][..],
            &["Basic correct horse battery"],
            &["Bearer"],
            &["Bearer  "],
            &["Bearer x", "Bearer correct horse battery"],
        ] {
            assert_eq!(judge(missing), Judgement::Missing, "{missing:?}");
        }
    }

    #[test]
    fn a_source_that_is_wrong_too_often_is_not_heard_for_a_while_and_others_are() {
        let now = Instant::now();
        let access = Access::new(now, 1);
        let token = TokenHash::of(&Secret::new("correct horse battery"));
        let good = headers(&["Bearer correct horse battery"]);
        let bad = headers(&["Bearer guess"]);
        for _ in 0..FAILURES_BURST {
            assert_eq!(access.judge(token, &bad, CLIENT, now), Judgement::Wrong);
        }
        assert_eq!(access.judge(token, &good, CLIENT, now), Judgement::Limited);
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(access.judge(token, &good, other, now), Judgement::Good);
        let later = now + Duration::from_secs(10);
        assert_eq!(access.judge(token, &good, CLIENT, later), Judgement::Good);
    }
}
