//! `[turn]`: who may relay, from which addresses and ports, to which peers, how much.

use crate::config::section::{At, Draft, Item, Table, Wrong};
use crate::config::values::{self, Zero};
use crate::config::{Surroundings, secrets};
use crate::ip_rules::IpRules;
use crate::secret::Secret;
use crate::turn::{Limits, UserKey};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

/// RFC 8489 §14.3: USERNAME is less than 509 bytes.
const USERNAME_BYTES_MAX: usize = 508;
/// RFC 8489 §14.9: REALM has fewer than 128 characters.
const REALM_BYTES_MAX: usize = 127;
/// RFC 8489 §14.14: SOFTWARE has fewer than 128 characters.
const SOFTWARE_BYTES_MAX: usize = 127;
/// libwebrtc takes lifetimes of 120 to 3600 seconds in an Allocate success.
const DEFAULT_LIFETIME_S: (u32, u32) = (120, 3600);
const MAX_LIFETIME_S: (u32, u32) = (120, 86_400);
const NONCE_LIFETIME_S: (u32, u32) = (60, 86_400);
/// A bucket below this cannot pass one full-sized packet per second.
const RATE_BYTES_MIN: u64 = 1500;
const RATE_BYTES_MAX: u64 = 1 << 40;

pub(in crate::config) struct Turn {
    /// `None`: the domain.
    pub realm: Option<At<String>>,
    pub software: Option<String>,
    pub users: HashMap<String, UserKey>,
    /// The place of a user that is given as an MD5 key: it depends on the realm.
    pub md5_user: Option<Range<usize>>,
    pub auth_secrets: Vec<Secret>,
    /// True if the file tries to name a user or a secret, rightly or not.
    pub credentials_given: bool,
    pub relay_ips: Vec<At<IpAddr>>,
    pub relay_ports: At<(u16, u16)>,
    pub default_lifetime_s: At<u32>,
    pub max_lifetime_s: At<u32>,
    pub nonce_lifetime_s: u32,
    pub peers: IpRules,
    pub peers_allow: Vec<At<IpNet>>,
    pub limits: Limits,
    pub call_quality: bool,
    pub relay_buffer_bytes: usize,
    pub stream_queue_bytes_max: usize,
}

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Turn {
    let defaults = crate::turn::Settings::default();
    let credentials_given = ["users", "auth_secret"]
        .iter()
        .any(|key| table.item(key).is_some_and(|item| !item.is_empty()));
    let realm = table.read("realm", |item| values::plain_text(item, REALM_BYTES_MAX));
    let software = table
        .read("software", |item| match item.maybe_text() {
            Some("") => Ok(None),
            _ => values::plain_text(item, SOFTWARE_BYTES_MAX).map(Some),
        })
        .and_then(|software| software.value);
    let (users, md5_user) = users(table, around);
    let auth_secrets = table
        .list("auth_secret", |item| secrets::secret(item, around))
        .map(|list| list.value.into_iter().map(|secret| secret.value).collect())
        .unwrap_or_default();
    let relay_ips = table
        .list("relay_ip", relay_ip)
        .map(|list| list.value)
        .unwrap_or_default();
    let relay_ports = table
        .read("relay_ports", values::port_range)
        .unwrap_or_else(|| At::absent(crate::io::Settings::default().relay_ports));
    let seconds = |key: &str, (low, high): (u32, u32), default: u32| {
        table
            .read(key, values::seconds_u32(low..=high))
            .unwrap_or_else(|| At::absent(default))
    };
    let default_lifetime_s = seconds(
        "default_lifetime",
        DEFAULT_LIFETIME_S,
        defaults.default_lifetime_s,
    );
    let max_lifetime_s = seconds("max_lifetime", MAX_LIFETIME_S, defaults.max_lifetime_s);
    let nonce_lifetime_s = seconds(
        "nonce_lifetime",
        NONCE_LIFETIME_S,
        defaults.nonce_lifetime_s,
    )
    .value;

    let peers = table.table("peers");
    let peers_allow = networks(&peers, "allow");
    let peers_deny = networks(&peers, "deny");
    let limits = table.table("limits");
    let io = crate::io::Settings::default();
    Turn {
        realm,
        software,
        users,
        md5_user,
        auth_secrets,
        credentials_given,
        relay_ips,
        relay_ports,
        default_lifetime_s,
        max_lifetime_s,
        nonce_lifetime_s,
        peers: IpRules::new(plain(&peers_allow), plain(&peers_deny)),
        peers_allow,
        limits: read_limits(&limits),
        call_quality: table
            .read("call_quality", |item| item.boolean())
            .map_or(defaults.call_quality, |on| on.value),
        relay_buffer_bytes: limits
            .read(
                "relay_buffer_bytes",
                values::size_usize(4 << 10..=1 << 30, Zero::Accepted),
            )
            .map_or(io.relay_buffer_bytes, |bytes| bytes.value),
        stream_queue_bytes_max: limits
            .read(
                "stream_queue_bytes",
                values::size_usize(64 << 10..=1 << 30, Zero::Refused),
            )
            .map_or(io.stream_queue_bytes_max, |bytes| bytes.value),
    }
}

