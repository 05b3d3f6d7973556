//! `[tls.acme]`: settings in their places, what is merely surprising, and no key in any report.

use super::*;
use crate::acme::DIRECTORIES;
use crate::tls::CertificateSource;

const TURN: &str = "[turn]\nusers = { alice = \"a long password\" }\n";

fn messages(loaded: &Loaded) -> Vec<&str> {
    let warnings = loaded.warnings.iter();
    warnings.map(|warning| warning.message.as_str()).collect()
}

#[test]
fn every_key_reaches_its_setting() {
    let dir = certificate_dir();
    let text = format!(
        "[server]\ndomain = \"relay.example.com\"\n[tls.acme]\nterms_agreed = true\nnames = [\"relay.example.com\", \"TURN.example.com\", \"relay.example.com\"]\n\
         contact = \"admin@example.com\"\ndirectory = \"https://ca.example:14000/dir\"\nca_file = \"cert.pem\"\nprofile = \"shortlived\"\n\
         external_account_id = \"kid\"\nexternal_account_key = \"c2VjcmV0\"\nstate_dir = \"state\"\n{TURN}"
    );
    let loaded = parse_in(&dir, &text).unwrap_or_else(|report| panic!("{report}"));
    let acme = loaded.config.acme.as_ref().expect("it is on");
    assert_eq!(acme.names, ["relay.example.com", "turn.example.com"]);
    assert_eq!(acme.contact, ["admin@example.com"]);
    assert_eq!(acme.directory, "https://ca.example:14000/dir");
    assert_eq!(acme.ca_file, Some(dir.join("cert.pem")));
    assert_eq!(acme.profile.as_deref(), Some("shortlived"));
    assert_eq!(acme.folder(), dir.join("state/ca.example-14000-dir"));
    let external = acme.external_account.as_ref().expect("it is given");
    assert_eq!(
        (external.key_id.as_str(), external.key.expose()),
        ("kid", "c2VjcmV0")
    );
    let source = loaded.config.tls.as_ref().map(|tls| &tls.source);
    let managed = CertificateSource::Managed {
        names: acme.names.clone(),
        file: acme.certificate_file(),
    };
    assert_eq!(source, Some(&managed));
    assert_eq!(messages(&loaded), [""; 0]);
}

#[test]
fn agreement_alone_is_enough_where_the_domain_is_a_name() {
    let text = format!(
        "[server]\ndomain = \"relay.example.com\"\n[tls]\nacme = {{ terms_agreed = true }}\n{TURN}"
    );
    let loaded = parse_text(&text).unwrap_or_else(|report| panic!("{report}"));
    let acme = loaded.config.acme.expect("it is on");
    assert_eq!(acme.names, ["relay.example.com"]);
    assert_eq!(acme.directory, DIRECTORIES[0].1);
    assert_eq!(acme.state_dir, Path::new("/var/lib/relayd/acme"));
    let staging = text.replace("true }", "true, directory = \"letsencrypt-staging\" }");
    let loaded = parse_text(&staging).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        loaded.config.acme.expect("it is on").directory,
        DIRECTORIES[1].1
    );
}

#[test]
fn without_agreement_it_is_off_and_a_certificate_beside_it_is_used() {
    let dir = certificate_dir();
    let text = format!("{MINIMAL}[tls.acme]\nnames = [\"relay.example.com\"]\n");
    let loaded = parse_in(&dir, &text).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.config.acme.is_none());
    let source = loaded.config.tls.map(|tls| tls.source);
    assert!(matches!(source, Some(CertificateSource::Files { .. })));
}

#[test]
fn ports_names_and_a_state_directory_that_will_not_do_are_warned_about() {
    let dir = fresh_dir();
    std::fs::write(dir.join("file"), "").expect("written");
    let text = format!(
        "[server]\ndomain = \"relay.example.com\"\n[listen]\ntls = [\"0.0.0.0:8443\"]\n\
         [tls.acme]\nterms_agreed = true\nnames = \"other.example.com\"\nstate_dir = \"file/state\"\n{TURN}"
    );
    let loaded = parse_in(&dir, &text).unwrap_or_else(|report| panic!("{report}"));
    let shown = messages(&loaded).join("\n");
    for part in [
        "no TLS listener is on port 443",
        "`tls.acme.names` does not have relay.example.com",
        "file cannot be written",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    // A TCP port takes TLS as well, so 443 there will do.
    let text = text.replace("tls = [", "tcp = [\"0.0.0.0:443\"]\ntls = [");
    let loaded = parse_in(&dir, &text).unwrap_or_else(|report| panic!("{report}"));
    let shown = messages(&loaded).join("\n");
    assert!(!shown.contains("port 443"), "{shown}");
}

#[test]
fn the_external_key_is_in_no_report() {
    let text = format!(
        "[tls.acme]\nterms_agreed = maybe\nnames = 7\nexternal_account_id = \"kid\"\nexternal_account_key = \"s3cret!s3cret\"\n{TURN}"
    );
    let report = parse_text(&text.replace("maybe", "1")).expect_err("mistakes");
    let shown = report.to_string();
    assert!(
        shown.contains("external_account_key") && !shown.contains("s3cret"),
        "{shown}"
    );
}
