use super::*;
use crate::metrics::Metrics;
use crate::sys::inherit::Inherited;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

#[test]
fn liveness_and_version_answer_in_every_phase() {
    let server = Server::start();
    for change in [
        |_: &AdminState| {},
        |state: &AdminState| state.ready(Addresses::default()),
        |state: &AdminState| state.drain(),
    ] {
        change(&server.state);
        assert_eq!(server.get("/healthz").status, 200);
        let version = server.get("/version");
        assert_eq!(version.json()["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn readiness_follows_the_phases_and_tells_the_real_addresses() {
    let server = Server::start();
    let starting = server.get("/readyz");
    assert_eq!(starting.status, 503);
    assert_eq!(starting.json()["state"], "starting");

    server.state.ready(Addresses {
        udp: vec!["127.0.0.1:3478".parse().expect("an address")],
        tcp: Vec::new(),
        tls: vec!["[::1]:443".parse().expect("an address")],
    });
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        serde_json::json!({
            "ready": true, "state": "ready",
            "udp": ["127.0.0.1:3478"], "tcp": [], "tls": ["[::1]:443"],
        })
    );

    server.state.drain();
    let draining = server.get("/readyz");
    assert_eq!(draining.status, 503);
    assert_eq!(
        draining.json(),
        serde_json::json!({"ready": false, "state": "draining"})
    );
}

#[test]
fn metrics_are_openmetrics_text() {
    let response = Server::start().get("/metrics");
    assert_eq!(response.status, 200);
    assert!(response.head.contains("application/openmetrics-text"));
    assert!(response.body.contains("relayd_build_info"));
    assert!(response.body.ends_with("# EOF\n"));
}

#[test]
fn a_scraper_that_names_plain_text_alone_gets_the_older_format() {
    let server = Server::start();
    let asked = |accept: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        server.send(request.as_bytes())
    };
    for accept in [
        "text/plain",
        "text/plain;version=0.0.4;q=1,*/*;q=0.1",
        "Text/Plain; version=0.0.4",
    ] {
        let response = asked(accept);
        assert!(
            response.head.contains("text/plain; version=0.0.4"),
            "{}",
            response.head
        );
        assert!(
            response.body.contains("# TYPE relayd_build_info gauge\n"),
            "{}",
            response.body
        );
        assert!(!response.body.contains("# EOF") && !response.body.contains("# UNIT"));
    }
    // What Prometheus itself says.
    for accept in [
        "*/*",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    ] {
        assert!(asked(accept).body.ends_with("# EOF\n"), "{accept}");
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = Server::start();
    let response = server.send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(response.status, 200);
    assert!(
        response.head.contains("content-length: 16"),
        "{}",
        response.head
    );
    assert_eq!(response.body, "");
}

#[test]
fn other_paths_and_methods_are_errors_in_json() {
    let server = Server::start();
    let missing = server.get("/nothing");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["code"], "not_found");
    let post =
        server.send(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: GET, HEAD"), "{}", post.head);
    assert_eq!(post.json()["error"]["code"], "method_not_allowed");
}

#[test]
fn garbage_and_huge_heads_are_refused_and_the_server_lives_on() {
    let server = Server::start();
    assert_eq!(server.send(b"\x00\x01\x00\x00\r\n\r\n").status, 400);
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    // The answer may be lost in the reset that unread bytes cause.
    if let Some(response) = server.try_send(huge.as_bytes()) {
        assert_eq!(response.status, 431);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn half_open_connections_do_not_disturb() {
    let server = Server::start();
    let silent = TcpStream::connect(server.address).expect("it listens");
    let closed = TcpStream::connect(server.address).expect("it listens");
    closed.shutdown(Shutdown::Write).expect("open");
    assert_eq!(server.get("/healthz").status, 200);
    drop(silent);
}

#[test]
fn any_address_but_loopback_is_refused_with_the_way_out() {
    for address in ["0.0.0.0:9641", "[::]:9641", "192.0.2.1:9641"] {
        let settings = Settings {
            listen: Some(address.parse().expect("an address")),
            ..Settings::default()
        };
        let error = bind(&settings).expect_err(address);
        assert!(matches!(error, BindError::Exposed { .. }), "{error:?}");
        assert!(error.to_string().contains("127.0.0.1:9641"), "{error}");
    }
}

#[test]
fn port_in_use_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = other.local_addr().expect("bound");
    let error = bind(&Settings {
        listen: Some(address),
        ..Settings::default()
    })
    .expect_err("it is in use");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let BindError::Socket { source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn switched_off_is_nothing() {
    assert!(
        bind(&Settings {
            listen: None,
            ..Settings::default()
        })
        .expect("nothing to bind")
        .is_none()
    );
}

#[test]
fn dropping_the_server_frees_its_port() {
    let server = Server::start();
    let address = server.address;
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

fn bind(settings: &Settings) -> Result<Option<Admin>, BindError> {
    Admin::bind_beside(settings, &mut Inherited::default())
}

struct Server {
    address: SocketAddr,
    state: Arc<AdminState>,
    _running: Running,
}

struct Answer {
    status: u16,
    /// Status line and headers.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        assert!(self.head.contains("application/json"), "{}", self.head);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

impl Server {
    fn start() -> Self {
        let settings = Settings {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Settings::default()
        };
        let admin = bind(&settings).expect("loopback").expect("on");
        let address = admin.address();
        assert_ne!(address.port(), 0);
        let state = AdminState::new(Arc::new(Metrics::new()), Counts::default(), &settings);
        let running = admin.start(Arc::clone(&state)).expect("a thread");
        Self {
            address,
            state,
            _running: running,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    fn send(&self, request: &[u8]) -> Answer {
        self.try_send(request).expect("an answer")
    }

    fn try_send(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request).ok()?;
        let mut text = String::new();
        // One request a connection, so the end of the answer is the end of the stream.
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }
}
