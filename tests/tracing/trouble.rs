//! A collector that is away, slow, or refuses: counted, said once, and nothing else suffers.

use super::collector::Mode;
use super::{TARGET, World, counted};
use std::time::{Duration, Instant};

/// Two spans.
fn request(world: &World) {
    assert_eq!(world.relayd.get(TARGET).status(), 200);
}

/// Waits until so many spans have had this end.
pub fn wait_counted(world: &World, result: &str, spans: f64) {
    let deadline = Instant::now() + super::web::PATIENCE;
    // The scrape is the wait.
    while counted(&world.relayd, result) < spans {
        assert!(
            Instant::now() < deadline,
            "{} {result}",
            counted(&world.relayd, result)
        );
    }
    assert_eq!(counted(&world.relayd, result), spans);
}

#[test]
fn spans_wait_for_a_collector_that_is_away_and_the_log_says_it_once() {
    let world = World::new("");
    world.collector.set(Mode::HangUp);
    request(&world);
    world.collector.wait_for_requests(2);
    request(&world);
    world.collector.set(Mode::Take);
    world.collector.exactly(&["GET", "GET", "GET", "GET"]);
    wait_counted(&world, "exported", 4.0);
    world.relayd.wait_for_log("line about the end", |line| {
        line.contains("takes spans again")
    });
    let log = world.relayd.log();
    assert_eq!(log.matches("spans cannot be sent").count(), 1, "{log}");
    assert_eq!(
        counted(&world.relayd, "failed") + counted(&world.relayd, "dropped"),
        0.0
    );
}

#[test]
fn a_slow_collector_costs_spans_and_no_request() {
    const REQUESTS: usize = 700;
    let world = World::new("queue_spans = 512\ntimeout = \"60s\"");
    world.collector.set(Mode::Hold);
    request(&world);
    world.collector.wait_for_requests(1);
    let mut client = world.relayd.connect();
    for _ in 0..REQUESTS {
        client.send(world.relayd.head("GET", TARGET, &[], 0));
        assert_eq!(client.answer().status(), 200);
    }
    // Each of these has been answered, and its spans are made by then or with the next step of its thread.
    wait_counted(&world, "dropped", (2 * REQUESTS - 512) as f64);
    assert_eq!(counted(&world.relayd, "exported"), 0.0);
    world.collector.set(Mode::Take);
    wait_counted(&world, "exported", 514.0);
    assert_eq!(world.collector.spans().len(), 514);
}

#[test]
fn what_the_collector_refuses_for_good_is_not_sent_again() {
    let world = World::new("");
    world.collector.set(Mode::Answer("400 Bad Request"));
    request(&world);
    wait_counted(&world, "failed", 2.0);
    world
        .relayd
        .wait_for_log("line about it", |line| line.contains("answered 400"));
    world.collector.set(Mode::Take);
    request(&world);
    world.collector.exactly(&["GET", "GET"]);
    assert_eq!(world.collector.requests().len(), 2);
}

#[test]
fn what_the_collector_puts_off_is_sent_again_after_the_time_it_asks_for() {
    let world = World::new("");
    world
        .collector
        .set(Mode::Answer("503 Service Unavailable\r\nRetry-After: 2"));
    request(&world);
    world.collector.wait_for_requests(1);
    world.collector.set(Mode::Take);
    world.collector.exactly(&["GET", "GET"]);
    wait_counted(&world, "exported", 2.0);
    let [first, second] = world.collector.arrivals()[..] else {
        panic!("{:?}", world.collector.arrivals());
    };
    // It was answered after it came, and waited then: no slow machine makes this less.
    assert!(
        second - first >= Duration::from_secs(2),
        "{:?}",
        second - first
    );
}

#[test]
fn what_a_collector_takes_in_part_is_counted_in_parts_and_not_sent_again() {
    let world = World::new("");
    world.collector.set(Mode::TakeBut(1));
    request(&world);
    wait_counted(&world, "exported", 1.0);
    wait_counted(&world, "failed", 1.0);
    world.relayd.wait_for_log("line about it", |line| {
        line.contains("does not take all spans") && line.contains("not these")
    });
    assert_eq!(world.collector.requests().len(), 1);
}

#[test]
fn a_stop_sends_what_is_left_at_once() {
    let mut world = World::new("");
    request(&world);
    world.relayd.signal("TERM");
    assert_eq!(world.relayd.wait(), Some(0));
    world.collector.exactly(&["GET", "GET"]);
}

#[test]
fn a_stop_does_not_wait_for_a_collector_that_says_nothing() {
    let mut world = World::new("timeout = \"60s\"");
    world.collector.set(Mode::Hold);
    request(&world);
    world.relayd.signal("TERM");
    assert_eq!(world.relayd.wait(), Some(0));
    let log = world.relayd.log();
    assert!(
        log.contains("spans are lost") && log.contains("\"lost\":2"),
        "{log}"
    );
}

#[test]
fn a_reload_sends_what_waits_for_a_dead_collector_to_the_new_one() {
    let world = World::new("");
    world.collector.set(Mode::HangUp);
    request(&world);
    world.collector.wait_for_requests(1);
    let other = super::Collector::start();
    let change =
        |file: String| file.replace(&world.collector.addr.to_string(), &other.addr.to_string());
    super::reload(&world.relayd, change, "\"reloaded\"");
    other.exactly(&["GET", "GET"]);
}
