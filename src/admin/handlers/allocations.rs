//! `/allocations`: what is relayed for whom, and ending it.

use super::{Ended, Stamp, address, after, descending, limit};
use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::control::{
    Allocation, AllocationFilter, AllocationQuery, AllocationSort, Transport,
};
use crate::admin::paging::cursor;
use crate::admin::query::Query;
use crate::admin::routes::Call;
use serde::Serialize;

/// Permissions and channels shown of each allocation in a list; its own page has all of them.
const SHOWN_IN_LIST: usize = 16;

const NO_SUCH: Fault = Fault::NoSuchThing("no allocation has this ID; it may have ended");

#[derive(Serialize)]
struct List {
    #[serde(flatten)]
    stamp: Stamp,
    /// That fit the filter, on all pages.
    total: usize,
    allocations: Vec<Allocation>,
    next: Option<String>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    stamp: Stamp,
    allocation: Allocation,
}

pub async fn list(call: Call) -> Result<Reply, Fault> {
    let (sort, name) = sort(&call.query)?;
    let descending = descending(&call.query)?;
    let limit = limit(&call.query)?;
    let query = AllocationQuery {
        filter: filter(&call.query)?,
        sort,
        descending,
        after: after(&call.query, name, descending)?,
        // One more tells whether there is another page.
        limit: limit + 1,
        lists_max: SHOWN_IN_LIST,
        details: false,
    };
    call.query.finish()?;
    let control = call.control()?;
    let list = control.allocations(query).await;
    let mut list = list.map_err(|_| Fault::Unavailable)?;
    let more = list.rows.len() > limit;
    list.rows.truncate(limit);
    let last = list.rows.last().filter(|_| more);
    Ok(ok(&List {
        stamp: Stamp::now(control.as_ref()),
        total: list.matched,
        next: last.map(|(position, _)| cursor(name, descending, position)),
        allocations: list.rows.into_iter().map(|(_, row)| row).collect(),
    }))
}

pub async fn one(call: Call) -> Result<Reply, Fault> {
    let id = call.id()?;
    call.query.finish()?;
    let query = AllocationQuery {
        filter: with_id(id),
        sort: AllocationSort::Id,
        descending: false,
        after: None,
        limit: 1,
        lists_max: usize::MAX,
        details: true,
    };
    let control = call.control()?;
    let list = control.allocations(query).await;
    let list = list.map_err(|_| Fault::Unavailable)?;
    let (_, allocation) = list.rows.into_iter().next().ok_or(NO_SUCH)?;
    Ok(ok(&One {
        stamp: Stamp::now(control.as_ref()),
        allocation,
    }))
}

/// Ends those that a filter names; without any filter only with `all=true`.
pub async fn end(call: Call) -> Result<Reply, Fault> {
    let filter = filter(&call.query)?;
    let all = call
        .query
        .value("all", "true", |text| (text == "true").then_some(true))?;
    call.query.finish()?;
    let is_everything = filter == AllocationFilter::default();
    if is_everything != all.is_some() {
        return Err(Fault::bad(
            "say which allocations to end: user, transport, client, relayed or peer; or all=true alone for every one",
        ));
    }
    let ended = call.control()?.end_allocations(filter).await;
    let ended = ended.map_err(|_| Fault::Unavailable)?;
    Ok(ok(&Ended { ended }))
}

pub async fn end_one(call: Call) -> Result<Reply, Fault> {
    let id = call.id()?;
    call.query.finish()?;
    let ended = call.control()?.end_allocations(with_id(id)).await;
    match ended.map_err(|_| Fault::Unavailable)? {
        0 => Err(NO_SUCH),
        ended => Ok(ok(&Ended { ended })),
    }
}

fn with_id(id: u64) -> AllocationFilter {
    AllocationFilter {
        id: Some(id),
        ..AllocationFilter::default()
    }
}

fn filter(query: &Query) -> Result<AllocationFilter, Fault> {
    let user = query.value("user", "a user name", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    })?;
    let transport = query.value("transport", "udp, tcp or tls", |text| match text {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        "tls" => Some(Transport::Tls),
        _ => None,
    })?;
    Ok(AllocationFilter {
        id: None,
        user,
        transport,
        client: address(query, "client")?,
        relayed: address(query, "relayed")?,
        peer: address(query, "peer")?,
    })
}

/// What to sort by, and the name of that list in cursors.
fn sort(query: &Query) -> Result<(AllocationSort, &'static str), Fault> {
    let accepted = "id, age, lifetime, user, client, bytes, packets, to_peer_bytes, to_client_bytes or trouble";
    let sort = query.value("sort", accepted, |text| {
        SORTS.into_iter().find(|(name, ..)| *name == text)
    })?;
    let (_, sort, list) = sort.unwrap_or(SORTS[0]);
    Ok((sort, list))
}

const SORTS: [(&str, AllocationSort, &str); 10] = [
    ("id", AllocationSort::Id, "allocations by id"),
    ("age", AllocationSort::Age, "allocations by age"),
    (
        "lifetime",
        AllocationSort::Lifetime,
        "allocations by lifetime",
    ),
    ("user", AllocationSort::User, "allocations by user"),
    ("client", AllocationSort::Client, "allocations by client"),
    ("bytes", AllocationSort::Bytes, "allocations by bytes"),
    ("packets", AllocationSort::Packets, "allocations by packets"),
    (
        "to_peer_bytes",
        AllocationSort::ToPeerBytes,
        "allocations by to_peer_bytes",
    ),
    (
        "to_client_bytes",
        AllocationSort::ToClientBytes,
        "allocations by to_client_bytes",
    ),
    ("trouble", AllocationSort::Trouble, "allocations by trouble"),
];
