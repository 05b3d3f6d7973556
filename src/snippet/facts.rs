//! From a configuration to `Facts`: ports, the user to show, the address that clients see.

use super::{Facts, Login};
use crate::config::{Config, show_duration};
use crate::secret::Secret;
use crate::turn::UserKey;
use crate::turn::credentials::time_limited_password;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long a time-limited credential is good, unless it is said.
const TTL_DEFAULT: Duration = Duration::from_secs(8 * 3600);
/// The name inside of a time-limited credential, unless it is said.
const NAME_DEFAULT: &str = "client";

/// Which user to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// `None`: the first of `turn.users`.
    pub user: Option<String>,
    /// Makes a time-limited credential with the first secret.
    pub ttl: Option<Duration>,
}

/// Why there is no such user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLogin {
    #[error("`turn.users` has no \"{name}\"")]
    UnknownUser { name: String, known: Vec<String> },
    #[error(
        "`turn.auth_secret` is empty: there is no secret to make a time-limited credential with"
    )]
    NoSecret,
}

impl Facts {
    /// What a configuration tells; the ports are those of its listeners.
    pub fn of_config(config: &Config, login: Login) -> Self {
        Self {
            host: config.domain.clone(),
            ipv4: ipv4(config),
            udp: ports(&config.io.udp),
            tcp: ports(&config.listen.tcp),
            tls: ports(&config.listen.tls),
            realm: config.turn.realm.clone(),
            login,
            prefix: String::new(),
            vendors: config.vendors.clone(),
        }
    }
}

impl Login {
    /// The user to show; `now_s`: seconds since 1970.
    pub fn of_config(config: &Config, chosen: &Chosen, now_s: u64) -> Result<Self, NoLogin> {
        let users = &config.turn.users;
        if let Some(ttl) = chosen.ttl {
            return time_limited(config, chosen.user.as_deref(), ttl, now_s);
        }
        if let Some(name) = &chosen.user {
            return match users.get(name) {
                Some(key) => Ok(configured(name, key)),
                None => {
                    let mut known: Vec<String> = users.keys().cloned().collect();
                    known.sort();
                    Err(NoLogin::UnknownUser {
                        name: name.clone(),
                        known,
                    })
                }
            };
        }
        // One whose password is known, if there is one.
        let first = users.iter().min_by_key(|(name, key)| {
            let only_key = matches!(key, UserKey::Md5(_));
            (only_key, *name)
        });
        match first {
            Some((name, key)) => Ok(configured(name, key)),
            None if config.turn.auth_secrets.is_empty() => Ok(Self::placeholder(Some(
                "TURN is off: turn.users and turn.auth_secret are empty.".to_owned(),
            ))),
            None => time_limited(config, None, TTL_DEFAULT, now_s),
        }
    }
}

fn configured(name: &str, key: &UserKey) -> Login {
    match key {
        UserKey::Password(password) => Login {
            username: name.to_owned(),
            password: password.clone(),
            note: None,
        },
        UserKey::Md5(_) => Login {
            username: name.to_owned(),
            ..Login::placeholder(Some(format!(
                "turn.users has the key of {name}, not the password that it was made from: put the password in."
            )))
        },
    }
}

fn time_limited(
    config: &Config,
    name: Option<&str>,
    ttl: Duration,
    now_s: u64,
) -> Result<Login, NoLogin> {
    let secret = config.turn.auth_secrets.first().ok_or(NoLogin::NoSecret)?;
    let expires_s = now_s.saturating_add(ttl.as_secs());
    let username = format!("{expires_s}:{}", name.unwrap_or(NAME_DEFAULT));
    let password = time_limited_password(secret, &username);
    Ok(Login {
        username,
        password: Secret::new(password),
        note: Some(format!(
            "The credential is good for {}; an application gets a fresh one for each user: POST /credentials, or its own server.",
            show_duration(ttl)
        )),
    })
}

fn ports(listeners: &[SocketAddr]) -> Vec<u16> {
    let mut ports = Vec::new();
    for listener in listeners {
        if !ports.contains(&listener.port()) {
            ports.push(listener.port());
        }
    }
    ports
}

/// The domain if it is one, else the first configured public address, else an own one as clients are told it.
fn ipv4(config: &Config) -> Option<Ipv4Addr> {
    if let Ok(ip) = config.domain.parse() {
        return Some(ip);
    }
    let v4 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let external = &config.turn.external_ips;
    let pairs = external.pairs.iter().map(|(public, _)| *public);
    if let Some(ip) = external.plain.iter().copied().chain(pairs).find_map(v4) {
        return Some(ip);
    }
    if !config.external_ip_stun.is_empty() {
        return None;
    }
    let relays = &config.turn.relay_addresses;
    let own = relays.fixed.iter().chain(&relays.fallback).copied();
    own.filter(|ip| !ip.is_loopback()).find_map(v4)
}
