//! Nonces that nothing is stored for (RFC 8489 §9.2): whoever holds the key can tell its own again.
//!
//! A nonce is the cookie `obMatJos2`, four characters of security features, and base64 of a timestamp, the
//! client's port and a truncated HMAC over all of it and the client's address. The port only makes nonces of
//! different clients differ; a nonce is good for its address from any port, for a client that opens another
//! socket. Time is the server's monotonic one, so that a clock that is set stales no nonce.

use crate::entropy::Entropy;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use std::net::{IpAddr, SocketAddr};

const COOKIE: &str = "obMatJos2";
const FEATURES_LEN: usize = 4;
const STAMP_LEN: usize = 6;
const MAC_LEN: usize = 8;
pub const KEY_LEN: usize = 32;
/// Characters of a nonce.
pub const NONCE_LEN: usize = 32;

/// How long one key makes nonces; afterwards it is still believed for as long again.
const KEY_LIFETIME_NS: u64 = 24 * 3600 * 1_000_000_000;

/// STUN security features (RFC 8489 §18.1), told in the nonce, so that nobody between can take them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Bit 0: PASSWORD-ALGORITHMS goes with this nonce.
    pub password_algorithms: bool,
    /// Bit 1: USERHASH is asked for.
    pub username_anonymity: bool,
}

impl Features {
    fn bits(self) -> [u8; 3] {
        let first =
            u8::from(self.password_algorithms) << 7 | u8::from(self.username_anonymity) << 6;
        [first, 0, 0]
    }

    /// What a nonce says of itself, ours or not (RFC 8489 §9.2.1).
    pub fn claimed(nonce: &str) -> Self {
        let coded = nonce
            .strip_prefix(COOKIE)
            .and_then(|c| c.get(..FEATURES_LEN));
        let mut bits = [0; 3];
        match coded.map(|coded| STANDARD.decode_slice(coded, &mut bits)) {
            Some(Ok(3)) => Self::of_bits(bits[0]),
            Some(_) | None => Self::default(),
        }
    }

    fn of_bits(first: u8) -> Self {
        Self {
            password_algorithms: first & 0x80 != 0,
            username_anonymity: first & 0x40 != 0,
        }
    }
}

/// The key that makes nonces, and the one before it.
pub struct NonceKeys {
    current: Key,
    previous: Option<Key>,
    made_ns: u64,
}

/// A key, and what it is made of, for the process that takes over.
#[derive(Clone)]
struct Key {
    hmac: hmac::Key,
    bytes: [u8; KEY_LEN],
}

impl Key {
    fn new(bytes: [u8; KEY_LEN]) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Self { hmac, bytes }
    }

    fn random(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; KEY_LEN];
        entropy.fill(&mut bytes);
        Self::new(bytes)
    }
}

impl NonceKeys {
    pub fn new(entropy: &mut dyn Entropy, now_ns: u64) -> Self {
        Self {
            current: Key::random(entropy),
            previous: None,
            made_ns: now_ns,
        }
    }

    /// Keys of another process, whose time is counted from the same beginning.
    pub fn of_bytes(current: [u8; KEY_LEN], previous: Option<[u8; KEY_LEN]>, made_ns: u64) -> Self {
        Self {
            current: Key::new(current),
            previous: previous.map(Key::new),
            made_ns,
        }
    }

    /// The keys in use and before, and when the first was made.
    pub fn bytes(&self) -> ([u8; KEY_LEN], Option<[u8; KEY_LEN]>, u64) {
        let previous = self.previous.as_ref().map(|key| key.bytes);
        (self.current.bytes, previous, self.made_ns)
    }

    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.made_ns) >= KEY_LIFETIME_NS
    }

    /// Makes a new key; nonces of the one in use stay good.
    pub fn rotate(&mut self, entropy: &mut dyn Entropy, now_ns: u64) {
        let current = std::mem::replace(&mut self.current, Key::random(entropy));
        self.previous = Some(current);
        self.made_ns = now_ns;
    }

    pub fn mint(&self, now_ns: u64, client: SocketAddr, features: Features) -> String {
        let mut tail = [0; STAMP_LEN + MAC_LEN];
        tail[..4].copy_from_slice(&seconds(now_ns).to_be_bytes());
        tail[4..STAMP_LEN].copy_from_slice(&client.port().to_be_bytes());
        let mac = mac(
            &self.current.hmac,
            features,
            &tail[..STAMP_LEN],
            client.ip(),
        );
        tail[STAMP_LEN..].copy_from_slice(&mac.as_ref()[..MAC_LEN]);
        let mut nonce = String::with_capacity(NONCE_LEN);
        nonce.push_str(COOKIE);
        STANDARD.encode_string(features.bits(), &mut nonce);
        STANDARD_NO_PAD.encode_string(tail, &mut nonce);
        debug_assert_eq!(nonce.len(), NONCE_LEN);
        nonce
    }

    /// False where a nonce is stale, another address's, or not ours. What it claims is then not to be believed.
    pub fn is_good(&self, nonce: &str, now_ns: u64, lifetime_s: u32, client: IpAddr) -> bool {
        let Some((stamp, found)) = decode(nonce) else {
            return false;
        };
        let features = Features::claimed(nonce);
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        if !keys.any(|key| is_mac(&key.hmac, features, &stamp, client, &found)) {
            return false;
        }
        let [s0, s1, s2, s3, _, _] = stamp;
        let made_s = u32::from_be_bytes([s0, s1, s2, s3]);
        // Another worker's reading of the clock may be a little ahead of this one's.
        seconds(now_ns).saturating_sub(made_s) < lifetime_s
    }
}

/// The stamp and the MAC of a nonce of this form. Another spelling of the same bits is refused.
fn decode(nonce: &str) -> Option<([u8; STAMP_LEN], [u8; MAC_LEN])> {
    let coded = nonce.strip_prefix(COOKIE)?;
    let (features, tail) = coded.split_at_checked(FEATURES_LEN)?;
    if features != STANDARD.encode(Features::claimed(nonce).bits()) {
        return None;
    }
    let mut bytes = [0; STAMP_LEN + MAC_LEN];
    let len = STANDARD_NO_PAD.decode_slice(tail, &mut bytes).ok()?;
    let (stamp, mac) = bytes.get(..len)?.split_first_chunk()?;
    Some((*stamp, mac.try_into().ok()?))
}

fn seconds(now_ns: u64) -> u32 {
    u32::try_from(now_ns / 1_000_000_000).unwrap_or(u32::MAX)
}

fn mac(key: &hmac::Key, features: Features, stamp: &[u8], client: IpAddr) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(&features.bits());
    context.update(stamp);
    match client {
        IpAddr::V4(ip) => context.update(&ip.octets()),
        IpAddr::V6(ip) => context.update(&ip.octets()),
    }
    context.sign()
}

fn is_mac(key: &hmac::Key, features: Features, stamp: &[u8], client: IpAddr, found: &[u8]) -> bool {
    let right = mac(key, features, stamp, client);
    let right = right.as_ref().get(..MAC_LEN).unwrap_or_default();
    constant_time::verify_slices_are_equal(right, found).is_ok()
}
