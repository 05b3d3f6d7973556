//! Numbers as an operator reads them. What was not measured is "-".

pub(super) const UNKNOWN: &str = "-";

/// A count with a narrow space between thousands: `12 345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

/// Three digits and a decimal prefix: `950`, `1.2 k`, `34.0 M`.
pub(super) fn scaled(number: f64) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    if !number.is_finite() {
        return UNKNOWN.to_owned();
    }
    let mut number = number;
    let mut prefix = 0;
    // 999.95 would be shown as 1000.0.
    while number.abs() >= 999.95 && prefix + 1 < PREFIXES.len() {
        number /= 1000.0;
        prefix += 1;
    }
    let prefix = PREFIXES.get(prefix).copied().unwrap_or_default();
    match (prefix, number) {
        ("", 0.0) => "0".to_owned(),
        ("", number) if number < 9.95 => format!("{number:.1}"),
        ("", number) => format!("{number:.0}"),
        (prefix, number) if number < 99.95 => format!("{number:.1} {prefix}"),
        (prefix, number) => format!("{number:.0} {prefix}"),
    }
}

/// Bits in a second: `1.2 Mbit/s`.
pub(super) fn bits(rate: Option<f64>) -> String {
    known(rate, |rate| unit(rate, "bit/s"))
}

pub(super) fn per_second(rate: Option<f64>) -> String {
    known(rate, |rate| format!("{}/s", scaled(rate).replace(' ', "")))
}

pub(super) fn bytes(number: Option<u64>) -> String {
    known(number, |number| unit(number as f64, "B"))
}

fn unit(number: f64, unit: &str) -> String {
    let scaled = scaled(number);
    match scaled.contains(' ') {
        true => scaled + unit,
        false => format!("{scaled} {unit}"),
    }
}

/// A share of one as percent, with more digits where it is small.
pub(super) fn percent(ratio: Option<f64>) -> String {
    known(ratio, |ratio| match ratio * 100.0 {
        percent if percent <= 0.0 => "0%".to_owned(),
        percent if percent < 0.1 => "<0.1%".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    })
}

pub(super) fn millis(value: Option<f64>) -> String {
    known(value, |value| match value {
        value if value < 9.95 && value > 0.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    })
}

/// A span of time in two units at most: `45s`, `12m05s`, `3h20m`, `4d06h`.
pub(super) fn span(seconds: Option<f64>) -> String {
    known(seconds, |seconds| {
        let seconds = seconds.max(0.0) as u64;
        match seconds {
            0..=59 => format!("{seconds}s"),
            60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
            3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
            _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        }
    })
}

pub(super) fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_whatever_their_size() {
        let shown = [0.0, 0.04, 9.96, 950.0, 999.96, 1234.0, 99_950.0, 34e6, 2e15].map(scaled);
        let expected = [
            "0", "0.0", "10", "950", "1.0 k", "1.2 k", "100 k", "34.0 M", "2000 T",
        ];
        assert_eq!(shown, expected);
        assert_eq!(scaled(f64::NAN), "-");
        assert_eq!(bits(Some(1_234_567.0)), "1.2 Mbit/s");
        assert_eq!(bits(Some(12.0)), "12 bit/s");
        assert_eq!(per_second(Some(1234.0)), "1.2k/s");
        assert_eq!(bytes(Some(20_000_000)), "20.0 MB");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(17), "17");
    }

    #[test]
    fn what_was_not_measured_is_a_dash_and_never_zero() {
        for shown in [
            bits(None),
            per_second(None),
            bytes(None),
            percent(None),
            millis(None),
            span(None),
        ] {
            assert_eq!(shown, "-");
        }
    }

    #[test]
    fn shares_and_times_are_short() {
        let shown = [0.0, 0.0004, 0.0123, 0.5, 1.0].map(|ratio| percent(Some(ratio)));
        assert_eq!(shown, ["0%", "<0.1%", "1.2%", "50%", "100%"]);
        let shown = [0.0, 59.9, 65.0, 12_000.0, 367_000.0].map(|seconds| span(Some(seconds)));
        assert_eq!(shown, ["0s", "59s", "1m05s", "3h20m", "4d05h"]);
        assert_eq!(millis(Some(3.12)), "3.1");
        assert_eq!(millis(Some(45.6)), "46");
    }
}
