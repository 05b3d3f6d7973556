//! `/stats` and `/history` with real clients behind them: what is counted comes out exactly, as described, and nothing secret.

use crate::api::{Api, until};
use crate::contract::Contract;
use crate::support::client::{Client, Kind, Outcome, Wire, peer};
use crate::tunnels::open;
use crate::web::certs::Authority;
use crate::web::origin::{Origin, Then, accept_websocket, echo_bytes, ok, send};
use crate::web::relayd::{NAME, Relayd, Setup, reach};
use serde_json::{Value, json};
use std::time::Duration;

const HOSTS: [&str; 3] = ["a.example.com", "b.example.com", "c.example.com:8443"];
const TOKEN: &str = "correct-horse-battery-staple";
const SECRET: &str = "a secret that nobody may see";

/// A server that relays to this machine and a proxy before an origin that does as its host's name says.
fn start(admin: &str, files: Vec<(&'static str, String)>) -> (Origin, Relayd) {
    let ca = Authority::new("an upstream authority");
    let leaf = ca.leaf(&["*.example.com"]);
    let origin = Origin::start(&leaf, |seen, wire, reader| {
        match seen.message.one("host").expect("a host") {
            "b.example.com" => {
                accept_websocket(seen, wire, &[], b"");
                echo_bytes(wire, reader);
                Then::Close
            }
            "c.example.com:8443" => Then::Close,
            _ if seen.message.target().starts_with("/missing") => {
                send(wire, "404 Not Found", &[], b"none")
            }
            _ => ok(wire, "fine"),
        }
    });
    let relayd = Relayd::start(Setup {
        proxy: reach(&HOSTS, origin.addr),
        upstream_ca: Some(&ca),
        admin: admin.to_owned(),
        tables: "[turn.peers]\nallow = [\"127.0.0.0/8\"]\n".to_owned(),
        auth_secret: SECRET.to_owned(),
        files,
        ..Setup::default()
    });
    (origin, relayd)
}

/// What one client of each transport sends: packets of so many bytes, and one of 7 bytes back.
const SENT: [(Kind, u64, usize); 3] = [
    (Kind::Udp, 3, 100),
    (Kind::Tcp, 5, 200),
    (Kind::Tls, 7, 300),
];

/// Clients with their calls, which go on as long as they are held.
fn calls(relayd: &Relayd) -> Outcome<Vec<Client>> {
    let far = peer("127.0.0.1");
    let stranger = peer("127.0.0.2");
    let mut clients = Vec::new();
    for (kind, packets, length) in SENT {
        let server = match kind {
            Kind::Udp => relayd.udp,
            Kind::Tcp => relayd.tcp,
            Kind::Tls => relayd.tls,
        };
        let wire = Wire::open(kind, server).map_err(|error| error.to_string())?;
        let mut client = Client::new(wire, "test", "test password");
        let relayed = client.allocate()?;
        client.bind_channel(0x4001, far.local_addr().expect("bound"))?;
        for _ in 0..packets {
            client.send_channel(0x4001, &vec![b'x'; length])?;
            let mut buffer = [0; 512];
            let (received, _) = far.recv_from(&mut buffer).expect("relayed");
            assert_eq!(received, length);
        }
        far.send_to(b"7 bytes", relayed).expect("sent");
        client.receive_data()?;
        stranger.send_to(b"not permitted", relayed).expect("sent");
        clients.push(client);
    }
    Ok(clients)
}

#[test]
fn the_numbers_are_those_of_what_happened() -> Outcome {
    let (_origin, relayd) = start("", Vec::new());
    let api = Api::new(relayd.admin);
    let mut contract = Contract::of(&api);
    let mut clients = calls(&relayd)?;
    for (target, status) in [
        ("/a.example.com/x?secret=1", 200),
        ("/a.example.com/y", 200),
        ("/a.example.com/missing", 404),
        ("/elsewhere.example.com/", 403),
        ("/c.example.com:8443/", 502),
    ] {
        assert_eq!(relayd.get(target).status(), status, "{target}");
    }
    let _tunnel = open(&relayd, "b.example.com");

    let stats = until("everything is counted", || {
        let stats = contract.get(&api, "/stats");
        let all_drops = stats["drops"]["no_permission"] == 3;
        let all_answers = stats["proxy"]["requests"]["2xx"] == 2;
        (all_drops && all_answers).then_some(stats)
    });
    turn_numbers(&stats);
    proxy_numbers(&stats["proxy"]);
    server_numbers(&stats);

    clients.remove(0).refresh(0)?;
    until("the end is counted", || {
        let stats = contract.get(&api, "/stats");
        let allocations = &stats["allocations"];
        (allocations["total"] == 2
            && allocations["udp"] == 0
            && allocations["ended"]["deleted"] == 1
            && stats["relay_ports"]["used"] == 2)
            .then_some(())
    });
    assert_eq!(api.post("/reload").status, 200);
    let reloaded = contract.get(&api, "/stats");
    assert_eq!(reloaded["configuration"]["generation"], 2);
    assert!(
        reloaded["configuration"]["loaded_at"].as_u64()
            >= stats["configuration"]["loaded_at"].as_u64()
    );
    let upstreams = &reloaded["proxy"]["upstreams"];
    assert_eq!(
        upstreams[0]["requests"]["2xx"], 2,
        "a reload forgets none: {upstreams}"
    );
    api.post("/drain");
    assert_eq!(contract.get(&api, "/stats")["draining"], true);
    Ok(())
}

fn turn_numbers(stats: &Value) {
    let (mut packets_of_all, mut bytes_of_all) = (0, 0);
    for (index, (kind, packets, length)) in SENT.into_iter().enumerate() {
        let transport = format!("{kind:?}").to_lowercase();
        let bytes = packets * length as u64;
        assert_eq!(
            stats["traffic"][index],
            json!({
                "transport": transport,
                "to_peer": {"packets": packets, "bytes": bytes},
                "to_client": {"packets": 1, "bytes": 7},
            })
        );
        assert_eq!(stats["allocations"][&transport], 1);
        packets_of_all += packets + 1;
        bytes_of_all += bytes + 7;
    }
    assert_eq!(stats["allocations"]["total"], 3);
    assert_eq!(stats["allocations"]["started"], 3);
    let answers = |method: &str, answer: &str| {
        let all = stats["turn_requests"].as_array().expect("a list");
        let found = all
            .iter()
            .find(|one| one["method"] == method && one["answer"] == answer);
        found.map(|one| one["count"].clone())
    };
    assert_eq!(answers("allocate", "401"), Some(3.into()), "{stats:#}");
    assert_eq!(answers("allocate", "success"), Some(3.into()));
    assert_eq!(answers("channel_bind", "success"), Some(3.into()));
    assert_eq!(answers("connect", "success"), None);
    assert_eq!(
        stats["relay_ports"],
        json!({
            "used": 3, "total": 4536, "range": "61000-65535",
            "addresses": [{"ip": "127.0.0.1", "used": 3, "total": 4536}],
        })
    );
    let worker = &stats["workers"][0];
    assert_eq!(worker["packets"], packets_of_all);
    assert_eq!(worker["bytes"], bytes_of_all);
    assert_eq!(
        (&worker["allocations"], &worker["streams"]),
        (&3.into(), &2.into())
    );
    assert!(worker["cpu_s"].as_f64() > Some(0.0), "{worker}");
}

fn proxy_numbers(proxy: &Value) {
    assert_eq!(
        proxy["requests"],
        json!({"1xx": 1, "2xx": 2, "3xx": 0, "4xx": 2, "5xx": 1})
    );
    assert_eq!(proxy["errors"]["host_not_allowed"], 1);
    assert_eq!(proxy["errors"]["upstream_closed"], 1);
    assert_eq!(proxy["tunnels"], 1);
    assert_eq!(proxy["upstreams_forgotten"], 0);
    let upstreams = proxy["upstreams"].as_array().expect("a list");
    let hosts: Vec<&str> = upstreams
        .iter()
        .filter_map(|one| one["host"].as_str())
        .collect();
    assert_eq!(
        hosts,
        [
            "a.example.com:443",
            "b.example.com:443",
            "c.example.com:8443"
        ],
        "busiest first, without the one that was refused"
    );
    let (a, b, c) = (&upstreams[0], &upstreams[1], &upstreams[2]);
    assert_eq!(
        a["requests"],
        json!({"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 1, "5xx": 0})
    );
    assert_eq!(
        (&a["errors"], &b["errors"], &c["errors"]),
        (&0.into(), &0.into(), &1.into())
    );
    assert_eq!(
        (&b["requests"]["1xx"], &b["tunnels"]),
        (&1.into(), &1.into())
    );
    let ms = |one: &str| a["latency_ms"][one].as_f64().expect("there were answers");
    assert!(
        0.0 < ms("p50") && ms("p50") <= ms("p90") && ms("p90") <= ms("p99"),
        "{a}"
    );
    assert!(ms("mean") > 0.0);
    assert!(
        c["latency_ms"]["p50"].is_null(),
        "no answer, no latency: {c}"
    );
}

fn server_numbers(stats: &Value) {
    let configuration = &stats["configuration"];
    assert_eq!(configuration["generation"], 1);
    assert!(
        configuration["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("relay.toml"))
    );
    let now = stats["time"].as_f64().expect("a time");
    let loaded_at = configuration["loaded_at"].as_f64().expect("a time");
    assert!(loaded_at <= now && loaded_at > now - 3600.0);
    let certificates = stats["certificates"].as_array().expect("a list");
    let [certificate] = certificates.as_slice() else {
        panic!("one, not {certificates:?}");
    };
    assert_eq!(certificate["names"], json!([NAME]));
    assert_eq!(certificate["source"], "file");
    assert!(
        certificate["issuer"]
            .as_str()
            .is_some_and(|issuer| issuer.contains("proxy test root"))
    );
    assert!(certificate["not_after"].as_f64() > Some(now));
    for number in ["cpu_s", "resident_bytes", "open_fds", "fds_max", "threads"] {
        let value = stats["process"][number].as_f64();
        assert!(value > Some(0.0), "{number}: {value:?}");
    }
    assert_eq!(stats["draining"], false);
}

/// The sampler runs without being asked: what is asked for late is what happened before.
#[test]
fn the_history_has_what_happened_since_the_start() -> Outcome {
    let (_origin, relayd) = start("", Vec::new());
    let api = Api::new(relayd.admin);
    let mut contract = Contract::of(&api);
    let _clients = calls(&relayd)?;
    assert_eq!(relayd.get("/a.example.com/x").status(), 200);
    let history = until("a step with the calls has ended", || {
        let history = contract.get(&api, "/history");
        // Each look is an answer of 100 kB: not more of them than need be.
        std::thread::sleep(Duration::from_millis(200));
        (last(&history, "allocations.tls")? > 0.0).then_some(history)
    });
    assert_eq!(
        (&history["span"], &history["step_s"]),
        (&"1h".into(), &5.into())
    );
    let sum = |name: &str| -> f64 {
        let points = history["series"][name].as_array().expect("a series");
        points.iter().filter_map(Value::as_f64).sum::<f64>() * 5.0
    };
    let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.1;
    for (kind, packets, length) in SENT {
        let transport = format!("{kind:?}").to_lowercase();
        let packets = packets as f64;
        let found = sum(&format!("packets_per_s.{transport}.to_peer"));
        assert!(near(found, packets), "{transport}: {found} packets");
        let found = sum(&format!("bits_per_s.{transport}.to_peer"));
        assert!(
            near(found, packets * length as f64 * 8.0),
            "{transport}: {found} bits"
        );
        let found = sum(&format!("bits_per_s.{transport}.to_client"));
        assert!(near(found, 56.0), "{transport}: {found} bits");
    }
    assert!(near(sum("proxy_requests_per_s"), 1.0));
    assert!(near(sum("drops_per_s"), 3.0), "{}", sum("drops_per_s"));
    assert!(
        near(sum("turn_requests_per_s"), 9.0),
        "{}",
        sum("turn_requests_per_s")
    );
    assert_eq!(sum("turn_errors_per_s"), 0.0, "a challenge is no error");
    assert_eq!(last(&history, "relay_ports_used"), Some(3.0));
    assert!(last(&history, "resident_bytes") > Some(1e6));
    assert!(last(&history, "cpu_cores").is_some());
    let first = &history["series"]["cpu_cores"][0];
    assert!(first.is_null(), "an hour ago there was nothing: {first}");
    let (time, end) = (history["time"].as_f64(), history["end"].as_f64());
    let late = time.zip(end).map(|(time, end)| time - end);
    assert!(
        late.is_some_and(|late| (-1.0..60.0).contains(&late)),
        "{late:?}"
    );

    for (span, step_s) in [("1h", 5), ("6h", 30), ("24h", 120)] {
        let target = format!("/history?span={span}");
        let history = contract
            .ask(&api, "GET", "/history", &target, &[], "")
            .json();
        assert_eq!(
            (&history["span"], &history["step_s"]),
            (&span.into(), &step_s.into())
        );
    }
    assert_eq!(api.get("/history?span=2h").status, 400);
    let head = api.ask("HEAD", "/history", &[], b"");
    let length = head
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    assert!(
        head.body.is_empty() && length > Some(10_000),
        "{}",
        head.head
    );
    Ok(())
}

/// The last point of a series that is a number.
fn last(history: &Value, name: &str) -> Option<f64> {
    let points = history["series"][name].as_array()?;
    points.iter().filter_map(Value::as_f64).next_back()
}

#[test]
fn both_need_the_token_and_show_nothing_secret() -> Outcome {
    let files = vec![("admin.token", TOKEN.to_owned())];
    let (_origin, relayd) = start("token = \"file:admin.token\"", files);
    let stranger = Api::new(relayd.admin);
    let api = Api::with_token(relayd.admin, TOKEN);
    let _clients = calls(&relayd)?;
    assert_eq!(relayd.get("/a.example.com/path?secret=1").status(), 200);
    let _tunnel = open(&relayd, "b.example.com");
    for path in ["/stats", "/history"] {
        assert_eq!(stranger.get(path).status, 401, "{path}");
        let answer = api.get(path);
        assert_eq!(answer.status, 200, "{path}");
        for secret in [
            TOKEN,
            SECRET,
            "test password",
            "secret",
            "/path",
            "127.0.0.2",
        ] {
            assert!(!answer.body.contains(secret), "{path} shows {secret:?}");
        }
    }
    // Host names are for this page: a metric's labels are a closed set.
    assert!(api.get("/stats").body.contains("a.example.com"));
    assert!(!api.get("/metrics").body.contains("a.example.com"));
    Ok(())
}
