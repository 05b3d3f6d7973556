//! How good a call is, in `/allocations` and `/metrics`, while a real client relays a stream that lacks packets.

use crate::api::{Api, until};
use crate::support::client::{Kind, Outcome, peer};
use crate::support::subject::{Setup, Subject};
use serde_json::{Value, json};

/// The nth packet of a stream.
pub fn rtp(ssrc: u32, n: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 111];
    bytes.extend(n.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xa5; 40]);
    bytes
}

fn check(kind: u16) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    bytes.extend([9; 12]);
    bytes
}

#[test]
fn a_lossy_stream_shows_on_its_side_with_its_loss_and_round_trip_and_is_the_first_by_trouble()
-> Outcome {
    let subject = Subject::start(&Setup::default());
    let api = Api::new(subject.admin.expect("it is on"));
    let mut good = subject.bob(Kind::Tcp);
    good.allocate()?;
    let mut client = subject.alice(Kind::Udp);
    let relayed = client.allocate()?;
    let far = peer("127.0.0.1");
    client.bind_channel(0x4001, far.local_addr().expect("bound"))?;
    let mut buffer = [0; 1500];
    let mut relay = |client: &mut crate::support::client::Client, bytes: &[u8]| -> Outcome {
        client.send_channel(0x4001, bytes)?;
        far.recv_from(&mut buffer).expect("relayed");
        Ok(())
    };
    for n in (0..100).filter(|n| n % 10 != 4) {
        relay(&mut client, &rtp(7, n, 0))?;
        far.send_to(&rtp(8, n / 2, 0), relayed).expect("sent");
    }
    relay(&mut client, &check(0x0001))?;
    far.send_to(&check(0x0101), relayed).expect("sent");

    let page = until("the loss is shown", || {
        let page = api.get("/allocations?sort=trouble&order=desc").json();
        let quality = &page["allocations"][0]["quality"];
        quality["peer"]["round_trip_ms"].is_number().then_some(page)
    });
    let quality = &page["allocations"][0]["quality"];
    assert_eq!(page["allocations"][1]["quality"], Value::Null);
    let of_client = &quality["client"];
    let packets = json!({"rtp": 90, "rtcp": 0, "stun": 1, "dtls": 0, "other": 0});
    assert_eq!(of_client["packets"], packets, "{quality:#}");
    assert_eq!(
        (&of_client["expected"], &of_client["lost"]),
        (&100.into(), &10.into())
    );
    assert_eq!(of_client["loss_ratio"], 0.1);
    assert_eq!(of_client["jitter_ms"], Value::Null);
    assert_eq!(of_client["round_trip_ms"], Value::Null);
    assert_eq!(quality["peer"]["round_trip_from"], "stun");
    assert!(
        quality["peer"]["duplicates"].as_u64() > Some(30),
        "{quality:#}"
    );
    assert!(quality["trouble"].as_u64() > Some(60));
    assert_eq!(
        (&quality["trouble_side"], &quality["trouble_cause"]),
        (&"client".into(), &"loss".into())
    );
    assert_eq!(quality["streams"], Value::Null, "not in lists");

    let id = &page["allocations"][0]["id"];
    let one = api.get(&format!("/allocations/{id}")).json();
    let quality = &one["allocation"]["quality"];
    let stream = &quality["streams"][0];
    assert_eq!(
        (&stream["from"], &stream["ssrc"]),
        (&"client".into(), &7.into())
    );
    assert_eq!(stream["peer"], far.local_addr().expect("bound").to_string());
    assert_eq!(
        (&stream["packets"], &stream["lost"]),
        (&90.into(), &10.into())
    );
    assert_eq!(
        quality["history"]["client"]["loss_ratio"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );

    let metrics = api.get("/metrics").body;
    for line in [
        "relayd_quality_packets_total{side=\"client\",kind=\"rtp\"} 90",
        "# TYPE relayd_quality_loss_ratio histogram",
        "# TYPE relayd_quality_jitter_seconds histogram",
        "# TYPE relayd_quality_round_trip_seconds histogram",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in\n{metrics}"
        );
    }
    Ok(())
}
