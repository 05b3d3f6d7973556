//! A TURN client's half of the protocol (RFC 8656, RFC 8489): requests as bytes, and what answers mean. No I/O.
//!
//! It is as old-fashioned as most clients: long-term credentials with MD5 keys and MESSAGE-INTEGRITY.

use super::judge::Trouble;
use crate::addr::Family;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::stun::attributes::{ERROR_CODE, NONCE, REALM, REQUESTED_ADDRESS_FAMILY};
use crate::stun::integrity::{self, Algorithm, md5_key};
use crate::stun::message::{Class, Message, transaction_id};
use crate::turn::UserKey;
use crate::turn::credentials::time_limited_password;
use std::net::SocketAddr;
use stun_types::attribute::{
    AttributeStaticType, AttributeType, MessageIntegrity, Nonce, RawAttribute, Realm, Username,
    XorMappedAddress,
};
use stun_types::message::{
    BINDING, Message as Builder, MessageClass, MessageType, MessageWrite, MessageWriteExt,
    MessageWriteVec, Method, TransactionId,
};
use turn_types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};

pub(super) const ADDRESS_FAMILY_NOT_SUPPORTED: u16 = 440;
const UNAUTHENTICATED: u16 = 401;
const STALE_NONCE: u16 = 438;
/// Realms and nonces have fewer than 128 characters (RFC 8489 §14.9, §14.10): 509 and 763 bytes at most.
const TEXT_BYTES_MAX: usize = 763;
const UDP: u8 = 17;

/// What was under way when something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::live) enum Step {
    Binding,
    Allocate,
    CreatePermission,
    ChannelBind,
    /// ChannelData from the first allocation to the second.
    There,
    /// A Send indication from the second to the first.
    Back,
    Refresh,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Binding => "Binding",
            Self::Allocate => "Allocate",
            Self::CreatePermission => "CreatePermission",
            Self::ChannelBind => "ChannelBind",
            Self::There => "the packet to the other allocation",
            Self::Back => "the packet back",
            Self::Refresh => "Refresh",
        }
    }
}

/// A user, and how its key is made. No `Debug` shows a secret: it has `Secret`s.
#[derive(Clone, Debug)]
pub(in crate::live) struct Login {
    pub name: String,
    key: LoginKey,
}

#[derive(Clone)]
enum LoginKey {
    Password(Secret),
    Md5([u8; 16]),
}

impl std::fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Login {
    pub(in crate::live) fn of_user(name: &str, key: &UserKey) -> Self {
        let key = match key {
            UserKey::Password(password) => LoginKey::Password(password.clone()),
            UserKey::Md5(key) => LoginKey::Md5(*key),
        };
        let name = name.to_owned();
        Self { name, key }
    }

    /// The TURN REST form.
    pub(in crate::live) fn time_limited(secret: &Secret, expires_s: u64, name: &str) -> Self {
        let name = format!("{expires_s}:{name}");
        let password = Secret::new(time_limited_password(secret, &name));
        Self {
            name,
            key: LoginKey::Password(password),
        }
    }

    fn key(&self, realm: &str) -> [u8; 16] {
        match &self.key {
            LoginKey::Password(password) => md5_key(&self.name, realm, password.expose()),
            LoginKey::Md5(key) => *key,
        }
    }
}

/// What a request carries beside its credentials.
#[derive(Clone, Copy, Debug)]
pub(in crate::live) enum Ask {
    Binding,
    Allocate(Family),
    CreatePermission(SocketAddr),
    ChannelBind(u16, SocketAddr),
    Delete,
}

impl Ask {
    pub(super) fn step(self) -> Step {
        match self {
            Self::Binding => Step::Binding,
            Self::Allocate(_) => Step::Allocate,
            Self::CreatePermission(_) => Step::CreatePermission,
            Self::ChannelBind(..) => Step::ChannelBind,
            Self::Delete => Step::Refresh,
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Binding => BINDING,
            Self::Allocate(_) => ALLOCATE,
            Self::CreatePermission(_) => CREATE_PERMISSION,
            Self::ChannelBind(..) => CHANNEL_BIND,
            Self::Delete => REFRESH,
        }
    }

    fn write(self, into: &mut MessageWriteVec, id: TransactionId) {
        match self {
            Self::Binding => {}
            Self::Allocate(family) => {
                into.push_attribute_unchecked(&RequestedTransport::new(UDP));
                let number = match family {
                    Family::V4 => 1,
                    Family::V6 => 2,
                };
                let kind = AttributeType::new(REQUESTED_ADDRESS_FAMILY);
                into.push_attribute_unchecked(&RawAttribute::new(kind, &[number, 0, 0, 0]));
            }
            Self::CreatePermission(peer) => {
                into.push_attribute_unchecked(&XorPeerAddress::new(peer, id));
            }
            Self::ChannelBind(number, peer) => {
                into.push_attribute_unchecked(&ChannelNumber::new(number));
                into.push_attribute_unchecked(&XorPeerAddress::new(peer, id));
            }
            Self::Delete => into.push_attribute_unchecked(&Lifetime::new(0)),
        }
    }
}

/// One allocation's credentials as the server challenged for them.
pub(in crate::live) struct Session {
    login: Login,
    challenge: Option<Challenge>,
}

struct Challenge {
    realm: String,
    nonce: String,
    key: [u8; 16],
}

/// What the answer to a request means.
#[derive(Debug)]
pub(in crate::live) enum Meaning {
    /// Another message: data, or the answer to something else.
    NotIt,
    Success,
    /// With other credentials the same request has a chance.
    Again,
    Refused(Trouble),
}

impl Session {
    pub(in crate::live) fn new(login: Login) -> Self {
        let challenge = None;
        Self { login, challenge }
    }

