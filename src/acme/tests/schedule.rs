//! When it asks: the wall clock may jump, the monotonic one does not.

use crate::acme::schedule::{History, Schedule, Validity};
use crate::entropy::Entropy;
use crate::time::Now;
use std::time::{Duration, Instant};

const DAY: u64 = 86_400;
const HOUR: u64 = 3600;
/// Some day of 2030.
const TODAY: u64 = 1_900_000_000;

/// The same bytes for ever.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// A clock whose two halves move as the test says.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    unix: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            instant: Instant::now(),
            unix: TODAY,
        }
    }

    fn now(self) -> Now {
        Now::new(self.instant, Duration::from_secs(self.unix))
    }

    /// Time passes.
    fn pass(&mut self, seconds: u64) {
        self.instant += Duration::from_secs(seconds);
        self.unix += seconds;
    }
}

fn names() -> Vec<String> {
    vec!["a.example".to_owned()]
}

fn of_days(days: u64) -> Validity {
    let from = i64::try_from(TODAY).expect("it fits");
    Validity::new(from, from + i64::try_from(days * DAY).expect("it fits"))
}

/// Waits as the worker does until an attempt is due; returns how long that was.
fn until_due(schedule: &Schedule, clock: &mut Clock) -> u64 {
    let mut waited = 0;
    loop {
        let wait = schedule.wait(clock.now());
        if wait.is_zero() {
            return waited;
        }
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        waited += seconds;
        assert!(waited < 1000 * DAY, "it never comes");
        clock.pass(seconds);
    }
}

#[test]
fn without_a_certificate_it_asks_at_once() {
    let clock = Clock::new();
    let history = History::default();
    let schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
    assert_eq!(schedule.wait(clock.now()), Duration::ZERO);
}

#[test]
fn renewal_comes_at_two_thirds_of_the_lifetime_and_at_most_a_thirtieth_later() {
    for (chance, days) in [(0, 90), (0xff, 90), (0x5a, 90), (0, 6), (0xff, 6)] {
        let mut clock = Clock::new();
        let history = History::default();
        let good = Some(of_days(days));
        let schedule = Schedule::start(clock.now(), good, &history, &names(), &mut Fixed(chance));
        let waited = until_due(&schedule, &mut clock);
        let (lifetime, third) = (days * DAY, days * DAY / 3);
        let range = lifetime - third..=lifetime - third + lifetime / 30;
        assert!(range.contains(&waited), "{waited} of {days} days");
        assert_eq!(schedule.next_s(clock.now()), clock.unix);
    }
}

#[test]
fn a_certificate_that_is_overdue_or_expired_is_renewed_at_once() {
    for days_ago in [61, 64, 89, 91, 5000] {
        let mut clock = Clock::new();
        clock.unix += days_ago * DAY;
        let history = History::default();
        let good = Some(of_days(90));
        let schedule = Schedule::start(clock.now(), good, &history, &names(), &mut Fixed(0));
        assert_eq!(schedule.wait(clock.now()), Duration::ZERO, "{days_ago}");
    }
}

#[test]
fn pauses_double_from_five_minutes_to_twelve_hours_with_up_to_a_quarter_of_chance() {
    for chance in [0, 0xff, 0x37] {
        let mut clock = Clock::new();
        let mut history = History::default();
        let mut rng = Fixed(chance);
        let mut schedule = Schedule::start(clock.now(), None, &history, &names(), &mut rng);
        let mut least = 300;
        for _ in 0..20 {
            history.begin(clock.now());
            history.fail();
            schedule.failed(clock.now(), &history, None, &mut rng);
            let waited = until_due(&schedule, &mut clock);
            let range = least..=least + least / 4 + 1;
            assert!(range.contains(&waited), "{waited}, not {range:?}");
            least = (least * 2).min(12 * HOUR);
        }
    }
}

/// Let's Encrypt: 5 failed validations of a name in an hour. Here every window of an hour has 4 at most, also if relayd is started
/// again after each.
#[test]
fn failures_stay_below_five_an_hour_with_and_without_restarts() {
    for restarts in [false, true] {
        let mut clock = Clock::new();
        let mut history = History::default();
        let mut rng = Fixed(0);
        let mut schedule = Schedule::start(clock.now(), None, &history, &names(), &mut rng);
        let mut attempts: Vec<u64> = Vec::new();
        while clock.unix < TODAY + 2 * DAY {
            until_due(&schedule, &mut clock);
            attempts.push(clock.unix);
            history.begin(clock.now());
            history.fail();
            schedule.failed(clock.now(), &history, None, &mut rng);
            if restarts {
                clock.pass(1);
                schedule = Schedule::start(clock.now(), None, &history, &names(), &mut rng);
            }
        }
        for window in attempts.windows(5) {
            assert!(window[4] - window[0] >= HOUR, "{restarts} {window:?}");
        }
        assert!(attempts.len() > 5, "{attempts:?}");
    }
}

#[test]
fn a_person_who_has_mended_something_and_starts_again_does_not_wait() {
    let mut clock = Clock::new();
    let mut history = History::default();
    for _ in 0..3 {
        history.begin(clock.now());
        history.fail();
        clock.pass(2);
        let schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
        assert_eq!(schedule.wait(clock.now()), Duration::ZERO);
    }
    history.begin(clock.now());
    let schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
    let waited = until_due(&schedule, &mut clock);
    assert!((HOUR - 10..=HOUR).contains(&waited), "{waited}");
}

