//! `[credentials]`: who may ask the server for time-limited credentials, and how long they last.

use crate::config::section::{At, Item, Table, Wrong};
use crate::config::{Surroundings, secrets, values};
use crate::credentials::{JwtKey, KEYS_MAX, KeyError, PublicKey, Settings};
use crate::secret::Secret;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use std::ops::Range;

/// 16 characters of 64 kinds are 96 bits.
const TOKEN_BYTES_MIN: usize = 16;
/// RFC 7518 §3.2: the key of HS256 is no shorter than its hash.
const HS256_BYTES_MIN: usize = 32;
const CLAIM_BYTES_MAX: usize = 1024;
const YEAR_S: u32 = 365 * 86_400;

pub(in crate::config) struct Credentials {
    pub settings: Settings,
    /// The place of what switches the endpoint on; `None`: it is off.
    pub on: Option<Range<usize>>,
    pub ttl: At<u32>,
    pub ttl_min: At<u32>,
    pub ttl_max: At<u32>,
}

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Credentials {
    let defaults = Settings::default();
    let tokens = table.list("tokens", |item| token(item, around));
    let hs256 = keys(table, "jwt_hs256", |item| hs256(item, around));
    let rs256 = keys(table, "jwt_rs256", |item| {
        public_key(item, around, PublicKey::rsa).map(JwtKey::Rs256)
    });
    let es256 = keys(table, "jwt_es256", |item| {
        public_key(item, around, PublicKey::p256).map(JwtKey::Es256)
    });
    let claim = |key: &str| {
        let read = table.read(key, |item| values::plain_text(item, CLAIM_BYTES_MAX));
        read.map(|claim| claim.value)
    };
    let seconds = |key: &str, default: u32| {
        let read = table.read(key, values::seconds_u32(1..=YEAR_S));
        read.unwrap_or_else(|| At::absent(default))
    };
    let ttl = seconds("ttl", defaults.ttl_s);
    let ttl_min = seconds("ttl_min", defaults.ttl_min_s);
    let ttl_max = seconds("ttl_max", defaults.ttl_max_s);
    let on = ["tokens", "jwt_hs256", "jwt_rs256", "jwt_es256"]
        .into_iter()
        .filter_map(|key| table.item(key))
        .find(|item| !item.is_empty())
        .map(|item| item.span);
    let settings = Settings {
        tokens: plain(tokens),
        keys: [hs256, rs256, es256].concat(),
        issuer: claim("jwt_issuer"),
        audience: claim("jwt_audience"),
        ttl_s: ttl.value,
        ttl_min_s: ttl_min.value,
        ttl_max_s: ttl_max.value,
        requests_per_s_per_address: table
            .read(
                "requests_per_second_per_address",
                values::integer(0..=1_000_000),
            )
            .map_or(defaults.requests_per_s_per_address, |n| n.value),
    };
    Credentials {
        settings,
        on,
        ttl,
        ttl_min,
        ttl_max,
    }
}

fn plain<T>(list: Option<At<Vec<At<T>>>>) -> Vec<T> {
    let values = list.map(|list| list.value).unwrap_or_default();
    values.into_iter().map(|item| item.value).collect()
}

fn keys(
    table: &Table<'_>,
    key: &str,
    parse: impl Fn(&Item<'_>) -> Result<JwtKey, Wrong>,
) -> Vec<JwtKey> {
    let keys = plain(table.list(key, parse));
    if let Some(item) = table.item(key).filter(|_| keys.len() > KEYS_MAX) {
        item.report(Wrong::new(
            "has too many keys",
            format!("accepted: {KEYS_MAX} at most; each is tried on every token"),
        ));
    }
    keys
}

/// What a client can send in an Authorization header (RFC 6750 §2.1), and nobody guesses.
fn token(item: &Item<'_>, around: &Surroundings<'_>) -> Result<Secret, Wrong> {
    let token = secrets::secret(item, around)?;
    let sendable = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !token.expose().bytes().all(sendable) {
        return Err(Wrong::new(
            "has characters that a bearer token cannot have",
            "accepted: letters, digits and -._~+/= (RFC 6750 §2.1)",
        ));
    }
    long_enough(&token, TOKEN_BYTES_MIN, "")?;
    Ok(token)
}

fn hs256(item: &Item<'_>, around: &Surroundings<'_>) -> Result<JwtKey, Wrong> {
    let secret = secrets::secret(item, around)?;
    if secret.expose().contains("-----BEGIN") {
        return Err(Wrong::new(
            "holds a key in PEM",
            "HS256 has a shared secret, which signs tokens as well as it verifies them",
        )
        .help("name a public key in `jwt_rs256` or `jwt_es256`"));
    }
    long_enough(&secret, HS256_BYTES_MIN, " (RFC 7518 §3.2)")?;
    Ok(JwtKey::Hs256(secret))
}

fn long_enough(secret: &Secret, bytes_min: usize, source: &str) -> Result<(), Wrong> {
    if secret.expose().len() >= bytes_min {
        return Ok(());
    }
    Err(Wrong::new(
        "is too short",
        format!("accepted: {bytes_min} bytes at least{source}"),
    )
    .help("put the output of `openssl rand -hex 32` there"))
}

/// A PEM file with one public key; `file:` before its path is accepted.
fn public_key(
    item: &Item<'_>,
    around: &Surroundings<'_>,
    parse: impl Fn(&[u8]) -> Result<PublicKey, KeyError>,
) -> Result<PublicKey, Wrong> {
    let path = secrets::readable_file(item, around)?;
    let unusable = |label: String| {
        Wrong::new("names a file without a usable public key", label).help(
            "the file holds PEM: -----BEGIN PUBLIC KEY-----, such as the output of `openssl pkey -in private.pem -pubout`",
        )
    };
    let info = SubjectPublicKeyInfoDer::from_pem_file(&path)
        .map_err(|_| unusable(format!("{} holds none", path.display())))?;
    parse(&info).map_err(|error| unusable(error.to_string()))
}
