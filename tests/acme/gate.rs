//! The way to the authority, which the test opens, holds and cuts; it counts who comes.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections wait until it is opened.
    Held,
    /// Connections are closed at once.
    Cut,
}

#[derive(Clone)]
pub struct Gate {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    way: Way,
    connections: usize,
}

impl Gate {
    /// Leads to `target`. It ends with the process.
    pub fn start(target: SocketAddr, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                way,
                connections: 0,
            }),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || {
                    if shared.admit() {
                        let _ = lead(client, target);
                    }
                });
            }
        });
        Self { address, shared }
    }

    pub fn set(&self, way: Way) {
        self.shared.state.lock().expect("not poisoned").way = way;
        self.shared.changed.notify_all();
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().expect("not poisoned").connections
    }

    /// Waits until one more has come than `before`.
    pub fn wait_for_more_than(&self, before: usize) {
        let state = self.shared.state.lock().expect("not poisoned");
        let (_state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, super::process::PATIENCE, |state| {
                state.connections <= before
            })
            .expect("not poisoned");
        assert!(!waited.timed_out(), "nobody comes");
    }
}

impl Shared {
    fn admit(&self) -> bool {
        let mut state = self.state.lock().expect("not poisoned");
        state.connections += 1;
        self.changed.notify_all();
        while state.way == Way::Held {
            state = self.changed.wait(state).expect("not poisoned");
        }
        state.way == Way::Open
    }
}

fn lead(client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
