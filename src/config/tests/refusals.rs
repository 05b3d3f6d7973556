//! One bad value of each key, what several keys say together, and what is merely surprising.

use super::*;

/// One bad value of each key that is not in the golden report: (text, part of the message, part of the help).
#[test]
fn a_bad_value_of_any_key_is_refused_with_its_reason() {
    for (text, message, help) in [
        (
            "[server]\ndomain = \"a..b\"",
            "`server.domain` is not a host name",
            "",
        ),
        (
            "[server]\nworkers = 0",
            "`server.workers` is out of range",
            "",
        ),
        (
            "[server]\nworkers = \"many\"",
            "is not a number of workers",
            "",
        ),
        ("[server]\ndrain_timeout = -1", "is negative", ""),
        (
            "[server]\nexternal_ip = [\"1.2.3.4\", \"5.6.7.8\"]",
            "two addresses of one family",
            "pairs",
        ),
        (
            "[server]\nexternal_ip = [\"1.2.3.4/10.0.0.1\", \"5.6.7.8/10.0.0.1\"]",
            "maps 10.0.0.1 twice",
            "remove",
        ),
        (
            "[server]\nexternal_ip = \"1.2.3.4/::1\"",
            "pairs an IPv4 with an IPv6",
            "",
        ),
        (
            "[server]\nexternal_ip_stun = \"stun.example.com\"",
            "is not a STUN server",
            "stun.example.com:3478",
        ),
        (
            "[listen]\ntcp = [\"0.0.0.0:3478\", \"127.0.0.1:3478\"]",
            "`listen.tcp` listens on port 3478 twice",
            "",
        ),
        (
            "[listen]\ntcp = [\"[::]:443\"]",
            "`listen.tcp` and `listen.tls` both listen",
            "",
        ),
        (
            "[listen]\ntcp = [\"127.0.0.1:9641\"]",
            "`listen.tcp` and `admin.listen` both",
            "",
        ),
        (
            "[listen]\nudp = [\"0.0.0.0:50000\"]",
            "`turn.relay_ports` 49152-65535 holds the port",
            "50001-65535",
        ),
        (
            "[listen]\nudp = []\ntcp = []\ntls = []",
            "`listen` has no listener",
            "",
        ),
        (
            "[listen]\ntimeouts = { handshake = \"1500ms\" }",
            "is too fine",
            "",
        ),
        (
            "[listen]\ntimeouts = { handshake = \"0s\" }",
            "is out of range",
            "",
        ),
        (
            "[listen]\nlimits = { udp_buffer_bytes = \"1KiB\" }",
            "is out of range",
            "",
        ),
        (
            "[listen]\nlimits = 5",
            "`listen.limits` has the wrong type",
            "",
        ),
        ("[turn]\nrealm = \"\"", "`turn.realm` is empty", ""),
        (
            "[turn]\nusers = \"alice\"",
            "`turn.users` has the wrong type",
            "",
        ),
        (
            "[turn]\nusers = { \"\" = \"x\" }",
            "has a name that cannot be used",
            "",
        ),
        (
            "[turn]\nusers = { alice = \"\" }",
            "`turn.users.alice` is empty",
            "openssl rand",
        ),
        (
            "[turn]\nauth_secret = \"env:NOT_SET\"",
            "is not set",
            "NOT_SET",
        ),
        (
            "[turn]\nauth_secret = \"file:/nonexistent/x\"",
            "names a file that cannot be read",
            "relative",
        ),
        (
            "[turn]\nauth_secret = []",
            "neither users nor a secret",
            "users =",
        ),
        (
            "[turn]\nrelay_ip = \"0.0.0.0\"",
            "is not the address of a machine",
            "leave `relay_ip` out",
        ),
        (
            "[turn]\nmax_lifetime = \"5m\"",
            "`turn.default_lifetime` is longer",
            "default_lifetime = \"5m\"",
        ),
        (
            "[turn]\npeers = { deny = \"all\" }",
            "`turn.peers.deny` is not a network",
            "",
        ),
        (
            "[turn]\nlimits = { allocations_total = -1 }",
            "is out of range",
            "",
        ),
        (
            "[turn]\nlimits = { bytes_per_second_total = 5 }",
            "is out of range",
            "",
        ),
        (
            "[proxy]\nvendors = [\"trtc\", \"trtc-international\"]",
            "two vendors for the prefix /ws/",
            "",
        ),
        (
            "[proxy]\ncors_origins = \"app.example.com\"",
            "is not an origin",
            "https://app.example.com",
        ),
        (
            "[proxy]\nprefixes = \"azure\"",
            "is not a path prefix",
            "/azure",
        ),
        (
            "[proxy]\npublic_names = \"https://a.example/\"",
            "has a scheme",
            "\"a.example\"",
        ),
        (
            "[proxy]\nresolve = { \"10.0.0.1\" = \"127.0.0.1\" }",
            "has a name that is not a host name",
            "name",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"localhost:1\" }",
            "is not an address with a port",
            "",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"127.0.0.1:0\" }",
            "is not an address to connect to",
            "",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"::1\", \"A.example:443\" = \"::1\" }",
            "a.example:443 twice",
            "",
        ),
        (
            "[proxy]\nca_file = \"nowhere.pem\"",
            "names a file that cannot be read",
            "relative",
        ),
        (
            "[proxy]\ntest_page = \"yes\"",
            "`proxy.test_page` has the wrong type",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/ws/\" }]",
            "has no `upstream`",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/readyz\", upstream = \"https://a.example\" }]",
            "answers itself",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/a\", upstream = \"https://a.example\" }, { prefix = \"/a/\", upstream = \"https://b.example\" }]",
            "has the prefix /a/ twice",
            "",
        ),
        ("[proxy.timeouts]\nconnect = \"2d\"", "is out of range", ""),
        ("[proxy.limits]\nredirects = 21", "is out of range", ""),
        (
            "[log]\nformat = \"jsno\"",
            "is not a log format",
            "\"json\"",
        ),
        ("[log]\nlevel = \"inof\"", "is not a log level", "\"info\""),
        (
            "[log]\nto = \"jornald\"",
            "is no destination for the log",
            "\"journald\"",
        ),
        (
            "[log]\nto = \"file:nowhere/relayd.log\"",
            "names a file in a directory that is not there",
            "LogsDirectory=relayd",
        ),
        (
            "[log]\nto = \"journald:nowhere\"",
            "names a journal that is not there",
            "\"stdout\"",
        ),
        ("[log]\nprivacy = 1", "`log.privacy` has the wrong type", ""),
        (
            "realm = \"x\"",
            "unknown key `realm`",
            "`realm` belongs in [turn]",
        ),
        (
            "[tls]\ncert = \"nowhere.pem\"\nkey = \"nowhere.pem\"",
            "names a file that cannot be read",
            "",
        ),
        (
            "[tls]\ncert = \"Cargo.toml\"",
            "has no `tls.key` beside it",
            "key =",
        ),
        (
            "[tls]\nacme = { names = \"a.example\" }",
            "`tls.acme` has names, but no `terms_agreed = true`",
            "letsencrypt.org/repository",
        ),
        (
            "[tls]\nself_signed = true\n[tls.acme]\nterms_agreed = true\nnames = \"a.example\"",
            "`tls.acme` and `tls.self_signed` exclude each other",
            "switches [tls.acme] off",
        ),
        (
            "[tls]\ncert = \"Cargo.toml\"\nkey = \"Cargo.toml\"\nacme = { terms_agreed = true, names = \"a.example\" }",
            "`tls.acme` and `tls.cert` exclude each other",
            "remove one of the two",
        ),
        (
            "[tls.acme]\nterms_agreed = true\nnames = \"*.example.com\"",
            "`tls.acme.names` is a wildcard",
            "DNS-01",
        ),
        (
            "[tls.acme]\nterms_agreed = true\nnames = [\"192.0.2.7\"]",
            "`tls.acme.names[0]` is not a host name",
            "",
        ),
        (
            "[server]\ndomain = \"192.0.2.7\"\n[tls.acme]\nterms_agreed = true",
            "`tls.acme` has no name to ask for",
            "set names",
        ),
        (
            "[tls.acme]\nterms_agreed = \"yes\"",
            "`tls.acme.terms_agreed` has the wrong type",
            "",
        ),
        (
            "[tls.acme]\nterms_agreed = true\nnames = \"a.example\"\ndirectory = \"http://ca.example/\"",
            "`tls.acme.directory` is no directory",
            "",
        ),
        (
            "[tls.acme]\nterms_agreed = true\nnames = \"a.example\"\ncontact = \"mailto:a@b.example\"",
            "is no e-mail address",
            "mailto",
        ),
        (
            "[tls.acme]\nterms_agreed = true\nnames = \"a.example\"\nexternal_account_id = \"k\"",
            "belong together",
            "set both",
        ),
        (
            "[tls.acme]\nexternal_account_key = \"not base64url!\"",
            "`tls.acme.external_account_key` is no base64url text",
            "",
        ),
        (
            "[tls.acme]\nca_file = \"nowhere.pem\"",
            "`tls.acme.ca_file` names a file that cannot be read",
            "",
        ),
        (
            "[tls.acme]\nstate_dir = \"\"",
            "`tls.acme.state_dir` is empty",
            "",
        ),
        (
            "[tls]\ncert = \"-----BEGIN CERTIFICATE-----\"",
            "holds a certificate or key",
            "",
        ),
    ] {
        let mut text = text.to_owned();
        if !text.contains("[tls]") {
            text.push_str("\n[tls]\nself_signed = true");
        }
        if !text.contains("[turn]") {
            text.push_str("\n[turn]\nusers = { alice = \"pw\" }");
        }
        let report = parse_text(&text).expect_err(&text);
        let found = report.problems.iter().find(|problem| {
            problem.severity == Severity::Error && problem.message.contains(message)
        });
        let Some(problem) = found else {
            panic!("{message} is not in:\n{report}");
        };
        let has_help = problem.help.as_deref().unwrap_or("").contains(help);
        assert!(has_help, "{problem}");
    }
}

