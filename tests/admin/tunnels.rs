//! `/tunnels` with real WebSockets through the proxy.

use crate::api::{Api, until};
use crate::web::certs::Authority;
use crate::web::client::Client;
use crate::web::origin::{Origin, Then, accept_websocket, echo_bytes};
use crate::web::relayd::{Relayd, Setup, reach};

const HOSTS: [&str; 2] = ["a.example.com", "b.example.com"];

/// An upstream that echoes what comes by its WebSockets, and a proxy before it; `admin` are lines of `[admin]`.
pub fn echoing(admin: &str, files: Vec<(&'static str, String)>) -> (Origin, Relayd) {
    let ca = Authority::new("an upstream authority");
    let origin = Origin::start(&ca.leaf(&["*.example.com"]), |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let relayd = Relayd::start(Setup {
        proxy: reach(&HOSTS, origin.addr),
        upstream_ca: Some(&ca),
        admin: admin.to_owned(),
        files,
        ..Setup::default()
    });
    (origin, relayd)
}

pub fn open(relayd: &Relayd, host: &str) -> Client {
    let mut client = relayd.connect();
    client.send(relayd.websocket_head(&format!("/{host}/socket?secret=1"), &[]));
    assert_eq!(client.answer_head().status(), 101);
    client.send(b"12345");
    assert_eq!(client.exactly(5), b"12345");
    client
}

#[test]
fn tunnels_are_shown_and_ended_by_id_host_and_client() {
    let (_origin, relayd) = echoing("", Vec::new());
    let api = Api::new(relayd.admin);
    let mut first = open(&relayd, HOSTS[0]);
    let mut second = open(&relayd, HOSTS[1]);
    let mut third = open(&relayd, HOSTS[1]);
    let all = api.pages("/tunnels", "limit=1&sort=age", "tunnels");
    assert_eq!(all.len(), 3, "{all:?}");
    let tunnel = |host: &str| {
        let page = api.get(&format!("/tunnels?host={host}")).json();
        page["tunnels"][0].clone()
    };
    let shown = tunnel(HOSTS[0]);
    assert!(
        shown["host"]
            .as_str()
            .is_some_and(|host| host.starts_with(HOSTS[0])),
        "{shown}"
    );
    assert!(
        shown["path"]
            .as_str()
            .is_some_and(|path| !path.contains("secret")),
        "{shown}"
    );
    assert_eq!(
        (&shown["bytes_to_upstream"], &shown["bytes_to_client"]),
        (&5.into(), &5.into())
    );
    assert!(
        shown["idle_s"].as_f64() <= shown["age_s"].as_f64(),
        "{shown}"
    );
    let id = shown["id"].to_string();
    assert_eq!(
        api.get(&format!("/tunnels/{id}")).json()["tunnel"]["id"],
        shown["id"]
    );

    assert_eq!(api.delete(&format!("/tunnels/{id}")).json()["ended"], 1);
    assert!(first.ended(), "the client's connection is closed");
    until("it is off the list", || {
        (api.get(&format!("/tunnels/{id}")).status == 404).then_some(())
    });
    second.send(b"67890");
    assert_eq!(second.exactly(5), b"67890", "the others go on");
    assert_eq!(api.delete("/tunnels?client=192.0.2.1").json()["ended"], 0);
    assert_eq!(
        api.delete("/tunnels?host=b.example.com&client=127.0.0.1")
            .json()["ended"],
        2
    );
    assert!(second.ended() && third.ended());
    until("all are gone", || {
        (api.get("/tunnels").json()["total"] == 0).then_some(())
    });
    let line = relayd.wait_for_log("a tunnel's line", |line| line.contains("\"revoked\""));
    assert!(line.contains("bytes_to_client"), "{line}");
    let ended = relayd.metric("relayd_proxy_tunnel_ends_total", &["reason=\"revoked\""]);
    assert_eq!(ended, 3.0);
}
