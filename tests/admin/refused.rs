//! Requests that are not carried out: strangers, foreign pages, nonsense, too much of anything.

use crate::api::{Api, until};
use crate::support::client::Kind;
use crate::support::subject::{Setup, Subject};
use crate::tunnels::echoing;
use std::net::TcpStream;

const TOKEN: &str = "correct-horse-battery-staple";

fn start() -> (Subject, Api) {
    let subject = Subject::start(&Setup::default());
    let api = Api::new(subject.admin.expect("it is on"));
    (subject, api)
}

/// A server with a token on every address, as an operator would have it on a network.
fn with_token() -> (Subject, Api) {
    let file = std::env::temp_dir().join(format!("relayd-admin-token-{}", std::process::id()));
    std::fs::write(&file, TOKEN).expect("a file");
    let setup = Setup {
        extra: vec![(
            "admin",
            format!("token = {:?}", format!("file:{}", file.display())),
        )],
        ..Setup::default()
    };
    let subject = Subject::start(&setup);
    let api = Api::with_token(subject.admin.expect("it is on"), TOKEN);
    (subject, api)
}

#[test]
fn with_a_token_nothing_but_health_and_the_dashboards_files_is_served_without_it() {
    let (subject, api) = with_token();
    let stranger = Api::new(api.addr);
    assert_eq!(stranger.get("/healthz").status, 200);
    assert_eq!(stranger.get("/readyz").status, 200);
    for path in ["/", "/dashboard.css", "/dashboard.js"] {
        let served = stranger.get(path);
        assert_eq!(served.status, 200, "{path}");
        assert!(
            !served.body.contains(TOKEN) && !served.body.contains("alice"),
            "{path} holds no data"
        );
        assert_eq!(served.header("access-control-allow-origin"), None);
    }
    for path in [
        "/metrics",
        "/allocations",
        "/nothing",
        "/dashboard",
        "/healthz/",
        "/healthz/../metrics",
    ] {
        let refused = stranger.get(path);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "unauthorized"),
            "{path}"
        );
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    let served = api.ask("GET", "/version", &[("Host", "relay.example.com")], b"");
    assert_eq!(
        served.status, 200,
        "a name that a proxy gives it is no matter"
    );
    let text = api.get("/metrics").body;
    let missing = "relayd_admin_token_failures_total{reason=\"missing\"} 6";
    assert!(text.contains(missing), "{text}");
    let counted = "relayd_admin_requests_total{route=\"other\",method=\"GET\",status=\"401\"} 4";
    assert!(text.contains(counted), "{text}");
    drop(subject);
}

#[test]
fn a_stranger_writes_no_line_by_asking_health_for_more() {
    let files = vec![("admin.token", TOKEN.to_owned())];
    let (_origin, relayd) = echoing("token = \"file:admin.token\"", files);
    let stranger = Api::new(relayd.admin);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(stranger.ask("HEAD", path, &[], b"").status, 200);
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = stranger.ask(method, path, &[], b"");
            assert_eq!(refused.status, 401, "{method} {path}");
        }
    }
    let api = Api::with_token(relayd.admin, TOKEN);
    assert_eq!(api.ask("POST", "/healthz", &[], b"").status, 405);
    let line = relayd.wait_for_log("the known one", |line| line.contains("admin request"));
    assert!(line.contains("405"), "{line}");
    assert_eq!(relayd.log().matches("admin request").count(), 1);
}

#[test]
fn guessing_a_token_is_slowed_down_and_changes_nothing() {
    let (subject, api) = with_token();
    let mut client = subject.alice(Kind::Udp);
    client.allocate().expect("allocated");
    let guesser = Api::with_token(api.addr, "correct-horse-battery-stapl");
    let statuses: Vec<u16> = (0..30)
        .map(|_| guesser.delete("/allocations?all=true").status)
        .collect();
    assert_eq!(statuses.first(), Some(&401));
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    assert!(
        client
            .refresh(600)
            .expect("answered")
            .error_code()
            .is_none()
    );
    assert_eq!(Api::new(api.addr).get("/healthz").status, 200);
}

