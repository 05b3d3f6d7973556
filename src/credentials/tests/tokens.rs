//! Who is let in.

use super::*;

/// RFC 6750 §3, RFC 9110 §11.6.1.
#[test]
fn every_bad_token_gets_the_same_401() {
    let world = World::new();
    let expired = sign("HS256", &json!({ "exp": NOW_S }));
    let bad = [
        None,
        Some("Basic YTpi".to_owned()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer another-application-token".to_owned()),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {TOKEN} {TOKEN}")),
        Some(format!("Bearer {}", "x".repeat(9000))),
        Some("Bearer a.b.c".to_owned()),
        Some(format!("Bearer {expired}")),
    ];
    let mut answers = bad.iter().map(|authorization| {
        let response = world.ask(&Ask {
            authorization: authorization.as_deref(),
            ..Ask::default()
        });
        assert_eq!(response.status(), 401, "{authorization:?}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.into_body()
    });
    let first = answers.next().expect("an answer");
    assert!(answers.all(|answer| answer == first));
}

#[test]
fn the_scheme_is_bearer_in_any_case_and_two_headers_are_refused() {
    let world = World::new();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {TOKEN}");
        let asked = world.ask(&Ask {
            authorization: Some(&authorization),
            ..Ask::default()
        });
        assert_eq!(asked.status(), 200, "{scheme}");
    }
    let request = Request::post(PATH)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(world.send(request, b"", CLIENT, true, 0).status(), 401);
}

