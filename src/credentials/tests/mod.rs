//! Every rule of the endpoint, with the time passed in. Tokens are signed here by hand: what verifies them has no part in it.

mod shapes;
mod tokens;

use super::result::Outcome;
use super::*;
use crate::entropy::Entropy;
use crate::time::Now;
use crate::turn::credentials::{TimeLimited, time_limited_password};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const NOW_S: u64 = 1_700_000_000;
const TOKEN: &str = "an-application-token";
const HS256: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn the_answer_is_a_credential_that_the_turn_server_takes() {
    let world = World::new();
    let answer = world.json("", r#"{"name":"alice","ttl":3600}"#);
    let username = answer["username"].as_str().expect("a name");
    let made = TimeLimited::parse(username).expect("expiry:name");
    assert_eq!((made.name, made.expires_s), ("alice", NOW_S + 3600));
    let password = time_limited_password(&server().secret, username);
    assert_eq!(answer["credential"], password);
    assert_eq!(answer["ttl"], 3600);
    assert_eq!(answer["expires"], NOW_S + 3600);
    assert_eq!(answer["realm"], "the realm");
    assert_eq!(
        answer["iceServers"],
        json!([{
            "urls": [
                "turn:relay.example.com:3478?transport=udp",
                "turn:relay.example.com:3478?transport=tcp",
                "turns:relay.example.com:443?transport=tcp",
            ],
            "username": username,
            "credential": password,
        }])
    );
}

#[test]
fn a_request_without_a_body_gets_the_default_and_a_name_of_its_expiry_alone() {
    let world = World::new();
    for body in ["", " \n", "{}", r#"{"name":null,"ttl":null}"#] {
        let answer = world.json("", body);
        assert_eq!(answer["username"], (NOW_S + 8 * 3600).to_string());
    }
}

#[test]
fn lifetimes_are_clamped_to_the_bounds() {
    let world = World::new();
    for (wish, given) in [
        (0, 60),
        (59, 60),
        (61, 61),
        (86_400, 86_400),
        (86_401, 86_400),
        (u64::MAX, 86_400),
    ] {
        let answer = world.json("", &format!(r#"{{"ttl":{wish}}}"#));
        assert_eq!(answer["ttl"], given, "{wish}");
    }
}

#[test]
fn names_are_visible_ascii_of_128_characters_at_most() {
    let world = World::new();
    let longest = "x".repeat(128);
    for good in ["a", "user:7", "a@b.example", &longest] {
        assert_eq!(
            world.body(&json!({ "name": good }).to_string()),
            200,
            "{good}"
        );
    }
    let too_long = "x".repeat(129);
    for bad in ["", " ", "a b", "a\n", "é", "a\u{7f}", &too_long] {
        assert_eq!(
            world.body(&json!({ "name": bad }).to_string()),
            400,
            "{bad:?}"
        );
        let token = sign("HS256", &json!({ "exp": NOW_S + 99, "sub": bad }));
        assert_eq!(world.token(&token), 400, "{bad:?}");
    }
}

#[test]
fn a_body_that_is_no_such_object_is_refused() {
    let world = World::new();
    for bad in [
        "x",
        "[]",
        r#"["alice",1,"azure"]"#,
        r#""alice""#,
        "{",
        r#"{"name":1}"#,
        r#"{"ttl":-1}"#,
        r#"{"ttl":1.5}"#,
        r#"{"ttl":"60"}"#,
        r#"{"TTL":60}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"vendor":"watchrtc"}"#,
        r#"{"vendor":"Azure"}"#,
        r#"{"vendor":""}"#,
        "{} {}",
    ] {
        assert_eq!(world.body(bad), 400, "{bad}");
    }
    assert_eq!(world.service.metrics().counted(Outcome::UnknownVendor), 3);
}

#[test]
fn a_body_is_json_by_its_type_and_an_empty_one_needs_none() {
    let world = World::new();
    let ask = |content_type, body| {
        let asked = world.ask(&Ask {
            content_type,
            body,
            ..Ask::default()
        });
        asked.status().as_u16()
    };
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(ask(Some(good), "{}"), 200, "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        assert_eq!(ask(Some(bad), "{}"), 415, "{bad}");
    }
    assert_eq!(ask(None, "{}"), 415);
    assert_eq!(ask(None, ""), 200);
}

#[test]
fn a_body_that_does_not_come_is_answered() {
    let world = World::new();
    for (fault, status) in [
        (BodyFault::TooLarge, 413),
        (BodyFault::TimedOut, 408),
        (BodyFault::Broken, 400),
    ] {
        let request = authorized().body(()).expect("a request");
        let Step::Body(pending) = world.begin(request, CLIENT, true, 0) else {
            panic!("the head is good");
        };
        assert_eq!(pending.finish(Err(fault)).status(), status);
    }
}

#[test]
fn other_methods_get_405_with_allow_and_cleartext_gets_403() {
    let world = World::new();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT] {
        let request = authorized().method(method);
        let response = world.send(request, b"", CLIENT, true, 0);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "POST, OPTIONS");
    }
    let response = world.send(authorized(), b"", CLIENT, false, 0);
    assert_eq!(response.status(), 403);
}

#[test]
fn the_path_is_the_endpoints_under_every_prefix_and_nowhere_else() {
    let world = World::new();
    for path in ["/credentials", "/azure/credentials", "/a/b/credentials"] {
        assert!(world.service.serves(path), "{path}");
    }
    for path in [
        "/",
        "/credentials/",
        "/credentials/x",
        "//credentials",
        "/xcredentials",
        "/other/credentials",
        "/azurecredentials",
        "/Credentials",
    ] {
        assert!(!world.service.serves(path), "{path}");
    }
    world.service.replace(None);
    assert!(!world.service.serves("/credentials"));
    assert_eq!(world.body("{}"), 404);
}

#[test]
fn an_address_that_asks_too_often_gets_429_good_token_or_bad_and_others_do_not() {
    let world = World::new();
    let bad = || Request::post(PATH);
    let ask = |request, client, at_ms| world.send(request, b"", client, true, at_ms).status();
    for _ in 0..5 {
        assert_eq!(ask(bad(), CLIENT, 0), 401);
        assert_eq!(ask(authorized(), CLIENT, 0), 200);
    }
    let refused = world.send(authorized(), b"", CLIENT, true, 0);
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(ask(bad(), CLIENT, 0), 429);
    assert_eq!(ask(authorized(), "::ffff:192.0.2.1", 0), 429);
    assert_eq!(ask(authorized(), "192.0.2.2", 0), 200);
    assert_eq!(ask(authorized(), CLIENT, 100), 200);
    assert_eq!(ask(authorized(), CLIENT, 100), 429);
    assert_eq!(ask(authorized(), CLIENT, 2000), 200);
    for _ in 0..10 {
        assert_eq!(ask(authorized(), "2001:db8::1", 0), 200);
    }
    assert_eq!(ask(authorized(), "2001:db8:0:ff::1", 0), 429);
    assert_eq!(ask(authorized(), "2001:db8:0:100::1", 0), 200);
}

#[test]
fn the_limit_survives_a_reload() {
    let world = World::new();
    for _ in 0..10 {
        assert_eq!(world.send(authorized(), b"", CLIENT, true, 0).status(), 200);
    }
    world.service.replace(Some((settings(), server())));
    assert_eq!(world.send(authorized(), b"", CLIENT, true, 0).status(), 429);
}

#[test]
fn refusals_are_json_with_their_label_and_no_cache_keeps_them() {
    let mut labels = std::collections::HashSet::new();
    for outcome in Outcome::ALL {
        assert!(labels.insert(outcome.label()));
        let response = super::result::refusal(*outcome);
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["error"], outcome.label());
        assert_eq!(body["message"], outcome.sentence());
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(
            response.headers()["content-length"],
            response.body().len().to_string()
        );
    }
}

