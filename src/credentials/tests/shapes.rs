//! What each SDK gets.

use super::*;

#[test]
fn each_sdk_gets_its_shape() {
    let world = World::new();
    let shape = |vendor: &str, key: &str| {
        let answer = world.json("", &json!({ "name": "a", "vendor": vendor }).to_string());
        let (user, pass) = (
            answer["username"].to_string(),
            answer["credential"].to_string(),
        );
        let text = answer[key].to_string();
        text.replace(&user, "\"U\"").replace(&pass, "\"P\"")
    };
    let same = |vendor: &str, key: &str, expected: Value| {
        assert_eq!(shape(vendor, key), expected.to_string(), "{vendor}");
    };
    let all = [
        "turn:relay.example.com:3478?transport=udp",
        "turn:relay.example.com:3478?transport=tcp",
        "turns:relay.example.com:443?transport=tcp",
    ];
    let rtc = json!([{ "urls": all, "username": "U", "credential": "P" }]);
    let one = |key: &str, value: Value| json!({ key: value, "username": "U", "credential": "P" });
    same(
        "azure",
        "iceServers",
        json!([
            one("urls", json!(["turn:relay.example.com:3478?transport=udp"])),
            one("urls", json!(["turn:relay.example.com:3478?transport=tcp"])),
            one("urls", json!(["turn:relay.example.com:443?transport=tls"])),
        ]),
    );
    same(
        "azure-native",
        "iceServers",
        json!([{ "urls": ["203.0.113.7"], "udpPort": 3478, "realm": "the realm", "username": "U", "password": "P" }]),
    );
    let agora = |ports: Value| {
        let mut one = json!({ "turnServerURL": "relay.example.com", "username": "U", "password": "P", "forceturn": true });
        let ports = ports.as_object().expect("an object").clone();
        one.as_object_mut().expect("an object").extend(ports);
        one
    };
    same(
        "agora",
        "turnServer",
        json!([
            agora(json!({ "udpport": 3478, "tcpport": 3478 })),
            agora(json!({ "tcpport": 443, "security": true })),
        ]),
    );
    same("agora", "parameters", json!({ "NEW_TURN_MODE": 0 }));
    same(
        "agora-3",
        "turnServer",
        json!({ "turnServerURL": "relay.example.com", "udpport": "3478", "tcpport": "3478", "username": "U", "password": "P", "forceturn": true }),
    );
    same(
        "trtc",
        "turnServer",
        json!(all.map(|url| one("url", json!(url)))),
    );
    same(
        "trtc-4",
        "turnServer",
        json!([
            one("url", json!("relay.example.com:3478?transport=udp")),
            one("url", json!("relay.example.com:3478?transport=tcp")),
        ]),
    );
    same(
        "vonage",
        "iceConfig",
        json!({ "includeServers": "custom", "transportPolicy": "relay", "customServers": rtc }),
    );
    same(
        "daily",
        "iceConfig",
        json!({ "iceServers": rtc, "placement": "replace", "iceTransportPolicy": "relay" }),
    );
    same(
        "livekit",
        "rtcConfig",
        json!({ "iceServers": rtc, "iceTransportPolicy": "relay" }),
    );
}

#[test]
fn every_vendor_is_answered_and_named_in_the_refusal() {
    let world = World::new();
    for vendor in VENDORS {
        assert_eq!(
            world.body(&json!({ "vendor": vendor }).to_string()),
            200,
            "{vendor}"
        );
        assert!(
            Outcome::UnknownVendor.sentence().contains(vendor),
            "{vendor}"
        );
    }
}

#[test]
fn an_sdk_that_can_use_nothing_of_the_server_is_told_so() {
    let status = |server: Server, vendor: &str| {
        let world = World::new();
        world.service.replace(Some((settings(), server)));
        world.body(&json!({ "vendor": vendor }).to_string())
    };
    let tls_only = || Server {
        ports: Ports {
            tls: Some(443),
            ..Ports::default()
        },
        ..server()
    };
    for vendor in ["azure-native", "agora-3", "trtc-4"] {
        assert_eq!(status(tls_only(), vendor), 400, "{vendor}");
    }
    assert_eq!(status(tls_only(), "azure"), 200);
    let without_ip = Server {
        ipv4: None,
        ..server()
    };
    assert_eq!(status(without_ip, "azure-native"), 400);
    let by_address = Server {
        domain: "203.0.113.7".to_owned(),
        ..tls_only()
    };
    // VENDORS.md §2: Azure's `tls` with an address ends the call.
    assert_eq!(status(by_address, "azure"), 400);
    let nothing = Server {
        ports: Ports::default(),
        ..server()
    };
    assert_eq!(status(nothing, "livekit"), 400);
}

#[test]
fn an_ipv6_domain_stands_in_brackets() {
    let world = World::new();
    let server = Server {
        domain: "2001:db8::7".to_owned(),
        ..server()
    };
    world.service.replace(Some((settings(), server)));
    let answer = world.json("", "{}");
    assert_eq!(
        answer["iceServers"][0]["urls"][0],
        "turn:[2001:db8::7]:3478?transport=udp"
    );
}

#[test]
fn ports_are_those_that_networks_let_through_and_browsers_use() {
    let list = |ports: &[u16]| -> Vec<SocketAddr> {
        ports
            .iter()
            .map(|port| ([0, 0, 0, 0], *port).into())
            .collect()
    };
    let of = |ports: &[u16]| Ports::of(&list(ports), &list(ports), &list(ports));
    let both = of(&[5349, 3478, 443]);
    assert_eq!(
        (both.udp, both.tcp, both.tls),
        (Some(3478), Some(3478), Some(443))
    );
    assert_eq!(of(&[999, 5349, 5350]).tls, Some(5349));
    assert_eq!(of(&[999]), Ports::default());
    assert_eq!(of(&[]), Ports::default());
}
