//! What a run was limited by, and whether the server did its work right.

use crate::lane::Faults;
use serde_json::Value;

/// A core this busy, in percent, has nothing left to give.
pub const SATURATED_PCT: f64 = 95.0;

/// What kept a run from relaying more: the rate that was asked for, the server's core, the load's core, or the waiting between them.
pub fn limit(paced: bool, server_pct: f64, load_pct: f64) -> &'static str {
    match (paced, server_pct > SATURATED_PCT, load_pct > SATURATED_PCT) {
        (_, true, _) => "server",
        (true, false, false) => "rate",
        (_, false, true) => "load",
        (false, false, false) => "window",
    }
}

/// What no server may do. Loss is a fault only where neither the server's core nor the closed loop asks for it.
pub fn failures(out: &Value, lanes: &[Faults]) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            found.push(format!("{count} {what}"));
        }
    };
    add(lanes.iter().map(|f| f.corrupt).sum(), "packets corrupt");
    add(lanes.iter().map(|f| f.misrouted).sum(), "packets misrouted");
    add(
        lanes.iter().map(|f| f.duplicated).sum(),
        "packets duplicated",
    );
    if out["limit"] == "rate" {
        let lost = format!(
            "packets lost below saturation (dropped at the server's sockets: {}, at the load's: {}, not sent: {})",
            out["drops"]["server"], out["drops"]["load"], out["send_errors"]
        );
        add(out["lost"].as_u64().unwrap_or(0), &lost);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn loss_is_a_fault_below_saturation_alone() {
        for (limit, expected) in [("rate", 1), ("server", 0), ("load", 0), ("window", 0)] {
            let out = json!({ "limit": limit, "lost": 3, "drops": {}, "send_errors": 0 });
            assert_eq!(
                failures(&out, &[Faults::default()]).len(),
                expected,
                "{limit}"
            );
        }
    }

    #[test]
    fn the_busy_core_is_the_limit() {
        assert_eq!(limit(false, 99.0, 99.0), "server");
        assert_eq!(limit(false, 60.0, 99.0), "load");
        assert_eq!(limit(false, 60.0, 60.0), "window");
        assert_eq!(limit(true, 60.0, 60.0), "rate");
        assert_eq!(limit(true, 60.0, 99.0), "load");
    }
}
