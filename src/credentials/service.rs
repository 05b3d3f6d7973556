//! One request: is it ours, may it be asked so, not too often, by whom, for what; then a credential.
//!
//! The cheap checks come first, and everything that the head decides is decided before a byte of the body is read. The limit counts
//! every request, so that guessing tokens is as slow as using one.

use super::metrics::Metrics;
use super::request::{BodyFault, MediaType, Wish, is_name};
use super::result::{Outcome, json, refusal};
use super::shapes::{self, Made};
use super::token::{Grant, Verifier};
use super::{PATH, Server, Settings};
use crate::entropy::Entropy;
use crate::limits::{RateTable, SourcePrefix};
use crate::time::Now;
use crate::turn::credentials::time_limited_password;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Method, Response, request};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Client addresses that are told apart; beyond, the longest silent one makes room.
const SOURCES: usize = 1 << 14;

/// The endpoint, for all threads.
pub struct Service {
    current: ArcSwapOption<Compiled>,
    sources: RateTable,
    started: Instant,
    metrics: Metrics,
}

/// One set of settings, ready for use.
struct Compiled {
    settings: Settings,
    server: Server,
    verifier: Verifier,
}

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub parts: &'a request::Parts,
    pub client: IpAddr,
    pub tls: bool,
    pub now: Now,
}

/// What follows from the head.
pub enum Step {
    Answer(Response<Bytes>),
    /// Read the body, then [`Pending::finish`].
    Body(Pending),
}

/// A request whose bearer is known.
pub struct Pending {
    service: Arc<Service>,
    compiled: Arc<Compiled>,
    grant: Grant,
    media_type: MediaType,
    client: IpAddr,
    now: Now,
}

impl Service {
    /// Switched off until [`replace`](Self::replace).
    pub fn new(now: Now, entropy: &mut dyn Entropy) -> Arc<Self> {
        let mut seed = || {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            u64::from_ne_bytes(bytes)
        };
        let hasher = ahash::RandomState::with_seeds(seed(), seed(), seed(), seed());
        Arc::new(Self {
            current: ArcSwapOption::empty(),
            sources: RateTable::new(SOURCES, hasher),
            started: now.instant(),
            metrics: Metrics::default(),
        })
    }