#[test]
fn settings_show_no_secret() {
    let shown = format!("{:?} {:?}", settings(), server());
    assert!(!shown.contains(TOKEN) && !shown.contains(HS256), "{shown}");
    assert!(!shown.contains("turn secret"), "{shown}");
}

const CLIENT: &str = "192.0.2.1";

struct World {
    service: Arc<Service>,
    now: Now,
}

struct Ask<'a> {
    authorization: Option<&'a str>,
    content_type: Option<&'a str>,
    body: &'a str,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            authorization: Some("Bearer an-application-token"),
            content_type: None,
            body: "",
        }
    }
}

struct Seeds(u8);

impl Entropy for Seeds {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(37).wrapping_add(11);
            *byte = self.0;
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let now = Now::new(Instant::now(), Duration::from_secs(NOW_S));
        let service = Service::new(now, &mut Seeds(1));
        service.replace(Some((settings, server())));
        Self { service, now }
    }

    /// A request of its own client, so that no limit is met.
    fn ask(&self, ask: &Ask<'_>) -> Response<Bytes> {
        let mut request = Request::post(PATH);
        for (name, value) in [
            ("authorization", ask.authorization),
            ("content-type", ask.content_type),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let client = std::net::Ipv4Addr::from_bits(0x0b00_0000 + count).to_string();
        self.send(request, ask.body.as_bytes(), &client, true, 0)
    }

    fn body(&self, body: &str) -> u16 {
        let asked = self.ask(&Ask {
            content_type: Some("application/json"),
            body,
            ..Ask::default()
        });
        asked.status().as_u16()
    }

    fn token(&self, token: &str) -> u16 {
        let asked = self.ask(&Ask {
            authorization: Some(&format!("Bearer {token}")),
            ..Ask::default()
        });
        asked.status().as_u16()
    }

    /// The answer to a good request; an empty token is the application's.
    fn json(&self, token: &str, body: &str) -> Value {
        let token = if token.is_empty() { TOKEN } else { token };
        let asked = self.ask(&Ask {
            authorization: Some(&format!("Bearer {token}")),
            content_type: Some("application/json"),
            body,
        });
        assert_eq!(asked.status(), 200, "{body}: {:?}", asked.body());
        assert_eq!(asked.headers()["cache-control"], "no-store");
        serde_json::from_slice(asked.body()).expect("JSON")
    }

    fn begin(&self, request: Request<()>, client: &str, tls: bool, at_ms: u64) -> Step {
        let (parts, ()) = request.into_parts();
        self.service.begin(&Head {
            parts: &parts,
            client: client.parse().expect("an address"),
            tls,
            now: self.now.advanced(Duration::from_millis(at_ms)),
        })
    }

    fn send(
        &self,
        request: http::request::Builder,
        body: &[u8],
        client: &str,
        tls: bool,
        at_ms: u64,
    ) -> Response<Bytes> {
        let request = request.body(()).expect("a request");
        match self.begin(request, client, tls, at_ms) {
            Step::Answer(response) => response,
            Step::Body(pending) => pending.finish(Ok(Bytes::copy_from_slice(body))),
        }
    }
}

