//! Who is let in.

use super::jwt::{Issuer, at, hs256, unsigned};
use super::web::message::Message;
use super::web::relayd::{Relayd, Setup};
use super::{ORIGIN, SECRET, TOKEN, ask, pair, serving, table};
use serde_json::json;

/// A server that knows the issuer's public keys, and its secret too if `shared`.
fn knowing(issuer: &Issuer, shared: bool) -> Relayd {
    let mut lines = "jwt_rs256 = \"file:rsa.pem\"\njwt_es256 = \"ec.pem\"\n\
                     requests_per_second_per_address = 0\njwt_issuer = \"login\"\njwt_audience = \"relay\"\n"
        .to_owned();
    if shared {
        lines.push_str(&format!("jwt_hs256 = {:?}\n", issuer.secret));
    }
    Relayd::start(Setup {
        tables: table(&lines),
        auth_secret: SECRET.to_owned(),
        files: vec![("rsa.pem", issuer.rsa_pem()), ("ec.pem", issuer.ec_pem())],
        ..Setup::default()
    })
}

#[test]
fn a_jwt_of_each_algorithm_gets_a_credential_in_its_subjects_name_that_ends_with_it() {
    let issuer = Issuer::new();
    let relayd = knowing(&issuer, true);
    for algorithm in ["HS256", "RS256", "ES256"] {
        let exp = at(900);
        let claims = json!({ "sub": "carol", "exp": exp, "iss": "login", "aud": ["x", "relay"] });
        let token = issuer.sign(algorithm, &claims);
        let answer = ask(&relayd, &token, r#"{"name":"mallory"}"#);
        assert_eq!(answer.status(), 200, "{algorithm}: {}", answer.text());
        let (username, _) = pair(&answer.json());
        assert_eq!(username, format!("{exp}:carol"));
    }
}

#[test]
fn no_bad_token_gets_a_credential_and_all_get_the_same_answer() {
    let issuer = Issuer::new();
    let relayd = knowing(&issuer, false);
    let claims = |exp: i64, nbf: i64, iss: &str, aud: &str| {
        let claims = json!({ "sub": "eve", "exp": exp, "nbf": nbf, "iss": iss, "aud": aud });
        issuer.sign("ES256", &claims)
    };
    let good = json!({ "sub": "eve", "exp": at(900), "iss": "login", "aud": "relay" });
    let none = format!("{}.", unsigned("none", &good));
    let stripped = issuer.sign("RS256", &good);
    let stripped = stripped.rsplit_once('.').expect("three parts").0;
    let bad = [
        "another-application-token".to_owned(),
        format!("{TOKEN}x"),
        claims(at(-1), 0, "login", "relay"),
        claims(at(900), at(600), "login", "relay"),
        claims(at(900), 0, "logout", "relay"),
        claims(at(900), 0, "login", "else"),
        issuer.sign(
            "ES256",
            &json!({ "sub": "eve", "iss": "login", "aud": "relay" }),
        ),
        Issuer::new().sign("ES256", &good),
        Issuer::new().sign("RS256", &good),
        // RFC 8725 §3.1: the public key as a shared secret, as the file has it.
        hs256(issuer.rsa_pem().as_bytes(), &good),
        hs256(issuer.rsa_pem().trim_end().as_bytes(), &good),
        hs256(issuer.secret.as_bytes(), &good),
        none,
        format!("{stripped}."),
        format!("{stripped}.AAAA"),
    ];
    let without = relayd.request("POST", "/credentials", &[], b"");
    assert_eq!(without.status(), 401);
    for token in &bad {
        let answer = ask(&relayd, token, "{}");
        assert_eq!(answer.status(), 401, "{token}");
        assert_eq!(answer.body, without.body, "{token}");
        assert_eq!(answer.one("www-authenticate"), Some("Bearer"));
    }
    let token = claims(at(900), at(-1), "login", "relay");
    assert_eq!(ask(&relayd, &token, "{}").status(), 200);
    let counted = |result| {
        let label = format!("result=\"{result}\"");
        relayd.metric("relayd_credentials_requests_total", &[&label])
    };
    assert_eq!(counted("unauthorized"), bad.len() as f64 + 1.0);
    assert_eq!(counted("issued"), 1.0);
}

#[test]
fn a_flood_of_guesses_is_answered_with_429_and_so_is_the_right_token_in_it() {
    let relayd = serving("requests_per_second_per_address = 1", "");
    let guess = "Bearer a-token-that-was-guessed";
    let answers = at_once(&relayd, guess, 50);
    let count = |status| answers.iter().filter(|a| a.status() == status).count();
    assert!(count(401) >= 1 && count(429) >= 1, "{answers:?}");
    assert_eq!(count(401) + count(429), 50, "{answers:?}");
    let answers = at_once(&relayd, &format!("Bearer {TOKEN}"), 50);
    let refused = answers.iter().find(|answer| answer.status() == 429);
    let refused = refused.expect("fifty at once are too many");
    assert_eq!(refused.one("retry-after"), Some("1"));
    assert_eq!(refused.one("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(refused.json()["error"], "too_many_requests");
}

#[test]
fn a_credential_leaves_one_line_in_the_log_and_no_token_or_password_in_it() {
    let relayd = serving("", "");
    let answer = ask(&relayd, TOKEN, r#"{"name":"dave","vendor":"azure"}"#).json();
    let (_, password) = pair(&answer);
    assert_eq!(ask(&relayd, "a-token-that-was-guessed", "{}").status(), 401);
    let line = relayd.wait_for_log("line of the credential", |line| {
        line.contains("relayd::credentials") && line.contains("dave")
    });
    assert!(line.contains("azure") && line.contains("ttl_s"), "{line}");
    relayd.wait_for_log("line of the refused request", |line| line.contains("401"));
    let log = relayd.log();
    for secret in [&password, TOKEN, SECRET, "a-token-that-was-guessed"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert_eq!(log.matches("dave").count(), 1, "{log}");
}

/// Sends all requests before it reads an answer.
fn at_once(relayd: &Relayd, authorization: &str, count: usize) -> Vec<Message> {
    let headers = [("Authorization", authorization), ("Origin", ORIGIN)];
    let mut client = relayd.connect();
    client.send(
        relayd
            .head("POST", "/credentials", &headers, 0)
            .repeat(count),
    );
    (0..count).map(|_| client.answer()).collect()
}