#[test]
fn without_a_token_foreign_hosts_are_refused_in_every_form() {
    let (_subject, api) = start();
    for host in [
        "evil.example",
        "evil.example:9641",
        "192.0.2.1",
        "localhost.evil.example",
        "",
    ] {
        let refused = api.ask("GET", "/allocations", &[("Host", host)], b"");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "foreign_host"),
            "{host}"
        );
    }
    assert_eq!(
        api.ask("GET", "/version", &[("Host", "localhost")], b"")
            .status,
        200
    );
    let target = "http://evil.example/version";
    assert_eq!(
        api.ask("GET", target, &[], b"").status,
        403,
        "an absolute target counts, too"
    );
    let without = api
        .raw(b"GET /version HTTP/1.0\r\n\r\n")
        .expect("an answer");
    assert_eq!(without.status, 403);
}

#[test]
fn a_page_of_another_site_changes_nothing_and_reads_nothing() {
    let (subject, api) = start();
    let mut client = subject.alice(Kind::Udp);
    client.allocate().expect("allocated");
    for foreign in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for (method, target) in [
            ("POST", "/reload"),
            ("DELETE", "/allocations?all=true"),
            ("POST", "/drain"),
            ("PUT", "/log-level"),
        ] {
            let refused = api.ask(method, target, &[foreign], b"");
            let got = (refused.status, refused.code());
            assert_eq!(
                got,
                (403, "foreign_origin".to_owned()),
                "{method} {foreign:?}"
            );
        }
    }
    // A form can send this without asking; a JSON type cannot be sent so.
    let form = [("Content-Type", "text/plain")];
    let refused = api.ask("PUT", "/log-level", &form, b"{\"level\": \"trace\"}");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (415, "unsupported_media_type")
    );
    let read = api.ask(
        "GET",
        "/allocations",
        &[("Origin", "https://evil.example")],
        b"",
    );
    assert_eq!(read.header("access-control-allow-origin"), None);
    let preflight = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "DELETE"),
    ];
    let preflight = api.ask("OPTIONS", "/allocations", &preflight, b"");
    assert_eq!(preflight.status, 405);
    assert!(
        !preflight.head.to_lowercase().contains("access-control"),
        "{preflight:?}"
    );
    let own = format!("http://{}", api.addr);
    let dashboard = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(
        api.ask("DELETE", "/allocations?user=nobody", &dashboard, b"")
            .status,
        200
    );
    assert!(
        client
            .refresh(600)
            .expect("answered")
            .error_code()
            .is_none()
    );
}

#[test]
fn bad_values_are_named_and_a_misspelt_filter_is_no_filter() {
    let (subject, api) = start();
    let mut client = subject.alice(Kind::Udp);
    client.allocate().expect("allocated");
    let some_cursor = {
        let mut other = subject.bob(Kind::Udp);
        other.allocate().expect("allocated");
        let page = api.get("/allocations?limit=1").json();
        page["next"].as_str().expect("a second page").to_owned()
    };
    let cursor_of_another_list = format!("/allocations?sort=bytes&cursor={some_cursor}");
    let tunnels_cursor = format!("/tunnels?cursor={some_cursor}");
    for (method, target, named) in [
        ("GET", "/allocations?limit=0", "`limit`"),
        ("GET", "/allocations?limit=1001", "`limit`"),
        ("GET", "/allocations?limit=%2b5", "`limit`"),
        (
            "GET",
            "/allocations?limit=5&limit=6",
            "`limit` is given twice",
        ),
        ("GET", "/allocations?sort=beauty", "`sort`"),
        ("GET", "/allocations?order=up", "`order`"),
        ("GET", "/allocations?transport=sctp", "udp, tcp or tls"),
        ("GET", "/allocations?client=nowhere", "`client`"),
        ("GET", "/allocations?peer=127.0.0.1:99999", "`peer`"),
        ("GET", "/allocations?relayed=0", "`relayed`"),
        ("GET", "/allocations?user=", "`user`"),
        ("GET", "/allocations?user=%ff", "UTF-8"),
        ("GET", "/allocations?cursor=", "`cursor`"),
        ("GET", "/allocations?cursor=e30", "`cursor`"),
        ("GET", &cursor_of_another_list, "`cursor`"),
        ("GET", &tunnels_cursor, "`cursor`"),
        ("GET", "/tunnels?host=", "`host`"),
        ("GET", "/tunnels?sort=user", "`sort`"),
        ("GET", "/config?verbose=1", "unknown parameter"),
        ("DELETE", "/allocations", "all=true"),
        ("DELETE", "/allocations?usr=alice", "unknown parameter"),
        ("DELETE", "/allocations?all=yes", "`all`"),
        ("DELETE", "/allocations?all=true&user=bob", "all=true alone"),
        ("DELETE", "/allocations/x", "ID"),
        ("DELETE", "/allocations/-1", "ID"),
        ("DELETE", "/allocations/+1", "ID"),
        ("DELETE", "/allocations/99999999999999999999999", "ID"),
        ("DELETE", "/tunnels", "all=true"),
        ("GET", "/allocations/", "ID"),
    ] {
        let refused = api.ask(method, target, &[], b"");
        let message = refused.json()["error"]["message"].to_string();
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "bad_request"),
            "{target}"
        );
        assert!(message.contains(named), "{target}: {message}");
    }
    for body in [
        "",
        "{",
        "[]",
        "{\"level\": 3}",
        "{\"level\": \"info\", \"x\": 1}",
    ] {
        assert_eq!(api.put_json("/log-level", body).status, 400, "{body}");
    }
    let misspelt = api.put_json("/log-level", "{\"level\": \"verbose\"}");
    assert!(
        misspelt.json()["error"]["message"]
            .to_string()
            .contains("trace"),
        "{misspelt:?}"
    );
    assert_eq!(api.get("/log-level").json()["level"], "info");
    assert_eq!(
        api.get("/allocations").json()["total"],
        2,
        "nothing was ended"
    );
}

