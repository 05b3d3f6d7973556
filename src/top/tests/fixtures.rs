//! Answers as the API describes them, of a server that is busy.

use crate::top::answers::{Allocation, One, Page, Stats, Tunnel};
use crate::top::client::Answer;
use crate::top::model::{Effect, Model};
use crate::top::question::Question;
use crate::top::text::Clean;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

pub fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("as the API describes it")
}

/// So many seconds after the first answer.
pub fn stats(after_s: u64) -> Value {
    let flow =
        |packets: u64, bytes: u64| json!({"packets": packets * after_s, "bytes": bytes * after_s});
    json!({
        "time": 1_800_000_000 + after_s, "uptime_s": 12_000 + after_s, "version": "0.1.0", "draining": false,
        "configuration": {"file": "/etc/relayd/relay.toml", "generation": 3, "loaded_at": 1_799_990_000},
        "traffic": [
            {"transport": "udp", "to_peer": flow(12_000, 12_500_000), "to_client": flow(14_000, 15_000_000)},
            {"transport": "tcp", "to_peer": flow(300, 250_000), "to_client": flow(300, 260_000)},
            {"transport": "tls", "to_peer": flow(1000, 1_000_000), "to_client": flow(1200, 1_100_000)},
        ],
        "allocations": {"udp": 900, "tcp": 34, "tls": 300, "total": 1234, "started": 5000 + 12 * after_s, "ended": {"expired": 10, "refresh": 3700 + after_s, "revoked": 0}},
        "drops": {"malformed": 0, "no_permission": 100 + 4 * after_s, "user_bandwidth": 7 + after_s, "no_channel": 3},
        "turn_requests": [{"method": "allocate", "answer": "success", "count": 5000 + 12 * after_s}, {"method": "allocate", "answer": "401", "count": 5100}],
        "relay_ports": {"used": 2468, "total": 16384, "range": "49152-65535", "addresses": []},
        "workers": [],
        "proxy": {
            "connections": 50, "requests_under_way": 2, "tunnels": 34,
            "requests": {"1xx": 0, "2xx": 1000 + 45 * after_s, "3xx": 4, "4xx": 12, "5xx": 1},
            "errors": {"connect": after_s, "timeout": 0},
            "upstreams": [
                {"host": "api.example.com:443", "requests": {"2xx": 900 + 44 * after_s, "4xx": 12, "5xx": 1}, "errors": 3, "latency_ms": {"mean": 12.3, "p50": 9.0, "p90": 30.1, "p99": 210.0}, "tunnels": 30},
                {"host": "idle.example.com:443", "requests": {"2xx": 4}, "errors": 0, "latency_ms": {"mean": null, "p50": null, "p90": null, "p99": null}, "tunnels": 0},
            ],
            "upstreams_forgotten": 2
        },
        "certificates": [],
        "quality": {"client": {"loss_ratio": 0.0012, "jitter_ms": 3.12, "round_trip_ms": 45.0}, "peer": {"loss_ratio": 0.0, "jitter_ms": 0.4, "round_trip_ms": null}},
        "process": {"cpu_s": 100.0 + 0.82 * after_s as f64, "resident_bytes": 84_100_000, "open_fds": 3000, "fds_max": 65536, "threads": 9}
    })
}

fn side(loss: Value, jitter: f64, round_trip: Value) -> Value {
    json!({
        "packets": {"rtp": 12_345, "rtcp": 250, "stun": 40, "dtls": 12, "other": 0},
        "loss_ratio": loss, "jitter_ms": jitter, "bits_per_s": 1_200_000.0, "packets_per_s": 120.0,
        "round_trip_ms": round_trip, "round_trip_from": if round_trip.is_null() { Value::Null } else { json!("stun") },
        "expected": 12_400, "lost": 55, "reordered": 3, "duplicates": 0, "restarts": 1
    })
}

pub fn allocations(after_s: u64) -> Value {
    let one = |id: u64, user: &str, transport: &str, client: &str, quality: Value| {
        json!({
            "id": id, "user": user, "transport": transport, "client": client, "server": "203.0.113.7:3478",
            "relayed": [format!("203.0.113.7:{}", 50_000 + id)], "age_s": 725.4 + after_s as f64, "lifetime_left_s": 552.0,
            "to_peer": {"packets": 1000 + 100 * after_s, "bytes": 100_000 + 150_000 * after_s},
            "to_client": {"packets": 2000, "bytes": 1_000_000 + 2_000 * id * after_s},
            "worker": 1, "permission_count": 1, "channel_count": 1,
            "permissions": [{"ip": "198.51.100.4", "lifetime_left_s": 250.0}],
            "channels": [{"number": 16385, "peer": "198.51.100.4:40000", "lifetime_left_s": 551.0}],
            "quality": quality
        })
    };
    let quality = |trouble: Value, side_name: Value, cause: Value, client: Value, peer: Value| json!({"trouble": trouble, "trouble_side": side_name, "trouble_cause": cause, "client": client, "peer": peer});
    json!({
        "time": 1_800_000_000 + after_s, "uptime_s": 12_000 + after_s, "total": 1234, "next": "c3",
        "allocations": [
            one(17, "alice", "udp", "192.0.2.1:40001", quality(json!(72), json!("client"), json!("loss"), side(json!(0.12), 31.4, json!(45.0)), side(json!(0.0), 0.4, Value::Null))),
            one(4711, "1800003600:bob@example.com", "tls", "[2001:db8:1:2:3:4:5:6]:51234", quality(json!(35), json!("peer"), json!("round_trip"), side(json!(0.0002), 2.0, json!(20.0)), side(json!(0.011), 12.0, json!(480.0)))),
            one(5, "王小明", "tcp", "192.0.2.9:1", quality(json!(0), Value::Null, Value::Null, side(Value::Null, 2.0, Value::Null), side(json!(0.0), 1.0, json!(3.0)))),
            one(6, "carol", "udp", "192.0.2.10:5000", Value::Null),
        ]
    })
}