    /// A request with its FINGERPRINT, and with credentials once the server has asked for them.
    pub(in crate::live) fn request(&self, ask: Ask, id: [u8; 12]) -> Vec<u8> {
        let kind = MessageType::from_class_method(MessageClass::Request, ask.method());
        let transaction = transaction_id(id);
        let mut message = Builder::builder(kind, transaction, MessageWriteVec::new());
        ask.write(&mut message, transaction);
        if let (Some(challenge), false) = (&self.challenge, matches!(ask, Ask::Binding)) {
            self.sign(&mut message, challenge);
        }
        // It fails where there is one already.
        let _ = message.add_fingerprint();
        message.finish()
    }

    fn sign(&self, message: &mut MessageWriteVec, challenge: &Challenge) {
        if let Ok(username) = Username::new(&self.login.name) {
            message.push_attribute_unchecked(&username);
        }
        if let Ok(realm) = Realm::new(&challenge.realm) {
            message.push_attribute_unchecked(&realm);
        }
        if let Ok(nonce) = Nonce::new(&challenge.nonce) {
            message.push_attribute_unchecked(&nonce);
        }
        let start = message.len();
        let (algorithm, key) = (Algorithm::Sha1, challenge.key.as_slice());
        let Some(tag) = integrity::compute(message.data(), start, algorithm, key) else {
            return;
        };
        let mut mac = [0; 20];
        mac.copy_from_slice(tag.as_ref());
        message.push_attribute_unchecked(&MessageIntegrity::new(mac));
    }

    /// Judges what came while `ask` was waited for; takes up a challenge.
    pub(in crate::live) fn judge(&mut self, ask: Ask, id: [u8; 12], bytes: &[u8]) -> Meaning {
        let Ok(message) = Message::parse(bytes) else {
            return Meaning::NotIt;
        };
        if message.transaction_id() != id {
            return Meaning::NotIt;
        }
        match message.class() {
            Class::Success => self.judge_success(ask, &message),
            Class::Error => self.judge_error(ask, &message),
            Class::Request | Class::Indication => Meaning::NotIt,
        }
    }

    fn judge_success(&self, ask: Ask, message: &Message<'_>) -> Meaning {
        let signed = |challenge: &Challenge| {
            message.is_protected_by(Algorithm::Sha1, challenge.key.as_slice())
        };
        match (ask, &self.challenge) {
            (Ask::Binding, _) => Meaning::Success,
            (_, Some(challenge)) if signed(challenge) => Meaning::Success,
            (_, Some(_) | None) => Meaning::Refused(Trouble::Unsigned { step: ask.step() }),
        }
    }

    fn judge_error(&mut self, ask: Ask, message: &Message<'_>) -> Meaning {
        let step = ask.step();
        let Some((code, reason)) = error_code(message) else {
            return Meaning::Refused(Trouble::NotTurn { step });
        };
        let is_first = self.challenge.is_none();
        let may_repeat = code == UNAUTHENTICATED && is_first || code == STALE_NONCE;
        match may_repeat && self.take_up(message) {
            true => Meaning::Again,
            false => Meaning::Refused(Trouble::Refused { step, code, reason }),
        }
    }

    fn take_up(&mut self, message: &Message<'_>) -> bool {
        let text = |kind| message.text(kind, TEXT_BYTES_MAX).map(str::to_owned);
        let known = self.challenge.as_ref().map(|it| it.realm.clone());
        let (Some(realm), Some(nonce)) = (text(REALM).or(known), text(NONCE)) else {
            return false;
        };
        let key = self.login.key(&realm);
        self.challenge = Some(Challenge { realm, nonce, key });
        true
    }
}

/// ERROR-CODE (RFC 8489 §14.8).
fn error_code(message: &Message<'_>) -> Option<(u16, String)> {
    let (&[_, _, class, number], reason) = message.value(ERROR_CODE)?.split_first_chunk()?;
    let reason = String::from_utf8_lossy(reason);
    let plain = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(80)
        .collect();
    Some((u16::from(class & 7) * 100 + u16::from(number), plain))
}

/// XOR-RELAYED-ADDRESS of an Allocate's answer.
pub(super) fn relayed_address(bytes: &[u8]) -> Option<SocketAddr> {
    let message = Message::parse(bytes).ok()?;
    let relayed = message.get::<XorRelayedAddress>().ok()??;
    Some(relayed.addr(transaction_id(message.transaction_id())))
}

/// XOR-MAPPED-ADDRESS of a Binding's answer.
pub(in crate::live) fn mapped_address(bytes: &[u8]) -> Option<SocketAddr> {
    let message = Message::parse(bytes).ok()?;
    let mapped = message.get::<XorMappedAddress>().ok()??;
    Some(mapped.addr(transaction_id(message.transaction_id())))
}

/// A Send indication (RFC 8656 §11.2).
pub(super) fn send_indication(id: [u8; 12], peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Indication, SEND);
    let transaction = transaction_id(id);
    let mut message = Builder::builder(kind, transaction, MessageWriteVec::new());
    message.push_attribute_unchecked(&XorPeerAddress::new(peer, transaction));
    message.push_attribute_unchecked(&Data::new(payload));
    message.finish()
}

/// The payload of a Data indication.
pub(super) fn indicated(bytes: &[u8]) -> Option<&[u8]> {
    let message = Message::parse(bytes).ok()?;
    let is_data = message.class() == Class::Indication;
    message.value(Data::TYPE.value()).filter(|_| is_data)
}

/// Of a new request.
pub(in crate::live) fn new_id(entropy: &mut dyn Entropy) -> [u8; 12] {
    let mut id = [0; 12];
    entropy.fill(&mut id);
    id
}
