//! PROXY.md "Do better" 2, 6, 8: vetted addresses, pooled connections; slow, lying and closing upstreams.

use super::web::origin::{Origin, Then, ok, raw};
use super::web::relayd::{Relayd, Setup, reach};
use super::{World, plain, serving};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

const HOST: &str = "api.example.com";
const TARGET: &str = "/api.example.com/x";

#[test]
fn upstream_connections_are_reused() {
    let (origin, relayd) = plain(&[HOST]);
    for _ in 0..10 {
        assert_eq!(relayd.get(TARGET).status(), 200);
    }
    let mut client = relayd.connect();
    for _ in 0..10 {
        client.send(relayd.head("GET", TARGET, &[], 0));
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!(origin.seen().len(), 20);
    // Each signalling thread has a pool of its own.
    let threads = std::thread::available_parallelism().expect("a count").get();
    assert!(
        origin.connections() <= threads,
        "{} connections",
        origin.connections()
    );
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_costs_no_request() {
    let (origin, relayd) = serving(&[HOST], |seen, wire| {
        ok(wire, "fine");
        // Without announcing it, as servers do whose idle time is over.
        if seen.connection.is_multiple_of(2) {
            Then::Close
        } else {
            Then::KeepOpen
        }
    });
    for i in 0..20 {
        assert_eq!(relayd.get(TARGET).status(), 200, "request {i}");
    }
    assert_eq!(origin.seen().len(), 20);
}

#[test]
fn an_answer_before_the_whole_body_came_passes_and_the_connection_is_not_reused_for_another() {
    let (origin, relayd) = serving(&[HOST], |seen, wire| match seen.message.method() {
        "POST" => raw(
            wire,
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        ),
        _ => ok(wire, "fine"),
    });
    let mut client = relayd.connect();
    client.send(relayd.head(
        "POST",
        TARGET,
        &[(super::web::origin::BODY_LATER, "1")],
        1_000_000,
    ));
    client.send("part");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (413, "big"));
    assert_eq!(relayd.get(TARGET).status(), 200);
    let seen = origin.seen();
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[test]
fn what_is_not_http_is_502_and_never_reaches_the_client() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX-Bad\x00Name: 1\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
    ] {
        let (_origin, relayd) = serving(&[HOST], move |_, wire| {
            raw(wire, answer);
            Then::Close
        });
        let got = relayd.get(TARGET);
        assert_eq!(got.status(), 502, "{answer:?}: {got:?}");
        assert_eq!(got.one("access-control-allow-origin"), Some("*"));
    }
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_502() {
    let (origin, relayd) = serving(&[HOST], |_, _| Then::Close);
    let answer = relayd.request("POST", TARGET, &[], b"x");
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (502, Some("upstream_closed"))
    );
    assert_eq!(origin.seen().len(), 1, "a POST is not sent twice");
}

#[test]
fn interim_answers_are_not_the_answer() {
    let (_origin, relayd) = serving(&[HOST], |_, wire| {
        raw(
            wire,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        );
        ok(wire, "final")
    });
    assert_eq!(relayd.get(TARGET).text(), "final");
}

#[test]
fn a_slow_upstream_is_504_and_the_answer_says_which_time_was_over() {
    let world = World::new();
    let origin = Origin::start(&world.leaf, |_, wire, reader| {
        // Says nothing until the proxy gives up.
        let _ = reader.more(wire);
        Then::Close
    });
    let proxy = format!(
        "{}[proxy.timeouts]\nresponse = \"300ms\"\n",
        reach(&[HOST], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let answer = relayd.get(TARGET);
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (504, Some("response_timeout"))
    );
}

#[test]
fn an_upstream_that_accepts_and_never_speaks_tls_is_504() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("an address");
    let proxy = format!(
        "{}[proxy.timeouts]\nconnect = \"300ms\"\n",
        reach(&[HOST], addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let answer = relayd.get(TARGET);
    assert_eq!(answer.status(), 504);
    let label = answer.json()["error"].as_str().expect("a label").to_owned();
    assert!(
        ["tls_timeout", "connect_timeout"].contains(&label.as_str()),
        "{label}"
    );
}

#[test]
fn an_upstream_port_that_nobody_serves_is_502() {
    let world = World::new();
    let addr = {
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
        closed.local_addr().expect("an address")
    };
    let relayd = Relayd::before(&world.ca, addr, &[HOST]);
    let answer = relayd.get(TARGET);
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (502, Some("connect_failed"))
    );
    assert!(!answer.text().contains("127.0.0.1"));
}

#[test]
fn a_name_that_leads_inside_is_not_connected_to_unless_the_operator_says_so() {
    let world = World::new();
    let leaf = world.ca.leaf(&["localhost"]);
    let origin = Origin::plain(&leaf);
    let route = format!(
        "[[proxy.route]]\nprefix = \"/inside/\"\nupstream = \"https://localhost:{}/\"\n",
        origin.addr.port()
    );
    let relayd = Relayd::start(Setup {
        proxy: route.clone(),
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let answer = relayd.get("/inside/x");
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (502, Some("address_denied"))
    );
    assert_eq!(origin.connections(), 0);

    let opened = format!("{route}[proxy.addresses]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n");
    let relayd = Relayd::start(Setup {
        proxy: opened,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    assert_eq!(relayd.get("/inside/x").status(), 200);
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_along() {
    let world = World::new();
    let ended = std::sync::Arc::new(AtomicUsize::new(0));
    let (count, (tell, told)) = (std::sync::Arc::clone(&ended), std::sync::mpsc::channel());
    let origin = Origin::start(&world.leaf, move |_, wire, reader| {
        // A long poll: ends when the proxy does.
        let more = reader.more(wire);
        count.fetch_add(1, Ordering::Relaxed);
        let _ = tell.send(matches!(more, Ok(false) | Err(_)));
        Then::Close
    });
    let relayd = Relayd::before(&world.ca, origin.addr, &[HOST]);
    let mut client = relayd.connect();
    client.send(relayd.head("GET", TARGET, &[], 0));
    origin.wait_for(1);
    drop(client);
    assert!(
        told.recv_timeout(super::web::PATIENCE)
            .expect("the upstream request ended")
    );
    assert_eq!(ended.load(Ordering::Relaxed), 1);
}

#[test]
fn one_slow_upstream_does_not_hold_up_another() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (origin, relayd) = serving(
        &["api.example.com", "other.example.com"],
        move |seen, wire| {
            if seen.message.one("host") == Some("api.example.com") {
                let _ = wait.lock().expect("not poisoned").recv();
            }
            ok(wire, "fine")
        },
    );
    let mut slow = relayd.connect();
    slow.send(relayd.head("GET", "/api.example.com/x", &[], 0));
    origin.wait_for(1);
    assert_eq!(relayd.get("/other.example.com/x").status(), 200);
    release.send(()).expect("the origin waits");
    assert_eq!(slow.answer().status(), 200);
}