pub fn one(after_s: u64) -> Value {
    let mut allocation = allocations(after_s)["allocations"][0].clone();
    allocation["quality"]["streams"] = json!([
        {"from": "client", "peer": "198.51.100.4:40000", "ssrc": 305_419_896, "payload_type": 111, "clock_rate_hz": 48000, "packets": 9000, "bytes": 900_000, "expected": 9050, "lost": 50, "reordered": 2, "duplicates": 0, "restarts": 0, "loss_ratio": 0.12, "jitter_ms": 31.4, "bits_per_s": 40_000.0, "packets_per_s": 50.0, "idle_s": 0.0},
        {"from": "peer", "peer": "198.51.100.4:40000", "ssrc": 48879, "payload_type": 96, "clock_rate_hz": null, "packets": 3345, "bytes": 3_000_000, "expected": 3350, "lost": 5, "reordered": 1, "duplicates": 0, "restarts": 1, "loss_ratio": 0.0, "jitter_ms": null, "bits_per_s": 1_160_000.0, "packets_per_s": 120.0, "idle_s": 3.2},
    ]);
    allocation["quality"]["streams_forgotten"] = json!(1);
    let series = |scale: f64| {
        let loss: Vec<Value> = (0..20)
            .map(|n| {
                if n < 2 {
                    Value::Null
                } else {
                    json!(f64::from(n % 7) * scale / 50.0)
                }
            })
            .collect();
        json!({"loss_ratio": loss, "jitter_ms": [1.0, 2.0, 30.0], "round_trip_ms": [null, null], "bits_per_s": []})
    };
    allocation["quality"]["history"] =
        json!({"step_s": 40.0, "client": series(1.0), "peer": series(0.0)});
    json!({"time": 1_800_000_000 + after_s, "uptime_s": 12_000 + after_s, "allocation": allocation})
}

pub fn tunnels(after_s: u64) -> Value {
    let one = |id: u64, host: &str| {
        json!({
            "id": id, "client": "192.0.2.1:40002", "host": host, "path": "/socket?transport=ws", "age_s": 3700.0, "idle_s": 2.5,
            "bytes_to_upstream": 10_000 + 1000 * after_s, "bytes_to_client": 2_000_000 + 500_000 * after_s
        })
    };
    json!({"time": 1_800_000_000 + after_s, "uptime_s": 12_000 + after_s, "total": 2, "next": null, "tunnels": [one(3, "signal.example.com:443"), one(9, "webliveroom-a.example.net:443")]})
}

pub fn history() -> Value {
    let wave = |step: i32| f64::from((step * step / 7) % 24) / 24.0;
    let names = [
        ("allocations.udp", 900.0),
        ("bits_per_s.udp.to_peer", 90e6),
        ("bits_per_s.udp.to_client", 110e6),
        ("drops_per_s", 6.0),
        ("proxy_requests_per_s", 40.0),
    ];
    let series = names.iter().map(|(name, size)| {
        let steps: Vec<f64> = (0..720)
            .map(|step| (1.0 + wave(step)) * size * 0.6)
            .collect();
        ((*name).to_owned(), json!(steps))
    });
    let series: serde_json::Map<String, Value> = series.collect();
    json!({"time": 1_800_000_001, "uptime_s": 12_001, "span": "1h", "step_s": 5, "end": 1_800_000_000, "series": series})
}

/// The answer of such a server to a question.
pub fn answer(question: &Question, after_s: u64) -> Answer {
    match question {
        Question::Stats => Answer::Stats(Box::new(read::<Stats>(stats(after_s)))),
        Question::History => Answer::History(Box::new(read(history()))),
        Question::Allocations(_) => {
            Answer::Allocations(read::<Page<Allocation>>(allocations(after_s)))
        }
        Question::Allocation(_) => Answer::Allocation(Box::new(read::<One>(one(after_s)))),
        Question::Tunnels(_) => Answer::Tunnels(read::<Page<Tunnel>>(tunnels(after_s))),
        Question::End(_) => Answer::Ended,
    }
}

/// Answers all that is asked, and what is asked then.
pub fn answer_all(model: &mut Model, effects: Vec<Effect>, after_s: u64) {
    for effect in effects {
        if let Effect::Ask(question) = effect {
            let more = model.take(&question, Ok(answer(&question, after_s)));
            answer_all(model, more, after_s);
        }
    }
}

pub fn empty() -> Model {
    Model::new(Clean::new("127.0.0.1:9641"), Duration::from_secs(2))
}

/// After two rounds, two seconds apart.
pub fn busy() -> Model {
    let mut model = empty();
    for after_s in [0, 2] {
        model.now = Duration::from_secs(after_s);
        let asked = model.tick();
        answer_all(&mut model, asked, after_s);
    }
    model
}
