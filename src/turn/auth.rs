//! The long-term credential mechanism (RFC 8489 §9.2): who sent a request, and what a stranger is told.
//!
//! The nonce is checked before the credential, as RFC 5389 did: a credential is looked at only for somebody who
//! receives at the address it sends from, so that guesses can be counted per source. Whoever fails gets the
//! same 401, whatever was wrong. A request on a live allocation is held against the key that the allocation
//! was made with, so that it outlives its username's time and a reload.

use crate::limits::SourcePrefix;
use crate::stun::attributes::{
    NONCE, PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS, REALM, USERHASH, USERNAME,
};
use crate::stun::integrity::{Algorithm, userhash};
use crate::stun::{Message, Reply};
use crate::turn::Server;
use crate::turn::credentials::{Credential, KeyDerivation, candidates};
use crate::turn::nonce::Features;
use crate::turn::requests::Request;
use crate::turn::settings::{Settings, UserKey};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

/// RFC 8489 §14.3: fewer than 509 bytes; the limit of what is looked at.
const USERNAME_LEN_MAX: usize = 513;
/// RFC 8489 §14.9 and §14.10: at most 763 bytes.
const TEXT_LEN_MAX: usize = 763;
/// SHA-256 before MD5, the server's order of preference (RFC 8489 §18.5.1).
const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];
/// How long a source that authenticated is answered without limit, and a username counts as working there: 1 hour.
const AUTHENTICATED_US: u64 = 3_600_000_000;

/// How many authentications may fail at once, and the time that pays for one more.
struct FailureRate {
    burst: u64,
    interval_us: u64,
}

/// Of one username from one source.
const FAILURES: FailureRate = FailureRate {
    burst: 10,
    interval_us: 5_000_000,
};
/// Of a username that works from that source: many clients behind one address may share it, and one of them
/// with an old password must not lock the others out. Still too few to guess a password.
const FAILURES_WORKING: FailureRate = FailureRate {
    burst: 50,
    interval_us: 20_000,
};

/// An authenticated client.
#[derive(Debug)]
pub(super) struct Caller {
    pub username: String,
    pub credential: Credential,
    derivation: KeyDerivation,
    reply_algorithm: Algorithm,
}

