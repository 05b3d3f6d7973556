use crate::live::upstreams::{Way, targets};
use crate::proxy::route::Router;
use crate::proxy::{HostRule, PrefixRoute, Settings, vendors};

fn rules(texts: &[&str]) -> Vec<HostRule> {
    let rule = |text: &&str| text.parse().expect("a rule");
    texts.iter().map(rule).collect()
}

fn names(settings: &Settings, presets: &[&str]) -> (Vec<String>, Vec<String>) {
    let presets: Vec<String> = presets.iter().map(|name| (*name).to_owned()).collect();
    let targets = targets(settings, &presets);
    let tried = targets.tried.iter();
    (
        tried.map(|target| target.authority.to_string()).collect(),
        targets.untried.into_iter().map(|(what, _)| what).collect(),
    )
}

#[test]
fn every_name_that_is_written_out_is_tried_once_and_wildcards_are_listed() {
    let settings = Settings {
        allow: rules(&[
            "api.example.com",
            "api.example.com",
            "b.example.com:8443",
            "*.example.org",
        ]),
        routes: vec![PrefixRoute {
            prefix: "/ws/".to_owned(),
            upstream: "https://signal.example.net:4433/v1/".to_owned(),
        }],
        ..Settings::default()
    };
    let (tried, untried) = names(&settings, &[]);
    assert_eq!(
        tried,
        [
            "signal.example.net:4433",
            "api.example.com",
            "b.example.com:8443"
        ]
    );
    assert_eq!(untried, ["*.example.org"]);
}

#[test]
fn what_is_denied_is_not_tried_and_an_overridden_name_below_a_wildcard_is() {
    let mut settings = Settings {
        allow: rules(&["api.example.com", "*.example.org"]),
        deny: rules(&["api.example.com"]),
        ..Settings::default()
    };
    let address = "127.0.0.1:1".parse().expect("an address");
    for name in ["inside.example.org", "elsewhere.example.net"] {
        settings.resolve.insert((name.to_owned(), 443), address);
    }
    let (tried, _) = names(&settings, &[]);
    assert_eq!(tried, ["inside.example.org"]);
}

/// The path by which a target is asked through relayd leads to that very target.
#[test]
fn every_target_of_every_preset_is_reached_by_its_path() {
    for name in vendors::NAMES {
        let preset = vendors::preset(name).expect("a preset");
        let settings = Settings {
            allow: vendors::rules(preset.hosts),
            agora_hosts: vendors::rules(preset.agora_hosts),
            trtc_signal_hosts: vendors::rules(preset.trtc_signal_hosts),
            routes: preset.routes(),
            ..Settings::default()
        };
        let router = Router::new(&settings).expect("good settings");
        let targets = targets(&settings, &[name.to_owned()]);
        for target in &targets.tried {
            let route = router.route("relay.example.com", &target.path());
            let route = route.unwrap_or_else(|error| panic!("{target:?}: {error:?}"));
            assert_eq!(route.authority(), target.authority.to_string());
        }
        // Each example is one that the preset allows.
        let tried = targets
            .tried
            .iter()
            .map(|target| target.authority.host.as_str());
        let tried: Vec<&str> = tried.collect();
        for example in preset.examples {
            assert!(tried.contains(example), "{name}: {example}");
        }
    }
}

#[test]
fn hosts_that_are_named_in_a_query_are_asked_for_in_the_vendors_way() {
    let settings = Settings {
        agora_hosts: rules(&["a.agora.example"]),
        trtc_signal_hosts: rules(&["t.trtc.example"]),
        ..Settings::default()
    };
    let ways: Vec<Way> = targets(&settings, &[])
        .tried
        .into_iter()
        .map(|target| target.way)
        .collect();
    assert_eq!(ways, [Way::Agora, Way::Trtc]);
}
