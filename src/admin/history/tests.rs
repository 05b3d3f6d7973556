use super::*;
use crate::admin::control::Flow;

const HOUR: u64 = 3600;

/// A clock that the test moves, and the history that it feeds.
struct World {
    origin: Instant,
    unix_s: u64,
    history: History,
}

impl World {
    fn begin(first: &Sample) -> Self {
        let origin = Instant::now();
        let unix_s = 1_800_000_000;
        let now = Now::new(origin, Duration::from_secs(unix_s));
        Self {
            origin,
            unix_s,
            history: History::new(now, first),
        }
    }

    fn add(&mut self, ms: u64, sample: &Sample) {
        let since = Duration::from_millis(ms);
        let unix = Duration::from_secs(self.unix_s) + since;
        self.history
            .add(Now::new(self.origin + since, unix), sample);
    }

    /// The last `count` points of a series.
    fn last(&self, span: Span, name: &str, count: usize) -> Vec<f32> {
        let points = self.all(span, name);
        points[points.len() - count..].to_vec()
    }

    fn all(&self, span: Span, name: &str) -> Vec<f32> {
        let shown = self.history.show(span);
        let (_, points) = shown
            .series()
            .find(|(found, _)| *found == name)
            .expect(name);
        points.to_vec()
    }
}

/// Drops counted so far, and tunnels open.
fn sample(drops: u64, tunnels: u64) -> Sample {
    Sample {
        drops,
        tunnels,
        ..Sample::default()
    }
}

/// Equal, and no number to no number.
fn assert_points(found: &[f32], expected: &[f32]) {
    let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
    let equal = found.len() == expected.len() && found.iter().zip(expected).all(same);
    assert!(equal, "{found:?}, not {expected:?}");
}

const NO: f32 = f32::NAN;

#[test]
fn before_the_first_step_there_is_nothing_and_after_it_a_rate_and_a_mean() {
    let mut world = World::begin(&sample(100, 0));
    assert!(
        world
            .all(Span::Hour, "drops_per_s")
            .iter()
            .all(|point| point.is_nan())
    );
    assert_eq!(
        world.history.show(Span::Hour).end,
        Duration::from_secs(world.unix_s)
    );
    world.add(5000, &sample(150, 4));
    assert_points(&world.last(Span::Hour, "drops_per_s", 2), &[NO, 10.0]);
    assert_points(&world.last(Span::Hour, "tunnels", 2), &[NO, 4.0]);
    assert_points(&world.last(Span::SixHours, "tunnels", 1), &[NO]);
}

#[test]
fn longer_steps_have_the_rate_and_the_mean_of_all_of_theirs() {
    let mut world = World::begin(&sample(0, 0));
    for n in 1..=24 {
        // Ten drops a second in the first minute, none in the second; tunnels 1, 2, 3, …
        world.add(n * 5000, &sample(n.min(12) * 50, n));
    }
    assert_points(
        &world.last(Span::SixHours, "drops_per_s", 5),
        &[NO, 10.0, 10.0, 0.0, 0.0],
    );
    assert_points(
        &world.last(Span::SixHours, "tunnels", 4),
        &[3.5, 9.5, 15.5, 21.5],
    );
    assert_points(&world.last(Span::Day, "drops_per_s", 2), &[NO, 5.0]);
    assert_points(&world.last(Span::Day, "tunnels", 1), &[12.5]);
}

#[test]
fn a_step_without_a_sample_is_a_gap_and_the_rate_after_it_is_that_of_the_time_since() {
    let mut world = World::begin(&sample(0, 1));
    world.add(5000, &sample(50, 1));
    world.add(20_000, &sample(200, 3));
    world.add(25_000, &sample(200, 3));
    assert_points(
        &world.last(Span::Hour, "drops_per_s", 6),
        &[NO, 10.0, NO, NO, 10.0, 0.0],
    );
    assert_points(
        &world.last(Span::Hour, "tunnels", 5),
        &[1.0, NO, NO, 3.0, 3.0],
    );
}

#[test]
fn a_gap_longer_than_all_leaves_one_point() {
    let mut world = World::begin(&sample(0, 1));
    world.add(5000, &sample(50, 1));
    world.add(100 * HOUR * 1000, &sample(50, 7));
    for span in Span::ALL {
        let points = world.all(span, "tunnels");
        assert_eq!(
            points.iter().filter(|point| !point.is_nan()).count(),
            1,
            "{span:?}"
        );
        assert!(!points[POINTS - 1].is_nan());
    }
}

