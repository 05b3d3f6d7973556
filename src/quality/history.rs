//! The course of a call in bounded memory: when it is full, two steps become one, so that it always covers the whole call.

use super::report::{HistoryReport, Interval};
use super::{INTERVAL_NS, Side};

/// Steps that are kept.
const STEPS_MAX: usize = 60;

#[derive(Clone, Debug)]
pub struct History {
    steps: Vec<[Step; 2]>,
    /// Intervals of a step: a power of two.
    intervals: u32,
    /// Those of the step under way.
    gathered: u32,
    gathering: [Means; 2],
}

impl Default for History {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            intervals: 1,
            gathered: 0,
            gathering: Default::default(),
        }
    }
}

impl History {
    pub fn push(&mut self, interval: &[Interval; 2]) {
        self.gather(interval, 1);
    }

    /// As many intervals in which nothing came, in a time that grows with the logarithm of their number.
    pub fn push_silent(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let room = self.intervals.saturating_sub(self.gathered).max(1);
            let fit = u32::try_from(left).map_or(room, |left| left.min(room));
            self.gather(&[Interval::SILENT; 2], fit);
            left -= u64::from(fit);
        }
    }

    /// `count`: at most as many as the step under way has room for.
    fn gather(&mut self, interval: &[Interval; 2], count: u32) {
        for (means, interval) in self.gathering.iter_mut().zip(interval) {
            means.add(interval, count);
        }
        self.gathered = self.gathered.saturating_add(count);
        if self.gathered < self.intervals {
            return;
        }
        let step = self.gathering.map(|means| Step::of(&means.interval()));
        self.gathered = 0;
        self.gathering = Default::default();
        self.append(step);
    }

    fn append(&mut self, step: [Step; 2]) {
        if self.steps.len() == self.steps.capacity() {
            let more = self.steps.len().clamp(4, STEPS_MAX);
            let room = STEPS_MAX.saturating_sub(self.steps.len()).max(1);
            self.steps.reserve_exact(more.min(room));
        }
        self.steps.push(step);
        if self.steps.len() >= STEPS_MAX {
            self.fold();
        }
    }

    fn fold(&mut self) {
        for at in 0..self.steps.len() / 2 {
            let pair = [self.steps[2 * at], self.steps[2 * at + 1]];
            self.steps[at] = Side::ALL.map(|side| {
                let mut means = Means::default();
                for step in pair {
                    means.add(&step[side.index()].interval(), 1);
                }
                Step::of(&means.interval())
            });
        }
        self.steps.truncate(self.steps.len() / 2);
        self.intervals = self.intervals.saturating_mul(2);
    }

    /// The step under way is the last one, as far as it has come. `age_s`: since the last interval's end.
    pub fn report(&self, age_s: f64) -> HistoryReport {
        let steps = self.steps.iter();
        let mut steps: Vec<_> = steps.map(|step| step.map(|side| side.interval())).collect();
        if self.gathered > 0 {
            steps.push(self.gathering.map(|means| means.interval()));
        }
        let seconds = |intervals: u32| f64::from(intervals) * INTERVAL_NS as f64 / 1e9;
        let last = Some(self.gathered).filter(|gathered| *gathered > 0);
        HistoryReport {
            step_s: seconds(self.intervals),
            last_step_s: seconds(last.unwrap_or(self.intervals)),
            age_s,
            steps,
        }
    }
}

/// Means of what was measured at all: loss, jitter, round trip, bits.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    sums: [f32; 4],
    counts: [u32; 4],
}

impl Means {
    /// As many intervals of the same values.
    fn add(&mut self, interval: &Interval, times: u32) {
        let values = [
            interval.loss_ratio,
            interval.jitter_ms,
            interval.round_trip_ms,
            interval.bits_per_s,
        ];
        for ((sum, count), value) in self.sums.iter_mut().zip(&mut self.counts).zip(values) {
            *sum += value.unwrap_or(0.0) * times as f32;
            *count = count.saturating_add(u32::from(value.is_some()) * times);
        }
    }

    fn interval(&self) -> Interval {
        let mean = |at: usize| {
            let count = self.counts[at];
            (count > 0).then(|| self.sums[at] / count as f32)
        };
        Interval {
            loss_ratio: mean(0),
            jitter_ms: mean(1),
            round_trip_ms: mean(2),
            bits_per_s: mean(3),
            ..Interval::default()
        }
    }
}

/// An interval in eight bytes: to 0.03 % of each value.
#[derive(Clone, Copy, Debug)]
struct Step {
    loss_ratio: Packed,
    jitter: Packed,
    round_trip: Packed,
    bits_per_s: Packed,
}

impl Step {
    fn of(interval: &Interval) -> Self {
        Self {
            loss_ratio: Packed::of(interval.loss_ratio, 1e6),
            jitter: Packed::of(interval.jitter_ms, 1e3),
            round_trip: Packed::of(interval.round_trip_ms, 1e3),
            bits_per_s: Packed::of(interval.bits_per_s, 1.0),
        }
    }

    fn interval(self) -> Interval {
        Interval {
            loss_ratio: self.loss_ratio.value(1e6),
            jitter_ms: self.jitter.value(1e3),
            round_trip_ms: self.round_trip.value(1e3),
            bits_per_s: self.bits_per_s.value(1.0),
            ..Interval::default()
        }
    }
}

