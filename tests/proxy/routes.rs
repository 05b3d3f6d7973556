//! PROXY.md "Match": route, prefix route, SNI and Host. "Do better" 1 and 5: raw targets, own authority, allow-list.

use super::web::origin::Origin;
use super::web::relayd::{Relayd, Setup, resolve};
use super::{World, plain};

#[test]
fn a_host_route_reaches_its_host_with_its_name_as_sni_and_host() {
    let (origin, relayd) = plain(&["api.example.com", "other.example.com:8443"]);
    for (target, wanted, host, sni) in [
        (
            "/api.example.com/a/b?c=d",
            "/a/b?c=d",
            "api.example.com",
            "api.example.com",
        ),
        (
            "/API.Example.COM/A/b?C=d",
            "/A/b?C=d",
            "api.example.com",
            "api.example.com",
        ),
        (
            "/api.example.com:443/x",
            "/x",
            "api.example.com",
            "api.example.com",
        ),
        (
            "/other.example.com:8443/x",
            "/x",
            "other.example.com:8443",
            "other.example.com",
        ),
        (
            "/api.example.com",
            "/",
            "api.example.com",
            "api.example.com",
        ),
        (
            "/api.example.com?a",
            "/?a",
            "api.example.com",
            "api.example.com",
        ),
    ] {
        assert_eq!(relayd.get(target).status(), 200, "{target}");
        let seen = origin.last();
        assert_eq!(seen.message.target(), wanted, "{target}");
        assert_eq!(seen.message.one("host"), Some(host), "{target}");
        assert_eq!(seen.sni.as_deref(), Some(sni), "{target}");
    }
}

#[test]
fn the_path_reaches_the_upstream_byte_for_byte() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for path in [
        "/a%2Fb%20c",
        "/a//b///c/",
        "/%2e%2e/%2E%2E/x",
        "/../x/./y",
        "/%C3%A9%00%ff",
        "/x;y=z,!$&'()*+",
        "/x?a=%2F//&b=?&c=[]{}|",
        "/%zz%",
        "/x?",
    ] {
        assert_eq!(
            relayd.get(&format!("/api.example.com{path}")).status(),
            200,
            "{path}"
        );
        assert_eq!(origin.last().message.target(), path);
    }
}