/// RFC 7519 §4.1.4: the credential of a token is over when the token is.
#[test]
fn a_credential_ends_with_the_jwt_that_asked_for_it_even_below_the_least_lifetime() {
    let world = World::new();
    for (left, wish, given) in [(30, "3600", 30), (7200, "3600", 3600), (7200, "null", 7200)] {
        let token = sign("HS256", &json!({ "exp": NOW_S + left, "sub": "u" }));
        let answer = world.json(&token, &format!(r#"{{"ttl":{wish}}}"#));
        assert_eq!(answer["ttl"], given);
    }
}

#[test]
fn the_subject_of_a_jwt_goes_before_the_name_in_the_body() {
    let world = World::new();
    let token = sign("HS256", &json!({ "exp": NOW_S + 9999, "sub": "auth0|42" }));
    let answer = world.json(&token, r#"{"name":"mallory"}"#);
    let username = answer["username"].as_str().expect("a name");
    assert!(username.ends_with(":auth0|42"), "{username}");
    let without = sign("HS256", &json!({ "exp": NOW_S + 9999 }));
    let answer = world.json(&without, r#"{"name":"alice"}"#);
    let username = answer["username"].as_str().expect("a name");
    assert!(username.ends_with(":alice"), "{username}");
}

#[test]
fn tokens_of_all_three_algorithms_are_verified() {
    let world = World::new();
    for algorithm in ["HS256", "RS256", "ES256"] {
        let token = sign(algorithm, &json!({ "exp": NOW_S + 60 }));
        assert_eq!(world.token(&token), 200, "{algorithm}");
        let mut forged = token.clone().into_bytes();
        let claims_at = token.find('.').expect("three parts") + 3;
        forged[claims_at] ^= 1;
        let forged = String::from_utf8(forged).expect("ASCII");
        assert_eq!(world.token(&forged), 401, "{algorithm}");
        let (unsigned, _) = token.rsplit_once('.').expect("three parts");
        assert_eq!(world.token(&format!("{unsigned}.")), 401, "{algorithm}");
    }
}

/// RFC 8725 §3.1: the algorithm is the key's, not the token's.
#[test]
fn a_public_key_is_no_shared_secret_and_none_is_no_algorithm() {
    let claims = json!({ "exp": NOW_S + 60 });
    let world = World::with(Settings {
        keys: vec![rs256_key(), es256_key()],
        ..settings()
    });
    let raw_rsa = PublicKey::rsa(&KEYS.rsa_info).expect("a good key").0;
    for secret in [
        KEYS.rsa_info.as_slice(),
        &raw_rsa,
        KEYS.rsa_pem().as_bytes(),
    ] {
        let token = sign_hs256(secret, "HS256", &claims);
        assert_eq!(world.token(&token), 401);
    }
    for algorithm in ["none", "None", "HS384", "RS384", "ES384", ""] {
        let head = encode(&json!({ "alg": algorithm, "typ": "JWT" }));
        let body = encode(&claims);
        assert_eq!(world.token(&format!("{head}.{body}.")), 401, "{algorithm}");
        let token = sign_hs256(HS256.as_bytes(), algorithm, &claims);
        assert_eq!(world.token(&token), 401, "{algorithm}");
    }
    // A signature of one algorithm under the name of another.
    for (named, made) in [("RS256", "ES256"), ("ES256", "RS256"), ("HS256", "RS256")] {
        let token = sign_as(named, made, &claims);
        assert_eq!(world.token(&token), 401, "{made} as {named}");
    }
}

#[test]
fn a_token_of_a_key_that_is_not_configured_is_refused() {
    let world = World::with(Settings {
        keys: vec![es256_key()],
        ..settings()
    });
    for algorithm in ["HS256", "RS256"] {
        let token = sign(algorithm, &json!({ "exp": NOW_S + 60 }));
        assert_eq!(world.token(&token), 401, "{algorithm}");
    }
}

#[test]
fn each_of_several_keys_verifies_its_own_tokens() {
    let other = "another secret of thirty-two bytes";
    let world = World::with(Settings {
        keys: vec![
            JwtKey::Hs256(Secret::new(other)),
            JwtKey::Hs256(Secret::new(HS256)),
        ],
        ..settings()
    });
    let claims = json!({ "exp": NOW_S + 60 });
    for secret in [other, HS256] {
        let token = sign_hs256(secret.as_bytes(), "HS256", &claims);
        assert_eq!(world.token(&token), 200);
    }
}

/// RFC 7519 §4.1.4, §4.1.5.
#[test]
fn a_token_needs_an_exp_ahead_and_an_nbf_behind_with_a_minutes_leeway() {
    let world = World::new();
    let ask = |claims: Value| world.token(&sign("HS256", &claims));
    assert_eq!(ask(json!({ "exp": NOW_S + 1 })), 200);
    assert_eq!(ask(json!({ "exp": NOW_S as f64 + 1.5 })), 200);
    for exp in [
        json!(NOW_S),
        json!(NOW_S - 1),
        json!(0),
        json!(-1),
        json!("1800000000"),
        json!(null),
        json!([NOW_S + 60]),
    ] {
        assert_eq!(ask(json!({ "exp": exp })), 401, "{exp}");
    }
    assert_eq!(ask(json!({ "sub": "alice" })), 401);
    let nbf = |nbf: Value| ask(json!({ "exp": NOW_S + 999, "nbf": nbf }));
    for good in [json!(NOW_S), json!(0), json!(NOW_S + 60)] {
        assert_eq!(nbf(good.clone()), 200, "{good}");
    }
    for bad in [json!(NOW_S + 61), json!(-5), json!("0"), json!(1e300)] {
        assert_eq!(nbf(bad.clone()), 401, "{bad}");
    }
    assert_eq!(ask(json!({ "exp": NOW_S + 60, "sub": 7 })), 401);
    assert_eq!(ask(json!({ "exp": 1e15 })), 200);
    assert_eq!(ask(json!({ "exp": 1e300 })), 401);
}

#[test]
fn issuer_and_audience_are_what_the_settings_ask_for() {
    let claims = |iss: Value, aud: Value| {
        let mut claims = json!({ "exp": NOW_S + 60 });
        for (key, value) in [("iss", iss), ("aud", aud)] {
            if !value.is_null() {
                claims[key] = value;
            }
        }
        sign("HS256", &claims)
    };
    let strict = World::with(Settings {
        issuer: Some("https://login.example.com/".to_owned()),
        audience: Some("relay".to_owned()),
        ..settings()
    });
    let (iss, aud) = (json!("https://login.example.com/"), json!("relay"));
    assert_eq!(strict.token(&claims(iss.clone(), aud.clone())), 200);
    assert_eq!(
        strict.token(&claims(iss.clone(), json!(["x", "relay"]))),
        200
    );
    for (bad_iss, bad_aud) in [
        (json!(null), aud.clone()),
        (iss.clone(), json!(null)),
        (json!("https://login.example.com"), aud.clone()),
        (iss.clone(), json!("relay2")),
        (iss.clone(), json!([])),
        (json!(7), aud.clone()),
    ] {
        let token = claims(bad_iss.clone(), bad_aud.clone());
        assert_eq!(strict.token(&token), 401, "{bad_iss} {bad_aud}");
    }
    // RFC 7519 §4.1.3: a token for somebody else is refused by who has no name.
    let open = World::new();
    assert_eq!(open.token(&claims(iss, json!(null))), 200);
    assert_eq!(open.token(&claims(json!(null), aud)), 401);
}

/// RFC 7515 §4.1.11.
#[test]
fn a_token_with_a_critical_extension_is_refused() {
    let world = World::new();
    let head = encode(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }));
    let signed = format!("{head}.{}", encode(&json!({ "exp": NOW_S + 60 })));
    let token = format!("{signed}.{}", hs256_of(HS256.as_bytes(), &signed));
    assert_eq!(world.token(&token), 401);
}

#[test]
fn keys_of_the_wrong_kind_or_size_are_refused() {
    let made = rsa_info(rsa::KeySize::Rsa3072);
    assert!(PublicKey::rsa(&made).is_ok());
    assert_eq!(PublicKey::rsa(&KEYS.ec_info), Err(KeyError::NotRsa));
    assert_eq!(PublicKey::p256(&KEYS.rsa_info), Err(KeyError::NotP256));
    assert_eq!(PublicKey::p256(&ec_info_p384()), Err(KeyError::NotP256));
    for bad in [&b""[..], b"x", &KEYS.rsa_info[..100]] {
        assert_eq!(PublicKey::rsa(bad), Err(KeyError::Malformed));
    }
    let trailing = [KEYS.rsa_info.as_slice(), b"x"].concat();
    assert_eq!(PublicKey::rsa(&trailing), Err(KeyError::Malformed));
}
