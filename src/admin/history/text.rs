//! A span as JSON: numbers with three digits that count, and all digits before the point.

use super::Shown;
use serde::Serialize;
use std::fmt::Write;

/// Writes `"span": … }` behind `head`, an object that is still open or empty; returns after each series to let others work.
pub(in crate::admin) async fn write(head: &impl Serialize, shown: &Shown) -> String {
    let mut text = serde_json::to_string(head).expect("a head is made of text and numbers");
    // Of the head's object: the rest goes in.
    text.truncate(text.trim_end_matches('}').len());
    let _ = write!(
        text,
        ",\"span\":\"{}\",\"step_s\":{},\"end\":{},\"series\":{{",
        shown.span.label(),
        shown.span.step_s(),
        shown.end.as_secs()
    );
    for (index, (name, points)) in shown.series().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let _ = write!(text, "\"{name}\":");
        write_points(&mut text, points);
        tokio::task::yield_now().await;
    }
    text.push_str("}}");
    text
}

fn write_points(text: &mut String, points: &[f32]) {
    let mut before = '[';
    for point in points {
        text.push(before);
        write_short(text, *point);
        before = ',';
    }
    text.push(']');
}

/// Digits behind the point for a number below the bound; greater ones have none.
const DIGITS: [(f32, usize, u32); 5] = [
    (0.01, 5, 100_000),
    (0.1, 4, 10_000),
    (1.0, 3, 1000),
    (10.0, 2, 100),
    (100.0, 1, 10),
];

/// `null` for what is no number.
fn write_short(text: &mut String, value: f32) {
    if !value.is_finite() {
        text.push_str("null");
        return;
    }
    if value < 0.0 {
        text.push('-');
    }
    let value = value.abs();
    let (_, digits, scale) = DIGITS
        .into_iter()
        .find(|(bound, ..)| value < *bound)
        .unwrap_or((0.0, 0, 1));
    let scaled = (f64::from(value) * f64::from(scale)).round() as u64;
    let (whole, part) = (scaled / u64::from(scale), scaled % u64::from(scale));
    let _ = write!(text, "{whole}");
    if part > 0 {
        let _ = write!(text, ".{part:0digits$}");
        text.truncate(text.trim_end_matches('0').len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count_and_no_zero_too_many() {
        for (value, text) in [
            (0.0, "0"),
            (f32::NAN, "null"),
            (f32::INFINITY, "null"),
            (1.0, "1"),
            (1.005, "1"),
            (1.2345, "1.23"),
            (9.999, "10"),
            (12.34, "12.3"),
            (100.4, "100"),
            (10.0, "10"),
            (1200.0, "1200"),
            (12_345_678.0, "12345678"),
            (0.5, "0.5"),
            (0.0123, "0.0123"),
            (0.001_234, "0.00123"),
            (0.000_001, "0"),
            (-3.25, "-3.25"),
        ] {
            let mut written = String::new();
            write_short(&mut written, value);
            assert_eq!(written, text);
            assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
        }
    }
}