impl Caller {
    /// What protects the answer.
    pub fn key(&self) -> Option<(Algorithm, &[u8])> {
        let key = self.credential.key(self.derivation)?;
        Some((self.reply_algorithm, key))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthFailure {
    Unauthorized,
    StaleNonce,
    BadRequest,
    /// Not looked at any more, and not answered.
    TooManyFailures,
}

/// What a challenge offers, and the usernames behind USERHASH.
#[derive(Debug)]
pub(super) struct Offer {
    features: Features,
    by_hash: OnceCell<HashMap<[u8; 32], Box<str>>>,
}

impl Offer {
    /// SHA-256 is offered only where every user can use it: an MD5 from the configuration cannot. USERHASH
    /// is asked for only where every username can be found by its hash: a time-limited one cannot.
    pub fn of(settings: &Settings) -> Self {
        let md5_only = |key: &UserKey| matches!(key, UserKey::Md5(_));
        Self {
            features: Features {
                password_algorithms: !settings.users.values().any(md5_only),
                username_anonymity: settings.auth_secrets.is_empty() && !settings.users.is_empty(),
            },
            by_hash: OnceCell::new(),
        }
    }

    fn username(&self, settings: &Settings, hash: &[u8]) -> Option<&str> {
        let by_hash = self.by_hash.get_or_init(|| {
            let names = settings.users.keys();
            names
                .map(|name| (userhash(name, &settings.realm), name.as_str().into()))
                .collect()
        });
        by_hash.get(hash).map(|name| &**name)
    }
}

impl Server {
    pub(super) fn authenticate(&self, request: &Request) -> Result<Caller, AuthFailure> {
        let message = &request.message;
        let Some(algorithm) = message.integrity() else {
            return Err(AuthFailure::Unauthorized);
        };
        let named = message.has(USERNAME) || message.has(USERHASH);
        if !named || !message.has(REALM) || !message.has(NONCE) {
            return Err(AuthFailure::BadRequest);
        }
        let nonce = message.text(NONCE, TEXT_LEN_MAX);
        let nonce = nonce.ok_or(AuthFailure::StaleNonce)?;
        let claimed = Features::claimed(nonce);
        let derivation = key_derivation(message, claimed).ok_or(AuthFailure::BadRequest)?;
        if !self.is_nonce_good(request, nonce) {
            return Err(AuthFailure::StaleNonce);
        }
        let username = self.username(request).ok_or(AuthFailure::Unauthorized)?;
        let source = SourcePrefix::of(request.client.five_tuple.client.ip());
        let protects = |credential: &Credential| {
            let key = credential.key(derivation);
            key.is_some_and(|key| message.is_protected_by(algorithm, key))
        };
        let credential = match self.allocation_credential(request, &username) {
            Some(credential) if protects(&credential) => credential,
            Some(_) | None => self.guess_credential(request, source, &username, protects)?,
        };
        let shared = &self.shared;
        shared.authenticated.touch(&source, request.now_ns);
        shared.working.touch(&(source, &*username), request.now_ns);
        Ok(Caller {
            username: username.into_owned(),
            credential,
            derivation,
            reply_algorithm: reply_algorithm(message),
        })
    }

    /// False when a stranger's source has had its answers of this second.
    pub(super) fn may_answer_stranger(&self, request: &Request) -> bool {
        let per_s = self.settings.limits.unauthenticated_per_s_per_address;
        let source = SourcePrefix::of(request.client.five_tuple.client.ip());
        let shared = &self.shared;
        per_s == 0
            || shared
                .authenticated
                .is_recent(&source, request.now_ns, AUTHENTICATED_US)
            || shared.unauthenticated.allow(
                &source,
                request.now_ns,
                1_000_000 / u64::from(per_s),
                u64::from(per_s),
            )
    }

    /// REALM, NONCE and, where SHA-256 is offered, PASSWORD-ALGORITHMS (RFC 8489 §9.2.4).
    pub(super) fn add_challenge(&mut self, request: &Request, reply: &mut Reply) {
        let client = request.client.five_tuple.client.socket_addr();
        let features = self.offer.features;
        let nonce = self
            .shared
            .mint_nonce(self.entropy.as_mut(), request.now_ns, client, features);
        reply.add_raw(REALM, self.settings.realm.as_bytes());
        reply.add_raw(NONCE, nonce.as_bytes());
        if features.password_algorithms {
            reply.add_raw(PASSWORD_ALGORITHMS, &ALGORITHMS);
        }
    }

    fn is_nonce_good(&self, request: &Request, nonce: &str) -> bool {
        let client = request.client.five_tuple.client.ip();
        let lifetime_s = self.settings.nonce_lifetime_s;
        self.shared
            .is_nonce_good(nonce, request.now_ns, lifetime_s, client)
    }

    /// From USERNAME, or from USERHASH where that is a known user's or the allocation's own.
    fn username<'a>(&'a self, request: &Request<'a>) -> Option<Cow<'a, str>> {
        let message = &request.message;
        if message.has(USERNAME) {
            return message.text(USERNAME, USERNAME_LEN_MAX).map(Cow::Borrowed);
        }
        let hash = message.value(USERHASH)?;
        let realm = message.text(REALM, TEXT_LEN_MAX)?;
        let slot = self.table.slot_of(&request.client.five_tuple);
        let held = slot.and_then(|slot| self.table.get(slot));
        let of_allocation = held
            .map(|allocation| &*allocation.username)
            .filter(|username| userhash(username, realm) == hash);
        of_allocation
            .or_else(|| self.offer.username(&self.settings, hash))
            .map(Cow::Borrowed)
    }

    /// What the allocation of this 5-tuple was made with, if it is this user's.
    fn allocation_credential(&self, request: &Request, username: &str) -> Option<Credential> {
        let slot = self.table.slot_of(&request.client.five_tuple);
        let held = slot.and_then(|slot| self.table.get(slot));
        held.filter(|allocation| &*allocation.username == username)
            .map(|allocation| allocation.credential.clone())
    }

    /// A configured credential that protects the request. Failures count against source and username, and
    /// past their limit nothing is looked at: a right guess among many wrong ones must not show.
    fn guess_credential(
        &self,
        request: &Request,
        source: SourcePrefix,
        username: &str,
        protects: impl Fn(&Credential) -> bool,
    ) -> Result<Credential, AuthFailure> {
        let now_ns = request.now_ns;
        let pair = (source, username);
        let working = self
            .shared
            .working
            .is_recent(&pair, now_ns, AUTHENTICATED_US);
        let guess = (pair, working);
        let FailureRate { burst, interval_us } = if working { FAILURES_WORKING } else { FAILURES };
        let failures = &self.shared.failures;
        if failures.is_exhausted(&guess, now_ns, interval_us, burst) {
            return Err(AuthFailure::TooManyFailures);
        }
        let in_realm = request.message.value(REALM) == Some(self.settings.realm.as_bytes());
        candidates(&self.settings, username, request.now.unix_s())
            .filter(|_| in_realm)
            .find(protects)
            .ok_or_else(|| {
                failures.allow(&guess, now_ns, interval_us, burst);
                AuthFailure::Unauthorized
            })
    }
}

/// RFC 8489 §9.2.4, third check; `None` is 400: somebody between has changed what was offered or chosen.
fn key_derivation(message: &Message, features: Features) -> Option<KeyDerivation> {
    if !features.password_algorithms {
        return Some(KeyDerivation::Md5);
    }
    let offered = message.value(PASSWORD_ALGORITHMS);
    let chosen = message.value(PASSWORD_ALGORITHM);
    match (offered, chosen) {
        (None, None) => Some(KeyDerivation::Md5),
        (Some(offered), Some([0, 1, 0, 0])) if offered == ALGORITHMS => Some(KeyDerivation::Md5),
        (Some(offered), Some([0, 2, 0, 0])) if offered == ALGORITHMS => Some(KeyDerivation::Sha256),
        (Some(_), _) | (_, Some(_)) => None,
    }
}

/// MESSAGE-INTEGRITY answers a client that does not know of PASSWORD-ALGORITHMS (RFC 8489 §9.2.4, end).
fn reply_algorithm(message: &Message) -> Algorithm {
    if message.has(PASSWORD_ALGORITHM) || message.has(PASSWORD_ALGORITHMS) {
        Algorithm::Sha256
    } else {
        Algorithm::Sha1
    }
}