/// A logarithm, so that small and large values are kept alike; 0 is exact, and so is what was not measured.
#[derive(Clone, Copy, Debug)]
struct Packed(u16);

impl Packed {
    /// 2^40 is the most.
    const STEPS_PER_OCTAVE: f32 = 1600.0;
    const NOTHING: u16 = u16::MAX;

    fn of(value: Option<f32>, steps: f32) -> Self {
        let packed = |value: f32| {
            let octaves = (value * steps).ln_1p() / std::f32::consts::LN_2;
            // `as` stays within the bounds of the type.
            ((octaves * Self::STEPS_PER_OCTAVE).round() as u16).min(Self::NOTHING - 1)
        };
        Self(value.map_or(Self::NOTHING, packed))
    }

    fn value(self, steps: f32) -> Option<f32> {
        let octaves = f32::from(self.0) / Self::STEPS_PER_OCTAVE;
        let value = (octaves * std::f32::consts::LN_2).exp_m1() / steps;
        (self.0 != Self::NOTHING).then_some(value)
    }
}

#[cfg(test)]
impl History {
    pub fn heap_bytes(&self) -> usize {
        self.steps.capacity() * size_of::<[Step; 2]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(bits: Option<f32>) -> [Interval; 2] {
        let client = Interval {
            loss_ratio: Some(0.02),
            bits_per_s: bits,
            ..Interval::default()
        };
        [client, Interval::default()]
    }

    fn is_near(value: Option<f32>, expected: f32) -> bool {
        value.is_some_and(|value| (value - expected).abs() <= expected * 1e-3)
    }

    #[test]
    fn a_packed_value_is_what_it_was_to_a_thousandth() {
        for value in [0.0, 1e-6, 0.01, 0.05, 1.0] {
            assert!(is_near(Packed::of(Some(value), 1e6).value(1e6), value));
        }
        for value in [0.0, 0.02, 7.0, 250.0, 9999.0] {
            assert!(is_near(Packed::of(Some(value), 1e3).value(1e3), value));
        }
        for value in [0.0, 64e3, 2.5e6, 10e9] {
            assert!(is_near(Packed::of(Some(value), 1.0).value(1.0), value));
        }
        assert_eq!(Packed::of(None, 1.0).value(1.0), None);
    }

    #[test]
    fn a_call_of_any_length_is_covered_by_at_most_sixty_steps_of_twice_the_length_each_time() {
        let mut history = History::default();
        for count in 1..=5000_u32 {
            history.push(&interval(Some(1000.0)));
            let report = history.report(0.0);
            assert!(report.steps.len() <= STEPS_MAX, "{count}");
            let before = (report.steps.len() - 1) as f64 * report.step_s;
            let covered = before + report.last_step_s;
            assert_eq!(covered, f64::from(count) * 10.0, "{count}");
            assert!((10.0..=report.step_s).contains(&report.last_step_s));
            assert!(
                report
                    .steps
                    .iter()
                    .all(|step| is_near(step[0].loss_ratio, 0.02))
            );
            assert!(
                report
                    .steps
                    .iter()
                    .all(|step| step[1] == Interval::default())
            );
        }
        // 60 steps of 10 s fold at 600 s, those of 20 s at 1200 s, and so on.
        assert_eq!(history.report(0.0).step_s, 10.0 * 128.0);
        assert!(history.steps.capacity() <= STEPS_MAX);
    }

    #[test]
    fn silent_intervals_at_once_are_those_one_after_the_other() {
        for count in (0..200).chain([599, 600, 601, 2000, 5000]) {
            for before in [0, 1, 59, 61, 150] {
                let mut at_once = History::default();
                (0..before).for_each(|_| at_once.push(&interval(Some(1000.0))));
                let mut one_by_one = at_once.clone();
                at_once.push_silent(count);
                (0..count).for_each(|_| one_by_one.push(&[Interval::SILENT; 2]));
                assert_eq!(
                    at_once.report(0.0),
                    one_by_one.report(0.0),
                    "{before} {count}"
                );
                let [at_once, one_by_one] = [at_once, one_by_one].map(|mut history| {
                    history.push(&interval(Some(500.0)));
                    history.report(0.0)
                });
                assert_eq!(at_once, one_by_one, "{before} {count}, and one more");
            }
        }
    }

    #[test]
    fn as_many_silent_intervals_as_there_can_be_end_soon() {
        let mut history = History::default();
        history.push_silent(u64::MAX / INTERVAL_NS);
        assert!(history.report(0.0).steps.len() <= STEPS_MAX);
    }

    #[test]
    fn folded_steps_are_means_of_what_was_measured() {
        let mut history = History::default();
        for count in 0..60 {
            let bits = [Some(1000.0), Some(3000.0), None, Some(500.0), None, None];
            history.push(&interval(bits[count % 6]));
        }
        let report = history.report(0.0);
        assert_eq!((report.step_s, report.steps.len()), (20.0, 30));
        for steps in report.steps.chunks(3) {
            assert!(is_near(steps[0][0].bits_per_s, 2000.0));
            assert!(is_near(steps[1][0].bits_per_s, 500.0));
            assert_eq!(steps[2][0].bits_per_s, None);
        }
    }
}
