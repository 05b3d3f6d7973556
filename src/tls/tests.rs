use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// 2030-01-01, in seconds since 1970: the day the tests live in.
const TODAY: u64 = 1_893_456_000;
const DAY: u64 = 86_400;

#[test]
fn good_files_are_loaded_with_all_protocols_and_tickets() {
    let dir = Dir::new();
    let store = Store::load(&dir.pair("relay.example.com")).expect("the files are good");
    let config = store.server_config();
    let alpn: Vec<_> = config.alpn_protocols.iter().map(Vec::as_slice).collect();
    assert_eq!(
        alpn,
        [
            b"stun.turn" as &[u8],
            b"stun.nat-discovery",
            b"h2",
            b"http/1.1"
        ]
    );
    assert!(config.ticketer.enabled());
    assert!(store.self_signed().is_none());
}

#[test]
fn missing_file_is_named_with_its_cause() {
    let dir = Dir::new();
    let settings = dir.settings("absent.pem", "absent-key.pem");
    let error = Store::load(&settings).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error:?}");
    assert!(error.to_string().ends_with("absent.pem"), "{error}");
}

#[test]
fn directory_in_place_of_a_file_is_unreadable() {
    let dir = Dir::new();
    fs::create_dir(dir.path.join("cert.pem")).expect("a fresh directory");
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error:?}");
}

#[test]
fn file_without_pem_block_is_refused() {
    let dir = Dir::new();
    dir.write("cert.pem", "not a certificate\n");
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::NoCertificate { .. }), "{error:?}");
    assert!(error.to_string().contains("no PEM block"), "{error}");
}

#[test]
fn broken_base64_is_a_pem_error() {
    let dir = Dir::new();
    dir.write(
        "cert.pem",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    );
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::Pem { .. }), "{error:?}");
}

