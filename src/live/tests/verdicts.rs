use crate::check::Capacity;
use crate::ip_rules::IpRules;
use crate::live::certificate::{Certificate, Fault, HandshakeError};
use crate::live::http::{Answer, HttpError};
use crate::live::machine::{capacity_row, clock_row};
use crate::live::outside::{self, StunServer, View};
use crate::live::report::{Row, Verdict};
use crate::live::server::{self, Facts as ServerFacts, Running, Told};
use crate::live::upstreams::{self, Ended, Facts, Names, Target, Way};
use crate::live::web::{Door, Outcome, certificate_row, health_row, preflight_row, websocket_row};
use crate::proxy::allowlist::Authority;
use std::io;
use std::path::Path;
use std::time::Duration;

fn certificate(fault: Option<Fault>) -> Certificate {
    Certificate {
        names: vec!["api.example.com".to_owned()],
        issuer: "Some CA".to_owned(),
        self_signed: false,
        not_after: 1_700_000_000,
        days_left: 60,
        fault,
        own_fault: None,
    }
}

#[track_caller]
fn assert_row(row: &Row, result: Verdict, detail: &str, advice: &str) {
    assert_eq!(row.result, result, "{row:#?}");
    assert!(row.detail.contains(detail), "{row:#?}");
    let given = row.advice.as_deref().unwrap_or_default();
    assert!(given.contains(advice), "{row:#?}");
    let needs_advice = matches!(row.result, Verdict::Warn | Verdict::Fail);
    assert_eq!(row.advice.is_some(), needs_advice, "{row:#?}");
}

fn upstream(names: Names, ended: Ended) -> Row {
    let authority = Authority::parse("api.example.com").expect("a name");
    let took = Duration::from_millis(5);
    upstreams::row(&authority, &Facts { names, ended, took })
}

fn two_addresses() -> Names {
    Names::Found {
        permitted: vec!["9.9.9.9".parse().expect("an address")],
        denied: Vec::new(),
    }
}

fn untrusted(fault: Fault) -> Ended {
    Ended::NoTls {
        error: HandshakeError::Failed(io::Error::other("invalid peer certificate")),
        certificate: Some(certificate(Some(fault))),
    }
}

#[test]
fn an_upstream_that_answers_works_whatever_its_status_is() {
    let answered = |days_left| Ended::Answered {
        address: "9.9.9.9:443".parse().ok(),
        connected: Duration::from_millis(12),
        protocol: "TLS 1.3 http/1.1".to_owned(),
        certificate: Some(Certificate {
            days_left,
            ..certificate(None)
        }),
        status: 404,
        skew_s: Some(0),
    };
    let row = upstream(two_addresses(), answered(60));
    let detail = "1 address at 9.9.9.9:443; TCP in 12 ms; TLS 1.3 http/1.1; certificate of Some CA, 60 days left; status 404";
    assert_row(&row, Verdict::Ok, detail, "");
    let row = upstream(two_addresses(), answered(5));
    assert_row(&row, Verdict::Warn, "5 days left", "ends soon");
}

#[test]
fn names_without_usable_addresses_say_whether_dns_or_a_rule_is_the_reason() {
    let said = "failed to lookup address information: Name or service not known";
    let row = upstream(Names::Unknown(said.to_owned()), Ended::Unresolved);
    assert_row(&row, Verdict::Fail, "does not exist", "proxy.resolve");
    let said = "failed to lookup address information: Temporary failure in name resolution";
    for names in [Names::Unknown(said.to_owned()), Names::Silent] {
        let row = upstream(names, Ended::Unresolved);
        assert_row(&row, Verdict::Fail, "", "No DNS server answers");
    }
    let ip = "10.0.0.1".parse().expect("an address");
    let denied = Names::Found {
        permitted: Vec::new(),
        denied: vec![(ip, IpRules::default().judge(ip))],
    };
    let row = upstream(denied, Ended::Denied);
    let detail = "0 of 1 address permitted; 10.0.0.1 is denied by the built-in special-use list";
    assert_row(&row, Verdict::Fail, detail, "proxy.addresses.allow");
}

