//! JWTs signed by hand: what verifies them has no part in it.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// An issuer with a key of every kind.
pub struct Issuer {
    pub secret: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Issuer {
    pub fn new() -> Self {
        Self {
            secret: "0123456789abcdef0123456789abcdef".to_owned(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        }
    }

    pub fn rsa_pem(&self) -> String {
        pem(self.rsa.public_key())
    }

    pub fn ec_pem(&self) -> String {
        pem(self.ec.public_key())
    }

    /// `header.claims.signature` by the algorithm that is named.
    pub fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let signed = unsigned(algorithm, claims);
        let random = SystemRandom::new();
        let signature = match algorithm {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &random,
                        signed.as_bytes(),
                        &mut signature,
                    )
                    .expect("a signature");
                signature
            }
            "ES256" => {
                let signature = self.ec.sign(&random, signed.as_bytes());
                signature.expect("a signature").as_ref().to_vec()
            }
            _ => return hs256(self.secret.as_bytes(), claims),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub fn hs256(secret: &[u8], claims: &Value) -> String {
    let signed = unsigned("HS256", claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// `header.claims`.
pub fn unsigned(algorithm: &str, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({ "alg": algorithm, "typ": "JWT" });
    format!("{}.{}", encode(&head), encode(claims))
}

/// Seconds since 1970, `from_now` later or earlier.
pub fn at(from_now: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("after 1970").as_secs();
    i64::try_from(now).expect("a time of this age") + from_now
}

fn pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    let der = key.as_der().expect("a public key");
    let body = STANDARD.encode(der.as_ref());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}
