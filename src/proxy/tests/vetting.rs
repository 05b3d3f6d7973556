//! Names that lead inside: refused, and nothing is dialled.

use super::support::{World, allow, block_on};
use crate::ip_rules::IpRules;
use crate::proxy::respond::ProxyError;
use crate::proxy::{Addresses, Local, Proxy, Resolve, Settings};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const INSIDE: &str = "inside.test";

/// Every name has these addresses.
struct Fixed(Vec<IpAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _: &str) -> Addresses {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

struct NotFound;

impl Resolve for NotFound {
    fn resolve(&self, _: &str) -> Addresses {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> Addresses {
        Box::pin(std::future::pending())
    }
}

async fn world(port: u16, resolver: impl Resolve + 'static, addresses: IpRules) -> World {
    let mut world = World::new().await;
    let mut rule = allow(INSIDE);
    rule.ports = port..=port;
    let mut settings = Settings {
        allow: vec![rule.clone()],
        agora_hosts: vec![rule.clone()],
        trtc_signal_hosts: vec![rule],
        addresses,
        ..world.settings.clone()
    };
    settings.timeouts.resolve = Duration::from_millis(20);
    world.proxy = Proxy::with_resolver(settings, Arc::new(resolver)).expect("a proxy");
    world.local = Local::new(Arc::clone(&world.proxy));
    world
}

async fn ask(world: &World, port: u16) -> (u16, String) {
    ask_for(world, &format!("/{INSIDE}:{port}/")).await
}

async fn ask_for(world: &World, target: &str) -> (u16, String) {
    let mut client = world.client();
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: proxy.test\r\n\r\n"))
        .await;
    let answer = client.message().await;
    (answer.status(), answer.error())
}

#[test]
fn a_name_that_resolves_to_an_inside_address_is_refused_and_nothing_is_dialled() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fd00::1",
            "0.0.0.0",
        ] {
            let address = inside.parse().expect("an address");
            let world = world(port, Fixed(vec![address]), IpRules::default()).await;
            for target in [
                format!("/{INSIDE}:{port}/"),
                format!("/ap/?url={INSIDE}:{port}/"),
                format!("/ws/?h={INSIDE}&p={port}"),
                format!("/v2/ws?signalDomain={INSIDE}:{port}"),
            ] {
                let label = ProxyError::AddressDenied.label().to_owned();
                let answer = ask_for(&world, &target).await;
                assert_eq!(answer, (502, label), "{inside} {target}");
            }
        }
        let nobody = std::future::poll_fn(|cx| std::task::Poll::Ready(listener.poll_accept(cx)));
        assert!(nobody.await.is_pending(), "somebody has connected");
    });
}

#[test]
fn of_several_addresses_only_the_allowed_ones_are_dialled() {
    block_on(async {
        let denied = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = denied.local_addr().expect("an address").port();
        // The allowed one is another loopback address where nobody listens.
        let allowed = "127.0.0.2".parse::<IpAddr>().expect("an address");
        let addresses = vec!["127.0.0.1".parse().expect("an address"), allowed];
        let rules = IpRules::new(vec!["127.0.0.2/32".parse().expect("a network")], Vec::new());
        let world = world(port, Fixed(addresses), rules).await;
        let label = ProxyError::ConnectFailed.label().to_owned();
        assert_eq!(ask(&world, port).await, (502, label));
        let nobody = std::future::poll_fn(|cx| std::task::Poll::Ready(denied.poll_accept(cx)));
        assert!(nobody.await.is_pending(), "the denied address was dialled");
    });
}

#[test]
fn the_address_that_was_judged_is_the_one_that_is_dialled() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let rules = IpRules::new(vec!["127.0.0.1/32".parse().expect("a network")], Vec::new());
        let addresses = vec!["127.0.0.1".parse().expect("an address")];
        let world = world(port, Fixed(addresses), rules).await;
        let mut client = world.client();
        client
            .send(format!(
                "GET /{INSIDE}:{port}/ HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
            ))
            .await;
        let (_, from) = listener.accept().await.expect("accepted");
        assert!(from.ip().is_loopback());
    });
}

#[test]
fn a_name_that_is_unknown_or_not_answered_in_time_is_told_apart() {
    block_on(async {
        let unknown = world(443, NotFound, IpRules::default()).await;
        let label = ProxyError::ResolveFailed.label().to_owned();
        assert_eq!(ask(&unknown, 443).await, (502, label));
        let silent = world(443, Silent, IpRules::default()).await;
        let label = ProxyError::ResolveTimeout.label().to_owned();
        assert_eq!(ask(&silent, 443).await, (504, label));
    });
}

#[test]
fn an_allowed_address_that_refuses_gives_way_to_the_next() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let rules = IpRules::new(vec!["127.0.0.0/8".parse().expect("a network")], Vec::new());
        let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.1"];
        let addresses = addresses.map(|ip| ip.parse().expect("an address"));
        let world = world(port, Fixed(addresses.to_vec()), rules).await;
        let mut client = world.client();
        client
            .send(format!(
                "GET /{INSIDE}:{port}/ HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
            ))
            .await;
        listener.accept().await.expect("accepted");
    });
}
