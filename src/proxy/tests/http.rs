//! Ordinary requests over HTTP/1.1.

use super::support::{ORIGIN, PROXY, World, allow, block_on};
use crate::proxy::PrefixRoute;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

#[test]
fn a_request_arrives_with_its_raw_target_its_host_and_who_asked() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "GET /{ORIGIN}/a%2Fb%20c//d/%2e%2e/?q=%C3%BC&r=a%00 HTTP/1.1\r\nHost: {PROXY}\r\nX-Mine: 1\r\n\
                 Authorization: Bearer t\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
            ))
            .await;
        let mut origin = world.origin.take().await;
        let asked = origin.head().await;
        assert_eq!(
            asked.first,
            "GET /a%2Fb%20c//d/%2e%2e/?q=%C3%BC&r=a%00 HTTP/1.1"
        );
        assert_eq!(asked.one("host"), Some(ORIGIN));
        assert_eq!(asked.one("x-mine"), Some("1"));
        assert_eq!(asked.one("authorization"), Some("Bearer t"));
        assert_eq!(asked.one("x-forwarded-for"), Some("192.0.2.7"));
        origin.ok("hello").await;
        let answer = client.message().await;
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        assert_eq!(answer.head.one("content-length"), Some("5"));
        assert_eq!(answer.head.one("access-control-allow-origin"), Some("*"));
    });
}

#[test]
fn requests_of_several_clients_share_one_upstream_connection() {
    block_on(async {
        let world = World::new().await;
        let (mut first, mut second) = (world.client(), world.client());
        first.get("/1").await;
        let mut origin = world.origin.take().await;
        for round in 0..3 {
            if round > 0 {
                first.get("/1").await;
            }
            assert_eq!(origin.message().await.head.first, "GET /1 HTTP/1.1");
            origin.ok("one").await;
            assert_eq!(first.message().await.text(), "one");
            second.get("/2").await;
            assert_eq!(origin.message().await.head.first, "GET /2 HTTP/1.1");
            origin
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")
                .await;
            assert_eq!(second.message().await.text(), "two");
        }
        assert_eq!(world.origin.accepted(), 1);
        assert_eq!(world.proxy.metrics().reuses.get(), 5);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        let request = |path| format!("GET /{ORIGIN}/{path} HTTP/1.1\r\nHost: {PROXY}\r\n\r\n");
        client
            .send(format!("{}{}{}", request("1"), request("2"), request("3")))
            .await;
        let mut origin = world.origin.take().await;
        for _ in 0..3 {
            let asked = origin.message().await.head.first;
            origin.ok(&asked).await;
        }
        for path in 1..=3 {
            let wanted = format!("GET /{path} HTTP/1.1");
            assert_eq!(client.message().await.text(), wanted);
        }
    });
}

/// An SDK reads JSON without a length as empty.
#[test]
fn a_sized_body_stays_sized_and_a_chunked_one_chunked() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/sized").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            )
            .await;
        let sized = client.message().await;
        assert_eq!(sized.head.one("content-length"), Some("2"));
        assert_eq!(sized.head.one("transfer-encoding"), None);
        assert_eq!(sized.head.one("content-type"), Some("application/json"));
        client.get("/chunked").await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
            .await;
        let chunked = client.message().await;
        assert_eq!(chunked.head.one("content-length"), None);
        assert_eq!(chunked.head.one("transfer-encoding"), Some("chunked"));
        assert_eq!(chunked.text(), "abc");
    });
}

#[test]
fn answers_without_a_body_keep_their_length_header_and_the_connection() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!("HEAD /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
            .await;
        let mut origin = world.origin.take().await;
        assert_eq!(origin.message().await.head.first, "HEAD / HTTP/1.1");
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
            .await;
        let head = client.head().await;
        assert_eq!(head.one("content-length"), Some("12345"));
        for status in ["204 No Content", "304 Not Modified"] {
            client.get("/").await;
            origin.message().await;
            origin
                .send(format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n"))
                .await;
            let answer = client.message().await;
            assert_eq!(answer.head.one("etag"), Some("\"x\""));
            assert_eq!(answer.head.one("transfer-encoding"), None);
        }
        client.get("/last").await;
        origin.message().await;
        origin.ok("still here").await;
        assert_eq!(client.message().await.text(), "still here");
        assert_eq!(world.origin.accepted(), 1);
    });
}

#[test]
fn every_status_of_the_upstream_passes_with_its_body_and_reason() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        for line in [
            "400 Bad Request",
            "405 Method Not Allowed",
            "418 Short And Stout",
            "500 Internal Server Error",
            "599 Own Invention",
        ] {
            if line != "400 Bad Request" {
                client.get("/").await;
            }
            origin.message().await;
            origin
                .send(format!("HTTP/1.1 {line}\r\nContent-Length: 3\r\n\r\nwhy"))
                .await;
            let answer = client.message().await;
            assert_eq!(answer.head.first, format!("HTTP/1.1 {line}"));
            assert_eq!(answer.text(), "why");
        }
    });
}

