//! A simulated client: it knows what the answers told it, which is less than what is true.

use super::support::rng::Rng;
use super::support::stun::{self, Class, Integrity, Message, Writer, attr};
use relayd::addr::FiveTuple;
use relayd::turn::LinkId;
use std::net::SocketAddr;

/// How a client signs its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// RFC 5389, what browsers do.
    Sha1,
    /// RFC 8489 with PASSWORD-ALGORITHM SHA-256 and MESSAGE-INTEGRITY-SHA256.
    Sha256,
    /// As `Sha256`, and USERHASH instead of USERNAME where the server knows that.
    UserHash,
}

#[derive(Clone, Debug)]
pub struct Agent {
    pub worker: usize,
    pub tuple: FiveTuple,
    pub link: LinkId,
    pub username: String,
    pub password: String,
    pub signing: Signing,
    pub fingerprint: bool,
    pub realm: String,
    pub nonce: Option<String>,
    pub password_algorithms: Option<Vec<u8>>,
    pub relayed: Vec<SocketAddr>,
    pub tokens: Vec<Vec<u8>>,
    pub last: Option<Vec<u8>>,
    /// The last request before it was signed, for the answer to a challenge.
    pub unsigned: Option<Writer>,
    /// Challenges since the last success: somebody who is let in nowhere tries as somebody else.
    pub rejections: u32,
    /// Peers that this client talks to most of the time.
    pub friends: Vec<SocketAddr>,
}

/// What the composer of a message may choose from.
pub struct Choices<'a> {
    pub users: &'a [(String, String)],
    pub peers: &'a [SocketAddr],
    pub numbers: &'a [u16],
    pub tokens: &'a [Vec<u8>],
}