#[test]
fn a_counter_that_goes_back_has_no_rate_for_that_step_only() {
    let mut world = World::begin(&sample(1000, 0));
    world.add(5000, &sample(10, 0));
    world.add(10_000, &sample(20, 0));
    assert_points(&world.last(Span::Hour, "drops_per_s", 2), &[NO, 2.0]);
}

#[test]
fn a_full_ring_shows_the_last_hour_oldest_first() {
    let mut world = World::begin(&sample(0, 0));
    for n in 1..=1000_u64 {
        world.add(n * 5000, &sample(0, n));
    }
    let expected: Vec<f32> = (281..=1000_u16).map(f32::from).collect();
    assert_eq!(world.all(Span::Hour, "tunnels"), expected);
    // 1000 steps are 166 of 30 s and a part of the next.
    let last = world.last(Span::SixHours, "tunnels", 1);
    assert_points(&last, &[993.5]);
}

/// The first sample was later than its tick, the others less so.
#[test]
fn a_sample_a_little_before_the_end_of_a_step_ends_it() {
    let mut world = World::begin(&sample(0, 0));
    for n in 1..=6 {
        world.add(n * 5000 - 3, &sample(n * 50, 2));
        let end = world.history.show(Span::Hour).end;
        assert_eq!(end, Duration::from_secs(world.unix_s + n * 5));
    }
    let drops = world.last(Span::Hour, "drops_per_s", 7);
    assert!(
        drops.iter().skip(1).all(|rate| (rate - 10.0).abs() < 0.01),
        "{drops:?}"
    );
    assert!(drops[0].is_nan());
    assert!(!world.last(Span::SixHours, "tunnels", 1)[0].is_nan());
}

/// A late sample belongs to the step that it ends, and `end` is the step's end whatever the lateness.
#[test]
fn a_late_sample_moves_neither_the_steps_nor_their_end() {
    let mut world = World::begin(&sample(0, 0));
    world.add(6000, &sample(60, 2));
    let end = world.history.show(Span::Hour).end;
    assert_eq!(end, Duration::from_secs(world.unix_s + 5));
    world.add(10_000, &sample(60, 2));
    assert_points(&world.last(Span::Hour, "drops_per_s", 2), &[10.0, 0.0]);
}

#[test]
fn a_wall_clock_that_jumps_moves_the_end_and_no_step() {
    let mut world = World::begin(&sample(0, 5));
    world.add(5000, &sample(5, 5));
    for jump in [1_000_000_000, 1_900_000_000] {
        world.unix_s = jump;
        let at = if jump == 1_000_000_000 {
            10_000
        } else {
            15_000
        };
        world.add(at, &sample(at / 1000, 5));
        let end = world.history.show(Span::Hour).end.as_secs();
        assert_eq!(end, jump + at / 1000);
    }
    assert_points(
        &world.last(Span::Hour, "drops_per_s", 4),
        &[NO, 1.0, 1.0, 1.0],
    );
}

#[test]
fn traffic_is_told_by_transport_way_and_unit() {
    let mut world = World::begin(&Sample::default());
    let mut sample = Sample::default();
    for (index, flows) in (1..).zip(&mut sample.traffic) {
        flows.to_peer = Flow {
            packets: 5 * index,
            bytes: 500 * index,
        };
        flows.to_client = Flow {
            packets: 50 * index,
            bytes: 5000 * index,
        };
    }
    world.add(5000, &sample);
    for (index, transport) in (1..)
        .map(f32::from as fn(u8) -> f32)
        .zip(["udp", "tcp", "tls"])
    {
        for (name, value) in [
            ("bits_per_s.{}.to_peer", 800.0),
            ("bits_per_s.{}.to_client", 8000.0),
            ("packets_per_s.{}.to_peer", 1.0),
            ("packets_per_s.{}.to_client", 10.0),
        ] {
            let name = name.replace("{}", transport);
            assert_points(&world.last(Span::Hour, &name, 1), &[value * index]);
        }
    }
}

