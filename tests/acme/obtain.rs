//! From nothing to a certificate, and that a restart does not ask again.

use super::gate::Way;
use super::process::{relayd, run};
use super::server::{NAME, NOT_YET, OBTAINED, OTHER, World};
use super::support::client::{connect, secure};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_stand_in_serves_at_once_and_the_certificate_for_several_names_as_soon_as_it_comes() {
    let world = World::new(3600, Way::Held);
    world.configure(&[NAME, OTHER], "", "");
    let mut server = world.start();
    server.serving.wait_for(NOT_YET);
    world.gate.wait_for_more_than(0);
    // The authority does not answer yet; relayd is ready and says with what.
    assert_eq!(server.readyz()["certificate"], "stand-in");
    let stand_in = server.shown();
    server.turn_over_tls().allocate().expect("TURN over TLS");
    let roots = world.pebble.roots();
    let refused = server.verified(NAME, &roots, "h2");
    assert!(refused.is_err(), "nobody trusts a stand-in");

    world.gate.set(Way::Open);
    let line = server.serving.wait_for(OBTAINED);
    assert!(line.contains(NAME) && line.contains(OTHER), "{line}");
    assert_eq!(server.readyz()["certificate"], "obtained");
    let obtained = server.shown();
    assert_ne!(obtained, stand_in);
    for name in [NAME, OTHER] {
        for alpn in ["stun.turn", "h2", "http/1.1"] {
            assert_eq!(server.verified(name, &roots, alpn), Ok(obtained.clone()));
        }
    }
    assert!(server.verified("else.example.com", &roots, "h2").is_err());
    assert!(is_p256(&obtained));
    assert_eq!(server.attempts("issued"), 1);
    assert_eq!(server.metric("relayd_acme_unsaved"), 0);
    let answered = server.metric("relayd_listen_closed_total{reason=\"acme_challenge\"}");
    assert!(answered >= 2, "{answered}");
    let not_after = server.metric("relayd_acme_certificate_expiry_timestamp_seconds");
    let next = server.metric("relayd_acme_next_attempt_timestamp_seconds");
    assert!(
        (1000..=1300).contains(&(not_after - next)),
        "{}",
        not_after - next
    );

    // No challenge is open any more: nobody is answered.
    let acme = secure(connect(server.tls).expect("it listens"), &[b"acme-tls/1"]);
    assert!(acme.is_err(), "answered without a challenge");
    assert_eq!(server.serving.stop(), Some(0));
    let steps = [
        "registered an account",
        "ordered a certificate",
        "waiting for the authority to validate",
        "the names are proven",
        "saved the certificate",
    ];
    let log = server.serving.seen.join("\n");
    for step in steps {
        assert!(log.contains(step), "no {step:?} in\n{log}");
    }
    assert!(
        !log.contains("PRIVATE") && !log.contains("key_pkcs8"),
        "{log}"
    );
}

#[test]
fn a_restart_serves_what_is_stored_and_asks_nobody() {
    let world = World::new(3600, Way::Open);
    let mut server = world.start();
    server.serving.wait_for("saved the certificate");
    let obtained = server.shown();
    assert_eq!(server.serving.stop(), Some(0));

    let folder = world.folder();
    let mode = |path: &std::path::Path| {
        let metadata = fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).expect("readable") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }

    let before = world.gate.connections();
    // Whoever asked would come here.
    world.gate.set(Way::Cut);
    let mut server = world.start();
    server.serving.wait_for("renewing it in time");
    assert_eq!(server.readyz()["certificate"], "obtained");
    assert_eq!(server.shown(), obtained);
    let roots = world.pebble.roots();
    assert_eq!(server.verified(NAME, &roots, "h2"), Ok(obtained));
    assert_eq!(server.serving.stop(), Some(0));
    assert_eq!(world.gate.connections(), before);
}

#[test]
fn a_reload_with_another_name_gets_another_certificate_also_from_an_authority_that_has_forgotten_the_account()
 {
    let mut world = World::new(3600, Way::Open);
    let mut server = world.start();
    server.serving.wait_for("saved the certificate");
    let first = server.shown();
    world.pebble.start_again();
    world.configure(&[NAME, OTHER], "", "");
    server.reload();
    server.serving.wait_for("the account is unknown there");
    server.serving.wait_for(OBTAINED);
    let second = server.shown();
    assert_ne!(first, second);
    let roots = world.pebble.roots();
    assert_eq!(server.verified(OTHER, &roots, "h2"), Ok(second.clone()));
    // A reload of the same file asks nobody.
    server.serving.wait_for("saved the certificate");
    let asked = world.gate.connections();
    server.reload();
    server.serving.wait_for("\"reloaded\"");
    assert_eq!(server.shown(), second);
    assert_eq!(server.serving.stop(), Some(0));
    assert_eq!(world.gate.connections(), asked);
}

#[test]
fn an_authority_that_wants_an_external_account_gets_it_and_the_log_does_not() {
    let world = World::with(3600, Way::Open, true);
    let mut server = world.start();
    let line = server.serving.wait_for("register an account");
    assert!(line.contains("externalAccountRequired"), "{line}");
    assert_eq!(server.attempts("refused"), 1);
    world.configure(&[NAME], &World::external_account(), "");
    server.reload();
    server.serving.wait_for(OBTAINED);
    assert_eq!(server.serving.stop(), Some(0));
    let log = server.serving.seen.join("\n");
    assert!(!log.contains(super::authority::EXTERNAL_KEY), "{log}");
}

#[test]
fn check_says_what_would_be_asked_of_whom_and_asks_nobody() {
    let world = World::new(3600, Way::Open);
    world.configure(&[NAME, OTHER], "profile = \"shortlived\"", "");
    let file = world.dir.path("relay.toml");
    let ended = run(relayd().arg("check").arg("--config").arg(&file));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let both = format!("{}{}", ended.stdout, ended.stderr);
    for part in [
        "none yet: a self-signed stand-in",
        &format!(
            "certificates asked for at https://{}/dir",
            world.gate.address
        ),
        &format!("for: {NAME}, {OTHER}"),
        "contact: admin@example.com",
        "profile: shortlived",
        "no TLS listener is on port 443",
        &format!("kept in: {}", world.folder().display()),
    ] {
        assert!(both.contains(part), "no {part:?} in\n{both}");
    }
    assert!(!world.dir.path("state").exists(), "check leaves no trace");
    assert_eq!(world.gate.connections(), 0);
}

/// RFC 5480 §2.1.1: id-ecPublicKey with secp256r1.
fn is_p256(certificate: &[u8]) -> bool {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).expect("a certificate");
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    algorithm.algorithm.to_id_string() == "1.2.840.10045.2.1"
        && curve.is_some_and(|curve| curve.to_id_string() == "1.2.840.10045.3.1.7")
}
