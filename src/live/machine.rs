//! The machine: its clock beside the upstreams', its limits, its buffers. Pure, but for what was read before.

use super::Setup;
use super::report::{Part, Row};
use crate::check::{Capacity, capacity};
use crate::config::about_machine;

/// Certificates of an authority, JWTs and time-limited credentials bear about this much, in seconds.
const SKEW_S_MAX: i64 = 60;

pub(super) fn rows(setup: &Setup, skews: &[i64]) -> Vec<Row> {
    let config = &setup.loaded.config;
    let mut rows = vec![clock_row(skews)];
    let capacity = capacity(config, setup.machine.open_files_max);
    rows.push(capacity_row(&capacity));
    let warnings = about_machine(config, &setup.machine);
    let warned = warnings.iter().map(|problem| {
        let detail = format!("{}: {}", problem.message, problem.label);
        let help = problem.help.clone().unwrap_or_default();
        Row::warn(Part::Machine, "UDP buffers", detail, help)
    });
    match warnings.is_empty() {
        true => rows.push(Row::ok(
            Part::Machine,
            "UDP buffers",
            "as large as listen.limits.udp_buffer_bytes asks for",
        )),
        false => rows.extend(warned),
    }
    let domain = &config.domain;
    rows.push(Row::untried(
        Part::Machine,
        "from the internet",
        format!(
            "cannot be known from here: all of this was reached on this machine. From another network: curl https://{domain}/healthcheck, and the test page"
        ),
    ));
    rows
}

/// `skews`: upstreams' clocks minus this one, in seconds.
pub(super) fn clock_row(skews: &[i64]) -> Row {
    const WHAT: &str = "clock";
    let Some(skew) = median(skews) else {
        return Row::untried(
            Part::Machine,
            WHAT,
            "no upstream told the time: there is nothing to compare it with",
        );
    };
    let of = match skews.len() {
        1 => "1 upstream".to_owned(),
        n => format!("{n} upstreams"),
    };
    if skew.abs() <= SKEW_S_MAX {
        let detail = format!("within {} s of {of}", skew.abs().max(1));
        return Row::ok(Part::Machine, WHAT, detail);
    }
    let side = if skew > 0 { "behind" } else { "ahead of" };
    Row::fail(
        Part::Machine,
        WHAT,
        format!("{} s {side} {of}", skew.abs()),
        "Set the clock (`timedatectl set-ntp true`): with a wrong one, time-limited credentials and JWTs expire too early or too late, certificates are refused, and ACME fails.",
    )
}

/// The middle one: a single upstream's wrong clock decides nothing.
fn median(skews: &[i64]) -> Option<i64> {
    let mut sorted = skews.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

pub(super) fn capacity_row(capacity: &Capacity) -> Row {
    const WHAT: &str = "open files";
    let wanted = capacity
        .by_ports
        .min(capacity.by_setting.unwrap_or(u64::MAX));
    match (capacity.by_open_files, capacity.open_files) {
        (Some(by_files), Some(files)) if by_files < wanted => Row::warn(
            Part::Machine,
            WHAT,
            format!(
                "{files} let {by_files} allocations live, {wanted} could by ports and settings"
            ),
            "This is the limit of this shell; the server's own may be higher: its start-up line says how many allocations fit. If that is too few, raise LimitNOFILE in the unit, or `ulimit -n`.",
        ),
        (Some(_), Some(files)) => Row::ok(
            Part::Machine,
            WHAT,
            format!("{files} are enough for {wanted} allocations"),
        ),
        _ => Row::untried(Part::Machine, WHAT, "the limit is not known"),
    }
}