fn authorized() -> http::request::Builder {
    Request::post(PATH).header("authorization", format!("Bearer {TOKEN}"))
}

fn settings() -> Settings {
    Settings {
        tokens: vec![Secret::new("some-other-good-token"), Secret::new(TOKEN)],
        keys: vec![JwtKey::Hs256(Secret::new(HS256)), rs256_key(), es256_key()],
        ..Settings::default()
    }
}

fn server() -> Server {
    Server {
        domain: "relay.example.com".to_owned(),
        ipv4: Some(std::net::Ipv4Addr::new(203, 0, 113, 7)),
        realm: "the realm".to_owned(),
        secret: Secret::new("turn secret"),
        ports: Ports {
            udp: Some(3478),
            tcp: Some(3478),
            tls: Some(443),
        },
        prefixes: vec!["/azure".to_owned(), "/a/b".to_owned()],
    }
}

fn rs256_key() -> JwtKey {
    JwtKey::Rs256(PublicKey::rsa(&KEYS.rsa_info).expect("a good key"))
}

fn es256_key() -> JwtKey {
    JwtKey::Es256(PublicKey::p256(&KEYS.ec_info).expect("a good key"))
}

struct Keys {
    rsa: RsaKeyPair,
    rsa_info: Vec<u8>,
    ec: EcdsaKeyPair,
    ec_info: Vec<u8>,
}

impl Keys {
    fn rsa_pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.rsa_info);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    Keys {
        rsa_info: info(rsa.public_key()),
        ec_info: info(ec.public_key()),
        rsa,
        ec,
    }
});

fn info(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().expect("a public key").as_ref().to_vec()
}

fn rsa_info(size: rsa::KeySize) -> Vec<u8> {
    info(RsaKeyPair::generate(size).expect("a key").public_key())
}

fn ec_info_p384() -> Vec<u8> {
    let signing = &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate(signing).expect("a key");
    info(pair.public_key())
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(algorithm: &str, claims: &Value) -> String {
    sign_as(algorithm, algorithm, claims)
}

/// A token that names one algorithm and is signed with the key of another.
fn sign_as(named: &str, made: &str, claims: &Value) -> String {
    let head = encode(&json!({ "alg": named, "typ": "JWT" }));
    let signed = format!("{head}.{}", encode(claims));
    let random = SystemRandom::new();
    let signature = match made {
        "HS256" => return format!("{signed}.{}", hs256_of(HS256.as_bytes(), &signed)),
        "RS256" => {
            let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
            KEYS.rsa
                .sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .expect("a signature");
            signature
        }
        _ => {
            let signature = KEYS.ec.sign(&random, signed.as_bytes());
            signature.expect("a signature").as_ref().to_vec()
        }
    };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn sign_hs256(secret: &[u8], named: &str, claims: &Value) -> String {
    let head = encode(&json!({ "alg": named, "typ": "JWT" }));
    let signed = format!("{head}.{}", encode(claims));
    format!("{signed}.{}", hs256_of(secret, &signed))
}

fn hs256_of(secret: &[u8], signed: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
}