#[test]
fn each_way_of_not_reaching_an_upstream_has_its_own_advice() {
    let refused = || Ended::NotConnected(io::ErrorKind::ConnectionRefused.into());
    let overridden = Names::Override("10.0.0.1:443".parse().expect("an address"));
    let unreachable = Ended::NotConnected(io::ErrorKind::NetworkUnreachable.into());
    let silent = Ended::NoTls {
        error: HandshakeError::TimedOut,
        certificate: None,
    };
    for (names, ended, advice) in [
        (two_addresses(), refused(), "refuses the connection"),
        (
            overridden,
            refused(),
            "the address that proxy.resolve gives",
        ),
        (two_addresses(), unreachable, "no route"),
        (two_addresses(), Ended::ConnectTimeout, "firewall"),
        (two_addresses(), silent, "may end those to this name"),
        (two_addresses(), untrusted(Fault::Expired), "clock is right"),
        (
            two_addresses(),
            untrusted(Fault::NotYetValid),
            "clock is behind",
        ),
        (
            two_addresses(),
            untrusted(Fault::WrongName),
            "Another server answers",
        ),
        (
            two_addresses(),
            untrusted(Fault::UnknownIssuer),
            "proxy.ca_file",
        ),
        (
            two_addresses(),
            Ended::NoHttp(HttpError::Closed),
            "TLS works, HTTP does not",
        ),
    ] {
        assert_row(&upstream(names, ended), Verdict::Fail, "", advice);
    }
}

#[test]
fn the_own_certificate_fails_only_where_every_client_refuses_it() {
    let row = |it: &Certificate, acme| certificate_row("relay.example.com", it, acme);
    let self_signed = Certificate {
        self_signed: true,
        ..certificate(Some(Fault::UnknownIssuer))
    };
    assert_row(
        &row(&certificate(None), false),
        Verdict::Ok,
        "60 days left",
        "",
    );
    assert_row(
        &row(&self_signed, false),
        Verdict::Warn,
        "browsers will refuse it",
        "first try",
    );
    assert_row(
        &row(&self_signed, true),
        Verdict::Fail,
        "stand-in",
        "the log says why",
    );
    let private = certificate(Some(Fault::UnknownIssuer));
    assert_row(
        &row(&private, false),
        Verdict::Warn,
        "no public authority",
        "fullchain.pem",
    );
    let other = certificate(Some(Fault::WrongName));
    assert_row(
        &row(&other, false),
        Verdict::Fail,
        "for api.example.com, not for relay",
        "server.domain",
    );
    assert_row(
        &row(&certificate(Some(Fault::Expired)), false),
        Verdict::Fail,
        "expired",
        "renew",
    );
    let expired = Certificate {
        own_fault: Some(Fault::Expired),
        ..self_signed
    };
    assert_row(&row(&expired, false), Verdict::Fail, "expired", "renew");
    let soon = Certificate {
        days_left: 3,
        ..certificate(None)
    };
    assert_row(&row(&soon, false), Verdict::Warn, "3 days left", "renew");
}

#[test]
fn an_answer_of_the_upstream_proves_the_path_and_one_of_relayd_does_not() {
    let target = Target {
        authority: Authority::parse("api.example.com").expect("a name"),
        way: Way::Prefix("/ws/".to_owned()),
    };
    let answered = |status, body: &str| {
        let body = body.as_bytes().to_vec();
        websocket_row(&target, &Outcome::Answered { status, body }, false)
    };
    let own =
        r#"{"error":"connect_failed","message":"The upstream host could not be connected to."}"#;
    let limited = r#"{"error":"too_many_requests","message":"Too many requests."}"#;
    assert_row(&answered(404, "no"), Verdict::Ok, "404: the path works", "");
    assert_row(
        &answered(502, own),
        Verdict::Fail,
        "502 connect_failed",
        "row of this upstream",
    );
    assert_row(
        &answered(504, ""),
        Verdict::Fail,
        "504",
        "row of this upstream",
    );
    assert_row(
        &answered(429, limited),
        Verdict::Untried,
        "requests_per_second",
        "",
    );
    let body = || b"<h1>Bad Gateway</h1>".to_vec();
    let answered = |body| {
        let outcome = Outcome::Answered { status: 502, body };
        websocket_row(&target, &outcome, true)
    };
    // This command reaches the upstream, so the words are its own.
    assert_row(
        &answered(body()),
        Verdict::Ok,
        "the upstream answers 502",
        "",
    );
    let own = own.as_bytes().to_vec();
    assert_row(
        &answered(own),
        Verdict::Fail,
        "502 connect_failed",
        "row of this upstream",
    );
    let opened = websocket_row(&target, &Outcome::Opened { pong: true }, true);
    assert_row(&opened, Verdict::Ok, "101", "");
    assert_eq!(opened.what, "WebSocket /ws/ to api.example.com");
}