#[test]
fn bodies_are_streamed_both_ways_while_they_come_in() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 6\r\n\r\nabc"
            ))
            .await;
        let mut origin = world.origin.take().await;
        assert_eq!(origin.head().await.one("content-length"), Some("6"));
        assert_eq!(origin.exactly(3).await, b"abc");
        client.send("def").await;
        assert_eq!(origin.exactly(3).await, b"def");
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nghi")
            .await;
        assert_eq!(client.head().await.one("content-length"), Some("6"));
        assert_eq!(client.exactly(3).await, b"ghi");
        origin.send("jkl").await;
        assert_eq!(client.exactly(3).await, b"jkl");
    });
}

#[test]
fn a_chunked_request_body_passes_chunked_even_with_get_and_so_do_its_trailers() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "GET /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"
            ))
            .await;
        let mut origin = world.origin.take().await;
        let head = origin.head().await;
        assert_eq!(head.one("transfer-encoding"), Some("chunked"));
        assert_eq!(head.one("te"), Some("trailers"));
        let mut lines = Vec::new();
        while lines.len() < 5 {
            lines.push(origin.line().await);
        }
        assert_eq!(lines, ["3", "abc", "0", "x-sum: 7", ""]);
        origin
            .send(
                "HTTP/1.1 200 OK\r\nTrailer: X-Out\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Out: 8\r\n\r\n",
            )
            .await;
        assert_eq!(client.head().await.one("trailer"), Some("X-Out"));
        let mut lines = Vec::new();
        while lines.len() < 5 {
            lines.push(client.line().await);
        }
        assert_eq!(lines, ["2", "ok", "0", "x-out: 8", ""]);
    });
}

/// RFC 9110 §10.1.1.
#[test]
fn a_client_that_waits_for_100_continue_gets_it_once_the_upstream_takes_the_body() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            ))
            .await;
        let mut origin = world.origin.take().await;
        assert_eq!(origin.head().await.one("expect"), None);
        assert_eq!(client.head().await.status(), 100);
        client.send("abc").await;
        assert_eq!(origin.exactly(3).await, b"abc");
        origin.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        origin.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        origin.ok("done").await;
        assert_eq!(client.message().await.text(), "done");
    });
}

#[test]
fn an_upstream_that_answers_before_the_body_is_there_is_heard_at_once() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 1000000\r\n\r\nstart"
            ))
            .await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        origin
            .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .await;
        let answer = client.message().await;
        assert_eq!((answer.status(), answer.text()), (401, "no"));
    });
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.send("HTTP/1.0 200 OK\r\n\r\nto the end").await;
        origin.stream.shutdown().await.expect("shut down");
        let answer = client.message().await;
        assert_eq!(answer.text(), "to the end");
        assert_eq!(answer.head.one("transfer-encoding"), Some("chunked"));
    });
}

#[test]
fn a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again_on_a_fresh_one() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/1").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("1").await;
        client.message().await;
        // It takes the second request and closes without a word, as a server does whose idle time is over.
        client.get("/2").await;
        origin.message().await;
        drop(origin);
        let mut fresh = world.origin.take().await;
        assert_eq!(fresh.message().await.head.first, "GET /2 HTTP/1.1");
        fresh.ok("2").await;
        assert_eq!(client.message().await.text(), "2");
        assert_eq!(world.proxy.metrics().retries.get(), 1);
    });
}

/// RFC 9110 §9.2.2.
#[test]
fn a_post_that_may_have_been_acted_upon_is_not_sent_again() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/1").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("1").await;
        client.message().await;
        client
            .send(format!(
                "POST /{ORIGIN}/2 HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 1\r\n\r\nx"
            ))
            .await;
        origin.message().await;
        drop(origin);
        let answer = client.message().await;
        assert_eq!(
            (answer.status(), answer.error().as_str()),
            (502, "upstream_closed")
        );
        assert_eq!(world.origin.accepted(), 1);
    });
}

#[test]
fn a_small_put_is_sent_again_with_its_body() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/1").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("1").await;
        client.message().await;
        client
            .send(format!(
                "PUT /{ORIGIN}/2 HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 4\r\n\r\nbody"
            ))
            .await;
        origin.message().await;
        drop(origin);
        let mut fresh = world.origin.take().await;
        let asked = fresh.message().await;
        assert_eq!(
            (asked.head.first.as_str(), asked.text()),
            ("PUT /2 HTTP/1.1", "body")
        );
        fresh.ok("2").await;
        assert_eq!(client.message().await.text(), "2");
    });
}

