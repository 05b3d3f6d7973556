//! What the settings of a turnserver.conf add up to: which one counts where coturn takes one of several, and what
//! was said about each. No TOML here (`draft`), and no text of the file beyond the values.

use super::keys::Setting;
use super::peers::{self, Range};
use super::values::{self, External, Peers, Wrong};
use super::{Fate, Occurrence};
use crate::secret::Secret;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// RFC 8489 §14.9 and §14.3; relayd refuses longer ones.
const REALM_BYTES_MAX: usize = 127;
const USERNAME_BYTES_MAX: usize = 508;

/// A value and the line that it came from: an index into the occurrences.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub from: usize,
}

/// What a user of the file is known by.
#[derive(Clone, Debug)]
pub enum Login {
    Password(Secret),
    /// The MD5 of user, realm and password: 32 hexadecimal digits.
    Key(Secret),
}

/// The settings that are taken over. A field holds the one that counts.
#[derive(Debug, Default)]
pub struct Facts {
    pub occurrences: Vec<Occurrence>,
    pub allow_loopback: Option<At<bool>>,
    pub allowed: Vec<At<Range>>,
    pub aux: Vec<At<SocketAddr>>,
    pub bandwidth: Option<At<u64>>,
    pub capacity: Option<At<u64>>,
    pub cert: Option<At<String>>,
    pub cpus: Option<At<u64>>,
    pub denied: Vec<At<Range>>,
    pub external: Vec<At<External>>,
    pub extra: Option<At<bool>>,
    pub level: Option<At<&'static str>>,
    /// What `log.to` takes.
    pub log_to: Option<At<String>>,
    pub syslog: Option<At<bool>>,
    pub listening_ips: Vec<At<IpAddr>>,
    pub listening_port: Option<At<u16>>,
    pub long_term: Option<At<bool>>,
    pub max_lifetime: Option<At<u64>>,
    pub max_port: Option<At<u16>>,
    pub min_port: Option<At<u16>>,
    pub no_auth: Option<At<bool>>,
    pub no_multicast: Option<At<bool>>,
    pub no_tcp: Option<At<bool>>,
    pub no_tls: Option<At<bool>>,
    pub no_udp: Option<At<bool>>,
    pub nonce_lifetime: Option<At<u64>>,
    pub pkey: Option<At<String>>,
    pub prometheus: Option<At<bool>>,
    pub prometheus_address: Option<At<IpAddr>>,
    pub prometheus_port: Option<At<u16>>,
    pub proxy_port: Option<At<u16>>,
    pub rate_limit: Option<At<bool>>,
    pub rate_limit_rps: Option<At<u32>>,
    pub realm: Option<At<String>>,
    pub relay_ips: Vec<At<IpAddr>>,
    pub secrets: Vec<At<Secret>>,
    pub server_name: Option<At<String>>,
    pub socket_buffer: Option<At<u64>>,
    pub software: Option<At<bool>>,
    pub threads: Option<At<u64>>,
    pub tls_port: Option<At<u16>>,
    pub total_quota: Option<At<u32>>,
    pub unallocated_timeout: Option<At<u64>>,
    pub use_secret: Option<At<bool>>,
    pub user_quota: Option<At<u32>>,
    pub users: Vec<At<(String, Login)>>,
    /// Where in `users` a name is.
    user_index: HashMap<String, usize>,
}