#[test]
fn a_rate_limit_that_stands_in_the_way_is_no_failure_of_what_was_asked() {
    let limited = || {
        let body = r#"{"error":"too_many_requests","message":"Too many requests."}"#;
        Ok(Answer {
            status: 429,
            headers: http::HeaderMap::new(),
            body: body.into(),
        })
    };
    let door = Door {
        address: "127.0.0.1:443".parse().expect("an address"),
        tls: true,
    };
    for row in [
        health_row(door, &limited()),
        preflight_row("https://app.example.com", &limited()),
    ] {
        assert_row(&row, Verdict::Untried, "requests_per_second", "");
    }
}

#[test]
fn the_view_from_outside_is_compared_with_what_clients_are_told() {
    let row = |own: &str, told: &str, seen: &str| {
        let view = View {
            own: own.parse().expect("an address"),
            told: told.parse().expect("an address"),
            seen: seen.parse().expect("an address"),
        };
        outside::row("relay".to_owned(), &view)
    };
    let works = [
        ("9.9.9.9:5000", "9.9.9.9", "9.9.9.9:5000", "no NAT"),
        (
            "10.0.0.4:5000",
            "9.9.9.9",
            "9.9.9.9:5000",
            "as server.external_ip says",
        ),
    ];
    for (own, told, seen, detail) in works {
        assert_row(&row(own, told, seen), Verdict::Ok, detail, "");
    }
    let missing = row("10.0.0.4:5000", "10.0.0.4", "9.9.9.9:5000");
    let advice = "Add external_ip = [\"9.9.9.9/10.0.0.4\"]";
    assert_row(&missing, Verdict::Fail, "cannot reach", advice);
    let wrong = row("10.0.0.4:5000", "8.8.8.8", "9.9.9.9:5000");
    assert_row(
        &wrong,
        Verdict::Warn,
        "clients are told 8.8.8.8",
        "server.external_ip says 8.8.8.8",
    );
    let other_way = row("8.8.4.4:5000", "8.8.4.4", "9.9.9.9:5000");
    assert_row(&other_way, Verdict::Warn, "", "leave by another address");
    let ports = row("10.0.0.4:5000", "9.9.9.9", "9.9.9.9:7777");
    assert_row(&ports, Verdict::Warn, "for port 5000", "changes ports");
}

#[test]
fn the_clock_is_judged_by_the_middle_of_the_upstreams() {
    assert_row(&clock_row(&[]), Verdict::Untried, "nothing to compare", "");
    assert_row(
        &clock_row(&[0]),
        Verdict::Ok,
        "within 1 s of 1 upstream",
        "",
    );
    assert_row(&clock_row(&[0, 3600, -1]), Verdict::Ok, "3 upstreams", "");
    assert_row(
        &clock_row(&[3600]),
        Verdict::Fail,
        "3600 s behind",
        "set-ntp",
    );
    assert_row(
        &clock_row(&[-61, -61]),
        Verdict::Fail,
        "61 s ahead of 2",
        "set-ntp",
    );
}

#[test]
fn few_open_files_are_a_warning_where_ports_and_settings_allow_more() {
    let capacity = |by_open_files, by_setting| Capacity {
        max: 0,
        by_ports: 16_384,
        by_open_files: Some(by_open_files),
        open_files: Some(by_open_files + 300),
        by_setting,
    };
    assert_row(
        &capacity_row(&capacity(500, None)),
        Verdict::Warn,
        "800 let 500",
        "LimitNOFILE",
    );
    assert_row(
        &capacity_row(&capacity(500, Some(400))),
        Verdict::Ok,
        "400 allocations",
        "",
    );
    assert_row(
        &capacity_row(&capacity(20_000, None)),
        Verdict::Ok,
        "16384",
        "",
    );
}

