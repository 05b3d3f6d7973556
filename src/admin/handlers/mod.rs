//! The answers, one file for each thing that can be asked about.

pub(super) mod allocations;
pub(super) mod config;
pub(super) mod drain;
pub(super) mod health;
pub(super) mod history;
pub(super) mod log_level;
pub(super) mod reload;
pub(super) mod stats;
pub(super) mod tunnels;

use super::answer::Fault;
use super::control::Control;
use super::query::Query;
use super::routes::Call;
use super::{AddressFilter, paging};
use crate::sys::clock;
use serde::Serialize;
use std::sync::Arc;

/// When an answer was made: two answers make a rate, by `uptime_s`, which no change of the clock disturbs.
#[derive(Serialize)]
struct Stamp {
    /// Seconds since 1970.
    time: f64,
    /// Seconds since the server started.
    uptime_s: f64,
}

impl Stamp {
    fn now(control: &dyn Control) -> Self {
        let now = clock::now();
        let uptime = now.instant().saturating_duration_since(control.started());
        Self {
            time: now.unix().as_secs_f64(),
            uptime_s: uptime.as_secs_f64(),
        }
    }
}

/// An answer to a request that ends something.
#[derive(Serialize)]
struct Ended {
    ended: usize,
}

impl Call {
    fn control(&self) -> Result<&Arc<dyn Control>, Fault> {
        self.state.control().ok_or(Fault::Unavailable)
    }

    /// The ID in the path: digits, as the lists show it.
    fn id(&self) -> Result<u64, Fault> {
        let text = self.id.as_deref().unwrap_or_default();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|_| digits);
        id.ok_or_else(|| Fault::bad("the ID in the path is not a whole number"))
    }
}

fn address(query: &Query, name: &'static str) -> Result<Option<AddressFilter>, Fault> {
    let accepted = "an IP address, with a port or without, or a port";
    query.value(name, accepted, |text| text.parse().ok())
}

fn limit(query: &Query) -> Result<usize, Fault> {
    let accepted = "a whole number from 1 to 1000";
    let given = query.value("limit", accepted, |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok();
        number.filter(|number| digits && (1..=paging::LIMIT_MAX).contains(number))
    })?;
    Ok(given.unwrap_or(paging::LIMIT_DEFAULT))
}

fn descending(query: &Query) -> Result<bool, Fault> {
    let given = query.value("order", "asc or desc", |text| match text {
        "asc" => Some(false),
        "desc" => Some(true),
        _ => None,
    })?;
    Ok(given.unwrap_or(false))
}

fn after(query: &Query, list: &str, descending: bool) -> Result<Option<paging::Position>, Fault> {
    let accepted = "`next` of the page before, with the same sort and order";
    query.value("cursor", accepted, |text| {
        paging::read_cursor(text, list, descending)
    })
}