#[test]
fn block_that_is_no_x509_is_refused_by_position() {
    let dir = Dir::new();
    let (cert, key) = certificate("a.example", TODAY, 90);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    dir.write("cert.pem", &format!("{cert}{garbage}"));
    dir.write("key.pem", &key);
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(
        matches!(error, Error::BrokenCertificate { position: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn swapped_files_are_recognised() {
    let dir = Dir::new();
    dir.pair("a.example");
    let error = Store::load(&dir.settings("key.pem", "cert.pem")).unwrap_err();
    assert!(error.to_string().contains("swapped"), "{error}");
}

#[test]
fn key_of_another_certificate_is_refused() {
    let dir = Dir::new();
    dir.pair("a.example");
    dir.write("key.pem", &certificate("b.example", TODAY, 90).1);
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("does not belong"), "{error}");
}

#[test]
fn leaf_that_is_not_first_is_told_from_a_wrong_key() {
    let dir = Dir::new();
    let (first, _) = certificate("ca.example", TODAY, 90);
    let (second, key) = certificate("a.example", TODAY, 90);
    dir.write("cert.pem", &format!("{first}{second}"));
    dir.write("key.pem", &key);
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(
        matches!(error, Error::ChainOrder { position: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn several_keys_are_refused_and_counted() {
    let dir = Dir::new();
    let (cert, key) = certificate("a.example", TODAY, 90);
    dir.write("cert.pem", &cert);
    dir.write("key.pem", &format!("{key}{key}"));
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(
        matches!(error, Error::SeveralKeys { count: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn encrypted_key_is_named_as_such() {
    let dir = Dir::new();
    dir.pair("a.example");
    dir.write(
        "key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::EncryptedKey { .. }), "{error:?}");
}

#[test]
fn key_that_is_no_key_is_refused() {
    let dir = Dir::new();
    dir.pair("a.example");
    dir.write(
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(matches!(error, Error::BrokenKey { .. }), "{error:?}");
}

#[test]
fn certificate_and_key_may_share_one_file() {
    let dir = Dir::new();
    let (cert, key) = certificate("a.example", TODAY, 90);
    dir.write("both.pem", &format!("{key}{cert}"));
    Store::load(&dir.settings("both.pem", "both.pem")).expect("both blocks are there");
}

#[test]
fn huge_file_is_refused_unread() {
    let dir = Dir::new();
    let file = fs::File::create(dir.path.join("cert.pem")).expect("a fresh file");
    file.set_len(8 << 20).expect("a sparse file");
    let error = Store::load(&dir.settings("cert.pem", "key.pem")).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { bytes, .. } if bytes == 8 << 20),
        "{error:?}"
    );
}

#[test]
fn failed_reload_keeps_the_certificate_in_use() {
    let dir = Dir::new();
    let settings = dir.pair("a.example");
    let store = Store::load(&settings).expect("the files are good");
    let before = store.chain();
    dir.write("key.pem", &certificate("b.example", TODAY, 90).1);
    store.reload(&settings).unwrap_err();
    assert_eq!(store.chain(), before);
}

#[test]
fn reload_takes_changed_files_of_the_same_names() {
    let dir = Dir::new();
    let settings = dir.pair("a.example");
    let store = Store::load(&settings).expect("the files are good");
    let (config, before) = (store.server_config(), store.chain());
    dir.pair("b.example");
    store.reload(&settings).expect("the files are good");
    assert_ne!(store.chain(), before);
    assert!(Arc::ptr_eq(&config, &store.server_config()));
}

#[test]
fn self_signed_certificate_survives_a_reload_for_the_same_names() {
    let settings = self_signed(&["localhost", "127.0.0.1"]);
    let store = Store::load(&settings).expect("names are valid");
    let before = store.chain();
    store.reload(&settings).expect("nothing to do");
    assert_eq!(store.chain(), before);
    store
        .reload(&self_signed(&["other.example"]))
        .expect("names are valid");
    assert_ne!(store.chain(), before);
}

#[test]
fn self_signed_pem_loads_as_files() {
    let store = Store::load(&self_signed(&["localhost"])).expect("the name is valid");
    let pem = store.self_signed().expect("it is self-signed");
    let dir = Dir::new();
    dir.write("cert.pem", &pem.certificate);
    dir.write("key.pem", pem.key.expose());
    let again = Store::load(&dir.settings("cert.pem", "key.pem")).expect("its own text");
    assert_eq!(again.chain(), store.chain());
    assert!(!format!("{pem:?}").contains("PRIVATE"));
}

#[test]
fn self_signed_certificate_names_everything_and_lives_no_longer_than_browsers_accept() {
    let settings = self_signed(&["relay.example.com", "127.0.0.1", "::1"]);
    let inspection = inspect(&settings, "relay.example.com", TODAY).expect("names are valid");
    assert_eq!(
        inspection.names,
        ["relay.example.com", "127.0.0.1", "::1"].map(str::to_owned)
    );
    assert!(inspection.not_before < TODAY as i64);
    assert!(inspection.not_after >= (TODAY + 365 * DAY) as i64);
    assert!(inspection.not_after - inspection.not_before <= (397 * DAY) as i64);
    assert_eq!(inspection.warnings, [Warning::SelfSigned]);
}

#[test]
fn name_that_no_certificate_can_hold_is_an_error() {
    let error = Store::load(&self_signed(&["gr\u{fc}n.example"])).unwrap_err();
    assert!(matches!(error, Error::SelfSigned { .. }), "{error:?}");
}

#[test]
fn inspection_warns_of_the_end_of_validity_on_the_right_day() {
    let dir = Dir::new();
    let settings = dir.pair("a.example");
    let at = |day: u64| {
        let inspection =
            inspect(&settings, "a.example", TODAY + day * DAY).expect("files are good");
        let warnings = inspection.warnings.into_iter();
        warnings
            .filter(|warning| *warning != Warning::SelfSigned)
            .collect::<Vec<_>>()
    };
    let not_after = (TODAY + 90 * DAY) as i64;
    assert_eq!(at(76), []);
    assert_eq!(
        at(77),
        [Warning::ExpiresSoon {
            not_after,
            days: 13
        }]
    );
    assert_eq!(at(91), [Warning::Expired { not_after }]);
    let early = inspect(&settings, "a.example", TODAY - DAY).expect("files are good");
    assert!(early.warnings.contains(&Warning::NotYetValid {
        not_before: TODAY as i64
    }));
}

#[test]
fn inspection_compares_names_as_clients_do() {
    let dir = Dir::new();
    let covered = |name: &str, domain: &str| {
        let settings = dir.pair(name);
        let inspection = inspect(&settings, domain, TODAY).expect("files are good");
        !inspection
            .warnings
            .iter()
            .any(|warning| matches!(warning, Warning::DomainNotCovered { .. }))
    };
    assert!(covered("relay.example.com", "RELAY.example.com"));
    assert!(covered("*.example.com", "relay.example.com"));
    assert!(!covered("*.example.com", "a.b.example.com"));
    assert!(!covered("*.example.com", "example.com"));
    assert!(!covered("relay.example.com", "example.com"));
    assert!(covered("192.0.2.7", "192.0.2.7"));
    assert!(!covered("192.0.2.7", "192.0.2.8"));
}

#[test]
fn leaf_without_its_issuer_is_incomplete_and_with_it_complete() {
    let dir = Dir::new();
    let (ca_pem, ca) = authority("Test CA");
    let (other_pem, _) = authority("Other CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = params("a.example", TODAY, 90)
        .signed_by(&key, &ca)
        .expect("signed")
        .pem();
    dir.write("key.pem", &key.serialize_pem());
    let settings = dir.settings("cert.pem", "key.pem");
    let warnings = |pem: String| {
        dir.write("cert.pem", &pem);
        inspect(&settings, "a.example", TODAY)
            .expect("files are good")
            .warnings
    };
    assert!(matches!(
        warnings(leaf.clone()).as_slice(),
        [Warning::ChainIncomplete { issuer }] if issuer.contains("Test CA")
    ));
    assert_eq!(warnings(format!("{leaf}{ca_pem}")), []);
    assert_eq!(
        warnings(format!("{leaf}{other_pem}")),
        [Warning::ChainBroken { position: 2 }]
    );
}

#[test]
fn key_that_everybody_can_read_is_warned_about() {
    let dir = Dir::new();
    let settings = dir.pair("a.example");
    let key = dir.path.join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("own file");
    let inspection = inspect(&settings, "a.example", TODAY).expect("files are good");
    assert!(
        inspection
            .warnings
            .contains(&Warning::KeyReadableByAll { path: key })
    );
}

#[test]
fn warnings_read_as_sentences_with_dates() {
    let text = Warning::Expired {
        not_after: TODAY as i64,
    }
    .to_string();
    assert!(text.contains("2030"), "{text}");
}

#[test]
fn managed_certificate_is_the_stored_one_else_a_stand_in() {
    let dir = Dir::new();
    let settings = dir.managed(&["a.example"]);
    let store = Store::load(&settings).expect("no file is no error");
    assert!(store.is_stand_in());
    assert_eq!(store.standing(), Some("stand-in"));
    assert_eq!(origin(&store), Some(Origin::SelfSigned));
    assert!(store.managed(TODAY).is_none());
    // Nobody is told to trust it.
    assert!(store.self_signed().is_none());

    let (cert, key) = certificate("a.example", TODAY, 90);
    dir.write("managed.pem", &format!("{cert}{key}"));
    let store = Store::load(&settings).expect("the file is good");
    assert_eq!(store.standing(), Some("obtained"));
    assert_eq!(origin(&store), Some(Origin::Acme));
    let inspection = store.managed(TODAY).expect("there is one");
    assert_eq!(inspection.names, ["a.example"]);
    assert_eq!(inspection.not_after, (TODAY + 90 * DAY) as i64);
    assert!(inspection.covers(&["A.example".to_owned()]));
    assert!(!inspection.covers(&["a.example".to_owned(), "b.example".to_owned()]));
}

#[test]
fn stored_certificate_that_cannot_be_used_is_no_reason_not_to_start() {
    let dir = Dir::new();
    let settings = dir.managed(&["a.example"]);
    let (cert, _) = certificate("a.example", TODAY, 90);
    let (_, other) = certificate("a.example", TODAY, 90);
    for text in ["", "nonsense", &cert, &format!("{cert}{other}")] {
        dir.write("managed.pem", text);
        assert!(
            Store::load(&settings).expect("a stand-in").is_stand_in(),
            "{text}"
        );
    }
}

#[test]
fn installed_certificate_outlives_reloads_with_or_without_its_file() {
    let dir = Dir::new();
    let settings = dir.managed(&["a.example"]);
    let store = Store::load(&settings).expect("a stand-in");
    let file = dir.path.join("managed.pem");
    let (cert, key) = certificate("a.example", TODAY, 90);
    assert!(
        store
            .install_obtained(&file, &format!("{cert}{key}"))
            .expect("a pair")
    );
    let installed = store.chain();
    store.reload(&settings).expect("the same");
    store
        .reload(&dir.managed(&["b.example"]))
        .expect("other names");
    assert_eq!(store.chain(), installed);
    // An older one on disk does not take its place.
    let (old, old_key) = certificate("a.example", TODAY - DAY, 90);
    dir.write("managed.pem", &format!("{old}{old_key}"));
    store.reload(&settings).expect("the same");
    assert_eq!(store.chain(), installed);
    assert_eq!(store.standing(), Some("obtained"));
}

#[test]
fn certificate_from_files_is_kept_until_the_first_managed_one() {
    let dir = Dir::new();
    let store = Store::load(&dir.pair("a.example")).expect("the files are good");
    let before = store.chain();
    store.reload(&dir.managed(&["a.example"])).expect("managed");
    // However many reloads come before the first one is obtained, for whatever reason.
    for name in ["a.example", "a.example", "b.example"] {
        store.reload(&dir.managed(&[name])).expect("managed");
        assert_eq!(store.chain(), before);
        assert_eq!(store.standing(), Some("kept"));
        assert_eq!(
            origin(&store),
            Some(Origin::File),
            "wherever it is to come from"
        );
        assert!(store.is_kept() && !store.is_stand_in());
        // It is not the one that was asked for: it is to be replaced.
        assert!(store.managed(TODAY).is_none());
    }
    let (cert, key) = certificate("a.example", TODAY, 90);
    let file = dir.path.join("managed.pem");
    assert!(
        store
            .install_obtained(&file, &format!("{cert}{key}"))
            .expect("a pair")
    );
    assert_ne!(store.chain(), before);
    assert_eq!(store.standing(), Some("obtained"));
    assert_eq!(origin(&store), Some(Origin::Acme));
}

#[test]
fn obtained_certificate_is_kept_until_the_first_of_another_authority() {
    let dir = Dir::new();
    let (cert, key) = certificate("a.example", TODAY, 90);
    dir.write("managed.pem", &format!("{cert}{key}"));
    let store = Store::load(&dir.managed(&["a.example"])).expect("the file is good");
    let before = store.chain();
    let other = Settings {
        source: CertificateSource::Managed {
            names: vec!["a.example".to_owned()],
            file: dir.path.join("other.pem"),
        },
    };
    for _ in 0..3 {
        store.reload(&other).expect("another authority");
        assert_eq!(store.chain(), before);
        assert_eq!(store.standing(), Some("kept"));
    }
    // Back at the first one, what is on disk is what is meant.
    store
        .reload(&dir.managed(&["a.example"]))
        .expect("the file is good");
    assert_eq!(store.chain(), before);
    assert_eq!(store.standing(), Some("obtained"));
}

#[test]
fn stand_in_stays_the_same_as_long_as_its_settings_do() {
    let dir = Dir::new();
    let store = Store::load(&dir.managed(&["a.example"])).expect("a stand-in");
    let before = store.chain();
    store
        .reload(&dir.managed(&["a.example"]))
        .expect("the same");
    assert_eq!(store.chain(), before);
    assert!(store.is_stand_in());
    store
        .reload(&dir.managed(&["b.example"]))
        .expect("other names");
    assert_ne!(store.chain(), before);
    assert!(store.is_stand_in());
}

#[test]
fn later_certificate_on_disk_takes_the_place_of_the_present_one() {
    let dir = Dir::new();
    let settings = dir.managed(&["a.example"]);
    let file = dir.path.join("managed.pem");
    let (cert, key) = certificate("a.example", TODAY, 90);
    dir.write("managed.pem", &format!("{cert}{key}"));
    let store = Store::load(&settings).expect("the file is good");
    let first = store.chain();

    let (later, later_key) = certificate("a.example", TODAY + DAY, 90);
    let later = format!("{later}{later_key}");
    dir.write("managed.pem", &later);
    store.reload(&settings).expect("the same");
    let second = store.chain();
    assert_ne!(second, first);

    // What another process has stored is taken over by the same rule.
    let stored = format!("{cert}{key}");
    assert!(!store.install_stored(&file, &stored).expect("a pair"));
    assert_eq!(store.chain(), second);
    let (last, last_key) = certificate("a.example", TODAY + 2 * DAY, 90);
    let stored = format!("{last}{last_key}");
    assert!(store.install_stored(&file, &stored).expect("a pair"));
    assert_ne!(store.chain(), second);
    assert!(!store.install_stored(&file, &stored).expect("a pair"));
    let elsewhere = dir.path.join("elsewhere.pem");
    assert!(!store.install_stored(&elsewhere, &later).expect("a pair"));
}

#[test]
fn a_certificate_that_comes_too_late_takes_nobodys_place() {
    let dir = Dir::new();
    let files = dir.pair("a.example");
    let store = Store::load(&dir.managed(&["a.example"])).expect("a stand-in");
    store.reload(&files).expect("the files are good");
    let before = store.chain();
    let (cert, key) = certificate("a.example", TODAY, 90);
    let file = dir.path.join("managed.pem");
    assert!(
        !store
            .install_obtained(&file, &format!("{cert}{key}"))
            .expect("a pair")
    );
    assert_eq!(store.chain(), before);
    assert_eq!(store.standing(), None);
}

#[test]
fn what_an_authority_sends_is_examined_before_it_is_served() {
    let dir = Dir::new();
    let store = Store::load(&dir.managed(&["a.example"])).expect("a stand-in");
    let file = dir.path.join("managed.pem");
    let (cert, key) = certificate("a.example", TODAY, 90);
    let (_, other) = certificate("a.example", TODAY, 90);
    for text in [
        key.clone(),
        cert.clone(),
        format!("{cert}{other}"),
        "x".to_owned(),
    ] {
        examine(&file, &text, TODAY).expect_err(&text);
        store.install_obtained(&file, &text).expect_err(&text);
        assert!(store.is_stand_in());
    }
    let good = examine(&file, &format!("{cert}{key}"), TODAY).expect("a pair");
    assert_eq!(good.names, ["a.example"]);
}

/// A directory of its own for one test.
struct Dir {
    path: PathBuf,
}

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "relayd-tls-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a fresh directory");
        Self { path }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::write(&path, text).expect("own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
    }

    fn settings(&self, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Settings {
        Settings {
            source: CertificateSource::Files {
                cert: self.path.join(cert),
                key: self.path.join(key),
            },
        }
    }

    fn managed(&self, names: &[&str]) -> Settings {
        Settings {
            source: CertificateSource::Managed {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                file: self.path.join("managed.pem"),
            },
        }
    }

    /// `cert.pem` and `key.pem` for one name, valid for 90 days.
    fn pair(&self, name: &str) -> Settings {
        let (cert, key) = certificate(name, TODAY, 90);
        self.write("cert.pem", &cert);
        self.write("key.pem", &key);
        self.settings("cert.pem", "key.pem")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn params(name: &str, from: u64, days: u64) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a valid name");
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(from);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(from + days * DAY);
    params
}

fn certificate(name: &str, from: u64, days: u64) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = params(name, from, days).self_signed(&key).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).expect("signed");
    (certificate.pem(), Issuer::new(params, key))
}

fn origin(store: &Store) -> Option<Origin> {
    store.facts().map(|(_, origin)| origin)
}

fn self_signed(names: &[&str]) -> Settings {
    Settings {
        source: CertificateSource::SelfSigned {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        },
    }
}
