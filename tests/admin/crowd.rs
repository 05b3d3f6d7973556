//! Ten thousand allocations: listed by pages, sorted, filtered and ended while packets flow, none of which is lost.
//!
//! A client is a 5-tuple, not a socket: each has a source address of its own in 127.0.0.0/8, and its socket lives only while it
//! asks.

use crate::api::Api;
use crate::support::client::{Client, Kind, Outcome, Wire, peer};
use crate::support::subject::{Setup, Subject};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CROWD: u16 = 10_000;
/// For one answer or packet.
const PATIENCE: Duration = Duration::from_secs(10);

fn wire(server: SocketAddr, ip: Ipv4Addr) -> Wire {
    let socket = UdpSocket::bind((ip, 0)).expect("every address of 127.0.0.0/8 can be bound");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    Wire::Udp(socket)
}

fn make_crowd(server: SocketAddr) -> Outcome {
    let halves = [0..CROWD / 2, CROWD / 2..CROWD];
    std::thread::scope(|scope| {
        let threads = halves.map(|half| {
            scope.spawn(move || -> Outcome {
                for index in half {
                    let [high, low] = index.to_be_bytes();
                    let wire = wire(server, Ipv4Addr::new(127, 3, high, low));
                    let (name, password) = match index % 4 {
                        0 => ("bob", "builder"),
                        _ => ("alice", "wonderland"),
                    };
                    let mut client = Client::new(wire, name, password);
                    client
                        .allocate()
                        .map_err(|error| format!("client {index}: {error}"))?;
                }
                Ok(())
            })
        });
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// Sends and receives one packet after the other, both ways, until told to stop; how many went through.
fn ping(server: SocketAddr, stop: &AtomicBool) -> Outcome<(u64, Duration)> {
    let mut client = Client::new(wire(server, Ipv4Addr::LOCALHOST), "carol", "looking glass");
    client.allocate()?;
    let far = peer("127.0.0.1");
    let far_addr = far.local_addr().expect("bound");
    client.bind_channel(0x4000, far_addr)?;
    let mut buffer = [0; 64];
    let mut count: u64 = 0;
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let payload = count.to_be_bytes();
        let begin = Instant::now();
        client.send_channel(0x4000, &payload)?;
        let (len, from) = far
            .recv_from(&mut buffer)
            .map_err(|error| format!("to peer: {error}"))?;
        if buffer.get(..len) != Some(&payload[..]) {
            return Err(format!("packet {count} was lost on its way to the peer"));
        }
        far.send_to(&payload, from)
            .map_err(|error| error.to_string())?;
        let (_, _, back) = client.receive_data()?;
        if back != payload {
            return Err(format!("packet {count} was lost on its way to the client"));
        }
        count += 1;
        slowest = slowest.max(begin.elapsed());
    }
    Ok((count, slowest))
}

#[test]
fn ten_thousand_allocations_are_listed_and_ended_while_packets_flow() -> Outcome {
    let setup = Setup {
        users: vec![
            ("alice", "wonderland"),
            ("bob", "builder"),
            ("carol", "looking glass"),
        ],
        // Addresses and ports of their own: those of 127.0.0.1 belong to the other tests.
        extra: vec![("turn", "relay_ip = [\"127.0.0.79\"]".to_owned())],
        relay_ports: Some((30_000, 65_535)),
        log_format: "text",
        ..Setup::default()
    };
    let subject = Subject::start(&setup);
    let api = Api::new(subject.admin.expect("it is on"));
    let server = subject.addr(Kind::Udp, "127.0.0.1");
    make_crowd(server)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| ping(server, &stop));
        let begin = Instant::now();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&api)));
        stop.store(true, Ordering::Relaxed);
        let (count, slowest) = pinging.join().expect("no panic")?;
        println!(
            "looked and ended in {:?}; {count} round trips meanwhile, the slowest {slowest:?}",
            begin.elapsed()
        );
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
        assert!(count > 100, "{count} packets went back and forth meanwhile");
        Ok(())
    })
}

fn look(api: &Api) {
    let ids = |all: &[serde_json::Value]| -> Vec<u64> {
        all.iter()
            .map(|one| one["id"].as_u64().expect("a number"))
            .collect()
    };
    let begin = Instant::now();
    let all = api.pages("/allocations", "limit=1000&user=alice", "allocations");
    println!("7500 of them on pages of 1000 in {:?}", begin.elapsed());
    let listed = ids(&all);
    assert_eq!(listed.len(), 7_500);
    assert!(listed.is_sorted());
    let distinct: HashSet<&u64> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "each is on one page");
    let workers: HashSet<String> = all.iter().map(|one| one["worker"].to_string()).collect();
    assert_eq!(workers.len(), 2, "both workers were asked");

    // The kernel gives a source to one worker: by age, both are woven into one list.
    let by_age = ids(&api.pages("/allocations", "limit=700&sort=age&user=bob", "allocations"));
    assert_eq!(by_age.len(), 2_500);
    let page = api.get("/allocations?limit=1&client=127.3.0.7").json();
    assert_eq!(
        (&page["total"], &page["next"]),
        (&1.into(), &serde_json::Value::Null)
    );
    let page = api
        .get("/allocations?limit=1000&sort=client&order=desc")
        .json();
    assert!(page["total"].as_u64() >= Some(10_000), "{}", page["total"]);
    assert_eq!(page["allocations"].as_array().map(Vec::len), Some(1000));

    let ended = api.delete("/allocations?user=bob").json();
    assert_eq!(ended["ended"], 2_500);
    assert_eq!(api.get("/allocations?user=bob").json()["total"], 0);
    let ended = api.delete("/allocations?user=alice").json();
    assert_eq!(ended["ended"], 7_500);
}