#[test]
fn stun_servers_are_names_or_addresses_with_a_port_or_without() {
    for (text, shown) in [
        ("stun.example.com:3479", "stun.example.com:3479"),
        ("stun.example.com", "stun.example.com:3478"),
        ("192.0.2.1", "192.0.2.1:3478"),
        ("192.0.2.1:1", "192.0.2.1:1"),
        ("2001:db8::1", "[2001:db8::1]:3478"),
        ("[2001:db8::1]", "[2001:db8::1]:3478"),
        ("[2001:db8::1]:5", "[2001:db8::1]:5"),
    ] {
        let server: StunServer = text.parse().expect(text);
        assert_eq!(server.to_string(), shown);
    }
    for text in [
        "",
        ":3478",
        "a b",
        "stun:x.y:1",
        "x.y:0",
        "x.y:99999",
        "[x.y]:1",
        "https://x.y",
    ] {
        assert!(text.parse::<StunServer>().is_err(), "{text}");
    }
}

fn running(told: Told) -> ServerFacts {
    ServerFacts::Running(Running {
        address: "127.0.0.1:9641".parse().expect("an address"),
        state: "ready".to_owned(),
        told,
    })
}

fn everything(file: &str, differing: &[&str]) -> Told {
    Told::Everything {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        file: Some(file.to_owned()),
        differing: differing.iter().map(|key| (*key).to_owned()).collect(),
    }
}

#[test]
fn a_server_of_another_file_version_or_state_is_told_apart() {
    let file = Path::new("/nowhere/relay.toml");
    let last = |facts: &ServerFacts| server::rows(facts, Some(file)).pop().expect("a row");
    let row = last(&running(everything("/nowhere/relay.toml", &[])));
    assert_row(&row, Verdict::Ok, "this file", "");
    // Relative to a directory that nobody knows.
    let row = last(&running(everything("relay.toml", &[])));
    assert_row(&row, Verdict::Ok, "this file", "");
    let row = last(&running(everything("/nowhere/relay.toml", &["turn.users"])));
    assert_row(&row, Verdict::Warn, "turn.users", "reload");
    let row = last(&running(everything(
        "/nowhere/other.toml",
        &["a", "b", "c", "d", "e", "f", "g", "h"],
    )));
    assert_row(
        &row,
        Verdict::Warn,
        "it runs /nowhere/other.toml",
        "name the file that it runs",
    );
    assert!(row.detail.contains("f and 2 more"), "{row:?}");
    for (status, has_token, advice) in [
        (401, false, "this file has none"),
        (401, true, "another admin.token"),
    ] {
        let row = last(&running(Told::Refused { status, has_token }));
        assert_row(&row, Verdict::Fail, "401", advice);
    }
    let address = "127.0.0.1:9641".parse().expect("an address");
    let row = last(&ServerFacts::Absent { address });
    assert_row(
        &row,
        Verdict::Fail,
        "nobody answers",
        "relayd --config /nowhere/relay.toml",
    );
    let row = last(&ServerFacts::NoListener("`admin.listen` is off"));
    assert_row(&row, Verdict::Untried, "`admin.listen` is off", "");
    let draining = ServerFacts::Running(Running {
        address,
        state: "draining".to_owned(),
        told: everything("/nowhere/relay.toml", &[]),
    });
    let rows = server::rows(&draining, Some(file));
    assert_row(&rows[0], Verdict::Fail, "draining", "DELETE /drain");
    let old = running(Told::Everything {
        version: "0.0.1".to_owned(),
        file: Some("/nowhere/relay.toml".to_owned()),
        differing: Vec::new(),
    });
    let rows = server::rows(&old, Some(file));
    assert_row(&rows[1], Verdict::Warn, "relayd 0.0.1 runs", "SIGUSR2");
}
