//! A TLS origin that records what reaches it and answers with the very bytes that the test wants.

use super::PATIENCE;
use super::certs::Leaf;
use super::message::{Message, Reader};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// A request with this header comes to the handler without its body, which the handler reads itself.
pub const BODY_LATER: &str = "x-body-later";

pub type Wire = StreamOwned<ServerConnection, TcpStream>;

/// One request as it reached the origin.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counts from 0.
    pub connection: usize,
    pub sni: Option<String>,
    pub message: Message,
}

/// What the origin does with its connection after an answer.
pub enum Then {
    KeepOpen,
    Close,
}

type Handler = dyn Fn(&Seen, &mut Wire, &mut Reader) -> Then + Send + Sync;

/// A running origin. It stops accepting with the process; its connections end with their peers.
pub struct Origin {
    pub addr: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    connections: usize,
}

impl Origin {
    /// Serves each request with `handler`.
    pub fn start(
        leaf: &Leaf,
        handler: impl Fn(&Seen, &mut Wire, &mut Reader) -> Then + Send + Sync + 'static,
    ) -> Self {
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(leaf.chain.clone(), leaf.key.clone_key())
            .expect("a good certificate");
        Self::start_with(config, handler)
    }

    pub fn start_with(
        config: ServerConfig,
        handler: impl Fn(&Seen, &mut Wire, &mut Reader) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let log = Arc::<Log>::default();
        let (config, handler): (_, Arc<Handler>) = (Arc::new(config), Arc::new(handler));
        let of_thread = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, handler, log) = (
                    Arc::clone(&config),
                    Arc::clone(&handler),
                    Arc::clone(&of_thread),
                );
                thread::spawn(move || serve(stream, config, &handler, &log));
            }
        });
        Self { addr, log }
    }

    /// Answers everything with 200 and a small text.
    pub fn plain(leaf: &Leaf) -> Self {
        Self::start(leaf, |_, wire, _| ok(wire, "fine"))
    }

    /// What arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.state.lock().expect("not poisoned").seen.clone()
    }

    /// The only request that arrived.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().expect("one request")
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    pub fn connections(&self) -> usize {
        self.log.state.lock().expect("not poisoned").connections
    }

    /// Waits until `count` requests have arrived.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.state.lock().expect("not poisoned");
        while state.seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} of {count} requests arrived",
                state.seen.len()
            );
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .expect("not poisoned")
                .0;
        }
        state.seen.clone()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, handler: &Arc<Handler>, log: &Log) {
    let connection = {
        let mut state = log.state.lock().expect("not poisoned");
        state.connections += 1;
        state.connections - 1
    };
    stream.set_nodelay(true).expect("a socket option");
    let mut wire = StreamOwned::new(
        ServerConnection::new(config).expect("a good configuration"),
        stream,
    );
    let mut reader = Reader::default();
    while let Ok(Some(mut message)) = reader.head(&mut wire) {
        if message.one(BODY_LATER).is_none() && reader.body(&mut wire, &mut message, false).is_err()
        {
            break;
        }
        let sni = wire.conn.server_name().map(str::to_owned);
        let seen = Seen {
            connection,
            sni,
            message,
        };
        log.state
            .lock()
            .expect("not poisoned")
            .seen
            .push(seen.clone());
        log.changed.notify_all();
        match handler(&seen, &mut wire, &mut reader) {
            Then::KeepOpen => {}
            Then::Close => break,
        }
    }
    wire.conn.send_close_notify();
    let _ = wire.flush();
}

/// 200 with a sized text body.
pub fn ok(wire: &mut impl Write, text: &str) -> Then {
    send(
        wire,
        "200 OK",
        &[("Content-Type", "text/plain")],
        text.as_bytes(),
    )
}

/// An answer with Content-Length.
pub fn send(wire: &mut impl Write, status: &str, headers: &[(&str, &str)], body: &[u8]) -> Then {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    raw(wire, &[head.as_bytes(), body].concat())
}

pub fn raw(wire: &mut impl Write, bytes: &[u8]) -> Then {
    let sent = wire.write_all(bytes).and_then(|()| wire.flush());
    match sent {
        Ok(()) => Then::KeepOpen,
        Err(_) => Then::Close,
    }
}

/// Answers a WebSocket handshake (RFC 6455 §4.2.2), with `early` in the same write.
pub fn accept_websocket(
    seen: &Seen,
    wire: &mut impl Write,
    headers: &[(&str, &str)],
    early: &[u8],
) {
    let key = seen.message.one("sec-websocket-key").expect("a key");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    raw(wire, &[head.as_bytes(), early].concat());
}

/// Sends back what comes until the peer ends.
pub fn echo_bytes(wire: &mut Wire, reader: &mut Reader) {
    let mut pending = std::mem::take(&mut reader.left);
    loop {
        if !pending.is_empty()
            && wire
                .write_all(&pending)
                .and_then(|()| wire.flush())
                .is_err()
        {
            return;
        }
        pending.resize(64 << 10, 0);
        match wire.read(&mut pending) {
            Ok(0) | Err(_) => return,
            Ok(n) => pending.truncate(n),
        }
    }
}
