//! `[listen]`: listeners, who may send a PROXY header, deadlines and limits of connections.

use crate::config::section::{At, Table};
use crate::config::values::{self, Zero};
use crate::listen;
use ipnet::IpNet;
use std::net::SocketAddr;

/// A UDP listener's buffers, in bytes.
const BUFFER_BYTES_MAX: u64 = 1 << 30;

pub(in crate::config) struct Listen {
    pub udp: Vec<At<SocketAddr>>,
    pub tcp: Vec<At<SocketAddr>>,
    pub tls: Vec<At<SocketAddr>>,
    /// Whether the file names TLS listeners itself.
    pub tls_given: bool,
    pub settings: listen::Settings,
    pub stream_idle_s: u64,
    pub listener_buffer_bytes: usize,
}

pub(in crate::config) fn read(table: &Table<'_>) -> Listen {
    let defaults = listen::Settings::default();
    let io = crate::io::Settings::default();
    let udp = addresses(table, "udp", &["0.0.0.0:3478", "[::]:3478"]);
    let tcp = addresses(table, "tcp", &["0.0.0.0:3478", "[::]:3478"]);
    let tls_given = table.item("tls").is_some();
    let tls = addresses(
        table,
        "tls",
        &["0.0.0.0:443", "[::]:443", "0.0.0.0:5349", "[::]:5349"],
    );
    let proxy_protocol_from: Vec<IpNet> = table
        .list("proxy_protocol_from", values::network)
        .map(|list| list.value.into_iter().map(|net| net.value).collect())
        .unwrap_or_default();

    let timeouts = table.table("timeouts");
    let seconds = |key: &str, default: u64| {
        timeouts
            .read(key, values::seconds(1..=86_400))
            .map_or(default, |seconds| seconds.value)
    };
    let limits = table.table("limits");
    let count = |key: &str, default: u32| {
        limits
            .read(key, values::integer(0..=u32::MAX))
            .map_or(default, |count| count.value)
    };
    let settings = listen::Settings {
        tcp: plain(&tcp),
        tls: plain(&tls),
        proxy_protocol_from,
        handshake_timeout_s: seconds("handshake", defaults.handshake_timeout_s),
        first_byte_timeout_s: seconds("first_byte", defaults.first_byte_timeout_s),
        connections_per_address: count("connections_per_address", defaults.connections_per_address),
        pending_per_address: count("pending_per_address", defaults.pending_per_address),
        connections_total: count("connections_total", defaults.connections_total),
    };
    let stream_idle_s = seconds("stream_idle", io.stream_idle_s);
    let listener_buffer_bytes = limits
        .read(
            "udp_buffer_bytes",
            values::size_usize(64 << 10..=BUFFER_BYTES_MAX, Zero::Refused),
        )
        .map_or(io.listener_buffer_bytes, |bytes| bytes.value);
    Listen {
        udp,
        tcp,
        tls,
        tls_given,
        settings,
        stream_idle_s,
        listener_buffer_bytes,
    }
}

pub(in crate::config) fn plain(addresses: &[At<SocketAddr>]) -> Vec<SocketAddr> {
    addresses.iter().map(|addr| addr.value).collect()
}

fn addresses(table: &Table<'_>, key: &str, defaults: &[&str]) -> Vec<At<SocketAddr>> {
    let given = table.list(key, values::socket_addr).map(|list| list.value);
    given.unwrap_or_else(|| {
        defaults
            .iter()
            .map(|addr| At::absent(addr.parse().expect("a default is an address")))
            .collect()
    })
}
