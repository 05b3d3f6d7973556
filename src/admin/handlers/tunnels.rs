//! `/tunnels`: the WebSockets of the proxy, and ending them.

use super::{Ended, Stamp, address, after, descending, limit};
use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::control::Tunnel;
use crate::admin::paging::{CursorKey, Position, cursor};
use crate::admin::query::Query;
use crate::admin::routes::Call;
use crate::admin::{AddressFilter, Control};
use serde::Serialize;

const NO_SUCH: Fault = Fault::NoSuchThing("no tunnel has this ID; it may have ended");

#[derive(Serialize)]
struct List {
    #[serde(flatten)]
    stamp: Stamp,
    /// That fit the filter, on all pages.
    total: usize,
    tunnels: Vec<Tunnel>,
    next: Option<String>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    stamp: Stamp,
    tunnel: Tunnel,
}

/// What a tunnel must have; `None` is anything.
#[derive(Default)]
struct Filter {
    client: Option<AddressFilter>,
    /// With its port, or without.
    host: Option<String>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Fault> {
        let host = query.value("host", "a host, with a port or without", |text| {
            (!text.is_empty()).then(|| text.to_ascii_lowercase())
        })?;
        Ok(Self {
            client: address(query, "client")?,
            host,
        })
    }

    fn matches(&self, tunnel: &Tunnel) -> bool {
        let is_host = |wanted: &String| {
            let host = tunnel.host.to_ascii_lowercase();
            host == *wanted
                || host
                    .rsplit_once(':')
                    .is_some_and(|(name, _)| name == wanted)
        };
        self.client
            .is_none_or(|client| client.matches(tunnel.client))
            && self.host.as_ref().is_none_or(is_host)
    }

    fn is_everything(&self) -> bool {
        self.client.is_none() && self.host.is_none()
    }
}

pub async fn list(call: Call) -> Result<Reply, Fault> {
    let filter = Filter::read(&call.query)?;
    let (key, name) = sort(&call.query)?;
    let descending = descending(&call.query)?;
    let limit = limit(&call.query)?;
    let after = after(&call.query, name, descending)?;
    call.query.finish()?;
    let control = call.control()?;
    let mut rows: Vec<(Position, Tunnel)> = fitting(control.as_ref(), &filter)
        .map(|tunnel| {
            let (key, id) = (CursorKey::Number(key(&tunnel)), tunnel.id);
            (Position { key, id }, tunnel)
        })
        .collect();
    let total = rows.len();
    rows.sort_by(|a, b| a.0.compare(&b.0, descending));
    if let Some(after) = after {
        rows.retain(|(position, _)| position.compare(&after, descending).is_gt());
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    Ok(ok(&List {
        stamp: Stamp::now(control.as_ref()),
        total,
        next: last.map(|(position, _)| cursor(name, descending, position)),
        tunnels: rows.into_iter().map(|(_, tunnel)| tunnel).collect(),
    }))
}

pub async fn one(call: Call) -> Result<Reply, Fault> {
    let id = call.id()?;
    call.query.finish()?;
    let control = call.control()?;
    let tunnel = control.tunnels().into_iter().find(|tunnel| tunnel.id == id);
    Ok(ok(&One {
        stamp: Stamp::now(control.as_ref()),
        tunnel: tunnel.ok_or(NO_SUCH)?,
    }))
}

/// Ends those that a filter names; without any filter only with `all=true`.
pub async fn end(call: Call) -> Result<Reply, Fault> {
    let filter = Filter::read(&call.query)?;
    let all = call
        .query
        .value("all", "true", |text| (text == "true").then_some(true))?;
    call.query.finish()?;
    if filter.is_everything() != all.is_some() {
        return Err(Fault::bad(
            "say which tunnels to end: client or host; or all=true alone for every one",
        ));
    }
    let control = call.control()?;
    let fitting = fitting(control.as_ref(), &filter);
    let ids: Vec<u64> = fitting.map(|tunnel| tunnel.id).collect();
    let ended = control.end_tunnels(&ids);
    Ok(ok(&Ended { ended }))
}

pub async fn end_one(call: Call) -> Result<Reply, Fault> {
    let id = call.id()?;
    call.query.finish()?;
    match call.control()?.end_tunnels(&[id]) {
        0 => Err(NO_SUCH),
        ended => Ok(ok(&Ended { ended })),
    }
}

fn fitting(control: &dyn Control, filter: &Filter) -> impl Iterator<Item = Tunnel> {
    let all = control.tunnels().into_iter();
    all.filter(|tunnel| filter.matches(tunnel))
}

type SortKey = fn(&Tunnel) -> u64;

/// What to sort by, and the name of that list in cursors.
fn sort(query: &Query) -> Result<(SortKey, &'static str), Fault> {
    let sort = query.value("sort", "id, age, idle or bytes", |text| {
        SORTS.into_iter().find(|(name, ..)| *name == text)
    })?;
    let (_, key, list) = sort.unwrap_or(SORTS[0]);
    Ok((key, list))
}

/// The age of a younger tunnel is the greater ID's, and unlike the age it stays from page to page.
const SORTS: [(&str, SortKey, &str); 4] = [
    ("id", |tunnel| tunnel.id, "tunnels by id"),
    ("age", |tunnel| u64::MAX - tunnel.id, "tunnels by age"),
    (
        "idle",
        |tunnel| (tunnel.idle_s * 1e3) as u64,
        "tunnels by idle",
    ),
    (
        "bytes",
        |tunnel| tunnel.bytes_to_upstream + tunnel.bytes_to_client,
        "tunnels by bytes",
    ),
];
