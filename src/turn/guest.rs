//! What two processes share while one takes over from the other: nonce keys, quotas, live relayed addresses.

use crate::limits::{Maxima, Share, User};
use crate::turn::nonce::{KEY_LEN, NonceKeys};
use crate::turn::shared::Shared;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// An allocation of another process, which counts here as its user's until this is dropped.
pub struct Guest {
    shared: Arc<Shared>,
    /// Absent only for a user without quota, which does not happen: there is no maximum for guests.
    user: Option<Arc<User>>,
}

impl Guest {
    pub fn new(shared: &Arc<Shared>, username: &str) -> Self {
        // It is there already, whatever the limits say by now.
        let no_limit = Maxima {
            per_user: 0,
            total: 0,
        };
        let acquired = shared
            .quotas
            .acquire(username, Share::Allocation, 0, no_limit);
        Self {
            shared: Arc::clone(shared),
            user: acquired.ok(),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.shared.quotas.release(user);
        }
    }
}

/// What it takes to make and believe the nonces of another process. Secret.
pub struct NonceState {
    pub current: [u8; KEY_LEN],
    pub previous: Option<[u8; KEY_LEN]>,
    /// When the current key was made, and the present, in nanoseconds since the server's beginning.
    pub made_ns: u64,
    pub now_ns: u64,
}

impl Shared {
    pub fn nonce_state(&self, now: Instant) -> NonceState {
        let now_ns = self.ns(now);
        let keys = self.nonce_keys.read();
        let (current, previous, made_ns) = keys.unwrap_or_else(PoisonError::into_inner).bytes();
        NonceState {
            current,
            previous,
            made_ns,
            now_ns,
        }
    }

    /// Goes on with the nonces of another process. To be called before anything else; later it changes nothing.
    pub fn continue_nonces(&self, state: &NonceState, now: Instant) {
        let Some(epoch) = now.checked_sub(Duration::from_nanos(state.now_ns)) else {
            return;
        };
        if self.epoch.set(epoch).is_ok() {
            let keys = NonceKeys::of_bytes(state.current, state.previous, state.made_ns);
            *self
                .nonce_keys
                .write()
                .unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    /// Another process of this server relays from this address.
    pub fn mark_relay(&self, addr: SocketAddr) {
        self.live.mark(addr);
    }

    pub fn clear_relay(&self, addr: SocketAddr) {
        self.live.clear(addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::rng::SystemRng;
    use crate::turn::nonce::Features;

    #[test]
    fn a_nonce_of_the_former_process_is_good_here_for_as_long_as_there() {
        let former = Shared::new(&mut SystemRng);
        let begin = Instant::now();
        former.ns(begin);
        let client: SocketAddr = "192.0.2.1:5".parse().expect("valid");
        let at = begin + Duration::from_secs(3600);
        let features = Features::default();
        let older = former.mint_nonce(&mut SystemRng, former.ns(at), client, features);
        former.rotate_nonce_key(&mut SystemRng, at);
        let nonce = former.mint_nonce(&mut SystemRng, former.ns(at), client, features);

        let successor = Shared::new(&mut SystemRng);
        let state = former.nonce_state(at);
        successor.continue_nonces(&state, at);
        for nonce in [&older, &nonce] {
            let good = |later_s| {
                let now = at + Duration::from_secs(later_s);
                successor.is_nonce_good(nonce, successor.ns(now), 600, client.ip())
            };
            assert!(good(0) && good(599));
            assert!(!good(600));
        }
        let stranger = Shared::new(&mut SystemRng);
        assert!(!stranger.is_nonce_good(&nonce, stranger.ns(at), 600, client.ip()));
    }

    #[test]
    fn a_guest_counts_until_it_is_gone() {
        let shared = Shared::new(&mut SystemRng);
        let guests: Vec<Guest> = (0..3).map(|_| Guest::new(&shared, "ann")).collect();
        assert_eq!(shared.allocation_count(), 3);
        drop(guests);
        assert_eq!(shared.allocation_count(), 0);
    }
}
