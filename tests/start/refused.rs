//! A configuration that cannot be served: exit code 64, every problem at once on standard error, nothing on standard
//! output, and no secret anywhere (`process::run` looks for those).

use super::process::{Ended, relayd, run};
use super::site::{GOOD, Site};
use super::web::certs::Authority;

fn serve(site: &Site) -> Ended {
    run(relayd().arg("--config").arg(site.toml()))
}

/// Serving and checking say the same about it.
fn assert_refused(site: &Site, parts: &[&str]) {
    let served = serve(site);
    assert_eq!(served.code, Some(64), "{served:#?}");
    assert_eq!(served.stdout, "", "{served:#?}");
    served.assert_says(parts);
    let checked = run(relayd().args(["check", "--config"]).arg(site.toml()));
    assert_eq!(checked.code, Some(64), "{checked:#?}");
    for part in parts {
        assert!(checked.stdout.contains(part), "no {part:?} in {checked:#?}");
    }
}

#[test]
fn a_key_of_another_certificate_is_named_with_both_files() {
    let site = Site::new();
    let other = Authority::new("another root").leaf(&["relay.example.com"]);
    site.write("privkey.pem", &other.key_pem);
    assert_refused(
        &site,
        &[
            "privkey.pem does not belong to the certificate in",
            "relay.toml:11:8",
        ],
    );
}

#[test]
fn swapped_certificate_and_key_are_recognised_as_swapped() {
    let site = Site::new();
    let text = GOOD
        .replace("cert = \"fullchain.pem\"", "cert = \"privkey.pem\"")
        .replace("\nkey = \"privkey.pem\"", "\nkey = \"fullchain.pem\"");
    site.write("relay.toml", &text);
    assert_refused(&site, &["privkey.pem holds no certificate", "swapped?"]);
}

#[test]
fn missing_certificate_and_key_are_two_problems_of_one_report() {
    let site = Site::with(&[
        ("fullchain.pem", "no-chain.pem"),
        ("privkey.pem", "no-key.pem"),
    ]);
    assert_refused(
        &site,
        &[
            "no-chain.pem: no such file",
            "no-key.pem: no such file",
            "2 errors",
        ],
    );
}

#[test]
fn garbage_in_certificate_or_key_is_named_by_its_file() {
    for (name, wanted) in [
        ("fullchain.pem", "fullchain.pem holds no certificate"),
        ("privkey.pem", "privkey.pem holds no private key"),
    ] {
        for garbage in [
            "",
            "no PEM at all\n",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            let site = Site::new();
            site.write(name, garbage);
            assert_refused(&site, &[wanted]);
        }
        let site = Site::new();
        site.write(
            name,
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        );
        assert_refused(&site, &[name]);
    }
}

#[test]
fn a_directory_in_place_of_a_certificate_is_no_file() {
    let site = Site::with(&[("fullchain.pem", ".")]);
    assert_refused(&site, &["`tls.cert` does not name a file"]);
}

#[test]
fn a_truncated_key_is_refused() {
    let site = Site::new();
    let whole = std::fs::read_to_string(site.path("privkey.pem")).expect("a key");
    let half = whole.get(..whole.len() / 2).expect("ASCII");
    site.write("privkey.pem", half);
    assert_refused(&site, &["privkey.pem"]);
}

#[test]
fn a_relay_range_that_holds_a_listener_is_refused_with_a_range_that_does_not() {
    let site = Site::with(&[
        ("udp = [\"127.0.0.1:0\"]", "udp = [\"127.0.0.1:50000\"]"),
        ("61000-65535", "50000-50999"),
    ]);
    assert_refused(
        &site,
        &[
            "`turn.relay_ports` 50000-50999 holds the port of the UDP listener 127.0.0.1:50000",
            "write relay_ports = \"50001-50999\"",
        ],
    );
}

#[test]
fn unknown_keys_are_named_with_the_key_that_was_meant() {
    let site = Site::with(&[
        ("relay_ports = ", "relay_port = "),
        ("[admin]\n", "[admin]\nlitsen = \"off\"\n"),
    ]);
    assert_refused(
        &site,
        &[
            "unknown key `turn.relay_port`",
            "did you mean `relay_ports`?",
            "unknown key `admin.litsen`",
            "did you mean `listen`?",
            "2 errors",
        ],
    );
}

#[test]
fn a_secret_file_that_is_missing_and_a_variable_that_is_not_set_are_both_named() {
    let site = Site::with(&[(
        "\"s3cret-of-alice\" }",
        "\"file:no-such-password\" }\nauth_secret = [\"env:RELAYD_TEST_NOT_SET\", \"s3cret-beside\"]",
    )]);
    assert_refused(
        &site,
        &[
            "no-such-password: no such file",
            "no variable `RELAYD_TEST_NOT_SET`",
            "2 errors",
        ],
    );
}

#[test]
fn problems_of_all_kinds_come_in_one_report_and_no_secret_with_them() {
    let site = Site::with(&[
        ("udp = [\"127.0.0.1:0\"]", "udp = [\"127.0.0.1:99999\"]"),
        ("[turn]\n", "[turn]\nmax_lifetime = \"1 week\"\n"),
        ("61000-65535", "65535-61000"),
        ("\"s3cret-of-alice\" }", "\"s3cret-of-alice\", bob = 5 }"),
        ("[log]\n", "[log]\nlevel = \"loud\"\n"),
        ("fullchain.pem", "no-chain.pem"),
        ("[admin]\n", "[prxy]\nallow = []\n[admin]\n"),
    ]);
    assert_refused(
        &site,
        &[
            "`listen.udp",
            "`turn.relay_ports` runs backwards",
            "`turn.max_lifetime`",
            "`turn.users.bob` has the wrong type",
            "`log.level`",
            "no-chain.pem: no such file",
            "unknown key `prxy`",
            "7 errors",
        ],
    );
}

#[test]
fn broken_toml_is_shown_without_the_secrets_beside_the_break() {
    let site = Site::with(&[(
        "users = { alice = \"s3cret-of-alice\" }",
        "users = { alice = \"s3cret-of-alice\"",
    )]);
    assert_refused(&site, &["relay.toml:"]);
}

#[test]
fn a_file_that_is_not_text_or_not_there_is_refused() {
    let site = Site::new();
    std::fs::write(site.toml(), [0xff, 0xfe, 0, b'x']).expect("a file");
    assert_refused(&site, &["relay.toml"]);
    std::fs::remove_file(site.toml()).expect("it was there");
    assert_refused(&site, &["relay.toml", "no such file"]);
}

#[test]
fn an_admin_listener_that_the_network_could_reach_is_refused() {
    let site = Site::with(&[("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"")]);
    assert_refused(&site, &["`admin.listen`", "loopback"]);
}

#[test]
fn a_file_and_ports_of_the_first_try_do_not_go_together() {
    let site = Site::new();
    let ended = run(relayd()
        .args(["--tls-port", "1", "--config"])
        .arg(site.toml()));
    assert_eq!(ended.code, Some(64), "{ended:#?}");
    ended.assert_says(&["--tls-port", "--config"]);
}