#[test]
fn a_connection_that_closed_while_idle_is_not_used() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/1").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("1").await;
        client.message().await;
        drop(origin);
        client
            .send(format!(
                "POST /{ORIGIN}/2 HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 1\r\n\r\nx"
            ))
            .await;
        let mut fresh = world.origin.take().await;
        assert_eq!(fresh.message().await.text(), "x");
        fresh.ok("2").await;
        assert_eq!(client.message().await.text(), "2");
    });
}

#[test]
fn an_answer_that_asks_to_close_ends_the_upstream_connection_and_not_the_clients() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        for accepted in 1..=2 {
            client.get("/").await;
            let mut origin = world.origin.take().await;
            origin.message().await;
            origin
                .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
                .await;
            let answer = client.message().await;
            assert_eq!(answer.head.one("connection"), None);
            assert_eq!(world.origin.accepted(), accepted);
            assert!(origin.ends().await);
        }
    });
}

#[test]
fn connections_made_under_other_settings_are_not_used_again() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("1").await;
        client.message().await;
        world
            .proxy
            .replace(world.settings.clone())
            .expect("replaced");
        client.get("/").await;
        let mut fresh = world.origin.take().await;
        fresh.message().await;
        fresh.ok("2").await;
        assert_eq!(client.message().await.text(), "2");
        assert!(origin.ends().await);
    });
}

#[test]
fn settings_that_cannot_be_used_replace_nothing() {
    block_on(async {
        let world = World::new().await;
        let mut settings = world.settings.clone();
        settings.ca_file = Some("/nonexistent/roots.pem".into());
        settings.allow.clear();
        let error = world.proxy.replace(settings).expect_err("refused");
        assert!(error.to_string().contains("/nonexistent/roots.pem"));
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("as before").await;
        assert_eq!(client.message().await.text(), "as before");
    });
}

#[test]
fn reloaded_settings_count_for_the_next_request_of_an_open_connection() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!("GET /late.test/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
            .await;
        assert_eq!(client.message().await.status(), 403);
        let mut settings = world.settings.clone();
        settings.allow.push(allow("late.test"));
        settings.routes.push(PrefixRoute {
            prefix: "/ws/".to_owned(),
            upstream: format!("https://{ORIGIN}/base/"),
        });
        world.proxy.replace(settings).expect("replaced");
        client
            .send(format!("GET /ws/x?y HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
            .await;
        let mut origin = world.origin.take().await;
        assert_eq!(origin.message().await.head.first, "GET /base/x?y HTTP/1.1");
        origin.ok("").await;
        assert_eq!(client.message().await.status(), 200);
    });
}

#[test]
fn probes_and_the_page_are_answered_here() {
    block_on(async {
        let world = World::new().await;
        world.proxy.set_page(Some(Box::new(|parts| {
            (parts.uri.path() == "/").then(|| Response::new(Bytes::from_static(b"page")))
        })));
        let mut client = world.client();
        for (path, status, body) in [
            ("/healthcheck", 200, "ok\n"),
            ("/readyz", 200, "ready\n"),
            ("/", 200, "page"),
        ] {
            client
                .send(format!("GET {path} HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
                .await;
            let answer = client.message().await;
            assert_eq!((answer.status(), answer.text()), (status, body), "{path}");
        }
        world.proxy.set_page(None);
        client
            .send(format!("GET / HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
            .await;
        assert_eq!(client.message().await.error(), "no_route");
        assert_eq!(world.origin.accepted(), 0);
    });
}

/// The page may hold a credential, and reads nothing to other origins.
#[test]
fn the_page_is_served_over_tls_alone_and_without_cors() {
    block_on(async {
        let world = World::new().await;
        world.proxy.set_page(Some(Box::new(|_| {
            Some(Response::new(Bytes::from_static(b"page")))
        })));
        let request =
            format!("GET / HTTP/1.1\r\nHost: {PROXY}\r\nOrigin: https://app.test\r\n\r\n");
        let mut client = world.client();
        client.send(&request).await;
        let answer = client.message().await;
        assert_eq!(answer.text(), "page");
        let cors = |(name, _): &&(String, String)| name.starts_with("access-control-");
        assert_eq!(answer.head.fields.iter().find(cors), None);
        let mut client = world.plain_client();
        client.send(&request).await;
        assert_eq!(client.message().await.error(), "no_route");
    });
}

#[test]
fn a_head_request_for_an_own_answer_has_its_length_and_no_body() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "HEAD /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\nGET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.head().await.one("content-length"), Some("3"));
        assert_eq!(client.message().await.text(), "ok\n");
    });
}

#[test]
fn a_preflight_is_answered_here_and_every_own_error_carries_cors() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        let preflight = |host: &str| {
            format!(
                "OPTIONS /{host}/x HTTP/1.1\r\nHost: {PROXY}\r\nOrigin: https://app.test\r\n\
                 Access-Control-Request-Method: DELETE\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
            )
        };
        client.send(preflight(ORIGIN)).await;
        let answer = client.head().await;
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.one("access-control-allow-methods"), Some("DELETE"));
        client.send(preflight("denied.test")).await;
        let answer = client.message().await;
        assert_eq!(answer.error(), "host_not_allowed");
        assert_eq!(
            answer.head.one("access-control-allow-origin"),
            Some("https://app.test")
        );
        assert_eq!(world.origin.accepted(), 0);
    });
}

