//! Reloads under a steady relayed load: nothing is lost, and nothing stays behind.
//!
//! `RELAYD_RELOADS` says how many, `RELAYD_BIN` which binary; `benches/reload.sh` prints what came of a thousand.

use super::server::{Conf, REALM, Server, write_pair};
use super::support::client::{Client, Kind, is_success, peer};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two packets of one call, each way: that of voice is ten times as long.
const PACE: Duration = Duration::from_millis(2);

/// What the calls of a load have seen so far.
#[derive(Default)]
struct Seen {
    sent: AtomicU64,
    back: AtomicU64,
    /// The longest way there and back, in microseconds.
    slowest_us: AtomicU64,
}

/// Calls that send, and peers that send back, until it is ended.
struct Load {
    seen: Arc<Seen>,
    end: Arc<AtomicBool>,
    calls: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let (seen, end) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let mut calls = Vec::new();
        for kind in [Kind::Udp, Kind::Udp, Kind::Tcp, Kind::Tls] {
            let peer = peer("127.0.0.1");
            let mut client = server.alice(kind);
            client.allocate().expect("there is room");
            let bound = client.bind_channel(0x4000, peer.local_addr().expect("bound"));
            bound.and_then(is_success).expect("it is allowed");
            let (seen, end) = (Arc::clone(&seen), Arc::clone(&end));
            calls.push(thread::spawn(move || talk(client, &peer, &seen, &end)));
        }
        Self { seen, end, calls }
    }

    /// Ends every call in order and returns packets sent, packets lost and the slowest round in microseconds.
    fn end(self) -> (u64, u64, u64) {
        self.end.store(true, Ordering::Relaxed);
        for call in self.calls {
            call.join().expect("the call was up to its end");
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (sent, back) = (of(&self.seen.sent), of(&self.seen.back));
        (sent, sent - back, of(&self.seen.slowest_us))
    }
}

/// Each packet has a number, which the peer sends back: one that does not come is a loss, in whichever direction.
fn talk(mut client: Client, peer: &UdpSocket, seen: &Seen, end: &AtomicBool) {
    let mut number = 0_u64;
    while !end.load(Ordering::Relaxed) {
        let begin = Instant::now();
        number += 1;
        seen.sent.fetch_add(1, Ordering::Relaxed);
        client
            .send_channel(0x4000, &number.to_be_bytes())
            .expect("sent");
        let mut buf = [0; 64];
        let arrived = peer.recv_from(&mut buf);
        let back = arrived.is_ok_and(|(len, relayed)| {
            peer.send_to(&buf[..len], relayed).is_ok()
                && client
                    .receive_data()
                    .is_ok_and(|(_, _, payload)| payload == number.to_be_bytes())
        });
        if back {
            seen.back.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        seen.slowest_us.fetch_max(took, Ordering::Relaxed);
        if number.is_multiple_of(500) {
            client
                .refresh(600)
                .and_then(is_success)
                .expect("the call lives");
        }
        thread::sleep(PACE.saturating_sub(begin.elapsed()));
    }
    client
        .refresh(0)
        .and_then(is_success)
        .expect("the call lives");
}

fn reloads(default: usize) -> usize {
    let asked = std::env::var("RELAYD_RELOADS").ok();
    asked
        .and_then(|count| count.parse().ok())
        .unwrap_or(default)
}

/// Everything that can change, in turn: each configuration differs from the one before in many keys, and its listeners.
fn variants(server: &Server) -> [Conf; 3] {
    let conf = Conf::default();
    server.dir.write("ca.pem", &server.authority.pem);
    let other = || vec!["127.0.0.1:0".to_owned(), "127.0.0.5:0".to_owned()];
    let second = Conf {
        udp: other(),
        tcp: other(),
        tls: other(),
        users: vec![("carol", "s3cret-of-carol")],
        secrets: vec!["s3cret-of-today-only"],
        ..conf.clone()
    };
    let second = second
        .with("turn.peers", "deny = [\"192.0.2.0/24\"]")
        .with("proxy", "vendors = [\"azure\", \"agora\", \"trtc\"]")
        .with(
            "proxy",
            format!("ca_file = {:?}", server.dir.path("ca.pem")),
        );
    let third = Conf {
        // The calls' own listener leaves, and comes back.
        udp: vec!["127.0.0.6:0".to_owned()],
        tcp: Vec::new(),
        ..conf.clone()
    };
    let third = third
        .with("turn.limits", "bytes_per_second_total = \"100MiB\"")
        .with("listen.limits", "connections_per_address = 1000")
        .with("proxy", "test_page = true")
        .with("proxy", "cors_origins = [\"https://app.example.com\"]");
    [conf, second, third]
}

#[test]
fn reloads_of_every_kind_under_load_lose_no_packet_and_leave_nothing_behind() {
    let count = reloads(60);
    let server = Server::start(&Conf::default());
    let confs = variants(&server);
    let load = Load::start(&server);
    let mut warm = (0, 0);
    let begin = Instant::now();
    let warm_up = (count / 4).max(3) / 3 * 3;
    for round in 0..count {
        if round == warm_up {
            warm = (server.rss_kib(), server.fds());
        }
        server.reloaded(&confs[round % confs.len()]);
        if round % 50 == 7 {
            write_pair(&server.dir, &server.authority.leaf(&[REALM]));
        }
    }
    server.reloaded(&confs[0]);
    let took = begin.elapsed();
    let (rss, fds) = (server.rss_kib(), server.fds());
    let (sent, lost, slowest_us) = load.end();
    println!(
        "{count} reloads in {:.1} s: {sent} packets there and back, {lost} lost, slowest {:.1} ms; memory {} KiB before, {rss} KiB after; \
         descriptors {} before, {fds} after",
        took.as_secs_f64(),
        slowest_us as f64 / 1000.0,
        warm.0,
        warm.1
    );
    assert_eq!(lost, 0);
    assert!(sent > 0);
    assert!(
        rss < warm.0 + 16 * 1024,
        "{warm:?} KiB and descriptors became {rss} and {fds}"
    );
    assert!(
        fds < warm.1 + 32,
        "{warm:?} KiB and descriptors became {rss} and {fds}"
    );
    assert_eq!(
        server.metric("relayd_config_generation"),
        Some(count as f64 + 2.0)
    );
}

/// Many wishes at once, by signal and by request, are answered by few reloads.
#[test]
fn a_storm_of_signals_and_requests_is_answered_by_fewer_reloads_and_loses_no_packet() {
    let server = Server::start(&Conf::default());
    let confs = variants(&server);
    let load = Load::start(&server);
    let (requests, threads) = (40, 8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..requests {
                    let (status, report) = server.post();
                    assert_eq!(status, 200, "{report:#}");
                }
            });
        }
        scope.spawn(|| {
            for round in 0..60 {
                // The file is replaced as a whole, as an editor does it: no reload may meet half of it.
                server.replace(&confs[round % confs.len()]);
                server.hang_up();
            }
        });
    });
    let (sent, lost, _) = load.end();
    assert_eq!((sent > 0, lost), (true, 0));
    let reloads = server
        .metric("relayd_config_reloads_total{result=\"in_force\"}")
        .expect("it is counted");
    assert!(
        reloads >= 1.0 && reloads < f64::from(requests * threads),
        "{reloads} reloads"
    );
    server.alice(Kind::Tls).fence().expect("it serves");
}
