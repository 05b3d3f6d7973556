//! The last hours in numbers: every series of `series` at three steps, in rings of a fixed size.
//!
//! Pure: samples go in with their time, points come out. A step is one of the monotonic clock, so no change of the wall clock
//! makes or loses one; the wall clock only says when the last step ended. What was not measured is no number (NaN), never 0:
//! steps before the start, steps without a sample, means of nothing, a counter that went back.
//! The memory is fixed: 33 series x 3 spans x 720 points x 4 bytes are 278 KiB. Absent: who takes the samples (`sampler`).

mod sample;
mod series;
mod text;

pub use sample::{Flows, Observed, QualitySums, Sample, SideSums};
pub(super) use text::write;

use super::stats::Quality;
use crate::time::Now;
use series::{SERIES, Take};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often there should be a sample; the step of the shortest span.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// A sample ends the step that it comes so little before the end of: the first one, which steps are counted from, may have
/// been later than others are.
const EARLY: Duration = Duration::from_millis(500);

/// Points of every span.
const POINTS: usize = 720;

/// A call's quality is observed every 10 s: over less than this some steps would have none of it.
const QUALITY_OVER: Duration = Duration::from_secs(15);

/// The time that [`History::recent_quality`] looks back.
const RECENT: Duration = Duration::from_secs(60);

/// How far back to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Span {
    #[default]
    Hour,
    SixHours,
    Day,
}

impl Span {
    const ALL: [Self; 3] = [Self::Hour, Self::SixHours, Self::Day];

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.label() == text)
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
        }
    }

    pub(super) fn step_s(self) -> u32 {
        match self {
            Self::Hour => 5,
            Self::SixHours => 30,
            Self::Day => 120,
        }
    }
}

/// All that is kept.
#[derive(Debug)]
pub(super) struct History {
    origin: Instant,
    spans: [Ring; 3],
    /// Sums of the last minute and the time of each, oldest first.
    quality: VecDeque<(Instant, QualitySums)>,
}

/// What one span shows: a copy, so that writing it down holds nobody up.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub span: Span,
    /// When the last step ended, since 1970.
    pub end: Duration,
    /// The series one after the other, each with its oldest point first.
    points: Box<[f32]>,
}

impl Shown {
    /// Names and points; no number is NaN.
    pub(super) fn series(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        let names = series::all().map(|(name, _)| *name);
        names.zip(self.points.chunks_exact(POINTS))
    }
}

impl History {
    /// Begins with a sample from which the first differences are taken.
    pub(super) fn new(now: Now, first: &Sample) -> Self {
        Self {
            origin: now.instant(),
            spans: Span::ALL.map(|span| Ring::new(span, now, first)),
            quality: VecDeque::from([(now.instant(), first.quality)]),
        }
    }

    pub(super) fn add(&mut self, now: Now, sample: &Sample) {
        let ago = |at: Instant| now.instant().saturating_duration_since(at);
        // Samples are some milliseconds late, one more than the other.
        let long_ago = QUALITY_OVER - SAMPLE_EVERY / 2;
        let is_before = |(at, _): &&(Instant, QualitySums)| ago(*at) >= long_ago;
        let before = self.quality.iter().rev().find(is_before);
        let before = before.or(self.quality.front()).map(|(_, sums)| *sums);
        for ring in &mut self.spans {
            ring.add(self.origin, now, sample, &before.unwrap_or_default());
        }
        let is_recent = |at: Instant| ago(at) <= RECENT;
        while self.quality.front().is_some_and(|(at, _)| !is_recent(*at)) {
            self.quality.pop_front();
        }
        self.quality.push_back((now.instant(), sample.quality));
    }

    pub(super) fn show(&self, span: Span) -> Shown {
        self.spans[span as usize].show()
    }

    /// The means of about the last minute.
    pub(super) fn recent_quality(&self) -> Quality {
        match (self.quality.front(), self.quality.back()) {
            (Some((_, then)), Some((_, now))) => now.since(then),
            _ => Quality::default(),
        }
    }
}

