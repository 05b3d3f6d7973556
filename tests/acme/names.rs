//! A resolver for Pebble: every name is 127.0.0.1, unless the test says that there are none.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub struct Names {
    pub address: SocketAddr,
    present: Arc<AtomicBool>,
}

impl Names {
    /// Starts it on a port of loopback. It ends with the process.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let present = Arc::new(AtomicBool::new(true));
        let of_thread = Arc::clone(&present);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let present = of_thread.load(Ordering::SeqCst);
                if let Some(answer) = answer(&query[..length], present) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, present }
    }

    pub fn set_present(&self, present: bool) {
        self.present.store(present, Ordering::SeqCst);
    }
}

/// RFC 1035 §4.1: one question comes back with one A record, or with none if it asks for another type.
fn answer(query: &[u8], present: bool) -> Option<Vec<u8>> {
    let length = query.get(12..)?.iter().position(|b| *b == 0)? + 1;
    let question = query.get(12..12 + length + 4)?;
    let has_address = present && question[length..length + 2] == [0, 1];
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    out.extend(question);
    if has_address {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(out)
}