#[test]
fn drain_finishes_what_is_under_way_closes_and_is_told_to_load_balancers() {
    block_on(async {
        let world = World::new().await;
        let (mut busy, mut idle, mut probe) = (world.client(), world.client(), world.client());
        busy.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        idle.send(format!(
            "GET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
        ))
        .await;
        idle.message().await;
        // Half of its head is there, so that it is not idle.
        probe
            .send(format!("GET /readyz HTTP/1.1\r\nHost: {PROXY}\r\n"))
            .await;
        tokio::task::yield_now().await;
        world.drain.send_replace(true);
        assert!(idle.ends().await);
        probe.send("\r\n").await;
        let ready = probe.message().await;
        assert_eq!((ready.status(), ready.error().as_str()), (503, "draining"));
        origin.ok("finished").await;
        let answer = busy.message().await;
        assert_eq!(answer.text(), "finished");
        assert_eq!(answer.head.one("connection"), Some("close"));
        assert!(busy.ends().await);
    });
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_its_answer() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        client.stream.shutdown().await.expect("shut down");
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("there you are").await;
        assert_eq!(client.message().await.text(), "there you are");
        assert!(client.ends().await);
    });
}

#[test]
fn the_upstream_learns_of_a_client_that_went_away_during_the_answer() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            .await;
        client.head().await;
        drop(client);
        while origin.stream.write_all(b"1\r\na\r\n").await.is_ok()
            && origin.stream.flush().await.is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_upstreams_latency_begins_when_the_client_has_sent_all_of_its_request() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 6\r\n\r\nabc"
            ))
            .await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        assert_eq!(origin.exactly(3).await, b"abc");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before_the_rest = Instant::now();
        client.send("def").await;
        assert_eq!(origin.exactly(3).await, b"def");
        origin.ok("done").await;
        client.message().await;
        let took = before_the_rest.elapsed().as_secs_f64() * 1e3;
        let counted = world.proxy.upstreams().0[0].latencies.mean_ms();
        let counted = counted.expect("an answer");
        assert!(counted <= took, "{counted} ms of {took} ms");
    });
}

/// A closed connection looks like a half-closed one for some seconds, and they are no time that anybody has waited.
#[test]
fn a_client_that_leaves_at_once_is_counted_and_makes_its_upstream_no_slower() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        let asked = Instant::now();
        drop(client);
        let one = world.abandoned().await;
        assert!(asked.elapsed() > Duration::from_secs(1));
        assert_eq!((one.abandoned, one.errors), (1, 0));
        assert_eq!(one.latencies.total(), 0);
    });
}

#[test]
fn counters_say_what_happened() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("12345").await;
        client.message().await;
        drop(client);
        let mut registry = prometheus_client::registry::Registry::default();
        world.proxy.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        for line in [
            "relayd_proxy_requests_total{kind=\"host\",status=\"2xx\"} 1",
            "relayd_proxy_response_body_bytes_total 5",
            "relayd_proxy_upstream_connects_total 1",
            "relayd_proxy_upstream_idle_connections 1",
            "relayd_proxy_requests_under_way 0",
            "relayd_proxy_request_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    });
}

#[test]
fn cookies_of_the_client_pass_and_those_of_the_upstream_are_scoped() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send(
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=origin.test; Path=/x\r\nSet-Cookie: b=2\r\n\
                 Strict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n",
            )
            .await;
        let answer = client.message().await.head;
        assert_eq!(
            answer.all("set-cookie"),
            ["a=1; Path=/origin.test/x", "b=2; Path=/origin.test"]
        );
        assert_eq!(answer.one("strict-transport-security"), None);
        let allowed = HeaderValue::from_static("*");
        assert_eq!(
            answer.one("access-control-allow-origin"),
            allowed.to_str().ok()
        );
        assert_eq!(answer.status(), StatusCode::OK.as_u16());
    });
}