#[test]
fn paths_and_methods_that_are_not_there_are_told_apart() {
    let (_subject, api) = start();
    for path in [
        "/dashboard",
        "/nothing",
        "/allocations/1/2",
        "/../etc/passwd",
        "/allocations/../config",
        "/allocations/%2e%2e/config",
        "//config",
        "/config/",
        "/CONFIG",
    ] {
        let missing = api.get(path);
        assert_eq!(
            (missing.status, missing.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/allocations", "GET, HEAD, DELETE"),
        ("BREW", "/drain", "GET, HEAD, POST, DELETE"),
        ("OPTIONS", "/log-level", "GET, HEAD, PUT"),
    ] {
        let refused = api.ask(method, path, &[], b"");
        let got = (refused.status, refused.header("allow"));
        assert_eq!(got, (405, Some(allow)), "{method} {path}");
        assert_eq!(refused.code(), "method_not_allowed");
    }
    let text = api.get("/metrics").body;
    let counted = "relayd_admin_requests_total{route=\"/drain\",method=\"other\",status=\"405\"} 1";
    assert!(text.contains(counted), "{text}");
    let head = api.ask("HEAD", "/allocations", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn too_much_of_anything_is_refused_and_the_listener_lives_on() {
    let (_subject, api) = start();
    let big = format!("{{\"level\": \"{}\"}}", "x".repeat(64 << 10));
    let refused = api.put_json("/log-level", &big);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "body_too_large")
    );
    let chunk = format!("{:x}\r\n{}\r\n", 20 << 10, "x".repeat(20 << 10));
    let chunked = format!(
        "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    let refused = api.raw(chunked.as_bytes()).expect("an answer");
    assert_eq!(refused.status, 413);
    let head = format!(
        "GET /version HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    // The answer may be lost in the reset that unread bytes cause.
    if let Some(refused) = api.raw(head.as_bytes()) {
        assert_eq!(refused.status, 431);
    }
    let long = format!("/allocations?user={}", "x".repeat(32 << 10));
    let target = format!("GET {long} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    if let Some(refused) = api.raw(target.as_bytes()) {
        assert!(matches!(refused.status, 414 | 431), "{refused:?}");
    }
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(api.addr).expect("it listens"))
        .collect();
    assert_eq!(api.get("/healthz").status, 200);
    drop(silent);
    let garbage = api.raw(b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n");
    assert!(garbage.is_none_or(|answer| answer.status == 400));
    assert_eq!(api.get("/healthz").status, 200);
}

#[test]
fn a_reload_puts_another_token_in_force() {
    let files = vec![("admin.token", TOKEN.to_owned())];
    let (_origin, relayd) = echoing("token = \"file:admin.token\"", files);
    assert_eq!(
        Api::with_token(relayd.admin, TOKEN).get("/version").status,
        200
    );
    std::fs::write(
        relayd.directory().join("admin.token"),
        "another-token-than-that",
    )
    .expect("a file");
    relayd.reload(|text| text);
    let api = Api::with_token(relayd.admin, "another-token-than-that");
    // Wrong ones are counted: so it is waited for by what the log says.
    relayd.wait_for_log("the reload", |line| line.contains("\"reloaded\""));
    until("the new token is good", || {
        (api.get("/version").status == 200).then_some(())
    });
    let old = Api::with_token(relayd.admin, TOKEN).get("/version");
    assert_eq!(old.status, 401);
}
