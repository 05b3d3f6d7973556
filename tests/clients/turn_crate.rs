//! The client of the `turn` crate over UDP: allocation, permission, echo both ways, a channel, refresh, close.

use crate::support::{PASSWORD, REALM, USER, start};
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

/// For one answer over loopback.
const PATIENCE: Duration = Duration::from_secs(20);

async fn client(server: SocketAddr) -> Client {
    let socket = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    let address = server.to_string();
    let config = ClientConfig {
        stun_serv_addr: address.clone(),
        turn_serv_addr: address,
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        realm: REALM.to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    };
    let client = Client::new(config)
        .await
        .expect("the configuration is complete");
    client.listen().await.expect("the client reads its socket");
    client
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let (len, from) = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .expect("the peer gets a packet in time")
        .expect("the peer's socket works");
    buffer.truncate(len);
    (buffer, from)
}

/// To the peer and back through the relay; both ends see the other's right address.
async fn assert_echo(relay: &impl Conn, relayed: SocketAddr, peer: &UdpSocket, payload: &[u8]) {
    let peer_addr = peer.local_addr().expect("a bound socket has an address");
    relay
        .send_to(payload, peer_addr)
        .await
        .expect("the server grants the permission");
    let (arrived, from) = receive(peer).await;
    assert_eq!((arrived.as_slice(), from), (payload, relayed));
    peer.send_to(&arrived, from)
        .await
        .expect("the peer answers");
    let mut buffer = vec![0; 2048];
    let (len, sender) = timeout(PATIENCE, relay.recv_from(&mut buffer))
        .await
        .expect("the client gets the answer in time")
        .expect("the relay works");
    assert_eq!((buffer.get(..len), sender), (Some(payload), peer_addr));
}

#[tokio::test]
async fn turn_crate_relays_both_ways_and_gives_its_port_back() {
    let mut server = start("turn-crate");
    let client = client(server.udp()).await;
    let mapped = timeout(PATIENCE, client.send_binding_request())
        .await
        .expect("in time")
        .expect("Binding succeeds");
    assert!(mapped.ip().is_loopback(), "{mapped}");

    let relay = timeout(PATIENCE, client.allocate())
        .await
        .expect("in time")
        .expect("Allocate succeeds");
    let relayed = relay
        .local_addr()
        .expect("an allocation has a relayed address");
    assert!(
        StdUdpSocket::bind(relayed).is_err(),
        "the server holds {relayed}"
    );
    let peer = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    // The first payloads go as Send indications, the later ones on the channel that the client binds meanwhile.
    for round in 0..200_u16 {
        let payload: Vec<u8> = (0..round * 5).map(|byte| byte.to_be_bytes()[1]).collect();
        assert_echo(&relay, relayed, &peer, &payload).await;
    }

    relay
        .close()
        .await
        .expect("Refresh with LIFETIME 0 succeeds");
    client.close().await.expect("the client closes");
    server.wait_for("the relayed port to be free again", |_| {
        StdUdpSocket::bind(relayed).ok()
    });
    server.assert_alive();
}

const OPENING: &[u8] = b"opens the way";

/// The next packet that came through the relay and is no `OPENING`.
async fn relayed(relay: &impl Conn) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    loop {
        let (len, from) = timeout(PATIENCE, relay.recv_from(&mut buffer))
            .await
            .expect("in time")
            .expect("the relay works");
        let payload = buffer.get(..len).expect("a packet fits its buffer");
        if payload != OPENING {
            return (payload.to_vec(), from);
        }
    }
}