#[test]
fn means_of_a_step_are_those_of_what_was_observed_in_it() {
    let observed = |count, sum| Observed { count, sum };
    let with = |loss_ratio, round_trip_s| Sample {
        quality: QualitySums {
            client: SideSums {
                loss_ratio,
                round_trip_s,
                ..SideSums::default()
            },
            peer: SideSums::default(),
        },
        ..Sample::default()
    };
    let mut world = World::begin(&with(observed(10, 5.0), observed(0, 0.0)));
    for n in 1..=6_u64 {
        // Two calls: four observations in the first step, then none of loss, and of round trips one every other step.
        let trips = n.div_ceil(2);
        world.add(
            n * 5000,
            &with(observed(14, 5.5), observed(trips, trips as f64 * 0.05)),
        );
    }
    let loss = world.last(Span::Hour, "loss_ratio.client", 6);
    assert_points(&loss, &[0.125, 0.125, 0.125, NO, NO, NO]);
    let round_trips = world.last(Span::Hour, "round_trip_ms.client", 6);
    assert_points(&round_trips, &[50.0; 6]);
    assert_points(
        &world.last(Span::SixHours, "loss_ratio.client", 1),
        &[0.125],
    );
    assert_points(&world.last(Span::Hour, "loss_ratio.peer", 2), &[NO, NO]);
    let recent = world.history.recent_quality();
    assert_eq!(recent.client.loss_ratio, Some(0.125));
    assert_eq!(recent.client.jitter_ms, None);
    assert_eq!(recent.peer, Quality::default().peer);
}

#[test]
fn recent_quality_is_that_of_the_last_minute() {
    let lost = |count: u64, sum: f64| Sample {
        quality: QualitySums {
            client: SideSums {
                loss_ratio: Observed { count, sum },
                ..SideSums::default()
            },
            peer: SideSums::default(),
        },
        ..Sample::default()
    };
    let mut world = World::begin(&lost(0, 0.0));
    world.add(5000, &lost(10, 10.0));
    assert_eq!(world.history.recent_quality().client.loss_ratio, Some(1.0));
    for n in 2..=14 {
        world.add(n * 5000, &lost(10 + n, 10.0));
    }
    assert_eq!(world.history.recent_quality().client.loss_ratio, Some(0.0));
    assert!(world.history.quality.len() <= 13);
}

#[test]
fn levels_that_are_not_told_are_gaps_and_what_is_told_is_not_lost() {
    let resident = |bytes| Sample {
        resident_bytes: bytes,
        cpu_s: bytes.map(|_| 1.0),
        ..Sample::default()
    };
    let mut world = World::begin(&resident(None));
    world.add(5000, &resident(Some(1 << 20)));
    world.add(10_000, &resident(None));
    world.add(30_000, &resident(None));
    assert_points(&world.last(Span::Hour, "cpu_cores", 6), &[NO; 6]);
    let mib = 1024.0 * 1024.0;
    assert_points(&world.last(Span::SixHours, "resident_bytes", 1), &[mib]);
}

#[test]
fn names_are_those_of_the_description_and_each_is_there_once() {
    let world = World::begin(&Sample::default());
    let shown = world.history.show(Span::Day);
    let names: Vec<&str> = shown.series().map(|(name, _)| name).collect();
    assert_eq!(names.len(), SERIES);
    let description: serde_json::Value = serde_json::from_str(crate::admin::OPENAPI).expect("JSON");
    let described = &description["components"]["schemas"]["History"]["properties"]["series"];
    let mut described: Vec<&str> = described["required"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    let mut sorted = names;
    sorted.sort_unstable();
    described.sort_unstable();
    assert_eq!(sorted, described);
    assert!(shown.series().all(|(_, points)| points.len() == POINTS));
}

#[tokio::test]
async fn the_text_is_an_object_with_head_and_series() {
    let mut world = World::begin(&sample(0, 0));
    world.add(5000, &sample(0, 3));
    let head = serde_json::json!({"time": 1.5});
    let text = write(&head, &world.history.show(Span::SixHours)).await;
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&read["time"], &read["span"], &read["step_s"]),
        (&1.5.into(), &"6h".into(), &30.into())
    );
    let text = write(&head, &world.history.show(Span::Hour)).await;
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["end"], world.unix_s + 5);
    let tunnels = read["series"]["tunnels"].as_array().expect("a list");
    assert_eq!((tunnels.len(), &tunnels[719]), (720, &3.into()));
    assert!(tunnels[718].is_null());
}
