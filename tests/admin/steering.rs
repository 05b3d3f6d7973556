//! Drain and back, the log level, the configuration, metrics: what the operator changes and looks at while clients are there.

use crate::api::{Api, until};
use crate::support::client::{Kind, Outcome, is_code};
use crate::support::stun::attr;
use crate::support::subject::{SIGTERM, Setup, Subject};

const ALLOCATE: u16 = 0x003;

fn start(setup: &Setup) -> (Subject, Api) {
    let subject = Subject::start(setup);
    let api = Api::new(subject.admin.expect("it is on"));
    (subject, api)
}

#[test]
fn a_drain_refuses_new_calls_keeps_old_ones_and_can_be_taken_back() -> Outcome {
    let (mut subject, api) = start(&Setup::default());
    let mut old = subject.alice(Kind::Tcp);
    old.allocate()?;
    let drained = api.post("/drain").json();
    assert_eq!(
        (&drained["draining"], &drained["stopping"]),
        (&true.into(), &false.into())
    );
    until("the one that runs is counted", || {
        (api.get("/drain").json()["left"]["allocations"] == 1).then_some(())
    });
    assert_eq!(api.get("/readyz").status, 503);
    assert_eq!(api.get("/readyz").json()["state"], "draining");

    for kind in Kind::ALL {
        let mut new = subject.bob(kind);
        new.challenge()?;
        let udp = [17, 0, 0, 0];
        until("new allocations are refused", || {
            let reply = new.request(ALLOCATE, |writer| {
                writer.attr(attr::REQUESTED_TRANSPORT, &udp)
            });
            is_code(&reply.expect("answered"), 508).ok()
        });
    }
    assert!(
        old.refresh(600)?.error_code().is_none(),
        "what runs goes on"
    );
    assert!(subject.is_running(), "it does not end by itself");
    assert_eq!(api.post("/drain").status, 200, "twice is once");

    assert_eq!(api.post("/reload").status, 200);
    assert_eq!(
        api.get("/readyz").status,
        503,
        "a reload takes no drain back"
    );
    let back = api.delete("/drain").json();
    assert_eq!(back["draining"], false);
    assert_eq!(api.get("/readyz").json()["state"], "ready");
    let mut new = subject.bob(Kind::Udp);
    until("allocations are made again", || new.allocate().ok());
    subject.wait_for_line("admin request")?;

    api.post("/drain");
    subject.signal(SIGTERM);
    let stopping = until("the stop is told", || {
        let shown = api.get("/drain").json();
        (shown["stopping"] == true).then_some(shown)
    });
    assert_eq!(stopping["draining"], true);
    let late = api.delete("/drain");
    assert_eq!((late.status, late.code().as_str()), (409, "conflict"));
    assert_eq!(api.post("/drain").status, 200);
    old.refresh(0)?;
    new.refresh(0)?;
    assert!(subject.wait()?.success());
    Ok(())
}

#[test]
fn the_log_level_is_changed_until_the_next_reload() -> Outcome {
    let setup = Setup::default();
    let (subject, api) = start(&setup);
    let shown = api.get("/log-level").json();
    assert_eq!(
        (&shown["level"], &shown["configured"]),
        (&"info".into(), &"info".into())
    );
    let set = api
        .put_json("/log-level", "{\"level\": \"warn,relayd::io=debug\"}")
        .json();
    assert!(
        set["level"].to_string().contains("relayd::io=debug"),
        "{set}"
    );
    assert_eq!(set["configured"], "info");
    assert!(set["lasts_until"].to_string().contains("reload"), "{set}");
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    subject.wait_for_line("allocation started")?;
    subject.reload(&setup);
    until("the file's level is back", || {
        (api.get("/log-level").json()["level"] == "info").then_some(())
    });
    Ok(())
}

#[test]
fn the_configuration_is_shown_with_origins_and_without_secrets() -> Outcome {
    let mut setup = Setup::default();
    let (subject, api) = start(&setup);
    let answer = api.get("/config");
    for secret in ["wonderland", "builder", "between us"] {
        assert!(!answer.body.contains(secret), "{secret}");
    }
    let config = answer.json();
    let value = |key: &str| config["values"][key].clone();
    assert_eq!(value("turn.users")["value"]["alice"], "***");
    assert_eq!(value("turn.auth_secret")["value"][0], "***");
    assert_eq!(value("turn.realm")["from"], "file");
    assert_eq!(value("turn.max_lifetime")["from"], "default");
    assert_eq!(value("turn.max_lifetime")["value"], "1h");
    let bound = value("listen.tls")["effective"].to_string();
    let port = subject.addr(Kind::Tls, "127.0.0.1").port().to_string();
    assert!(bound.contains(&port), "{bound}");
    assert!(value("turn.limits.allocations_total")["effective"].as_u64() > Some(0));
    setup
        .extra
        .push(("turn", "max_lifetime = \"2h\"".to_owned()));
    subject.reload(&setup);
    until("a reload is shown", || {
        let shown = api.get("/config").json()["values"]["turn.max_lifetime"].clone();
        (shown == serde_json::json!({"value": "2h", "from": "file"})).then_some(())
    });
    Ok(())
}

/// Issue 5, item 3: dashboards made for coturn keep working, and can be switched off.
#[test]
fn metrics_have_coturns_names_unless_they_are_switched_off() -> Outcome {
    let (subject, api) = start(&Setup::default());
    let mut client = subject.alice(Kind::Tls);
    client.allocate()?;
    let sample = |name: &str| -> Option<f64> {
        let text = api.get("/metrics").body;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.parse().ok()
    };
    until("the allocation is counted", || {
        (sample("turn_total_allocations{type=\"TLS/TCP\"}") == Some(1.0)).then_some(())
    });
    let far = crate::support::client::peer("127.0.0.1");
    let far_addr = far.local_addr().expect("bound");
    client.permit(far_addr)?;
    client.send_to(far_addr, b"12345")?;
    far.recv_from(&mut [0; 16]).expect("relayed");
    client.fence()?;
    assert_eq!(
        sample("turn_total_traffic_rcvb"),
        Some(0.0),
        "of ended ones only"
    );
    client.refresh(0)?;
    until("the traffic of an ended allocation is counted", || {
        (sample("turn_total_traffic_rcvb") == Some(5.0)).then_some(())
    });
    assert_eq!(sample("turn_traffic_rcvp{realm=\"relay.test\"}"), Some(1.0));
    assert_eq!(
        sample("turn_traffic_peer_sentb{realm=\"relay.test\"}"),
        Some(5.0)
    );
    assert_eq!(
        sample("turn_total_allocations{type=\"TLS/TCP\"}"),
        Some(0.0)
    );
    assert!(sample("turn_unauthenticated_401_responses") >= Some(1.0));
    drop((client, subject));

    let off = Setup {
        extra: vec![("admin", "coturn_metrics = false".to_owned())],
        ..Setup::default()
    };
    let (_subject, api) = start(&off);
    let text = api.get("/metrics").body;
    assert!(
        !text.contains("\nturn_") && !text.contains("\nstun_"),
        "{text}"
    );
    assert!(text.contains("relayd_turn_allocations "), "{text}");
    Ok(())
}