impl Facts {
    /// Takes one setting over; `from` is its occurrence, `on` its value where it is a flag.
    #[rustfmt::skip] // One line for each.
    pub fn take(
        &mut self,
        setting: Setting,
        from: usize,
        value: &str,
        on: bool,
    ) -> Result<(), Wrong> {
        let seen = &mut self.occurrences;
        let number = |value| values::number(value);
        match setting {
            Setting::AllowLoopback => set(&mut self.allow_loopback, seen, from, on),
            Setting::AllowedPeer => self.allow_peer(from, value)?,
            Setting::AuxServer => push(&mut self.aux, from, values::endpoint(value)?),
            Setting::Bandwidth => set(&mut self.bandwidth, seen, from, number(value)?),
            Setting::Capacity => set(&mut self.capacity, seen, from, number(value)?),
            Setting::Cert => set(&mut self.cert, seen, from, path(value)?),
            Setting::Cpus => set(&mut self.cpus, seen, from, number(value)?),
            Setting::DeniedPeer => self.deny_peer(from, value)?,
            Setting::Extra => set(&mut self.extra, seen, from, on),
            Setting::ExternalIp => self.external(from, values::external(value)?),
            Setting::Level => set(&mut self.level, seen, from, level(value)?),
            Setting::ListeningIp => push(&mut self.listening_ips, from, values::ip(value)?),
            Setting::ListeningPort => {
                set(&mut self.listening_port, seen, from, values::port(value)?);
            }
            Setting::LogFile if value.is_empty() => {}
            Setting::LogFile => set(&mut self.log_to, seen, from, log_to(value)),
            Setting::LongTerm => set(&mut self.long_term, seen, from, on),
            Setting::MaxLifetime => set(&mut self.max_lifetime, seen, from, number(value)?),
            Setting::MaxPort => set(&mut self.max_port, seen, from, values::port(value)?),
            Setting::MinPort => set(&mut self.min_port, seen, from, values::port(value)?),
            Setting::Multicast => set(&mut self.no_multicast, seen, from, on),
            Setting::NoAuth => set(&mut self.no_auth, seen, from, on),
            Setting::NoTcp => set(&mut self.no_tcp, seen, from, on),
            Setting::NoTls => set(&mut self.no_tls, seen, from, on),
            Setting::NoUdp => set(&mut self.no_udp, seen, from, on),
            Setting::NonceLifetime => set(&mut self.nonce_lifetime, seen, from, number(value)?),
            Setting::Pkey => set(&mut self.pkey, seen, from, path(value)?),
            Setting::Prometheus => set(&mut self.prometheus, seen, from, true),
            Setting::PrometheusAddress => {
                set(&mut self.prometheus_address, seen, from, values::ip(value)?);
            }
            Setting::PrometheusPath => {
                seen.get_mut(from).into_iter().for_each(|at| metrics_path(at, value));
            }
            Setting::PrometheusPort => {
                set(&mut self.prometheus_port, seen, from, values::port(value)?);
            }
            Setting::ProxyPort => set(&mut self.proxy_port, seen, from, values::port(value)?),
            Setting::RateLimit => set(&mut self.rate_limit, seen, from, on),
            Setting::RateLimitRps => {
                set(&mut self.rate_limit_rps, seen, from, values::number_u32(value)?);
            }
            Setting::Realm => set(&mut self.realm, seen, from, realm(value)?),
            Setting::RelayIp => push(&mut self.relay_ips, from, values::ip(value)?),
            Setting::RestSeparator => {
                seen.get_mut(from).into_iter().for_each(|at| separator(at, value));
            }
            Setting::Secret => push(&mut self.secrets, from, secret(value)?),
            Setting::ServerName => set(&mut self.server_name, seen, from, value.to_owned()),
            Setting::Software => set(&mut self.software, seen, from, on),
            Setting::SocketBuffer => set(&mut self.socket_buffer, seen, from, number(value)?),
            Setting::Syslog => set(&mut self.syslog, seen, from, on),
            Setting::Threads => set(&mut self.threads, seen, from, number(value)?),
            Setting::TlsPort => set(&mut self.tls_port, seen, from, values::port(value)?),
            Setting::TotalQuota => {
                set(&mut self.total_quota, seen, from, values::number_u32(value)?);
            }
            Setting::UnallocatedTimeout => {
                set(&mut self.unallocated_timeout, seen, from, number(value)?);
            }
            Setting::UseSecret => set(&mut self.use_secret, seen, from, true),
            Setting::User => self.user(from, value)?,
            Setting::UserQuota => set(&mut self.user_quota, seen, from, values::number_u32(value)?),
        }
        Ok(())
    }

