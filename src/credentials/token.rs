//! Who may ask: a configured bearer token (RFC 6750), or a JWT (RFC 7519) signed with a configured key.
//!
//! Tokens are compared by their SHA-256, all of them and in constant time, so that neither length nor position shows. A JWT is
//! verified with keys of its own algorithm only, each key having one: a public key is never taken for a shared secret (RFC 8725
//! §3.1), and `none` is no algorithm. `exp` is required.

use super::{JwtKey, Settings};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// A longer token is not looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the issuer's clock may be ahead, in seconds. A token that is over is over: its credentials would be, too.
const NOT_BEFORE_LEEWAY_S: u64 = 60;

/// What the bearer of a token may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// `sub` of a JWT: it goes before any name in the request.
    pub name: Option<String>,
    /// `exp` of a JWT, in seconds since 1970.
    pub until_s: Option<u64>,
}

/// Why a token is no good: for the debug log alone, a client is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    Missing,
    Malformed,
    Unknown,
    /// Signature, algorithm, issuer, audience or a claim's form.
    BadJwt,
    Critical,
    Expired,
    NotYet,
}

impl Denial {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Missing => "no bearer token",
            Self::Malformed => "malformed authorization",
            Self::Unknown => "unknown token",
            Self::BadJwt => "bad signature or claims",
            Self::Critical => "critical extension",
            Self::Expired => "expired",
            Self::NotYet => "not valid yet",
        }
    }
}

/// The settings, ready to judge.
pub(super) struct Verifier {
    tokens: Vec<[u8; 32]>,
    keys: Vec<Key>,
}

struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    sub: Option<String>,
}

impl Verifier {
    pub(super) fn new(settings: &Settings) -> Self {
        let tokens = settings.tokens.iter();
        Self {
            tokens: tokens.map(|token| sha256(token.expose())).collect(),
            keys: settings
                .keys
                .iter()
                .map(|key| Key::new(key, settings))
                .collect(),
        }
    }

    pub(super) fn judge(&self, headers: &HeaderMap, now_s: u64) -> Result<Grant, Denial> {
        let token = bearer(headers)?;
        if self.knows(token) {
            return Ok(Grant::default());
        }
        if self.keys.is_empty() || token.matches('.').count() != 2 {
            return Err(Denial::Unknown);
        }
        self.keys
            .iter()
            .find_map(|key| key.claims(token))
            .ok_or(Denial::BadJwt)?
            .and_then(|claims| claims.grant(now_s))
    }

    /// Compares with every token, whatever the first ones say.
    fn knows(&self, token: &str) -> bool {
        let hash = sha256(token);
        let equal = |known: &[u8; 32]| verify_slices_are_equal(known, &hash).is_ok();
        self.tokens
            .iter()
            .fold(false, |found, known| found | equal(known))
    }
}

impl Key {
    fn new(key: &JwtKey, settings: &Settings) -> Self {
        let (algorithm, decoding) = match key {
            JwtKey::Hs256(secret) => (
                Algorithm::HS256,
                DecodingKey::from_secret(secret.expose().as_bytes()),
            ),
            JwtKey::Rs256(key) => (Algorithm::RS256, DecodingKey::from_rsa_der(&key.0)),
            JwtKey::Es256(key) => (Algorithm::ES256, DecodingKey::from_ec_der(&key.0)),
        };
        let mut validation = Validation::new(algorithm);
        // The crate reads the system's clock; `Claims::grant` is given the time.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = vec!["exp"];
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            decoding,
            validation,
        }
    }

    /// `None`: not this key's token.
    fn claims(&self, token: &str) -> Option<Result<Claims, Denial>> {
        let decoded =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        // RFC 7515 §4.1.11: none of the extensions is understood here.
        if decoded.header.crit.is_some() {
            return Some(Err(Denial::Critical));
        }
        Some(Ok(decoded.claims))
    }
}

impl Claims {
    fn grant(self, now_s: u64) -> Result<Grant, Denial> {
        let until_s = seconds(self.exp).ok_or(Denial::BadJwt)?;
        if until_s <= now_s {
            return Err(Denial::Expired);
        }
        if let Some(from) = self.nbf {
            let from_s = seconds(from).ok_or(Denial::BadJwt)?;
            if from_s > now_s.saturating_add(NOT_BEFORE_LEEWAY_S) {
                return Err(Denial::NotYet);
            }
        }
        Ok(Grant {
            name: self.sub,
            until_s: Some(until_s),
        })
    }
}

/// NumericDate (RFC 7519 §2) may have a fraction.
fn seconds(date: f64) -> Option<u64> {
    let is_date = date.is_finite() && date >= 0.0;
    // The cast of a float saturates.
    is_date.then_some(date as u64)
}

/// RFC 6750 §2.1: one Authorization header, the scheme in any case, then the token.
fn bearer(headers: &HeaderMap) -> Result<&str, Denial> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (given.next(), given.next()) {
        (None, _) => return Err(Denial::Missing),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Denial::Malformed),
    };
    let value = value.to_str().map_err(|_| Denial::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(Denial::Malformed)?;
    let token = token.trim_matches(' ');
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denial::Missing);
    }
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(is_token) {
        return Err(Denial::Malformed);
    }
    Ok(token)
}

/// What a configured token may consist of, so that a client can send it (RFC 6750 §2.1).
pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
