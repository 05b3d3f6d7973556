use super::*;
use crate::config::{Config, Machine, Surroundings, parse};
use std::path::Path;
use std::time::Duration;

fn config(text: &str) -> Config {
    let around = Surroundings {
        base_dir: Path::new(""),
        env: &|_| None,
        machine: &Machine::default(),
    };
    let loaded = parse(text, "test.toml", &around).unwrap_or_else(|report| panic!("{report}"));
    loaded.config
}

const USUAL: &str = "[server]\ndomain = \"relay.example.com\"\nexternal_ip = \"203.0.113.7\"\n\
    [tls]\nself_signed = true\n\
    [listen]\nudp = \"0.0.0.0:3478\"\ntcp = \"0.0.0.0:3478\"\ntls = \"0.0.0.0:443\"\n\
    [turn]\nusers = { alice = \"wonder\" }\n\
    [proxy]\nvendors = [\"azure\", \"agora\", \"trtc\", \"watchrtc\", \"vonage\", \"daily\", \"livekit\"]\n";

fn facts(text: &str) -> Facts {
    let config = config(text);
    let login = Login::of_config(&config, &Chosen::default(), 1_000).expect("a login");
    Facts::of_config(&config, login)
}

fn snippet(vendor: Vendor, flavour: &str, facts: &Facts) -> Snippet {
    let mut flavours = vendor.flavours().iter();
    let found = flavours.find(|one| one.name == flavour).expect(flavour);
    found.snippet(vendor, facts)
}

#[test]
fn a_usual_configuration_has_no_problem_in_any_sdk() {
    let facts = facts(USUAL);
    let all = everything(&facts);
    let flavours: usize = Vendor::ALL.iter().map(|v| v.flavours().len()).sum();
    assert_eq!(all.len(), flavours);
    for snippet in &all {
        assert_eq!(snippet.problems, [""; 0], "{snippet}");
        let text = snippet.to_string();
        assert!(text.contains("relay.example.com"), "{text}");
        assert!(
            !text.contains("YOUR_RELAYD") && !text.contains("YOUR_TURN"),
            "{text}"
        );
        if snippet.vendor != Vendor::Watchrtc {
            assert!(text.contains("alice") && text.contains("wonder"), "{text}");
        }
    }
}

#[test]
fn names_tell_vendors_and_flavours_apart() {
    for vendor in Vendor::ALL {
        assert_eq!(Vendor::parse(vendor.name()), Some(vendor));
        let names: std::collections::HashSet<_> = vendor
            .flavours()
            .iter()
            .map(|flavour| flavour.name)
            .collect();
        assert_eq!(names.len(), vendor.flavours().len());
    }
    assert_eq!(Vendor::parse("Azure"), None);
}

#[test]
fn every_preset_of_a_vendor_is_one_that_the_proxy_has() {
    for vendor in Vendor::ALL {
        for preset in vendor.presets() {
            assert!(crate::proxy::vendors::preset(preset).is_some(), "{preset}");
        }
    }
    for name in crate::proxy::vendors::NAMES {
        let has = |vendor: &Vendor| vendor.presets().contains(&name);
        assert!(Vendor::ALL.iter().any(has), "{name} has no client code");
    }
}

#[test]
fn a_vendor_that_the_proxy_does_not_let_through_is_said_with_the_fix() {
    let facts = facts(&USUAL.replace("\"azure\", ", ""));
    let web = snippet(Vendor::Azure, "web", &facts).to_string();
    assert!(
        web.contains("// PROBLEM: proxy.vendors does not have \"azure\""),
        "{web}"
    );
    assert!(
        everything(&facts)
            .iter()
            .all(|one| one.vendor != Vendor::Azure)
    );
    let international = facts_with_vendor("trtc-international");
    let v5 = snippet(Vendor::Trtc, "v5", &international);
    assert_eq!(v5.problems, [""; 0], "either preset of TRTC will do");
}

fn facts_with_vendor(name: &str) -> Facts {
    let (before, _) = USUAL.split_once("vendors = ").expect("a list");
    facts(&format!("{before}vendors = \"{name}\"\n"))
}

