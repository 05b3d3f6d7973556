//! Every key of turnserver.conf in coturn 4.0 to 4.17, and what becomes of it: one table.
//!
//! A test holds the table against the lists of `tests/data/coturn-keys-*.txt`. What a key is taken over to is decided
//! in `facts`; here stand its kind and the reasons of those that are not.

use Meaning::{BuiltIn, None as Absent, Same, Take, Unless};

/// What a setting says to relayd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It becomes a key of relayd.
    Take(Setting),
    /// It is as relayd is without being told.
    Same,
    /// relayd does so always; what there is to say about it.
    BuiltIn(&'static str),
    /// No counterpart; why, and what to do instead.
    None(&'static str),
    /// The same, unless it has this value, which is the fixed one.
    Unless(u64, &'static str),
}

/// How coturn reads the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On, off, or no value for on; what off means.
    Flag(Meaning),
    /// On whatever the value says.
    Switch,
    Number,
    /// A number; this one if there is no value.
    NumberOr(u64),
    /// An address, port, range or list of such: nothing may stand behind it.
    Word,
    /// A path, name or other text, to the end of the line.
    Text,
    /// Text that is never shown.
    Secret,
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// What it means with a value, or switched on.
    pub meaning: Meaning,
}

/// What is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    AllowLoopback,
    AllowedPeer,
    AuxServer,
    Bandwidth,
    Capacity,
    Cert,
    Cpus,
    DeniedPeer,
    Extra,
    ExternalIp,
    Level,
    ListeningIp,
    ListeningPort,
    LogFile,
    LongTerm,
    MaxLifetime,
    MaxPort,
    MinPort,
    Multicast,
    NoAuth,
    NoTcp,
    NoTls,
    NoUdp,
    NonceLifetime,
    Pkey,
    Prometheus,
    PrometheusAddress,
    PrometheusPath,
    PrometheusPort,
    ProxyPort,
    RateLimit,
    RateLimitRps,
    Realm,
    RelayIp,
    RestSeparator,
    Secret,
    ServerName,
    Software,
    SocketBuffer,
    Syslog,
    Threads,
    TlsPort,
    TotalQuota,
    UnallocatedTimeout,
    UseSecret,
    User,
    UserQuota,
}

const fn key(name: &'static str, kind: Kind, meaning: Meaning) -> Key {
    Key {
        name,
        kind,
        meaning,
    }
}

/// On means something, off means that nothing is to be said.
const fn flag(name: &'static str, on: Meaning) -> Key {
    key(name, Kind::Flag(Same), on)
}

const fn flags(name: &'static str, on: Meaning, off: Meaning) -> Key {
    key(name, Kind::Flag(off), on)
}

const DATABASE: &str = "relayd keeps users and secrets in its file and reads it again on SIGHUP. Move them: `turnadmin -l` with the same database option lists the users, the table turnusers_lt has their keys in column hmackey: write users = { name = \"key:HMACKEY\" } with the realm of the key as `turn.realm`; `turnadmin -S` shows the shared secrets: auth_secret = [\"SECRET\"]";
const CLI: &str = "relayd has no telnet console: the admin listener shows and ends allocations, reloads and drains, over HTTP";
const WEB_ADMIN: &str = "relayd has no web pages for administration: users are in its file, and the admin listener answers in JSON";
const DTLS: &str = "relayd has no DTLS: clients use TLS over TCP where UDP is blocked, and media is encrypted by itself (DTLS-SRTP)";
const OPENSSL: &str =
    "relayd's TLS library brings its own list: TLS 1.2 and 1.3 with forward secrecy";
const OLD_TLS: &str = "relayd speaks TLS 1.2 and 1.3 only (RFC 8996)";
const NO_OLD_TLS: &str = "relayd speaks TLS 1.2 and 1.3 only";
const RFC5780: &str =
    "relayd does not answer NAT behaviour discovery (RFC 5780), so there is no alternative port";