    /// The occurrence, to say something about it.
    pub fn about(&mut self, from: usize) -> Option<&mut Occurrence> {
        self.occurrences.get_mut(from)
    }

    /// Says something about several lines alike.
    pub fn tell(&mut self, from: impl IntoIterator<Item = usize>, fate: Fate, remark: &str) {
        for index in from {
            if let Some(at) = self.about(index) {
                at.tell(fate, remark);
            }
        }
    }

    fn allow_peer(&mut self, from: usize, value: &str) -> Result<(), Wrong> {
        match values::peers(value)? {
            Peers::Range(range) if self.is_wrapped(from, range) => {}
            Peers::Range(range) => push(&mut self.allowed, from, range),
            // What was never open is not opened by a guess.
            Peers::Prefix(_) => {
                return Err(Wrong::new(
                    "is a prefix",
                    "coturn knows single addresses and ranges, so this line opened nothing (4.6) or kept it from starting (4.17)",
                )
                .help("write the range, as in 10.0.0.0-10.255.255.255, or delete the line"));
            }
        }
        Ok(())
    }

    fn deny_peer(&mut self, from: usize, value: &str) -> Result<(), Wrong> {
        let range = match values::peers(value)? {
            Peers::Range(range) => range,
            Peers::Prefix(range) => {
                let remark = "coturn does not read prefixes, so 4.6 denied nothing by this line: it is taken as it is meant";
                self.tell([from], Fate::Remarked, remark);
                range
            }
        };
        if !self.is_wrapped(from, range) {
            push(&mut self.denied, from, range);
        }
        Ok(())
    }

    /// True if the range is of IPv4 addresses in IPv6 alone; no rule is needed for them.
    fn is_wrapped(&mut self, from: usize, range: Range) -> bool {
        let wrapped = peers::networks(&[range]).is_empty();
        if wrapped {
            let remark = "IPv4 wrapped in IPv6: relayd judges it as the IPv4 address inside";
            self.tell([from], Fate::BuiltIn, remark);
        }
        wrapped
    }

    fn external(&mut self, from: usize, external: External) {
        let same = |other: &&At<External>| match (other.value, external) {
            (External::Plain(_), External::Plain(_)) => true,
            (External::Pair(_, a), External::Pair(_, b)) => a == b,
            (External::Plain(_), External::Pair(..)) | (External::Pair(..), External::Plain(_)) => {
                false
            }
        };
        if let Some(first) = self.external.iter().find(same) {
            let line = self.occurrences.get(first.from).map_or(0, |at| at.line);
            let remark = format!("line {line} has one already, and coturn takes the first");
            self.tell([from], Fate::NotRead, &remark);
            return;
        }
        push(&mut self.external, from, external);
    }

    fn user(&mut self, from: usize, value: &str) -> Result<(), Wrong> {
        let Some((name, rest)) = value.split_once(':') else {
            return Err(Wrong::new(
                "has no colon",
                "accepted: NAME:PASSWORD, or NAME:0xKEY",
            ));
        };
        let password = rest.trim_start_matches([' ', '\t']);
        if name.is_empty() || password.is_empty() {
            return Err(Wrong::new(
                "has an empty name or password",
                "accepted: NAME:PASSWORD, or NAME:0xKEY",
            ));
        }
        if name.len() > USERNAME_BYTES_MAX {
            return Err(Wrong::new(
                "has a name that is too long",
                "a user name has 508 bytes at most (RFC 8489 §14.3)",
            ));
        }
        let login = match password.strip_prefix("0x") {
            Some(hex) if is_md5(hex) => Login::Key(Secret::new(hex.to_ascii_lowercase())),
            Some(_) => {
                return Err(Wrong::new(
                    "has a key that is none",
                    "accepted after 0x: 32 hexadecimal digits, the MD5 of user:realm:password",
                )
                .help("`turnadmin -k -u NAME -r REALM -p PASSWORD` prints it"));
            }
            None => {
                reference(password, &["file:", "env:", "key:"])?;
                Login::Password(Secret::new(password))
            }
        };
        self.add_user(from, name, login);
        Ok(())
    }