impl Agent {
    /// Takes in an answer; data of peers is of no interest here. A challenge is met with the request once more.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let message = Message::read(bytes).ok()?;
        if let Some(401 | 438) = message.error_code() {
            self.rejections += 1;
            self.nonce = message.text(attr::NONCE);
            self.realm = message.text(attr::REALM).unwrap_or_default();
            self.password_algorithms = message.get(attr::PASSWORD_ALGORITHMS).map(<[u8]>::to_vec);
            let again = self.unsigned.take().map(|writer| self.seal(writer));
            self.last = again.clone().or(self.last.take());
            return again;
        }
        if message.class == Class::Success && message.method != stun::BINDING {
            self.rejections = 0;
        }
        if (message.class, message.method) == (Class::Success, stun::ALLOCATE) {
            let relayed = message.xor_addrs(attr::XOR_RELAYED_ADDRESS);
            self.relayed = relayed.into_iter().flatten().collect();
            self.tokens
                .extend(message.get(attr::RESERVATION_TOKEN).map(<[u8]>::to_vec));
        }
        None
    }

    /// A request or indication, or anything else that may reach a server; and what it is called.
    pub fn compose(&mut self, rng: &mut Rng, choices: &Choices) -> (&'static str, Vec<u8>) {
        let begun = !self.relayed.is_empty();
        let (name, bytes) = match rng.below(100) {
            0..=2 => (
                "binding",
                self.finish(
                    rng,
                    Writer::new(Class::Request, stun::BINDING, rng.clone().transaction_id()),
                ),
            ),
            3 => (
                "old binding",
                Writer::rfc3489(stun::BINDING, old_transaction_id(rng)).bytes(),
            ),
            4..=7 => return self.again(rng),
            8..=11 => ("odd", self.odd(rng, choices)),
            12..=14 => ("mutated", self.mutated(rng, choices)),
            15..=16 => ("garbage", rng_garbage(rng)),
            17..=75 if !begun => ("allocate", self.allocate(rng, choices)),
            17..=22 => ("allocate", self.allocate(rng, choices)),
            23..=32 => ("refresh", self.refresh(rng)),
            33..=50 => ("permission", self.permission(rng, choices)),
            51..=68 => ("bind", self.bind(rng, choices)),
            69..=84 => ("send", self.send(rng, choices)),
            _ => ("channel data", self.channel_data(rng, choices)),
        };
        self.last = Some(bytes.clone());
        (name, bytes)
    }

    fn peer(&self, rng: &mut Rng, choices: &Choices) -> SocketAddr {
        if rng.chance(75) {
            *rng.pick(&self.friends)
        } else {
            *rng.pick(choices.peers)
        }
    }

    fn again(&mut self, rng: &mut Rng) -> (&'static str, Vec<u8>) {
        match &self.last {
            Some(bytes) => ("again", bytes.clone()),
            None => ("garbage", rng_garbage(rng)),
        }
    }

    fn request(&self, rng: &mut Rng, method: u16) -> Writer {
        Writer::new(Class::Request, method, rng.transaction_id())
    }

    fn allocate(&mut self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let mut writer = self.request(rng, stun::ALLOCATE);
        if !rng.chance(3) {
            let protocol = if rng.chance(4) { 6 } else { 17 };
            writer = writer.attr(attr::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0]);
        }
        if rng.chance(15) {
            writer = writer.attr(attr::LIFETIME, &lifetime(rng));
        }
        if rng.chance(10) {
            writer = writer.attr(attr::DONT_FRAGMENT, &[]);
        }
        // Only one in four asks for something special; of those, few contradict themselves.
        match rng.below(24) {
            0 => writer = writer.attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
            1 => writer = writer.attr(attr::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            2 => writer = writer.attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            3 => writer = writer.attr(attr::EVEN_PORT, &[0x80]),
            4 => writer = writer.attr(attr::EVEN_PORT, &[0]),
            5 | 7 | 8 | 9 if !choices.tokens.is_empty() => {
                writer = writer.attr(attr::RESERVATION_TOKEN, rng.pick::<Vec<u8>>(choices.tokens));
            }
            6 => writer = self.contradiction(rng, writer),
            _ => {}
        }
        self.finish(rng, writer)
    }

    fn contradiction(&self, rng: &mut Rng, writer: Writer) -> Writer {
        let token = rng.bytes(8);
        match rng.below(6) {
            0 => writer
                .attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])
                .attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            1 => writer
                .attr(attr::EVEN_PORT, &[0x80])
                .attr(attr::RESERVATION_TOKEN, &token),
            2 => writer.attr(attr::RESERVATION_TOKEN, &token),
            3 => writer
                .attr(attr::EVEN_PORT, &[0x80])
                .attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            4 => writer.attr(attr::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]),
            _ => writer.attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]),
        }
    }

    fn refresh(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut writer = self.request(rng, stun::REFRESH);
        if rng.chance(70) {
            writer = writer.attr(attr::LIFETIME, &lifetime(rng));
        } else if rng.chance(40) {
            writer = writer.attr(attr::LIFETIME, &[0; 4]);
            self.relayed.clear();
        }
        if rng.chance(15) {
            let family = *rng.pick(&[1, 2]);
            writer = writer.attr(attr::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        }
        self.finish(rng, writer)
    }

    fn permission(&mut self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let mut writer = self.request(rng, stun::CREATE_PERMISSION);
        for _ in 0..*rng.pick(&[1, 1, 1, 1, 2, 3, 0]) {
            let peer = self.peer(rng, choices);
            writer = writer.xor_addr(attr::XOR_PEER_ADDRESS, peer);
        }
        self.finish(rng, writer)
    }

    fn bind(&mut self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let mut writer = self.request(rng, stun::CHANNEL_BIND);
        if !rng.chance(3) {
            let number = rng.pick(choices.numbers).to_be_bytes();
            writer = writer.attr(attr::CHANNEL_NUMBER, &[number[0], number[1], 0, 0]);
        }
        if !rng.chance(3) {
            writer = writer.xor_addr(attr::XOR_PEER_ADDRESS, self.peer(rng, choices));
        }
        self.finish(rng, writer)
    }

    fn send(&self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let writer = Writer::new(Class::Indication, stun::SEND, rng.transaction_id());
        let peer = self.peer(rng, choices);
        let len = rng.below(40);
        let payload = rng.bytes(len);
        let mut writer = match rng.below(20) {
            0 => writer.attr(attr::DATA, &payload),
            1 => writer.xor_addr(attr::XOR_PEER_ADDRESS, peer),
            2 => writer
                .attr(0x7f01, &[1])
                .xor_addr(attr::XOR_PEER_ADDRESS, peer)
                .attr(attr::DATA, &payload),
            3..=9 => writer
                .attr_padded_with(attr::DATA, &payload, 0x20)
                .xor_addr(attr::XOR_PEER_ADDRESS, peer),
            _ => writer
                .xor_addr(attr::XOR_PEER_ADDRESS, peer)
                .attr(attr::DATA, &payload),
        };
        if rng.chance(10) {
            writer = writer.attr(attr::DONT_FRAGMENT, &[]);
        }
        if self.fingerprint {
            writer = writer.fingerprint();
        }
        writer.bytes()
    }

    fn channel_data(&self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let len = rng.below(40);
        let payload = rng.bytes(len);
        let number = *rng.pick(choices.numbers);
        let padded = !self.tuple.transport.is_stream() && rng.chance(30);
        stun::channel_data(number.clamp(0x4000, 0x7fff), &payload, padded)
    }

    /// Requests that a correct client does not send.
    fn odd(&mut self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let method = *rng.pick(&[
            stun::ALLOCATE,
            stun::REFRESH,
            stun::CREATE_PERMISSION,
            stun::CHANNEL_BIND,
        ]);
        let writer = self.request(rng, method);
        let writer = match method {
            stun::ALLOCATE => writer.attr(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
            stun::REFRESH => writer,
            stun::CREATE_PERMISSION => writer.xor_addr(attr::XOR_PEER_ADDRESS, choices.peers[0]),
            _ => writer
                .attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0])
                .xor_addr(attr::XOR_PEER_ADDRESS, choices.peers[0]),
        };
        let mut liar = self.clone();
        match rng.below(10) {
            8 => {
                let (username, password) = rng.pick(choices.users).clone();
                (liar.username, liar.password) = (username, password);
                liar.signing = Signing::Sha1;
            }
            0 => return liar.finish(rng, writer.attr(0x7f01, b"x").attr(0x7f02, b"yz")),
            1 => liar.password = "wrong".into(),
            2 => liar.username = "nobody".into(),
            3 => liar.nonce = liar.nonce.map(|nonce| nonce.chars().rev().collect()),
            4 => liar.realm = "elsewhere".into(),
            5 => return writer.bytes(),
            6 => {
                let key = stun::key_md5(&self.username, &self.realm, &self.password);
                let integrity = Integrity::Sha1(key);
                return writer
                    .attr(attr::REALM, self.realm.as_bytes())
                    .integrity(&integrity)
                    .bytes();
            }
            7 => {
                // Attributes after the integrity count for nothing, not even unknown ones.
                let bytes = self.finish_open(writer);
                return bytes
                    .attr(0x7f01, b"late")
                    .attr(attr::LIFETIME, &[0; 4])
                    .bytes();
            }
            _ => {
                let method = *rng.pick(&[stun::CONNECT, 0x00b, 0x0ff, 0xfff]);
                let writer = self.request(rng, method);
                return self.finish(rng, writer);
            }
        }
        liar.finish(rng, writer)
    }

    fn mutated(&mut self, rng: &mut Rng, choices: &Choices) -> Vec<u8> {
        let mut bytes = match rng.below(4) {
            0 => self.allocate(rng, choices),
            1 => self.permission(rng, choices),
            2 => self.send(rng, choices),
            _ => self.bind(rng, choices),
        };
        match rng.below(3) {
            0 => bytes.truncate(rng.below(bytes.len())),
            1 => bytes.extend(rng.bytes(4)),
            _ => {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }
        }
        if bytes.is_empty() { vec![0xff] } else { bytes }
    }

    fn finish(&mut self, rng: &mut Rng, writer: Writer) -> Vec<u8> {
        // An attribute of no consequence, as libwebrtc may send it.
        let writer = if rng.chance(10) {
            writer.attr(0xff05, &[1, 2, 3])
        } else {
            writer
        };
        self.unsigned = Some(writer.clone());
        self.seal(writer)
    }

    fn seal(&self, writer: Writer) -> Vec<u8> {
        let writer = self.finish_open(writer);
        if self.fingerprint {
            writer.fingerprint().bytes()
        } else {
            writer.bytes()
        }
    }

    /// Signs, once the server has told its realm and a nonce.
    fn finish_open(&self, writer: Writer) -> Writer {
        let Some(nonce) = &self.nonce else {
            return writer;
        };
        let offered = self.password_algorithms.as_ref();
        let modern = offered.filter(|_| self.signing != Signing::Sha1);
        let hashed = self.signing == Signing::UserHash && hides_names(nonce);
        let writer = if hashed {
            writer.attr(attr::USERHASH, &stun::userhash(&self.username, &self.realm))
        } else {
            writer.attr(attr::USERNAME, self.username.as_bytes())
        };
        let writer = writer
            .attr(attr::REALM, self.realm.as_bytes())
            .attr(attr::NONCE, nonce.as_bytes());
        let Some(offered) = modern else {
            let key = stun::key_md5(&self.username, &self.realm, &self.password);
            return writer.integrity(&Integrity::Sha1(key));
        };
        let key = stun::key_sha256(&self.username, &self.realm, &self.password);
        writer
            .attr(attr::PASSWORD_ALGORITHMS, offered)
            .attr(attr::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
            .integrity(&Integrity::Sha256(key))
    }
}

/// RFC 8489 §18.1: bit 1 of the security features tells that USERHASH is understood.
fn hides_names(nonce: &str) -> bool {
    use base64::Engine;
    let text = nonce
        .strip_prefix("obMatJos2")
        .and_then(|rest| rest.get(..4))
        .unwrap_or("");
    let bits = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default();
    bits.first().is_some_and(|first| first & 0x40 != 0)
}

fn lifetime(rng: &mut Rng) -> [u8; 4] {
    let lifetime_s: u32 = *rng.pick(&[1, 30, 599, 600, 700, 3600, 3601, u32::MAX]);
    lifetime_s.to_be_bytes()
}

fn old_transaction_id(rng: &mut Rng) -> [u8; 16] {
    let mut id = [0x11; 16];
    id[4..].copy_from_slice(&rng.transaction_id());
    id
}

fn rng_garbage(rng: &mut Rng) -> Vec<u8> {
    let len = 1 + rng.below(60);
    let mut bytes = rng.bytes(len);
    bytes[0] |= 0x80;
    bytes
}
