//! A stable address before servers that come and go.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Gate {
    pub address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Gate {
    pub fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let target = Arc::new(Mutex::new(Some(target)));
        let led = Arc::clone(&target);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *led.lock().unwrap_or_else(PoisonError::into_inner);
                // Closed at once while nobody is there.
                if let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) {
                    carry(client, server);
                }
            }
        });
        Self { address, target }
    }

    pub fn lead_to(&self, target: Option<SocketAddr>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

fn carry(client: TcpStream, server: TcpStream) {
    let ends = |a: &TcpStream, b: &TcpStream| {
        let (mut from, mut to) = (
            a.try_clone().expect("a descriptor"),
            b.try_clone().expect("a descriptor"),
        );
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    };
    ends(&client, &server);
    ends(&server, &client);
}
