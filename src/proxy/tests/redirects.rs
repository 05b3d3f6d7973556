//! Redirects: followed here where that is safe, rewritten otherwise.

use super::support::{ORIGIN, OTHER, PROXY, Peer, World, block_on};
use tokio::io::DuplexStream;

/// A POST with a body and credentials.
async fn post(client: &mut Peer<DuplexStream>, body: &str) {
    let length = body.len();
    client
        .send(format!(
            "POST /{ORIGIN}/start HTTP/1.1\r\nHost: {PROXY}:8443\r\nAuthorization: Bearer t\r\nCookie: c=1\r\n\
             Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\ngone")
}

#[test]
fn method_body_and_credentials_follow_the_rules_of_each_status() {
    block_on(async {
        for (status, location, method, body, credentials) in [
            (301, "/next", "GET", "", true),
            (302, "/next", "GET", "", true),
            (303, "/next", "GET", "", true),
            (307, "/next", "POST", "body", true),
            (308, "/next", "POST", "body", true),
            (307, "https://other.test/next", "POST", "body", false),
            (302, "//other.test/next", "GET", "", false),
            (302, "http://other.test/next", "GET", "", false),
        ] {
            let world = World::new().await;
            let mut client = world.client();
            post(&mut client, "body").await;
            let mut origin = world.origin.take().await;
            assert_eq!(origin.message().await.text(), "body");
            origin.send(redirect(status, location)).await;
            let elsewhere = location.contains(OTHER);
            let mut other = match elsewhere {
                true => Some(world.origin.take().await),
                false => None,
            };
            let next = other.as_mut().unwrap_or(&mut origin);
            let asked = next.message().await;
            let case = format!("{status} {location}");
            assert_eq!(
                asked.head.first,
                format!("{method} /next HTTP/1.1"),
                "{case}"
            );
            assert_eq!(asked.text(), body, "{case}");
            let host = if elsewhere { OTHER } else { ORIGIN };
            assert_eq!(asked.head.one("host"), Some(host), "{case}");
            for name in ["authorization", "cookie"] {
                assert_eq!(
                    asked.head.one(name).is_some(),
                    credentials,
                    "{case}: {name}"
                );
            }
            let typed = asked.head.one("content-type").is_some();
            assert_eq!(typed, !body.is_empty(), "{case}");
            next.ok("arrived").await;
            let answer = client.message().await;
            assert_eq!((answer.status(), answer.text()), (200, "arrived"), "{case}");
        }
    });
}

#[test]
fn a_redirect_on_the_same_host_uses_the_same_connection() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/a/b?c").await;
        let mut origin = world.origin.take().await;
        for (asked, location) in [("/a/b?c", "../d"), ("/d", "?e=f")] {
            let head = origin.message().await.head;
            assert_eq!(head.first, format!("GET {asked} HTTP/1.1"));
            origin.send(redirect(302, location)).await;
        }
        assert_eq!(origin.message().await.head.first, "GET /d?e=f HTTP/1.1");
        origin.ok("here").await;
        assert_eq!(client.message().await.text(), "here");
        assert_eq!(world.origin.accepted(), 1);
        assert_eq!(world.proxy.metrics().redirects.get(), 2);
    });
}

#[test]
fn what_may_not_be_followed_is_rewritten_to_the_authority_the_client_used() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        post(&mut client, "body").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send(redirect(302, "https://denied.test/x?y#z"))
            .await;
        let answer = client.message().await;
        assert_eq!((answer.status(), answer.text()), (302, "gone"));
        assert_eq!(
            answer.head.one("location"),
            Some("https://proxy.test:8443/denied.test/x?y#z")
        );
    });
}

#[test]
fn an_address_or_a_foreign_scheme_is_not_passed_on() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        for (n, location) in ["https://127.0.0.1/", "https://[::1]/", "ftp://other.test/"]
            .into_iter()
            .enumerate()
        {
            if n > 0 {
                client.get("/").await;
            }
            origin.message().await;
            origin.send(redirect(302, location)).await;
            let answer = client.message().await;
            assert_eq!(
                (answer.status(), answer.head.one("location")),
                (302, None),
                "{location}"
            );
        }
    });
}

#[test]
fn the_sixth_redirect_is_passed_on() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/0").await;
        let mut origin = world.origin.take().await;
        for hop in 1..=6 {
            origin.message().await;
            origin.send(redirect(302, &format!("/{hop}"))).await;
        }
        let answer = client.message().await;
        assert_eq!(answer.status(), 302);
        assert_eq!(
            answer.head.one("location"),
            Some("https://proxy.test/origin.test/6")
        );
    });
}

#[test]
fn a_body_too_large_to_keep_is_not_sent_again_and_the_client_is_told_where() {
    block_on(async {
        let world = World::with(|settings| settings.limits.replay_bytes = 8).await;
        let mut client = world.client();
        post(&mut client, "longer than that").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.send(redirect(307, "/next")).await;
        let answer = client.message().await;
        assert_eq!(answer.status(), 307);
        assert_eq!(
            answer.head.one("location"),
            Some("https://proxy.test:8443/origin.test/next")
        );
    });
}

#[test]
fn cookies_set_on_the_way_reach_the_client() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n")
            .await;
        origin.message().await;
        origin.ok("").await;
        let answer = client.message().await;
        assert_eq!(answer.head.all("set-cookie"), ["a=1; Path=/origin.test"]);
    });
}

#[test]
fn a_redirect_whose_body_does_not_end_is_followed_on_another_connection() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 1000000\r\n\r\nnever the rest")
            .await;
        let mut fresh = world.origin.take().await;
        assert_eq!(fresh.message().await.head.first, "GET /next HTTP/1.1");
        fresh.ok("here").await;
        assert_eq!(client.message().await.text(), "here");
    });
}
