//! `[credentials]`: what switches the endpoint on, what it needs beside, and that no token or key is shown.

use super::*;
use crate::credentials::JwtKey;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What the endpoint needs beside its own table.
const BESIDE: &str = "[tls]\nself_signed = true\n[turn]\nauth_secret = \"shared\"\n";

#[test]
fn without_a_token_or_a_key_the_endpoint_is_off() {
    for text in [
        "",
        "[credentials]\n",
        "[credentials]\nttl = \"1h\"\ntokens = []\n",
    ] {
        let loaded = parse_text(&format!("{BESIDE}{text}")).unwrap_or_else(|r| panic!("{r}"));
        assert!(!loaded.config.credentials.is_on(), "{text}");
    }
}

#[test]
fn tokens_keys_claims_and_lifetimes_reach_their_settings() {
    let dir = key_dir();
    std::fs::write(dir.join("token"), "token-from-a-file\n").expect("a file");
    let text = format!(
        "{BESIDE}[credentials]\n\
         tokens = [\"file:token\", \"a-token-of-the-file-itself\"]\n\
         jwt_hs256 = \"0123456789abcdef0123456789abcdef\"\n\
         jwt_rs256 = \"file:rsa.pem\"\njwt_es256 = [\"ec.pem\"]\n\
         jwt_issuer = \"https://login.example.com/\"\njwt_audience = \"relay\"\n\
         ttl = \"30m\"\nttl_min = 1\nttl_max = \"2h\"\nrequests_per_second_per_address = 0\n"
    );
    let settings = parse_in(&dir, &text)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
        .credentials;
    let tokens: Vec<&str> = settings.tokens.iter().map(|t| t.expose()).collect();
    assert_eq!(tokens, ["token-from-a-file", "a-token-of-the-file-itself"]);
    let algorithms: Vec<&str> = settings.keys.iter().map(JwtKey::algorithm).collect();
    assert_eq!(algorithms, ["HS256", "RS256", "ES256"]);
    assert_eq!(
        settings.issuer.as_deref(),
        Some("https://login.example.com/")
    );
    assert_eq!(settings.audience.as_deref(), Some("relay"));
    let ttl = (settings.ttl_s, settings.ttl_min_s, settings.ttl_max_s);
    assert_eq!(ttl, (1800, 1, 7200));
    assert_eq!(settings.requests_per_s_per_address, 0);
    assert!(settings.is_on());
}

#[test]
fn what_cannot_be_a_token_or_a_key_is_refused_and_not_shown() {
    let dir = key_dir();
    for (line, message) in [
        ("tokens = \"S3CRET\"", "is too short"),
        ("tokens = \"S3CRET with a space in it\"", "cannot have"),
        ("tokens = 5", "wrong type"),
        ("jwt_hs256 = \"S3CRET-of-under-32-bytes\"", "is too short"),
        ("jwt_rs256 = \"none.pem\"", "cannot be read"),
        ("jwt_rs256 = \"ec.pem\"", "this is no RSA key"),
        ("jwt_es256 = \"file:rsa.pem\"", "this is no P-256 key"),
        ("jwt_es256 = \"private.pem\"", "without a usable public key"),
        (
            "jwt_es256 = \"-----BEGIN PUBLIC KEY-----S3CRET\"",
            "accepted: the path",
        ),
        (
            "ttl = \"0s\"\ntokens = \"0123456789abcdef\"",
            "out of range",
        ),
        ("jwt_hs26 = \"S3CRET\"", "did you mean `jwt_hs256`?"),
    ] {
        let text = format!("{BESIDE}[credentials]\n{line}\n");
        let report = parse_in(&dir, &text).expect_err(line).to_string();
        assert!(report.contains(message), "{line}: {report}");
        assert!(!report.contains("S3CRET"), "{line}: {report}");
    }
}

#[test]
fn the_endpoint_needs_a_shared_secret_and_a_certificate() {
    let on = "[credentials]\ntokens = \"0123456789abcdef\"\n";
    let report = parse_text(&format!("{SELF_SIGNED}{on}")).expect_err("no secret");
    assert!(
        report
            .to_string()
            .contains("no secret to make credentials with"),
        "{report}"
    );
    let clear = "[listen]\ntls = []\n[turn]\nauth_secret = \"shared\"\n";
    let report = parse_text(&format!("{clear}{on}")).expect_err("no certificate");
    assert!(
        report.to_string().contains("but there is no certificate"),
        "{report}"
    );
    parse_text(&format!("{BESIDE}{on}")).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn lifetimes_are_in_order() {
    for (lines, message) in [
        (
            "ttl = \"2d\"",
            "`credentials.ttl` is longer than `credentials.ttl_max`",
        ),
        (
            "ttl = 5",
            "`credentials.ttl` is shorter than `credentials.ttl_min`",
        ),
        (
            "ttl_min = \"2h\"\nttl_max = \"1h\"",
            "`credentials.ttl_min` is longer than `credentials.ttl_max`",
        ),
    ] {
        let text = format!("{BESIDE}[credentials]\n{lines}\n");
        let report = parse_text(&text).expect_err(lines);
        assert!(report.to_string().contains(message), "{report}");
    }
}

#[test]
fn a_route_cannot_take_the_endpoints_path() {
    let text = format!(
        "{BESIDE}[[proxy.route]]\nprefix = \"/credentials\"\nupstream = \"https://a.example/\"\n"
    );
    let report = parse_text(&text).expect_err("a path of relayd itself");
    assert!(report.to_string().contains("answers itself"), "{report}");
}

/// A directory with a public key of each kind, and a private one.
fn key_dir() -> PathBuf {
    let dir = fresh_dir();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let rsa: PublicKeyX509Der<'_> = rsa.public_key().as_der().expect("a public key");
    let info: PublicKeyX509Der<'_> = ec.public_key().as_der().expect("a public key");
    let private = ec.to_pkcs8v1().expect("a private key");
    for (name, label, der) in [
        ("rsa.pem", "PUBLIC KEY", rsa.as_ref()),
        ("ec.pem", "PUBLIC KEY", info.as_ref()),
        ("private.pem", "PRIVATE KEY", private.as_ref()),
    ] {
        let body = STANDARD.encode(der);
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        std::fs::write(dir.join(name), pem).expect("a file");
    }
    dir
}