#[test]
fn slashes_after_the_host_are_one_and_relayds_own_authority_is_stripped() {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let hosts = ["edge.skype.com", "ecs.communication.microsoft.com"];
    let proxy = format!(
        "public_names = [\"front.example.net\"]\nprefixes = [\"/azure\"]\nvendors = [\"azure\"]\n{}",
        resolve(&hosts, origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let own = relayd.authority();
    for (target, wanted) in [
        (
            "/ecs.communication.microsoft.com//config/v1//x".to_owned(),
            "/config/v1//x",
        ),
        (format!("/{own}/edge.skype.com/trap/tokens"), "/trap/tokens"),
        (
            format!("/{own}/{own}/edge.skype.com/trap/tokens"),
            "/trap/tokens",
        ),
        (
            format!("/azure/{own}/azure/edge.skype.com/trap/tokens"),
            "/trap/tokens",
        ),
        (
            "/azure/edge.skype.com/trap/tokens".to_owned(),
            "/trap/tokens",
        ),
        (
            "/front.example.net:8443/edge.skype.com/trap/tokens".to_owned(),
            "/trap/tokens",
        ),
        (
            "/front.example.net/edge.skype.com/trap/tokens".to_owned(),
            "/trap/tokens",
        ),
    ] {
        assert_eq!(relayd.get(&target).status(), 200, "{target}");
        assert_eq!(origin.last().message.target(), wanted, "{target}");
    }
}

#[test]
fn a_prefix_route_reaches_its_upstream_with_and_without_its_slash() {
    let world = World::new();
    let leaf = world.ca.leaf(&[
        "signaling.rtc.qq.com",
        "yun.tim.qq.com",
        "watchrtc-server.cyara.com",
        "own.example.com",
    ]);
    let origin = Origin::plain(&leaf);
    let proxy = format!(
        "vendors = [\"trtc\", \"watchrtc\"]\n{}[[proxy.route]]\nprefix = \"/own/\"\nupstream = \"https://own.example.com:8443/v2/\"\n",
        resolve(
            &[
                "signaling.rtc.qq.com",
                "yun.tim.qq.com",
                "watchrtc-server.cyara.com",
                "own.example.com:8443"
            ],
            origin.addr
        )
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    for (target, host, wanted) in [
        ("/ws/?sdkAppId=1", "signaling.rtc.qq.com", "/?sdkAppId=1"),
        ("/ws?sdkAppId=1", "signaling.rtc.qq.com", "/?sdkAppId=1"),
        ("/logger//v5/x?y", "yun.tim.qq.com", "/v5/x?y"),
        (
            "/websocket?apiKey=1",
            "watchrtc-server.cyara.com",
            "/?apiKey=1",
        ),
        ("/websocket/trace", "watchrtc-server.cyara.com", "/trace"),
        ("/websocket//trace", "watchrtc-server.cyara.com", "/trace"),
        ("/own/x", "own.example.com:8443", "/v2/x"),
        ("/own", "own.example.com:8443", "/v2/"),
    ] {
        let answer = relayd.get(target);
        assert_eq!(answer.status(), 200, "{target}: {answer:?}");
        let seen = origin.last();
        assert_eq!(
            (seen.message.one("host"), seen.message.target()),
            (Some(host), wanted),
            "{target}"
        );
        assert_eq!(seen.sni.as_deref(), host.split(':').next());
    }
}

#[test]
fn no_look_alike_of_an_allowed_host_reaches_anything() {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let port = origin.addr.port();
    let proxy = format!(
        "allow = [\"*.skype.com\"]\n{}",
        resolve(&["edge.skype.com"], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    for target in [
        "/evilskype.com/x".to_owned(),
        "/skype.com/x".to_owned(),
        "/skype.com.evil.com/x".to_owned(),
        "/edge.skype.com./x".to_owned(),
        "/edge%2eskype.com/x".to_owned(),
        "/user@edge.skype.com/x".to_owned(),
        "/edge.skype.com@evil.com/x".to_owned(),
        "/edge.skype.com:0443/x".to_owned(),
        "/edge.skype.com:8443/x".to_owned(),
        "/edge.skype.com:/x".to_owned(),
        format!("/127.0.0.1:{port}/x"),
        format!("/127.0.0.1:{port}%2F.skype.com/x"),
        format!("/127.0.0.1:{port}%2F.com/p"),
        format!("/127.1:{port}/x"),
        format!("/[::ffff:127.0.0.1]:{port}/x"),
        format!("/0x7f.1:{port}/x"),
        "/..%2fedge.skype.com/x".to_owned(),
    ] {
        let answer = relayd.get(&target);
        assert_eq!(answer.status(), 403, "{target}");
        assert_eq!(answer.json()["error"], "host_not_allowed", "{target}");
    }
    for target in ["/nowhere", "/nowhere/x", "/2130706433/x"] {
        let answer = relayd.get(target);
        assert_eq!(
            (answer.status(), answer.json()["error"].as_str()),
            (404, Some("no_route")),
            "{target}"
        );
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(relayd.get("/edge.skype.com/x").status(), 200);
}

#[test]
fn every_method_passes_but_trace_and_connect() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN",
    ] {
        assert_eq!(
            relayd
                .request(method, "/api.example.com/x", &[], b"")
                .status(),
            200,
            "{method}"
        );
        assert_eq!(origin.last().message.method(), method);
    }
    let seen = origin.seen().len();
    let trace = relayd.request("TRACE", "/api.example.com/x", &[], b"");
    assert_eq!(trace.status(), 405);
    assert!(trace.one("allow").is_some());
    let mut client = relayd.connect();
    client.send(format!(
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: {}\r\n\r\n",
        relayd.authority()
    ));
    let refused = client.answer().status();
    assert!(refused == 405 || refused == 400, "{refused}");
    assert_eq!(origin.seen().len(), seen);
}
