//! Quotas, rates, lifetimes and buffers, within the bounds that relayd has for them.

use super::{Draft, Table, Value};
use crate::config::{show_duration, show_size};
use crate::import::Fate;
use crate::import::facts::At;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One full-sized packet a second, and what a number of TOML holds without doubt.
const RATE_BYTES: RangeInclusive<u64> = 1500..=1 << 40;
const LIFETIME_S: RangeInclusive<u64> = 120..=86_400;
const DEFAULT_LIFETIME_S: u64 = 600;
const NONCE_S: RangeInclusive<u64> = 60..=86_400;
const IDLE_S: RangeInclusive<u64> = 1..=86_400;
const UDP_BUFFER_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;
const RELAY_BUFFER_BYTES: RangeInclusive<u64> = 4 << 10..=1 << 30;
const RATE_LIMIT_RPS: u32 = 10;

impl Draft {
    pub(super) fn lifetimes(&mut self) {
        if let Some(At { value, from }) = self.facts.max_lifetime.clone() {
            let seconds = self.within(from, value, LIFETIME_S, shown_s);
            if seconds < DEFAULT_LIFETIME_S {
                self.add(
                    Table::Turn,
                    "default_lifetime",
                    seconds_value(seconds),
                    vec![from],
                );
            }
            self.add(
                Table::Turn,
                "max_lifetime",
                seconds_value(seconds),
                vec![from],
            );
        }
        if let Some(At { value, from }) = self.facts.nonce_lifetime.clone() {
            let seconds = if value == 0 {
                let remark = "in coturn 0 is for ever; relayd's nonces are good for a day at most";
                self.facts.tell([from], Fate::Remarked, remark);
                *NONCE_S.end()
            } else {
                self.within(from, value, NONCE_S, shown_s)
            };
            self.add(
                Table::Turn,
                "nonce_lifetime",
                seconds_value(seconds),
                vec![from],
            );
        }
        if let Some(At { value, from }) = self.facts.unallocated_timeout.clone() {
            let seconds = self.within(from, value, IDLE_S, shown_s);
            let remark = "relayd has it for TCP and TLS connections, and stores nothing for UDP clients without an allocation";
            self.facts.tell([from], Fate::Remarked, remark);
            self.add(
                Table::ListenTimeouts,
                "stream_idle",
                seconds_value(seconds),
                vec![from],
            );
        }
        if let Some(at) = self.facts.software.clone().filter(|at| at.value) {
            let remark = "relayd calls itself \"relayd\", without a version";
            self.facts.tell([at.from], Fate::Remarked, remark);
            let value = Value::Text("relayd".to_owned());
            self.add(Table::Turn, "software", value, vec![at.from]);
        }
    }

    pub(super) fn limits(&mut self) {
        for (key, quota) in [
            ("allocations_per_user", self.facts.user_quota.clone()),
            ("allocations_total", self.facts.total_quota.clone()),
        ] {
            if let Some(At { value, from }) = quota {
                self.add(
                    Table::TurnLimits,
                    key,
                    Value::Number(value.into()),
                    vec![from],
                );
            }
        }
        for (key, rate) in [
            (
                "bytes_per_second_per_allocation",
                self.facts.bandwidth.clone(),
            ),
            ("bytes_per_second_total", self.facts.capacity.clone()),
        ] {
            if let Some(At { value, from }) = rate {
                let rate = if value == 0 {
                    0
                } else {
                    self.within(from, value, RATE_BYTES, show_size)
                };
                self.add(Table::TurnLimits, key, Value::Number(rate), vec![from]);
            }
        }
        self.rate_limit();
        if let Some(At { value, from }) = self.facts.socket_buffer.clone() {
            let udp = self.within(from, value, UDP_BUFFER_BYTES, show_size);
            self.add(
                Table::ListenLimits,
                "udp_buffer_bytes",
                Value::Number(udp),
                vec![from],
            );
            let relay = self.within(from, value, RELAY_BUFFER_BYTES, show_size);
            self.add(
                Table::TurnLimits,
                "relay_buffer_bytes",
                Value::Number(relay),
                vec![from],
            );
        }
    }

    fn rate_limit(&mut self) {
        const KEY: &str = "unauthenticated_per_second_per_address";
        let rate = self.facts.rate_limit_rps.clone();
        let from: Vec<usize> = rate.iter().map(|at| at.from).collect();
        let Some(on) = self.facts.rate_limit.clone().filter(|at| at.value) else {
            let remark = "without `unauthorized-ratelimit` coturn limits nothing; relayd allows 100 a second by default";
            self.facts.tell(from, Fate::NotRead, remark);
            return;
        };
        // coturn takes its default for 0, which would be no limit here.
        let rps = rate.map_or(RATE_LIMIT_RPS, |at| at.value);
        let rps = if rps == 0 { RATE_LIMIT_RPS } else { rps };
        let from = std::iter::once(on.from).chain(from).collect();
        self.add(Table::TurnLimits, KEY, Value::Number(rps.into()), from);
    }

    /// The value as far as relayd takes it.
    fn within(
        &mut self,
        from: usize,
        value: u64,
        range: RangeInclusive<u64>,
        shown: fn(u64) -> String,
    ) -> u64 {
        let fitted = value.clamp(*range.start(), *range.end());
        if fitted != value {
            let (low, high) = (shown(*range.start()), shown(*range.end()));
            let remark = format!("relayd takes {low} to {high}: it is {}", shown(fitted));
            self.facts.tell([from], Fate::Remarked, &remark);
        }
        fitted
    }
}

fn shown_s(seconds: u64) -> String {
    show_duration(Duration::from_secs(seconds))
}

fn seconds_value(seconds: u64) -> Value {
    Value::Text(shown_s(seconds))
}