#[test]
fn what_will_surprise_is_a_warning_with_a_fix() {
    for (text, message) in [
        (
            "[listen]\ntcp = [\"0.0.0.0:999\"]",
            "browsers refuse TURN on port 999",
        ),
        (
            "[listen]\nudp = [\"10.0.0.4:3478\"]\ntcp = []\ntls = []",
            "private relayed address 10.0.0.4",
        ),
        (
            "[server]\nexternal_ip = \"10.0.0.4\"",
            "10.0.0.4, which is not a public address",
        ),
        (
            "[turn]\nrelay_ip = [\"9.9.9.9\", \"9.9.9.10\"]",
            "beside another address of its family",
        ),
        (
            "[turn]\nrelay_ip = \"9.9.9.10\"",
            "is not an address of this machine",
        ),
        (
            "[turn.peers]\nallow = \"0.0.0.0/0\"",
            "opens 0.0.0.0/0 to every TURN user",
        ),
        ("[turn.peers]\nallow = \"127.0.0.0/8\"", "opens 127.0.0.0/8"),
        (
            "[turn.peers]\nallow = \"169.254.0.0/16\"",
            "opens 169.254.0.0/16",
        ),
        (
            "[proxy]\nvendors = \"agora\"\n[listen]\ntls = \"0.0.0.0:8443\"",
            "Agora's Web SDK will not find",
        ),
        (
            "[proxy]\nallow = \"*.skype.com\"\n[server]\ndomain = \"9.9.9.9\"",
            "is an address, and Azure needs a name for TURN over TLS",
        ),
        (
            "[proxy]\nagora_hosts = \"*.agora.io\"\n[listen]\ntcp = []",
            "Agora's Web SDK will not find",
        ),
        (
            "[proxy]\nvendors = [\"azure\", \"agora\"]\n[server]\ndomain = \"9.9.9.9\"",
            "is an address, and Azure and Agora need a name for TURN over TLS",
        ),
        (
            "[proxy]\nvendors = \"azure\"\n[server]\ndomain = \"9.9.9.9\"",
            "is an address, and Azure needs a name for TURN over TLS",
        ),
        (
            "[proxy]\ncors_origins = [\"*\", \"https://a.example\"]",
            "\"*\" beside other origins",
        ),
        (
            "[listen]\nlimits = { udp_buffer_bytes = \"64MiB\" }",
            "limits UDP receive buffers to 16MiB",
        ),
    ] {
        let mut text = text.to_owned();
        text.push_str("\n[tls]\nself_signed = true\n");
        if text.contains("[turn]") {
            text = text.replace("[turn]", "[turn]\nusers = { alice = \"pw\" }");
        } else {
            text.push_str("[turn]\nusers = { alice = \"pw\" }");
        }
        let loaded = parse_text(&text).unwrap_or_else(|report| panic!("{report}"));
        let found = loaded.warnings.iter().find(|w| w.message.contains(message));
        let Some(warning) = found else {
            panic!("{message} is not in {:#?}", loaded.warnings);
        };
        assert!(warning.help.is_some(), "{warning}");
    }
    let sound = parse_text(SELF_SIGNED).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(sound.warnings, []);
}