#[test]
fn ports_are_those_of_the_configuration_and_443_is_left_out_of_urls() {
    let usual = facts(USUAL);
    assert!(usual.authority() == "relay.example.com");
    let other = facts(&USUAL.replace(":443", ":8443").replace(":3478", ":3479"));
    for (vendor, flavour, part) in [
        (
            Vendor::Webrtc,
            "web",
            "\"turns:relay.example.com:8443?transport=tcp\"",
        ),
        (
            Vendor::Azure,
            "web",
            "proxy: { url: \"https://relay.example.com:8443\" }",
        ),
        (
            Vendor::Azure,
            "web",
            "\"turn:relay.example.com:8443?transport=tls\"",
        ),
        (Vendor::Azure, "ios", "iceServer.udpPort = 3479"),
        (
            Vendor::Agora,
            "web-4",
            "client.setProxyServer(\"relay.example.com:8443\")",
        ),
        (Vendor::Agora, "web-3", "tcpport: \"3479\""),
        (
            Vendor::Trtc,
            "v5",
            "websocketProxy: \"wss://relay.example.com:8443/ws/\"",
        ),
        (
            Vendor::Trtc,
            "v5",
            "url: \"turns:relay.example.com:8443?transport=tcp\"",
        ),
        (
            Vendor::Trtc,
            "v4",
            "url: \"relay.example.com:3479?transport=tcp\"",
        ),
        (
            Vendor::Watchrtc,
            "web",
            "proxyUrl: \"wss://relay.example.com:8443/websocket\"",
        ),
        (
            Vendor::Livekit,
            "web",
            "\"wss://relay.example.com:8443/YOUR_PROJECT.livekit.cloud\"",
        ),
    ] {
        let text = snippet(vendor, flavour, &other).to_string();
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// Of several ports the customary one is shown: vendors' SDKs have it built in.
#[test]
fn the_customary_port_goes_before_the_first() {
    let text = USUAL.replace(
        "udp = \"0.0.0.0:3478\"",
        "udp = [\"0.0.0.0:5000\", \"0.0.0.0:3478\"]",
    );
    assert_eq!(facts(&text).udp_port(), Some(3478));
}

#[test]
fn agora_4_uses_its_built_in_ports_where_they_fit_and_another_mode_elsewhere() {
    let fits = snippet(Vendor::Agora, "web-4", &facts(USUAL));
    assert!(fits.code.contains("NEW_FORCE_TURN") && !fits.code.contains("NEW_TURN_MODE"));
    let other = snippet(
        Vendor::Agora,
        "web-4",
        &facts(&USUAL.replace(":443", ":8443")),
    );
    assert!(
        other.code.contains("setParameter(\"NEW_TURN_MODE\", 0)"),
        "{other}"
    );
    assert!(
        !other.code.contains("NEW_FORCE_TURN"),
        "it sets NEW_TURN_MODE back to 4"
    );
    assert!(
        other.code.contains("tcpport: 8443, security: true"),
        "{other}"
    );
    assert!(
        other.limits[0].ends_with("Here nothing listens on 443 over TLS."),
        "{other}"
    );
}

#[test]
fn an_address_for_a_domain_leaves_out_what_needs_a_name() {
    let facts = facts(&USUAL.replace("\"relay.example.com\"", "\"2001:db8::7\""));
    let azure = snippet(Vendor::Azure, "web", &facts);
    assert!(
        azure.code.contains("url: \"https://[2001:db8::7]\""),
        "{azure}"
    );
    assert!(!azure.code.contains("transport=tls"), "{azure}");
    assert!(azure.problems[0].contains("server.domain"), "{azure}");
    let agora = snippet(Vendor::Agora, "web-4", &facts);
    assert!(!agora.code.contains("security"), "{agora}");
    assert_eq!(agora.problems.len(), 1, "{agora}");
}

#[test]
fn native_sdks_of_azure_get_the_ipv4_address_and_the_realm() {
    let facts = facts(&USUAL.replace("[turn]\n", "[turn]\nrealm = \"a realm\"\n"));
    for flavour in ["ios", "android", "windows"] {
        let native = snippet(Vendor::Azure, flavour, &facts);
        assert!(native.code.contains("\"turn:203.0.113.7\""), "{native}");
        assert!(
            native.code.contains("\"a realm\"") && native.code.contains("3478"),
            "{native}"
        );
    }
    let unknown = Facts {
        ipv4: None,
        udp: Vec::new(),
        ..facts
    };
    let ios = snippet(Vendor::Azure, "ios", &unknown);
    assert_eq!(ios.problems.len(), 2, "{ios}");
}

#[test]
fn a_prefix_stands_in_front_of_every_route_but_agoras() {
    let facts = Facts {
        prefix: "/rtc".to_owned(),
        ..facts(USUAL)
    };
    for (vendor, part) in [
        (Vendor::Azure, "https://relay.example.com/rtc\""),
        (Vendor::Trtc, "wss://relay.example.com/rtc/ws/\""),
        (Vendor::Trtc, "\"relay.example.com/rtc/schedule\""),
        (Vendor::Watchrtc, "wss://relay.example.com/rtc/websocket\""),
        (Vendor::Vonage, "https://relay.example.com/rtc\""),
        (Vendor::Daily, "https://relay.example.com/rtc\""),
        (
            Vendor::Livekit,
            "wss://relay.example.com/rtc/YOUR_PROJECT.livekit.cloud\"",
        ),
        (Vendor::Agora, "setProxyServer(\"relay.example.com\")"),
    ] {
        let text = overview(&facts, &[vendor])[0].to_string();
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn without_a_tls_listener_there_is_no_proxy_and_the_text_says_so() {
    let text = USUAL.replace("tls = \"0.0.0.0:443\"", "tls = []");
    let facts = facts(&text);
    let azure = snippet(Vendor::Azure, "web", &facts);
    assert!(
        azure.problems[0].contains("nothing listens on TLS"),
        "{azure}"
    );
    let webrtc = snippet(Vendor::Webrtc, "web", &facts);
    assert!(
        !webrtc.code.contains("turns:") && webrtc.problems.is_empty(),
        "{webrtc}"
    );
}

fn login(text: &str, chosen: &Chosen) -> Result<Login, NoLogin> {
    Login::of_config(&config(text), chosen, 1_000)
}

#[test]
fn a_user_is_chosen_by_name_else_the_first_with_a_password() {
    let text = USUAL.replace(
        "users = { alice = \"wonder\" }",
        "users = { aaron = \"key:00112233445566778899aabbccddeeff\", bob = \"builder\", carol = \"singer\" }",
    );
    let of = |name: Option<&str>| {
        let chosen = Chosen {
            user: name.map(str::to_owned),
            ttl: None,
        };
        login(&text, &chosen)
    };
    let first = of(None).expect("one");
    assert_eq!(
        (first.username.as_str(), first.password.expose()),
        ("bob", "builder")
    );
    let named = of(Some("carol")).expect("carol");
    assert_eq!(named.password.expose(), "singer");
    let keyed = of(Some("aaron")).expect("aaron");
    assert_eq!(keyed.username, "aaron");
    assert_eq!(keyed.password.expose(), PLACEHOLDER_PASSWORD);
    assert!(keyed.note.expect("a note").contains("key of aaron"));
    let known = ["aaron", "bob", "carol"].map(str::to_owned).to_vec();
    let name = "dave".to_owned();
    assert_eq!(
        of(Some("dave")).err(),
        Some(NoLogin::UnknownUser { name, known })
    );
}

/// TURN REST: the credential that `relayd credential` would make.
#[test]
fn a_time_limited_credential_is_made_when_asked_for_or_when_there_is_no_user() {
    let with_secret = USUAL.replace("users = { alice = \"wonder\" }", "auth_secret = \"s3cret\"");
    let default = login(&with_secret, &Chosen::default()).expect("a credential");
    assert_eq!(default.username, format!("{}:client", 1_000 + 8 * 3600));
    let secret = Secret::new("s3cret");
    let expected = crate::turn::credentials::time_limited_password(&secret, &default.username);
    assert_eq!(default.password.expose(), expected);
    let asked = Chosen {
        user: Some("bob".to_owned()),
        ttl: Some(Duration::from_secs(60)),
    };
    assert_eq!(
        login(&with_secret, &asked).expect("bob's").username,
        "1060:bob"
    );
    assert_eq!(login(USUAL, &asked).err(), Some(NoLogin::NoSecret));
}

#[test]
fn without_user_and_secret_placeholders_stand_and_the_text_says_why() {
    let text = USUAL
        .replace("users = { alice = \"wonder\" }\n", "")
        .replace("udp = \"0.0.0.0:3478\"", "udp = []");
    let webrtc = snippet(Vendor::Webrtc, "web", &facts(&text)).to_string();
    assert!(
        webrtc.contains(PLACEHOLDER_USER) && webrtc.contains("// TURN is off"),
        "{webrtc}"
    );
}

#[test]
fn a_password_with_quotes_stays_inside_its_literal_in_every_language() {
    let mut facts = facts(USUAL);
    facts.login.password = Secret::new("a\"b\\c\u{7}\\(x)");
    for snippet in everything(&facts) {
        if snippet.vendor == Vendor::Watchrtc {
            continue;
        }
        let bell = if snippet.language == Language::Swift {
            "\\u{0007}"
        } else {
            "\\u0007"
        };
        let literal = format!("\"a\\\"b\\\\c{bell}\\\\(x)\"");
        assert!(
            snippet.code.contains(&literal),
            "{literal} is not in\n{snippet}"
        );
    }
}

#[test]
fn all_that_is_not_code_is_a_comment() {
    let facts = Facts {
        vendors: Vec::new(),
        tls: Vec::new(),
        ..facts(USUAL)
    };
    for vendor in Vendor::ALL {
        for flavour in vendor.flavours() {
            let snippet = flavour.snippet(vendor, &facts);
            let text = snippet.to_string();
            let rest = text.replace(&snippet.code, "");
            let mut lines = rest.lines().filter(|line| !line.is_empty());
            assert!(lines.all(|line| line.starts_with("// ")), "{text}");
        }
    }
}