#[test]
fn the_authoritys_wish_lengthens_a_pause_and_never_shortens_it() {
    let after = |wish: u64| {
        let mut clock = Clock::new();
        let mut history = History::default();
        let mut schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
        history.begin(clock.now());
        history.fail();
        let wish = Some(Duration::from_secs(wish));
        schedule.failed(clock.now(), &history, wish, &mut Fixed(0));
        until_due(&schedule, &mut clock)
    };
    assert_eq!(after(1), 300);
    assert!((7200..=7202).contains(&after(7200)));
    // One that asks for years is believed for a week.
    assert_eq!(after(u64::MAX), 7 * DAY);
}

/// Let's Encrypt: 5 certificates for the same names in a week.
#[test]
fn a_clock_that_is_years_ahead_brings_no_more_than_five_certificates_a_week() {
    for restarts in [false, true] {
        let mut clock = Clock::new();
        clock.unix += 3000 * DAY;
        let mut history = History::default();
        let mut rng = Fixed(0);
        let good = Some(of_days(90));
        let mut schedule = Schedule::start(clock.now(), good, &history, &names(), &mut rng);
        let (begin, mut issued) = (clock.unix, 0);
        loop {
            until_due(&schedule, &mut clock);
            if clock.unix >= begin + 7 * DAY {
                break;
            }
            issued += 1;
            history.begin(clock.now());
            history.succeed(clock.now(), of_days(90), &names());
            schedule.succeeded(clock.now(), of_days(90), &mut rng);
            if restarts {
                clock.pass(1);
                schedule = Schedule::start(clock.now(), good, &history, &names(), &mut rng);
            }
        }
        assert!((1..=5).contains(&issued), "{issued}");
    }
}

#[test]
fn a_clock_that_jumps_ahead_brings_the_renewal_forward_and_one_that_jumps_back_repeats_nothing() {
    let mut clock = Clock::new();
    let mut history = History::default();
    let mut rng = Fixed(0);
    history.begin(clock.now());
    history.succeed(clock.now(), of_days(90), &names());
    let mut schedule = Schedule::start(clock.now(), None, &history, &names(), &mut rng);
    schedule.succeeded(clock.now(), of_days(90), &mut rng);

    // Sixty-one days in no time: due, but not within the space that two certificates keep.
    clock.unix += 61 * DAY;
    let waited = until_due(&schedule, &mut clock);
    assert!((HOUR..=36 * HOUR).contains(&waited), "{waited}");

    // Back before the certificate begins: it waits for its time, and looks again soon.
    schedule.succeeded(clock.now(), of_days(90), &mut rng);
    clock.unix = TODAY - 400 * DAY;
    assert_eq!(schedule.wait(clock.now()), Duration::from_secs(600));
    clock.pass(600);
    assert_eq!(schedule.wait(clock.now()), Duration::from_secs(600));
    // The clock is set right: within one look everything is as it was.
    clock.unix = TODAY + 61 * DAY;
    clock.instant += Duration::from_secs(40 * HOUR);
    assert_eq!(schedule.wait(clock.now()), Duration::ZERO);
}

#[test]
fn a_pause_after_a_failure_does_not_end_early_when_the_clock_jumps() {
    let mut clock = Clock::new();
    let mut history = History::default();
    let mut schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
    history.begin(clock.now());
    history.fail();
    schedule.failed(clock.now(), &history, None, &mut Fixed(0));
    for jump in [0, TODAY + 1000 * DAY, TODAY] {
        clock.unix = jump;
        assert_eq!(schedule.wait(clock.now()), Duration::from_secs(300));
    }
}

#[test]
fn attempts_noted_under_a_clock_that_was_ahead_do_not_block_for_ever() {
    let mut clock = Clock::new();
    let mut history = History::default();
    clock.unix += 1000 * DAY;
    for _ in 0..9 {
        history.begin(clock.now());
    }
    clock.unix = TODAY;
    let schedule = Schedule::start(clock.now(), None, &history, &names(), &mut Fixed(0));
    assert_eq!(schedule.wait(clock.now()), Duration::ZERO);
    history.begin(clock.now());
    let text = serde_json::to_string(&history).expect("JSON");
    assert!(!text.contains(&(TODAY + 1000 * DAY).to_string()), "{text}");
}

#[test]
fn other_names_are_asked_for_at_once_and_the_same_ones_not() {
    let clock = Clock::new();
    let mut history = History::default();
    history.succeed(clock.now(), of_days(90), &names());
    let mut later = clock;
    later.pass(60);
    // The old certificate does not cover them, so there is none to start from.
    let other = ["b.example".to_owned()];
    let schedule = Schedule::start(later.now(), None, &history, &other, &mut Fixed(0));
    assert_eq!(schedule.wait(later.now()), Duration::ZERO);
    let due = Some(Validity::new(0, 90));
    let schedule = Schedule::start(later.now(), due, &history, &names(), &mut Fixed(0));
    assert!(schedule.wait(later.now()) > Duration::ZERO);
}

#[test]
fn dates_that_make_no_sense_are_no_reason_to_fall_over() {
    let mut clock = Clock::new();
    for (from, to) in [
        (0, 0),
        (-5, -7),
        (i64::MAX, i64::MIN),
        (i64::MIN, i64::MAX),
        (i64::MAX, i64::MAX),
        (100, 50),
    ] {
        let history = History::default();
        let good = Validity::new(from, to);
        let mut schedule = Schedule::start(
            clock.now(),
            Some(good),
            &history,
            &names(),
            &mut Fixed(0xff),
        );
        let _ = (schedule.wait(clock.now()), schedule.next_s(clock.now()));
        schedule.succeeded(clock.now(), good, &mut Fixed(0xff));
        assert!(schedule.wait(clock.now()) > Duration::ZERO, "{from} {to}");
        clock.pass(1);
    }
}
