//! The server's numbers: the last answer of `/stats`, its rates, and the last minutes of a few. Pure.

use super::answers::{History, Stats};
use super::rates::{Rates, sum};
use super::trail::Trail;

/// Longer silence leaves a gap that the server is asked to fill, in seconds.
const GAP_S: f64 = 30.0;

#[derive(Default)]
pub(super) struct Numbers {
    pub stats: Stats,
    pub rates: Rates,
    trails: [Trail; TRAILS],
    /// Whether `/history` is to be asked.
    history: Memory,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Memory {
    #[default]
    Wanted,
    Known,
    /// An older server.
    Absent,
}

/// What has a sparkline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Calls,
    ToPeer,
    ToClient,
    Drops,
    Proxy,
}

const TRAILS: usize = 5;

impl Of {
    const ALL: [Self; TRAILS] = [
        Self::Calls,
        Self::ToPeer,
        Self::ToClient,
        Self::Drops,
        Self::Proxy,
    ];

    /// The series of `/history` whose sum it is.
    fn series(self) -> Vec<String> {
        let each = |name: &str, rest: &str| {
            ["udp", "tcp", "tls"].map(|transport| format!("{name}.{transport}{rest}"))
        };
        match self {
            Self::Calls => each("allocations", "").to_vec(),
            Self::ToPeer => each("bits_per_s", ".to_peer").to_vec(),
            Self::ToClient => each("bits_per_s", ".to_client").to_vec(),
            Self::Drops => vec!["drops_per_s".to_owned()],
            Self::Proxy => vec!["proxy_requests_per_s".to_owned()],
        }
    }
}

impl Numbers {
    pub(super) fn trail(&self, of: Of) -> &Trail {
        &self.trails[of as usize]
    }

    pub(super) fn wants_history(&self) -> bool {
        self.history == Memory::Wanted
    }

    /// Returns whether another process than before has answered.
    pub(super) fn take(&mut self, stats: Stats) -> bool {
        self.rates = Rates::between(&self.stats, &stats).unwrap_or_default();
        let (new, old) = (stats.moment, self.stats.moment);
        let gap = new.time.zip(old.time).map(|(new, old)| new - old);
        let is_other = new.is_of_another_process(old);
        if self.history == Memory::Known && (is_other || gap.is_some_and(|gap| gap > GAP_S)) {
            self.history = Memory::Wanted;
        }
        self.stats = stats;
        let Some(time) = self.stats.moment.time else {
            return is_other;
        };
        for of in Of::ALL {
            if let Some(value) = self.value(of) {
                self.trails[of as usize].push(time, value);
            }
        }
        is_other
    }

    pub(super) fn take_history(&mut self, history: &History) {
        self.history = Memory::Known;
        for of in Of::ALL {
            self.trails[of as usize].fill(history, &of.series());
        }
    }

    pub(super) fn lacks_history(&mut self) {
        self.history = Memory::Absent;
    }

    fn value(&self, of: Of) -> Option<f64> {
        match of {
            Of::Calls => self.stats.allocations.total.map(|total| total as f64),
            Of::ToPeer => sum(&self.rates.to_peer).bits,
            Of::ToClient => sum(&self.rates.to_client).bits,
            Of::Drops => self.rates.drops_total,
            Of::Proxy => self.rates.proxy_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(time: f64, uptime_s: f64) -> Stats {
        serde_json::from_value(
            json!({"time": time, "uptime_s": uptime_s, "allocations": {"total": 3}}),
        )
        .expect("stats")
    }

    #[test]
    fn history_is_asked_for_at_the_start_after_a_gap_and_after_a_restart() {
        let mut numbers = Numbers::default();
        let history = || History {
            step_s: 5.0,
            end: 1000.0,
            ..History::default()
        };
        assert!(numbers.wants_history());
        numbers.take(stats(1000.0, 50.0));
        numbers.take_history(&history());
        numbers.take(stats(1002.0, 52.0));
        assert!(!numbers.wants_history());
        numbers.take(stats(1100.0, 150.0));
        assert!(numbers.wants_history(), "after a gap");
        numbers.take_history(&history());
        numbers.take(stats(1102.0, 1.0));
        assert!(numbers.wants_history(), "after a restart");
        numbers.lacks_history();
        numbers.take(stats(1300.0, 100.0));
        assert!(
            !numbers.wants_history(),
            "an older server is not asked again"
        );
        assert_eq!(numbers.trail(Of::Calls).columns(1, 1000.0), [Some(3.0)]);
        assert_eq!(numbers.trail(Of::Drops).columns(1, 1000.0), [None]);
    }
}
