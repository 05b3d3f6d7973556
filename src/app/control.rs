//! What the admin listener may ask of the running server: translates between its words and those of the parts.

mod quality;

use super::{numbers, reload};
use crate::addr::Transport;
use crate::admin::{
    self, Addresses, Allocation, AllocationFilter, AllocationList, AllocationQuery, AllocationSort,
    Asked, Calls, Channel, CursorKey, Flow, LogLevel, Permission, Sample, Tunnel, Unavailable,
    stats::Stats,
};
use crate::config::Config;
use crate::io::MediaHandle;
use crate::io::census::{self, AddressFilter, Filter, Key, Query, Row, SortBy};
use crate::listen;
use crate::proxy::Proxy;
use crate::sys::clock;
use crate::telemetry;
use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The running server, for the admin listener.
pub struct Control {
    pub media: MediaHandle,
    pub proxy: Arc<Proxy>,
    pub listen: Arc<listen::Shared>,
    pub log: Arc<telemetry::Handle>,
    pub tls: listen::Tls,
    pub reloads: reload::Metrics,
    started: Instant,
    in_force: ArcSwap<InForce>,
}

/// What is shown of the configuration.
pub struct InForce {
    config: Value,
    log_level: String,
    pub file: Option<String>,
    /// First and last.
    pub relay_ports: (u16, u16),
    /// `turn.relay_ip`.
    pub relay_ips: Vec<IpAddr>,
}

/// What the running server consists of.
pub struct Parts {
    pub media: MediaHandle,
    pub proxy: Arc<Proxy>,
    pub listen: Arc<listen::Shared>,
    pub log: Arc<telemetry::Handle>,
    pub tls: listen::Tls,
    pub reloads: reload::Metrics,
}

impl Control {
    pub fn new(parts: Parts, addresses: &Addresses, config: &Config) -> Arc<Self> {
        let Parts {
            media,
            proxy,
            listen,
            log,
            tls,
            reloads,
        } = parts;
        Arc::new(Self {
            media,
            proxy,
            listen,
            log,
            tls,
            reloads,
            started: clock::now().instant(),
            in_force: ArcSwap::from_pointee(InForce::of(config, addresses)),
        })
    }

    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// To be told of every configuration that is put in force, and of what is bound then.
    pub fn set_config(&self, config: &Config, addresses: &Addresses) {
        let in_force = InForce::of(config, addresses);
        self.in_force.store(Arc::new(in_force));
    }
}

impl InForce {
    fn of(config: &Config, addresses: &Addresses) -> Self {
        Self {
            config: show(config, addresses),
            log_level: config.log.level.clone(),
            file: file(config).map(str::to_owned),
            relay_ports: config.io.relay_ports,
            relay_ips: config.turn.relay_addresses.fixed.clone(),
        }
    }
}

/// The values as they are written, and beside them those that were worked out.
fn show(config: &Config, addresses: &Addresses) -> Value {
    let effective = [
        ("server.domain", json!(config.domain)),
        ("server.workers", json!(config.io.workers)),
        ("server.external_ip", json!(config.turn.external_ips.plain)),
        ("listen.udp", json!(addresses.udp)),
        ("listen.tcp", json!(addresses.tcp)),
        ("listen.tls", json!(addresses.tls)),
        (
            "listen.limits.connections_total",
            json!(config.listen.connections_total),
        ),
        ("turn.realm", json!(config.turn.realm)),
        (
            "turn.limits.allocations_total",
            json!(config.turn.limits.allocations_total),
        ),
        ("proxy.public_names", json!(config.proxy.public_names)),
    ];
    let mut values: Map<String, Value> = Map::new();
    for (key, shown) in config.shown.values.iter() {
        let mut value = json!({"value": shown.value, "from": shown.from});
        let worked_out = effective.iter().find(|(name, _)| name == key);
        if let Some((_, worked_out)) = worked_out.filter(|(_, it)| *it != shown.value) {
            value["effective"] = worked_out.clone();
        }
        values.insert(key.clone(), value);
    }
    json!({"file": file(config), "values": values})
}

fn file(config: &Config) -> Option<&str> {
    Some(&*config.shown.file).filter(|file| !file.is_empty())
}

