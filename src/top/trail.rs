//! The last minutes of one number, and its picture in a line of blocks. Pure.

use super::answers::History;
use std::collections::VecDeque;

/// Older points are forgotten, in seconds.
const SPAN_S: f64 = 900.0;
/// Points beyond make the oldest ones go, however short the interval.
const POINTS_MAX: usize = 2000;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// (seconds since 1970, value), oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    points: VecDeque<(f64, f64)>,
}

impl Trail {
    pub(super) fn push(&mut self, time: f64, value: f64) {
        // A clock that was set back begins a new trail.
        if self.points.back().is_some_and(|(last, _)| *last > time) {
            self.points.clear();
        }
        self.points.push_back((time, value));
        let is_old = |point: &(f64, f64)| point.0 < time - SPAN_S;
        while self.points.len() > POINTS_MAX || self.points.front().is_some_and(is_old) {
            self.points.pop_front();
        }
    }

    /// Takes what the server remembers; points from after that stay.
    pub(super) fn fill(&mut self, history: &History, names: &[String]) {
        let series: Vec<&Vec<Option<f64>>> = names
            .iter()
            .filter_map(|name| history.series.get(name))
            .collect();
        let own: Vec<(f64, f64)> = self.points.drain(..).collect();
        let steps = series.iter().map(|values| values.len()).max().unwrap_or(0);
        for step in 0..steps {
            let values = series.iter().filter_map(|values| *values.get(step)?);
            let sum = values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value));
            let age = (steps - 1 - step) as f64 * history.step_s;
            if let Some(sum) = sum.filter(|_| age < SPAN_S) {
                // The middle of the step.
                self.push(history.end - age - history.step_s / 2.0, sum);
            }
        }
        for (time, value) in own.into_iter().filter(|(time, _)| *time > history.end) {
            self.push(time, value);
        }
    }

    /// `columns` means of `column_s` seconds each, the last one ending at the last point.
    pub(super) fn columns(&self, columns: usize, column_s: f64) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0_u32); columns];
        let end = self.points.back().map_or(0.0, |(time, _)| *time);
        for (time, value) in &self.points {
            let back = ((end - time) / column_s) as usize;
            let index = columns.checked_sub(back + 1);
            if let Some((sum, count)) = index.and_then(|index| sums.get_mut(index)) {
                *sum += value;
                *count += 1;
            }
        }
        sums.into_iter()
            .map(|(sum, count)| (count > 0).then(|| sum / f64::from(count)))
            .collect()
    }
}

/// A block for each value, as high as its share of the greatest; a space for none.
pub(super) fn blocks(values: &[Option<f64>]) -> String {
    let greatest = values.iter().flatten().copied().fold(0.0, f64::max);
    let block = |value: f64| {
        let share = if greatest > 0.0 {
            value / greatest
        } else {
            0.0
        };
        let index = (share * 7.0).round().clamp(0.0, 7.0) as usize;
        BLOCKS.get(index).copied().unwrap_or(' ')
    };
    values
        .iter()
        .map(|value| value.map_or(' ', block))
        .collect()
}

/// The same values in at most `columns`: the greatest of each group, so that no peak is lost.
pub(super) fn squeeze(values: &[Option<f64>], columns: usize) -> Vec<Option<f64>> {
    if columns == 0 {
        return Vec::new();
    }
    let group = values.len().div_ceil(columns).max(1);
    let greatest = |group: &[Option<f64>]| group.iter().flatten().copied().reduce(f64::max);
    values.chunks(group).map(greatest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_shown_as_means_of_equal_spans() {
        let mut trail = Trail::default();
        for (time, value) in [(102.0, 2.0), (103.0, 4.0), (112.0, 9.0), (130.0, 1.0)] {
            trail.push(time, value);
        }
        let shown = trail.columns(4, 10.0);
        assert_eq!(shown, [None, Some(3.0), Some(9.0), Some(1.0)]);
        assert_eq!(blocks(&shown), " ▃█▂");
        assert_eq!(Trail::default().columns(2, 10.0), [None, None]);
        assert_eq!(blocks(&[Some(0.0), Some(0.0), None]), "▁▁ ");
    }

    #[test]
    fn what_the_server_remembers_goes_before_what_was_seen() {
        let history: History = serde_json::from_value(serde_json::json!({
            "step_s": 5, "end": 1000, "series": {"a": [null, 1, 2], "b": [null, null, 3]}
        }))
        .expect("as the contract says");
        let mut trail = Trail::default();
        trail.push(990.0, 70.0);
        trail.push(1002.0, 7.0);
        trail.fill(
            &history,
            &["a".to_owned(), "b".to_owned(), "absent".to_owned()],
        );
        assert_eq!(
            Vec::from(trail.points),
            [(992.5, 1.0), (997.5, 5.0), (1002.0, 7.0)]
        );
    }

    #[test]
    fn a_trail_is_bounded_and_begins_anew_when_the_clock_is_set_back() {
        let mut trail = Trail::default();
        for step in 0..10_000 {
            trail.push(f64::from(step) / 10.0, 1.0);
        }
        assert_eq!(trail.points.len(), POINTS_MAX);
        trail.push(5000.0, 1.0);
        assert_eq!(trail.points.len(), 1);
        trail.push(10.0, 2.0);
        assert_eq!(trail.points.len(), 1);
    }

    #[test]
    fn squeezing_keeps_peaks() {
        let values = [Some(1.0), None, Some(9.0), Some(2.0), None, None];
        assert_eq!(squeeze(&values, 3), [Some(1.0), Some(9.0), None]);
        assert_eq!(squeeze(&values, 100), values);
        assert_eq!(squeeze(&values, 0), []);
    }
}