    /// Puts other settings in force for the requests that come; `None` switches the endpoint off. The limits' counts stay.
    pub fn replace(&self, settings: Option<(Settings, Server)>) {
        let compile = |(settings, server)| {
            Arc::new(Compiled {
                verifier: Verifier::new(&settings),
                settings,
                server,
            })
        };
        self.current.store(settings.map(compile));
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether a path is the endpoint's, whatever the method.
    pub fn serves(&self, path: &str) -> bool {
        let Some(front) = path.strip_suffix(PATH) else {
            return false;
        };
        let current = self.current.load();
        let prefixes = |compiled: &Arc<Compiled>| {
            front.is_empty()
                || compiled
                    .server
                    .prefixes
                    .iter()
                    .any(|prefix| prefix == front)
        };
        current.as_ref().is_some_and(prefixes)
    }

    /// Judges everything but the body.
    pub fn begin(self: &Arc<Self>, head: &Head<'_>) -> Step {
        match self.judge(head) {
            Ok(pending) => Step::Body(pending),
            Err(outcome) => Step::Answer(self.refuse(outcome, head.client)),
        }
    }

    fn judge(self: &Arc<Self>, head: &Head<'_>) -> Result<Pending, Outcome> {
        let compiled = self.current.load_full().ok_or(Outcome::NotServed)?;
        if !head.tls {
            return Err(Outcome::TlsRequired);
        }
        if head.parts.method != Method::POST {
            return Err(Outcome::MethodNotAllowed);
        }
        if !self.admit(head, compiled.settings.requests_per_s_per_address) {
            return Err(Outcome::TooManyRequests);
        }
        let judged = compiled
            .verifier
            .judge(&head.parts.headers, head.now.unix_s());
        let grant = judged.map_err(|denial| {
            let reason = denial.label();
            tracing::debug!(target: "relayd::credentials", client = %head.client, reason, "token refused");
            Outcome::Unauthorized
        })?;
        let media_type = MediaType::of(&head.parts.headers);
        if media_type == MediaType::Other {
            return Err(Outcome::UnsupportedMediaType);
        }
        Ok(Pending {
            service: Arc::clone(self),
            compiled,
            grant,
            media_type,
            client: head.client,
            now: head.now,
        })
    }

    /// `per_s` at once, and then one for each share of a second.
    fn admit(&self, head: &Head<'_>, per_s: u32) -> bool {
        if per_s == 0 {
            return true;
        }
        let since = head.now.instant().saturating_duration_since(self.started);
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let interval_us = (1_000_000 / u64::from(per_s)).max(1);
        let source = SourcePrefix::of(head.client.to_canonical());
        self.sources
            .allow(&source, now_ns, interval_us, u64::from(per_s))
    }

    fn refuse(&self, outcome: Outcome, client: IpAddr) -> Response<Bytes> {
        self.metrics.count(outcome);
        tracing::debug!(target: "relayd::credentials", %client, result = outcome.label(), "no credential");
        refusal(outcome)
    }
}

impl Pending {
    /// Answers, once the body is there or is known not to come.
    pub fn finish(self, body: Result<Bytes, BodyFault>) -> Response<Bytes> {
        match self.issue(body) {
            Ok(response) => {
                self.service.metrics.count(Outcome::Issued);
                response
            }
            Err(outcome) => self.service.refuse(outcome, self.client),
        }
    }

    fn issue(&self, body: Result<Bytes, BodyFault>) -> Result<Response<Bytes>, Outcome> {
        let body = body.map_err(|fault| match fault {
            BodyFault::TooLarge => Outcome::BodyTooLarge,
            BodyFault::TimedOut => Outcome::BodyTimeout,
            BodyFault::Broken => Outcome::BadBody,
        })?;
        if !body.is_empty() && self.media_type != MediaType::Json {
            return Err(Outcome::UnsupportedMediaType);
        }
        let wish = Wish::parse(&body)?;
        let name = self.grant.name.as_deref().or(wish.name.as_deref());
        if !name.is_none_or(is_name) {
            return Err(Outcome::BadName);
        }
        let Compiled {
            settings, server, ..
        } = &*self.compiled;
        let now_s = self.now.unix_s();
        let ttl_s = ttl(settings, wish.ttl_s, &self.grant, now_s);
        let expires_s = now_s.saturating_add(ttl_s);
        let username = match name {
            Some(name) => format!("{expires_s}:{name}"),
            None => expires_s.to_string(),
        };
        let credential = time_limited_password(&server.secret, &username);
        let made = Made {
            username: &username,
            credential: &credential,
            ttl_s,
            expires_s,
        };
        let answer = shapes::answer(server, made, wish.vendor).ok_or(Outcome::VendorNotServed)?;
        tracing::info!(
            target: "relayd::credentials",
            client = %self.client,
            user = name,
            vendor = wish.vendor.map(shapes::Vendor::label),
            ttl_s,
            "credential"
        );
        Ok(json(Outcome::Issued, &answer))
    }
}

/// Seconds that a credential lasts: as wished, within the bounds, and never beyond the token that asks for it.
fn ttl(settings: &Settings, wish_s: Option<u64>, grant: &Grant, now_s: u64) -> u64 {
    let (low, high) = (u64::from(settings.ttl_min_s), u64::from(settings.ttl_max_s));
    let wished = wish_s.unwrap_or(u64::from(settings.ttl_s));
    let bounded = wished.min(high).max(low);
    let left = grant.until_s.map(|until| until.saturating_sub(now_s));
    left.map_or(bounded, |left| bounded.min(left))
}