impl admin::Control for Control {
    fn allocations(&self, query: AllocationQuery) -> Asked<'_, AllocationList> {
        Box::pin(async move {
            let listed = self.media.list(wanted(query)).await;
            let listed = listed.map_err(|_| Unavailable)?;
            let now = clock::now().instant();
            Ok(AllocationList {
                matched: listed.matched,
                rows: listed.rows.into_iter().map(|row| shown(row, now)).collect(),
            })
        })
    }

    fn end_allocations(&self, filter: AllocationFilter) -> Asked<'_, usize> {
        Box::pin(async move {
            let ended = self.media.end_allocations(fitting(filter)).await;
            ended.map_err(|_| Unavailable)
        })
    }

    fn tunnels(&self) -> Vec<Tunnel> {
        let now = clock::now().instant();
        let open = self.proxy.open_tunnels().into_iter();
        open.map(|tunnel| Tunnel {
            id: tunnel.id,
            client: tunnel.client,
            host: tunnel.host.clone(),
            path: tunnel.path.clone(),
            age_s: now.saturating_duration_since(tunnel.started).as_secs_f64(),
            idle_s: tunnel.idle(now).as_secs_f64(),
            bytes_to_upstream: tunnel.bytes_to_upstream(),
            bytes_to_client: tunnel.bytes_to_client(),
        })
        .collect()
    }

    fn end_tunnels(&self, ids: &[u64]) -> usize {
        let open = self.proxy.open_tunnels().into_iter();
        open.filter(|tunnel| ids.contains(&tunnel.id))
            .inspect(|tunnel| tunnel.end())
            .count()
    }

    fn config(&self) -> Value {
        self.in_force.load().config.clone()
    }

    fn log_level(&self) -> LogLevel {
        LogLevel {
            level: self.log.level(),
            configured: self.in_force.load().log_level.clone(),
        }
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.log.set_level(level).map_err(|error| error.to_string())
    }

    fn set_draining(&self, draining: bool) {
        match draining {
            true => self.media.drain(),
            false => self.media.accept(),
        }
    }

    fn calls(&self) -> Calls {
        let (requests, tunnels) = self.proxy.under_way();
        Calls {
            allocations: self.media.allocation_count(),
            requests,
            tunnels,
            connections: self.listen.http_connections(),
        }
    }

    fn stats(&self) -> Stats {
        numbers::stats(self)
    }

    fn sample(&self) -> Sample {
        numbers::sample(self)
    }

    fn started(&self) -> Instant {
        self.started
    }
}

fn wanted(query: AllocationQuery) -> Query {
    let descending = query.descending;
    Query {
        filter: fitting(query.filter),
        sort: match query.sort {
            AllocationSort::Id => SortBy::Id,
            AllocationSort::Age => SortBy::Age,
            AllocationSort::Lifetime => SortBy::Lifetime,
            AllocationSort::User => SortBy::User,
            AllocationSort::Client => SortBy::Client,
            AllocationSort::Bytes => SortBy::Bytes,
            AllocationSort::Packets => SortBy::Packets,
            AllocationSort::ToPeerBytes => SortBy::ToPeerBytes,
            AllocationSort::ToClientBytes => SortBy::ToClientBytes,
            AllocationSort::Trouble => SortBy::Trouble,
        },
        descending,
        after: query.after.map(|after| census::Position {
            key: match after.key {
                CursorKey::Number(number) => Key::Number(number),
                CursorKey::Text(text) => Key::Text(text),
                CursorKey::Address(addr) => Key::Address(addr),
            },
            id: after.id,
            descending,
        }),
        limit: query.limit,
        lists_max: query.lists_max,
        details: query.details,
    }
}

fn fitting(filter: AllocationFilter) -> Filter {
    let address = |wanted: Option<admin::AddressFilter>| {
        wanted.map(|wanted| match wanted {
            admin::AddressFilter::Ip(ip) => AddressFilter::Ip(ip),
            admin::AddressFilter::Port(port) => AddressFilter::Port(port),
            admin::AddressFilter::Both(both) => AddressFilter::Both(both),
        })
    };
    Filter {
        id: filter.id,
        user: filter.user,
        transport: filter.transport.map(|transport| match transport {
            admin::Transport::Udp => Transport::Udp,
            admin::Transport::Tcp => Transport::Tcp,
            admin::Transport::Tls => Transport::Tls,
        }),
        client: address(filter.client),
        relayed: address(filter.relayed),
        peer: address(filter.peer),
    }
}

fn shown(row: Row, now: Instant) -> (admin::Position, Allocation) {
    let left = |at: Option<Instant>| {
        let left = at.map(|at| at.saturating_duration_since(now));
        left.unwrap_or_default().as_secs_f64()
    };
    let age = row.started_at.map(|at| now.saturating_duration_since(at));
    let five_tuple = row.five_tuple;
    let allocation = Allocation {
        id: row.position.id,
        user: row.username,
        transport: match five_tuple.transport {
            Transport::Udp => admin::Transport::Udp,
            Transport::Tcp => admin::Transport::Tcp,
            Transport::Tls => admin::Transport::Tls,
        },
        client: five_tuple.client.socket_addr(),
        server: five_tuple.server,
        relayed: row
            .relayed
            .iter()
            .map(|relay| relay.socket_addr())
            .collect(),
        age_s: age.unwrap_or_default().as_secs_f64(),
        lifetime_left_s: left(row.expires_at),
        to_peer: Flow {
            packets: row.traffic.to_peer_packets,
            bytes: row.traffic.to_peer_bytes,
        },
        to_client: Flow {
            packets: row.traffic.to_client_packets,
            bytes: row.traffic.to_client_bytes,
        },
        worker: row.worker,
        permission_count: row.permissions_total,
        permissions: row
            .permissions
            .iter()
            .map(|permission| Permission {
                ip: permission.ip,
                lifetime_left_s: left(permission.expires_at),
            })
            .collect(),
        channel_count: row.channels_total,
        channels: row
            .channels
            .iter()
            .map(|channel| Channel {
                number: channel.number,
                peer: channel.peer.socket_addr(),
                lifetime_left_s: left(channel.expires_at),
            })
            .collect(),
        quality: row.quality.as_ref().map(quality::shown),
    };
    let key = match row.position.key {
        Key::Number(number) => CursorKey::Number(number),
        Key::Text(text) => CursorKey::Text(text),
        Key::Address(addr) => CursorKey::Address(addr),
    };
    let id = row.position.id;
    (admin::Position { key, id }, allocation)
}