#[test]
fn what_agora_lacks_is_named_and_nothing_is_said_when_it_lacks_nothing() {
    let label = |listen: &str| {
        let text = format!("{SELF_SIGNED}[proxy]\nvendors = \"agora\"\n[listen]\n{listen}");
        let loaded = parse_text(&text).unwrap_or_else(|report| panic!("{report}"));
        let about = |w: &&Problem| w.message.contains("Agora's Web SDK");
        loaded.warnings.iter().find(about).map(|w| w.label.clone())
    };
    for (listen, missing) in [
        ("udp = []", "not listened on: 3478 over UDP"),
        ("tcp = \"0.0.0.0:3479\"", "not listened on: 3478 over TCP"),
        ("tls = \"0.0.0.0:8443\"", "not listened on: 443 over TLS"),
        (
            "udp = \"0.0.0.0:1\"\ntcp = []\ntls = \"0.0.0.0:8443\"",
            "not listened on: 3478 over UDP, 3478 over TCP, 443 over TLS",
        ),
    ] {
        let label = label(listen).unwrap_or_else(|| panic!("no warning for {listen}"));
        assert!(label.ends_with(missing), "{label}");
    }
    for listen in ["", "tcp = [\"0.0.0.0:3478\", \"0.0.0.0:443\"]\ntls = []"] {
        assert_eq!(label(listen), None, "{listen}");
    }
}