const ALTERNATE: &str = "relayd does not redirect clients: spread them over servers by DNS, or by the list of servers that your application gives them";
const SERVICE: &str = "the service manager does it: config/relayd.service runs relayd in the foreground as its own user";
const PROMETHEUS_TLS: &str = "relayd serves metrics without TLS, on loopback unless there is an admin.token: put a proxy or a tunnel before it";
const MULTIPLEX: &str = "relayd gives each allocation its own relayed port (RFC 8656)";
const UDP_BATCHES: &str = "relayd receives and sends UDP in batches always";
const RFC3489: &str = "relayd answers the Binding requests of old clients";
const LOG_FORM: &str = "relayd writes one line an event with its time, whatever `log.to` names";
const DYNAMIC: &str = "relayd has no database to look it up in";

/// Sorted by name.
pub static KEYS: &[Key] = &[
    key(
        "CA-file",
        Kind::Text,
        Absent(
            "relayd asks clients for no certificate: whoever has a user's password or a time-limited credential may relay",
        ),
    ),
    flag("Verbose", Take(Setting::Extra)),
    key(
        "acme-redirect",
        Kind::Text,
        Absent(
            "relayd does not redirect HTTP requests, and needs no port 80: [tls.acme] obtains certificates by TLS-ALPN-01 on port 443",
        ),
    ),
    key(
        "allocation-default-address-family",
        Kind::Word,
        Absent("relayd follows RFC 8656: a client that names no family gets an IPv4 address"),
    ),
    flag("allow-loopback-peers", Take(Setting::AllowLoopback)),
    key("allowed-peer-ip", Kind::Word, Take(Setting::AllowedPeer)),
    key("alt-listening-port", Kind::Number, Unless(0, RFC5780)),
    key("alt-tls-listening-port", Kind::Number, Unless(0, RFC5780)),
    key("alternate-server", Kind::Word, Absent(ALTERNATE)),
    key("aux-server", Kind::Word, Take(Setting::AuxServer)),
    key("bps-capacity", Kind::Number, Take(Setting::Capacity)),
    key("cert", Kind::Text, Take(Setting::Cert)),
    key(
        "channel-lifetime",
        Kind::NumberOr(600),
        Unless(
            600,
            "RFC 8656 fixes it at 10 minutes, and clients count on that",
        ),
    ),
    flag(
        "check-origin-consistency",
        Absent("relayd does not look at ORIGIN, which browsers do not send"),
    ),
    key("cipher-list", Kind::Text, Absent(OPENSSL)),
    flag("cli", Absent(CLI)),
    key("cli-ip", Kind::Word, Absent(CLI)),
    key("cli-max-output-sessions", Kind::Number, Absent(CLI)),
    key("cli-password", Kind::Secret, Absent(CLI)),
    key("cli-port", Kind::Number, Absent(CLI)),
    key("cpus", Kind::Number, Take(Setting::Cpus)),
    flag("daemon", BuiltIn(SERVICE)),
    key("db", Kind::Secret, Absent(DATABASE)),
    key("denied-peer-ip", Kind::Word, Take(Setting::DeniedPeer)),
    key("dh-file", Kind::Text, Absent(OPENSSL)),
    flag("dh1066", Absent(OPENSSL)),
    flag("dh2066", Absent(OPENSSL)),
    flag("dh566", Absent(OPENSSL)),
    key(
        "drain-min-allocations",
        Kind::NumberOr(0),
        Unless(
            0,
            "relayd ends when the last allocation is gone, or after `server.drain_timeout`",
        ),
    ),
    flag(
        "drop-invalid-packets",
        BuiltIn("relayd drops what is neither STUN nor a bound channel, and counts it"),
    ),
    flag(
        "drop-invalid-packets-log",
        Absent("relayd counts such packets by reason in its metrics"),
    ),
    flag("dtls", Absent(DTLS)),
    key("ec-curve-name", Kind::Text, Absent(OPENSSL)),
    key("external-ip", Kind::Word, Take(Setting::ExternalIp)),
    flag(
        "fingerprint",
        BuiltIn("relayd puts FINGERPRINT into answers to requests that have it (RFC 8489 §14.7)"),
    ),
    flag(
        "include-reason-string",
        Absent("relayd keeps answers short and writes the reason to its log"),
    ),
    flag(
        "keep-address-family",
        Absent("relayd follows RFC 8656: a client that names no family gets an IPv4 address"),
    ),
    key(
        "listening-device",
        Kind::Word,
        Absent(
            "relayd listens on addresses: name the device's with `listening-ip`, or in `listen.udp`, `listen.tcp` and `listen.tls`",
        ),
    ),
    key("listening-ip", Kind::Word, Take(Setting::ListeningIp)),
    key("listening-port", Kind::Word, Take(Setting::ListeningPort)),
    flag(
        "log-binding",
        Absent("relayd counts Binding requests and writes no line for each"),
    ),
    key("log-file", Kind::Text, Take(Setting::LogFile)),
    key("log-min-level", Kind::Word, Take(Setting::Level)),
    flag("lt-cred-mech", Take(Setting::LongTerm)),
    key(
        "max-allocate-lifetime",
        Kind::NumberOr(3600),
        Take(Setting::MaxLifetime),
    ),
    key(
        "max-allocate-timeout",
        Kind::Number,
        Take(Setting::UnallocatedTimeout),
    ),
    key("max-bps", Kind::Number, Take(Setting::Bandwidth)),
    key("max-port", Kind::Word, Take(Setting::MaxPort)),
    key("min-port", Kind::Word, Take(Setting::MinPort)),
    flag(
        "mobility",
        Absent(
            "relayd has no mobility (RFC 8016): a client whose address changes allocates anew, as browsers do",
        ),
    ),
    key("mongo-userdb", Kind::Secret, Absent(DATABASE)),
    key("multiplex-peer", Kind::Switch, Absent(MULTIPLEX)),
    key("multiplex-peer-max-peers", Kind::Number, Absent(MULTIPLEX)),
    key("multiplex-peer-port", Kind::Number, Absent(MULTIPLEX)),
    key("mysql-userdb", Kind::Secret, Absent(DATABASE)),
    key(
        "ne",
        Kind::Number,
        BuiltIn("coturn's choice between its own engines: relayd has one"),
    ),
    flag("new-log-timestamp", BuiltIn(LOG_FORM)),
    key("new-log-timestamp-format", Kind::Text, Absent(LOG_FORM)),
    flag("no-auth", Take(Setting::NoAuth)),
    key("no-auth-pings", Kind::Switch, BuiltIn(DYNAMIC)),
    flags(
        "no-cli",
        BuiltIn("relayd has no telnet console"),
        Absent(CLI),
    ),
    flags("no-dtls", BuiltIn("relayd has no DTLS"), Absent(DTLS)),
    key("no-dynamic-ip-list", Kind::Switch, BuiltIn(DYNAMIC)),
    key("no-dynamic-realms", Kind::Switch, BuiltIn(DYNAMIC)),
    flag(
        "no-http",
        BuiltIn("relayd's TCP and TLS ports serve HTTP for the proxy, and nothing without [proxy]"),
    ),
    flags(
        "no-loopback-peers",
        BuiltIn("relayd denies loopback peers"),
        Take(Setting::AllowLoopback),
    ),
    flag("no-multicast-peers", Take(Setting::Multicast)),
    key(
        "no-rfc5780",
        Kind::Switch,
        BuiltIn("relayd has no RFC 5780"),
    ),
    flags("no-software-attribute", Same, Take(Setting::Software)),
    flag("no-sslv2", BuiltIn(NO_OLD_TLS)),
    flag("no-sslv3", BuiltIn(NO_OLD_TLS)),
    flag(
        "no-stdout-log",
        Absent(
            "relayd writes to one destination, `log.to`: standard output unless something else is named",
        ),
    ),
    flag(
        "no-stun",
        Absent(
            "relayd answers Binding requests: browsers ask the TURN server for their address too",
        ),
    ),
    flag(
        "no-stun-backward-compatibility",
        Absent("relayd answers the Binding requests of old clients too, limited by address"),
    ),
    flag("no-tcp", Take(Setting::NoTcp)),
    flags(
        "no-tcp-relay",
        BuiltIn("relayd has no TCP relays (RFC 6062)"),
        Absent("relayd has no TCP relays (RFC 6062): WebRTC does not use them"),
    ),
    flag("no-tls", Take(Setting::NoTls)),
    flags("no-tlsv1", BuiltIn(NO_OLD_TLS), Absent(OLD_TLS)),
    flags("no-tlsv1_1", BuiltIn(NO_OLD_TLS), Absent(OLD_TLS)),
    flag("no-tlsv1_2", Absent("relayd speaks TLS 1.2 beside 1.3")),
    flag("no-udp", Take(Setting::NoUdp)),
    flag(
        "no-udp-relay",
        Absent("relayd relays over UDP, and over nothing else"),
    ),
    flag(
        "oauth",
        Absent(
            "relayd has no third-party authorization (RFC 7635), which no browser speaks: `POST /credentials` gives credentials to who has a JWT",
        ),
    ),
    key(
        "permission-lifetime",
        Kind::NumberOr(300),
        Unless(
            300,
            "RFC 8656 fixes it at 5 minutes, and clients count on that",
        ),
    ),
    key("pidfile", Kind::Text, Absent(SERVICE)),
    key("pkey", Kind::Text, Take(Setting::Pkey)),
    key(
        "pkey-pwd",
        Kind::Secret,
        Absent(
            "relayd reads private keys without a password: `openssl pkey -in KEY -out NEW_KEY` writes one, to be readable by relayd alone",
        ),
    ),
    key("proc-group", Kind::Word, Absent(SERVICE)),
    key("proc-user", Kind::Word, Absent(SERVICE)),
    flags("prod", Same, Take(Setting::Software)),
    key("prometheus", Kind::Switch, Take(Setting::Prometheus)),
    key(
        "prometheus-address",
        Kind::Word,
        Take(Setting::PrometheusAddress),
    ),
    key("prometheus-cert", Kind::Text, Absent(PROMETHEUS_TLS)),
    key("prometheus-key", Kind::Text, Absent(PROMETHEUS_TLS)),
    key("prometheus-path", Kind::Word, Take(Setting::PrometheusPath)),
    key("prometheus-port", Kind::Word, Take(Setting::PrometheusPort)),
    flag("prometheus-tls", Absent(PROMETHEUS_TLS)),
    key(
        "prometheus-username-labels",
        Kind::Switch,
        Absent(
            "relayd's metrics have no user names in them: the log has a line for each allocation",
        ),
    ),
    key("psql-userdb", Kind::Secret, Absent(DATABASE)),
    flag("raw-public-keys", Absent("relayd shows certificates only")),
    key("realm", Kind::Text, Take(Setting::Realm)),
    key(
        "redis-statsdb",
        Kind::Secret,
        Absent(
            "relayd's statistics are its metrics and the log line at the end of each allocation",
        ),
    ),
    key("redis-userdb", Kind::Secret, Absent(DATABASE)),
    key(
        "relay-device",
        Kind::Word,
        Absent("relayd relays from addresses: name the device's in `turn.relay_ip`"),
    ),
    key("relay-ip", Kind::Word, Take(Setting::RelayIp)),
    key("relay-threads", Kind::Number, Take(Setting::Threads)),
    flag(
        "respond-http-unsupported",
        BuiltIn("relayd answers HTTP on its TCP and TLS ports"),
    ),
    flag(
        "response-origin-only-with-rfc5780",
        BuiltIn("relayd has no RFC 5780 and sends no RESPONSE-ORIGIN"),
    ),
    key(
        "rest-api-separator",
        Kind::Word,
        Take(Setting::RestSeparator),
    ),
    flag("rfc3489-compatibility", BuiltIn(RFC3489)),
    flag(
        "rfc5766-channel-numbers",
        BuiltIn("relayd takes the channel numbers 0x4000 to 0x7FFF of RFC 5766"),
    ),
    key("rfc5780", Kind::Switch, Absent(RFC5780)),
    key("secret-key-file", Kind::Text, Absent(DATABASE)),
    key(
        "secret-ts-exp-time",
        Kind::NumberOr(0),
        BuiltIn("coturn does not look at it either: the time is in the user name"),
    ),
    flag(
        "secure-stun",
        Absent(
            "relayd answers Binding requests without credentials, as RFC 8489 has it, and limits them by address",
        ),
    ),
    key("server-name", Kind::Text, Take(Setting::ServerName)),
    flag(
        "server-relay",
        Absent(
            "relayd never passes on what comes from a peer without a permission (RFC 8656 §11.3)",
        ),
    ),
    flag(
        "sha256",
        Absent("relayd offers SHA-256 by itself, in the form of RFC 8489"),
    ),
    flag(
        "sha384",
        Absent("RFC 8489 has SHA-256 and no more; relayd offers it by itself"),
    ),
    flag(
        "sha512",
        Absent("RFC 8489 has SHA-256 and no more; relayd offers it by itself"),
    ),
    flag("simple-log", BuiltIn(LOG_FORM)),
    key("sock-buf-size", Kind::Number, Take(Setting::SocketBuffer)),
    flags("software-attribute", Take(Setting::Software), Same),
    key("sql-userdb", Kind::Secret, Absent(DATABASE)),
    flag(
        "st-cred-mech",
        Absent("TURN has no short-term credentials (RFC 8656 §5)"),
    ),
    key(
        "stale-nonce",
        Kind::NumberOr(600),
        Take(Setting::NonceLifetime),
    ),
    flags(
        "stateless-nonce",
        BuiltIn("relayd's nonces are stateless"),
        Absent("relayd's nonces are always stateless"),
    ),
    key(
        "stateless-nonce-secret",
        Kind::Secret,
        Absent(
            "each relayd signs nonces with a key of its own: a client that meets another one asks once more (438)",
        ),
    ),
    key("static-auth-secret", Kind::Secret, Take(Setting::Secret)),
    flag("stun-backward-compatibility", BuiltIn(RFC3489)),
    flag(
        "stun-only",
        Absent(
            "relayd has no such switch: without users and secrets it would relay for nobody, and with them it serves STUN and TURN",
        ),
    ),
    flag("syslog", Take(Setting::Syslog)),
    key(
        "syslog-facility",
        Kind::Word,
        Absent(
            "journald's entries have no facility of their own: SyslogFacility= in the unit sets it for standard output",
        ),
    ),
    key("tcp-alternate-server", Kind::Word, Absent(ALTERNATE)),
    key("tcp-proxy-port", Kind::Word, Take(Setting::ProxyPort)),
    key("tls-alternate-server", Kind::Word, Absent(ALTERNATE)),
    key("tls-listening-port", Kind::Word, Take(Setting::TlsPort)),
    flag("tlsv1", Absent(OLD_TLS)),
    flag("tlsv1_1", Absent(OLD_TLS)),
    key("total-quota", Kind::Number, Take(Setting::TotalQuota)),
    key("udp-alternate-server", Kind::Word, Absent(ALTERNATE)),
    flag("udp-gso", BuiltIn(UDP_BATCHES)),
    flags("udp-recvmmsg", BuiltIn(UDP_BATCHES), Absent(UDP_BATCHES)),
    flag(
        "udp-recvmmsg-log",
        Absent("relayd's metrics have packets, and no batches"),
    ),
    flag(
        "udp-self-balance",
        BuiltIn("relayd spreads UDP clients over its workers on one port"),
    ),
    flag(
        "udp-sendmmsg-log",
        Absent("relayd's metrics have packets, and no batches"),
    ),
    flag("unauthorized-ratelimit", Take(Setting::RateLimit)),
    key(
        "unauthorized-ratelimit-rps",
        Kind::NumberOr(10),
        Take(Setting::RateLimitRps),
    ),
    key("use-auth-secret", Kind::Switch, Take(Setting::UseSecret)),
    key("user", Kind::Secret, Take(Setting::User)),
    key("user-quota", Kind::Number, Take(Setting::UserQuota)),
    key("userdb", Kind::Secret, Absent(DATABASE)),
    flag(
        "verbose",
        BuiltIn("relayd's level \"info\" has a line for each allocation and its end"),
    ),
    flag("version", Same),
    flag("web-admin", Absent(WEB_ADMIN)),
    key("web-admin-ip", Kind::Word, Absent(WEB_ADMIN)),
    flag("web-admin-listen-on-workers", Absent(WEB_ADMIN)),
    key("web-admin-port", Kind::Number, Absent(WEB_ADMIN)),
];

/// The key of this name; coturn tells upper from lower case.
pub fn find(name: &str) -> Option<&'static Key> {
    let index = KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
    KEYS.get(index)
}
