//! `/allocations` with real clients over each transport: what is shown, and what a client sees when its allocation is ended.

use crate::api::{Api, until};
use crate::support::client::{Client, Kind, Outcome, is_code, peer};
use crate::support::subject::{Setup, Subject};
use std::net::UdpSocket;

fn start() -> (Subject, Api) {
    let subject = Subject::start(&Setup::default());
    let api = Api::new(subject.admin.expect("it is on"));
    (subject, api)
}

/// The one allocation that `query` finds.
fn only(api: &Api, query: &str) -> serde_json::Value {
    let page = api.get(&format!("/allocations?{query}")).json();
    assert_eq!(page["total"], 1, "{query}: {page}");
    page["allocations"][0].clone()
}

#[test]
fn an_allocation_is_shown_with_everything_that_an_operator_asks() -> Outcome {
    let (subject, api) = start();
    for kind in Kind::ALL {
        let mut client = subject.alice(kind);
        let relayed = client.allocate()?;
        let far = peer("127.0.0.1");
        let far_addr = far.local_addr().expect("bound");
        client.bind_channel(0x4001, far_addr)?;
        client.send_channel(0x4001, b"12345")?;
        let mut buffer = [0; 16];
        let (len, from) = far.recv_from(&mut buffer).expect("relayed");
        assert_eq!((len, from.port()), (5, relayed.port()));
        far.send_to(b"123", from).expect("sent");
        client.receive_data()?;

        let transport = format!("{kind:?}").to_lowercase();
        let shown = until("both ways are counted", || {
            let shown = only(&api, &format!("transport={transport}"));
            (shown["to_client"]["bytes"] == 3).then_some(shown)
        });
        assert_eq!(shown["user"], "alice");
        assert_eq!(shown["transport"], transport.as_str());
        assert_eq!(shown["client"], client.wire.local_addr().to_string());
        assert_eq!(shown["server"], subject.addr(kind, "127.0.0.1").to_string());
        assert_eq!(shown["relayed"], serde_json::json!([relayed.to_string()]));
        assert_eq!(
            shown["to_peer"],
            serde_json::json!({"packets": 1, "bytes": 5})
        );
        assert_eq!(
            shown["to_client"],
            serde_json::json!({"packets": 1, "bytes": 3})
        );
        assert_eq!(
            (&shown["permission_count"], &shown["channel_count"]),
            (&1.into(), &1.into())
        );
        assert_eq!(shown["permissions"][0]["ip"], "127.0.0.1");
        assert_eq!(shown["channels"][0]["number"], 0x4001);
        assert_eq!(shown["channels"][0]["peer"], far_addr.to_string());
        let seconds = |name: &str| shown[name].as_f64().expect("a number");
        assert!(
            (500.0..=600.0).contains(&seconds("lifetime_left_s")),
            "{shown}"
        );
        assert!(seconds("age_s") < 60.0, "{shown}");

        let id = shown["id"].as_u64().expect("a number");
        let one = api.get(&format!("/allocations/{id}")).json();
        assert_eq!(one["allocation"]["relayed"], shown["relayed"]);
        for query in [
            format!("client={}", client.wire.local_addr()),
            format!("relayed={}", relayed.port()),
            format!("relayed={relayed}"),
            format!("peer={far_addr}&transport={transport}"),
            format!("peer=127.0.0.1&transport={transport}&user=alice"),
        ] {
            assert_eq!(only(&api, &query)["id"], id, "{query}");
        }
        for query in [
            "user=bob".to_owned(),
            "client=127.0.0.1:1".to_owned(),
            format!("peer=127.0.0.2&transport={transport}"),
            "relayed=192.0.2.1".to_owned(),
        ] {
            let page = api.get(&format!("/allocations?{query}")).json();
            assert_eq!(page["total"], 0, "{query}: {page}");
        }
        client.refresh(0)?;
        until("it is gone", || {
            let page = api
                .get(&format!("/allocations?transport={transport}"))
                .json();
            (page["total"] == 0).then_some(())
        });
    }
    Ok(())
}

/// The port is closed at once; the client learns it at its next Refresh, and may allocate again on the same 5-tuple.
#[test]
fn ending_an_allocation_closes_its_port_and_the_client_gets_437_over_each_transport() -> Outcome {
    let (subject, api) = start();
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        let mut client = subject.alice(kind);
        let relayed = client.allocate()?;
        let mut other = subject.bob(kind);
        other.allocate()?;
        let id = only(&api, &format!("relayed={relayed}"))["id"].to_string();
        let ended = api.delete(&format!("/allocations/{id}"));
        assert_eq!(
            (ended.status, ended.json()["ended"].clone()),
            (200, 1.into())
        );
        // Whoever binds it has it: nobody else does any more.
        until("the port is free", || UdpSocket::bind(relayed).ok());
        is_code(&client.refresh(600)?, 437)?;
        assert!(
            other.refresh(600)?.error_code().is_none(),
            "another user's goes on"
        );
        let again = api.delete(&format!("/allocations/{id}"));
        assert_eq!((again.status, again.code().as_str()), (404, "not_found"));
        let line = subject.wait_for_line("\"reason\":\"revoked\"")?;
        assert!(line.contains("alice"), "{line}");
        client.allocate()?;
        clients.extend([client, other]);
    }
    let started = api.get("/allocations?user=alice").json();
    assert_eq!(started["total"], 3, "{started}");
    let ended = api.delete("/allocations?user=alice").json();
    assert_eq!(ended["ended"], 3);
    assert_eq!(
        api.get("/allocations").json()["total"],
        3,
        "bob's are there"
    );
    let line = subject.wait_for_line("admin request")?;
    assert!(line.contains("127.0.0.1"), "{line}");
    assert_eq!(api.delete("/allocations?all=true").json()["ended"], 3);
    Ok(())
}

#[test]
fn lists_are_sorted_by_what_is_asked_and_pages_hold_together() -> Outcome {
    let (subject, api) = start();
    let mut clients: Vec<Client> = Vec::new();
    for (index, kind) in Kind::ALL.into_iter().cycle().take(7).enumerate() {
        let mut client = match index % 2 {
            0 => subject.alice(kind),
            _ => subject.bob(kind),
        };
        client.allocate()?;
        clients.push(client);
    }
    for sort in [
        "id",
        "age",
        "lifetime",
        "user",
        "client",
        "bytes",
        "packets",
        "to_peer_bytes",
        "to_client_bytes",
        "trouble",
    ] {
        let ids = |order: &str, limit: usize| -> Vec<u64> {
            let query = format!("sort={sort}&order={order}&limit={limit}");
            let all = api.pages("/allocations", &query, "allocations");
            all.iter()
                .map(|one| one["id"].as_u64().expect("a number"))
                .collect()
        };
        let mut whole = ids("asc", 100);
        assert_eq!(whole.len(), 7, "{sort}");
        assert_eq!(ids("asc", 2), whole, "{sort} by twos");
        assert_eq!(ids("asc", 7), whole, "{sort} on one full page");
        whole.reverse();
        assert_eq!(ids("desc", 3), whole, "{sort} the other way, by threes");
    }
    let users: Vec<String> = api
        .pages("/allocations", "sort=user&limit=3", "allocations")
        .iter()
        .map(|one| one["user"].as_str().expect("text").to_owned())
        .collect();
    assert!(users.is_sorted(), "{users:?}");
    Ok(())
}