#[tokio::test]
async fn two_turn_crate_clients_call_each_other_by_their_relayed_addresses() {
    let mut server = start("turn-crate-pair");
    let (one, two) = (client(server.udp()).await, client(server.udp()).await);
    let first = timeout(PATIENCE, one.allocate())
        .await
        .expect("in time")
        .expect("Allocate succeeds");
    let second = timeout(PATIENCE, two.allocate())
        .await
        .expect("in time")
        .expect("Allocate succeeds");
    let first_addr = first
        .local_addr()
        .expect("an allocation has a relayed address");
    let second_addr = second
        .local_addr()
        .expect("an allocation has a relayed address");
    // Each needs a permission for the other. Whether these first packets find the other's permission is chance.
    first
        .send_to(OPENING, second_addr)
        .await
        .expect("the server grants the permission");
    second
        .send_to(OPENING, first_addr)
        .await
        .expect("the server grants the permission");
    for round in 0..50_u8 {
        first
            .send_to(&[round; 100], second_addr)
            .await
            .expect("the relay works");
        assert_eq!(relayed(&second).await, (vec![round; 100], first_addr));
        second
            .send_to(&[round; 10], first_addr)
            .await
            .expect("the relay works");
        assert_eq!(relayed(&first).await, (vec![round; 10], second_addr));
    }
    one.close().await.expect("the client closes");
    two.close().await.expect("the client closes");
    server.assert_alive();
}

#[tokio::test]
async fn turn_crate_with_a_wrong_password_gets_no_allocation() {
    let mut server = start("turn-crate-wrong");
    let socket = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    let address = server.udp().to_string();
    let config = ClientConfig {
        stun_serv_addr: address.clone(),
        turn_serv_addr: address,
        username: USER.to_owned(),
        password: "not the password".to_owned(),
        realm: REALM.to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    };
    let client = Client::new(config)
        .await
        .expect("the configuration is complete");
    client.listen().await.expect("the client reads its socket");
    let refused = timeout(PATIENCE, client.allocate()).await.expect("in time");
    assert!(refused.is_err());
    server.assert_alive();
}

/// A datagram forwarder between one client and the server that counts the successes of each method.
struct Tap {
    addr: SocketAddr,
    refreshes: Arc<AtomicU32>,
    permissions: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Tap {
    async fn start(server: SocketAddr) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let far = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        far.connect(server)
            .await
            .expect("the server is on loopback");
        let addr = near.local_addr().expect("a bound socket has an address");
        let (refreshes, permissions) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (refreshed, permitted) = (Arc::clone(&refreshes), Arc::clone(&permissions));
        let task = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 2048], vec![0; 2048]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((len, from)) = near.recv_from(&mut up) => {
                        client = Some(from);
                        let _ = far.send(&up[..len]).await;
                    }
                    Ok(len) = far.recv(&mut down) => {
                        match down.first_chunk() {
                            Some([0x01, 0x04]) => drop(refreshed.fetch_add(1, Ordering::Release)),
                            Some([0x01, 0x08]) => drop(permitted.fetch_add(1, Ordering::Release)),
                            Some(_) | None => {}
                        }
                        if let Some(client) = client {
                            let _ = near.send_to(&down[..len], client).await;
                        }
                    }
                }
            }
        });
        Self {
            addr,
            refreshes,
            permissions,
            task,
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The client refreshes at half its lifetime of ten minutes: its clock is moved there, the server's is not.
#[tokio::test]
async fn turn_crate_refreshes_its_allocation_and_permission_and_goes_on() {
    let mut server = start("turn-crate-refresh");
    let tap = Tap::start(server.udp()).await;
    let client = client(tap.addr).await;
    let relay = timeout(PATIENCE, client.allocate())
        .await
        .expect("in time")
        .expect("Allocate succeeds");
    let relayed = relay
        .local_addr()
        .expect("an allocation has a relayed address");
    let peer = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    assert_echo(&relay, relayed, &peer, b"before").await;
    let permissions = tap.permissions.load(Ordering::Acquire);
    assert_eq!(tap.refreshes.load(Ordering::Acquire), 0);

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    let refreshed = async {
        while tap.refreshes.load(Ordering::Acquire) == 0
            || tap.permissions.load(Ordering::Acquire) == permissions
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refreshed)
        .await
        .expect("Refresh and CreatePermission succeed");
    assert_echo(&relay, relayed, &peer, b"after").await;
    client.close().await.expect("the client closes");
    server.assert_alive();
}