fn read_limits(table: &Table<'_>) -> Limits {
    let defaults = Limits::default();
    let count = |key: &str, default: u32| {
        table
            .read(key, values::integer(0..=u32::MAX))
            .map_or(default, |count| count.value)
    };
    let rate = |key: &str, default: u64| {
        table
            .read(
                key,
                values::size(RATE_BYTES_MIN..=RATE_BYTES_MAX, Zero::Accepted),
            )
            .map_or(default, |rate| rate.value)
    };
    Limits {
        allocations_per_user: count("allocations_per_user", defaults.allocations_per_user),
        allocations_total: count("allocations_total", defaults.allocations_total),
        bytes_per_s_per_allocation: rate(
            "bytes_per_second_per_allocation",
            defaults.bytes_per_s_per_allocation,
        ),
        bytes_per_s_per_user: rate("bytes_per_second_per_user", defaults.bytes_per_s_per_user),
        bytes_per_s_total: rate("bytes_per_second_total", defaults.bytes_per_s_total),
        unauthenticated_per_s_per_address: count(
            "unauthenticated_per_second_per_address",
            defaults.unauthenticated_per_s_per_address,
        ),
    }
}

fn users(
    table: &Table<'_>,
    around: &Surroundings<'_>,
) -> (HashMap<String, UserKey>, Option<Range<usize>>) {
    let mut users = HashMap::new();
    let mut md5_user = None;
    if let Some(item) = table.item("users") {
        item.mask_all(true);
    }
    for (name, item) in table.map("users") {
        if let Err(problem) = check_name(&name.value) {
            table.reader().push(
                Draft::error("`turn.users` has a name that cannot be used", problem).at(name.span),
            );
        }
        let Some(key) = item.parsed(|item| user_key(item, around)) else {
            continue;
        };
        if let UserKey::Md5(_) = key.value {
            md5_user.get_or_insert(item.span.clone());
        }
        users.insert(name.value, key.value);
    }
    (users, md5_user)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a user name has at least one character");
    }
    if name.len() > USERNAME_BYTES_MAX {
        return Err("a user name has 508 bytes at most (RFC 8489 §14.3)");
    }
    if name.chars().any(char::is_control) {
        return Err("a user name has no control characters");
    }
    Ok(())
}

fn user_key(item: &Item<'_>, around: &Surroundings<'_>) -> Result<UserKey, Wrong> {
    let secret = secrets::secret(item, around)?;
    let Some(hex) = secret.expose().strip_prefix("key:") else {
        return Ok(UserKey::Password(secret));
    };
    parse_md5(hex).map(UserKey::Md5).ok_or_else(|| {
        Wrong::new(
            "is not a key",
            "accepted after \"key:\": 32 hexadecimal digits, the MD5 of user:realm:password",
        )
        .help("a password that begins with \"key:\" cannot be written here; choose another")
    })
}

fn parse_md5(hex: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        let digits = hex.get(index * 2..index * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}

fn relay_ip(item: &Item<'_>) -> Result<IpAddr, Wrong> {
    let ip = values::parse_ip(item.text("an IP address of this machine")?)?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Wrong::new(
            "is not the address of a machine",
            "accepted: an address that a relay socket can be bound to and peers can reach",
        )
        .help("leave `relay_ip` out to relay from the address that the client reached"));
    }
    Ok(ip)
}

pub(in crate::config) fn networks(table: &Table<'_>, key: &str) -> Vec<At<IpNet>> {
    table
        .list(key, values::network)
        .map(|list| list.value)
        .unwrap_or_default()
}

pub(in crate::config) fn plain(networks: &[At<IpNet>]) -> Vec<IpNet> {
    networks.iter().map(|net| net.value).collect()
}