/// One span: its points, and what its running step is made of.
#[derive(Debug)]
struct Ring {
    span: Span,
    /// The number of the running step, counted from the origin.
    running: u128,
    /// The sample that the running step begins with, and its time.
    base: Sample,
    base_at: Instant,
    /// Sum and count of the levels seen in the running step, by series.
    levels: [(f64, u32); SERIES],
    /// [`POINTS`] of each series, one series after the other.
    points: Box<[f32]>,
    /// The place of the oldest point, which is the next one to be written.
    next: usize,
    end: Duration,
}

impl Ring {
    fn new(span: Span, now: Now, first: &Sample) -> Self {
        Self {
            span,
            running: 0,
            base: first.clone(),
            base_at: now.instant(),
            levels: [(0.0, 0); SERIES],
            points: vec![f32::NAN; SERIES * POINTS].into(),
            next: 0,
            end: now.unix(),
        }
    }

    fn step(&self) -> Duration {
        Duration::from_secs(self.span.step_s().into())
    }

    /// `before`: the quality at [`QUALITY_OVER`] ago.
    fn add(&mut self, origin: Instant, now: Now, sample: &Sample, before: &QualitySums) {
        self.see_levels(sample);
        let since = now.instant().saturating_duration_since(origin);
        let step = (since + EARLY).as_nanos() / self.step().as_nanos();
        let Some(closed) = step.checked_sub(self.running).filter(|closed| *closed > 0) else {
            return;
        };
        let missed = usize::try_from(closed - 1).unwrap_or(POINTS).min(POINTS);
        for _ in 0..missed {
            self.push(|_, _| None);
        }
        let took_s = now
            .instant()
            .saturating_duration_since(self.base_at)
            .as_secs_f64();
        let (base, levels) = (std::mem::take(&mut self.base), self.levels);
        let is_short = self.step() < QUALITY_OVER;
        let quality = sample
            .quality
            .since(if is_short { before } else { &base.quality });
        self.push(|index, take| match take {
            Take::Rate(of) => rate(of(sample)?, of(&base)?, took_s),
            Take::Level(_) => mean(levels[index]),
            Take::Between(of) => of(sample, &base),
            Take::Of(of) => of(&quality),
        });
        self.running = step;
        self.base = sample.clone();
        self.base_at = now.instant();
        self.levels = [(0.0, 0); SERIES];
        let over = (since + EARLY).as_nanos() % self.step().as_nanos();
        let over = Duration::from_nanos(u64::try_from(over).unwrap_or(0));
        self.end = (now.unix() + EARLY).saturating_sub(over);
    }

    fn see_levels(&mut self, sample: &Sample) {
        for ((_, take), (sum, count)) in series::all().zip(&mut self.levels) {
            if let Take::Level(of) = take
                && let Some(level) = of(sample)
            {
                *sum += level;
                *count += 1;
            }
        }
    }

    /// One more point of every series, in the place of the oldest one.
    fn push(&mut self, make: impl Fn(usize, &Take) -> Option<f64>) {
        let places = self.points.iter_mut().skip(self.next).step_by(POINTS);
        for ((index, (_, take)), place) in series::all().enumerate().zip(places) {
            *place = make(index, take).map_or(f32::NAN, |value| value as f32);
        }
        self.next = (self.next + 1) % POINTS;
    }

    fn show(&self) -> Shown {
        let mut points = self.points.clone();
        for series in points.chunks_exact_mut(POINTS) {
            series.rotate_left(self.next);
        }
        Shown {
            span: self.span,
            end: self.end,
            points,
        }
    }
}

/// By the second; `None` for a counter that went back.
fn rate(now: f64, then: f64, took_s: f64) -> Option<f64> {
    (now >= then && took_s > 0.0).then(|| (now - then) / took_s)
}

fn mean((sum, count): (f64, u32)) -> Option<f64> {
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