    /// The last line of a name counts.
    pub fn add_user(&mut self, from: usize, name: &str, login: Login) {
        let user = At {
            value: (name.to_owned(), login),
            from,
        };
        let known = self.user_index.get(name).copied();
        if let Some(old) = known.and_then(|index| self.users.get_mut(index)) {
            overridden(&mut self.occurrences, old.from, from);
            *old = user;
            return;
        }
        self.user_index.insert(name.to_owned(), self.users.len());
        self.users.push(user);
    }
}

pub fn is_md5(hex: &str) -> bool {
    hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn push<T>(list: &mut Vec<At<T>>, from: usize, value: T) {
    list.push(At { value, from });
}

fn set<T>(field: &mut Option<At<T>>, seen: &mut [Occurrence], from: usize, value: T) {
    if let Some(old) = field.replace(At { value, from }) {
        overridden(seen, old.from, from);
    }
}

fn overridden(seen: &mut [Occurrence], old: usize, new: usize) {
    let line = seen.get(new).map_or(0, |at| at.line);
    if let Some(at) = seen.get_mut(old) {
        at.tell(
            Fate::NotRead,
            &format!("line {line} sets it again, and the last one counts"),
        );
    }
}

fn path(value: &str) -> Result<String, Wrong> {
    if value.is_empty() {
        return Err(
            Wrong::new("is empty", "accepted: the path of a PEM file").help("delete the line")
        );
    }
    Ok(value.to_owned())
}

fn realm(value: &str) -> Result<String, Wrong> {
    if value.len() > REALM_BYTES_MAX {
        return Err(Wrong::new(
            "is too long",
            "a realm has 127 bytes at most (RFC 8489 §14.9)",
        ));
    }
    Ok(value.to_owned())
}

/// What relayd would take for the place of a secret.
fn reference(value: &str, prefixes: &[&str]) -> Result<(), Wrong> {
    let Some(prefix) = prefixes.iter().find(|prefix| value.starts_with(**prefix)) else {
        return Ok(());
    };
    Err(Wrong::new(
        format!("has a secret that begins with \"{prefix}\""),
        "in relay.toml that says where or how a secret is written",
    )
    .help("choose another, here and where clients have it"))
}

fn secret(value: &str) -> Result<Secret, Wrong> {
    reference(value, &["file:", "env:"])?;
    if value.is_empty() {
        return Err(
            Wrong::new("is empty", "a secret has at least one character")
                .help("put the secret there that your application uses, or delete the line"),
        );
    }
    Ok(Secret::new(value))
}

fn level(value: &str) -> Result<&'static str, Wrong> {
    match value {
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "warning" => Ok("warn"),
        "error" => Ok("error"),
        _ => Err(Wrong::new(
            "is not a level",
            "accepted: debug, info, warning, error",
        )),
    }
}

fn log_to(value: &str) -> String {
    match value {
        "stdout" | "-" | "syslog" => "stdout".to_owned(),
        path => format!("file:{path}"),
    }
}

fn metrics_path(at: &mut Occurrence, value: &str) {
    if matches!(value, "" | "/metrics") {
        at.tell(Fate::Mapped, "");
    } else {
        at.tell(
            Fate::NoCounterpart,
            "relayd serves metrics at /metrics: change metrics_path of the scraper",
        );
    }
}

fn separator(at: &mut Occurrence, value: &str) {
    if value.is_empty() || value.starts_with(':') {
        at.tell(Fate::Mapped, "");
    } else {
        at.tell(
            Fate::NoCounterpart,
            "relayd reads \"expiry:name\" with a colon: credentials made with another separator are refused until your application writes a colon",
        );
    }
}