#[test]
fn hosts_of_every_kind_are_read_and_denied_ones_at_every_port() {
    let text = format!(
        "{SELF_SIGNED}[proxy]\nallow = \"*.a.example:443,4700-5000\"\ndeny = [\"b.example\", \"c.example:8443\"]\n\
         agora_hosts = \"d.example\"\ntrtc_signal_hosts = \"e.example\"\n"
    );
    let proxy = parse_text(&text)
        .unwrap_or_else(|r| panic!("{r}"))
        .config
        .proxy;
    let lines = crate::proxy::allowlist::lines;
    assert_eq!(lines(&proxy.allow), ["*.a.example:443,4700-5000"]);
    assert_eq!(lines(&proxy.deny), ["b.example:1-65535", "c.example:8443"]);
    assert_eq!(lines(&proxy.agora_hosts), ["d.example"]);
    assert_eq!(lines(&proxy.trtc_signal_hosts), ["e.example"]);
    for key in ["allow", "deny", "agora_hosts", "trtc_signal_hosts"] {
        for bad in ["a.0x1f", "*", "10.0.0.1", "a.example:0", "*.com"] {
            let text = format!("{SELF_SIGNED}[proxy]\n{key} = \"{bad}\"\n");
            assert!(parse_text(&text).is_err(), "{key} {bad}");
        }
    }
}

#[test]
fn a_proxy_alone_needs_no_credentials_but_is_told_that_turn_is_off() {
    let text = "[listen]\nudp = []\n[tls]\nself_signed = true\n[proxy]\nallow = \"a.example.com\"";
    let loaded = parse_text(text).unwrap_or_else(|report| panic!("{report}"));
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("TURN is off"))
    );
}

#[test]
fn an_operators_route_beats_a_presets_route_of_the_same_prefix() {
    let text = format!(
        "{SELF_SIGNED}[proxy]\nvendors = \"trtc\"\nroute = [{{ prefix = \"/ws/\", upstream = \"https://a.example/\" }}]"
    );
    let config = parse_text(&text).unwrap_or_else(|r| panic!("{r}")).config;
    let ws: Vec<&str> = config
        .proxy
        .routes
        .iter()
        .filter(|route| route.prefix == "/ws/")
        .map(|route| route.upstream.as_str())
        .collect();
    assert_eq!(ws, ["https://a.example/"]);
}

#[test]
fn a_certificate_that_does_not_fit_is_an_error_or_a_warning() {
    let dir = certificate_dir();
    let other = certificate_dir();
    std::fs::copy(other.join("key.pem"), dir.join("key.pem")).expect("a copy");
    let report = parse_in(&dir, MINIMAL).expect_err("another certificate's key");
    assert!(report.to_string().contains("does not belong"), "{report}");

    let text = format!("[server]\ndomain = \"other.example.com\"\n{MINIMAL}");
    let loaded = parse_in(&other, &text).unwrap_or_else(|report| panic!("{report}"));
    let warned = |part: &str| loaded.warnings.iter().any(|w| w.message.contains(part));
    assert!(
        warned("not for other.example.com"),
        "{:#?}",
        loaded.warnings
    );
}

#[test]
fn a_file_of_authorities_without_a_certificate_is_refused() {
    let dir = certificate_dir();
    std::fs::write(dir.join("empty.pem"), "no certificate here").expect("a file");
    for (name, accepted) in [("cert.pem", true), ("key.pem", false), ("empty.pem", false)] {
        let text = format!("{SELF_SIGNED}[proxy]\nca_file = \"{name}\"");
        match parse_in(&dir, &text) {
            Ok(_) => assert!(accepted, "{name}"),
            Err(report) => {
                let refused = report.to_string().contains("without usable certificates");
                assert!(refused && !accepted, "{report}");
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_so() {
    let dir = fresh_dir();
    let missing = load(&dir.join("none.toml"), &|_| None).expect_err("no file");
    assert!(missing.to_string().contains("no such file"), "{missing}");
    let directory = load(&dir, &|_| None).expect_err("a directory");
    assert!(
        directory.to_string().contains("is a directory"),
        "{directory}"
    );
    let path = dir.join("latin1.toml");
    std::fs::write(&path, b"[server]\n# caf\xe9\n").expect("a file");
    let latin1 = load(&path, &|_| None).expect_err("not UTF-8");
    assert!(latin1.to_string().contains("in line 2"), "{latin1}");
}
