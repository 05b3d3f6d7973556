//! The older Prometheus text format (0.0.4), made of OpenMetrics text, for scrapers that know nothing else.
//!
//! What differs is in the comments: a counter is called by its sample's name, `info` is a gauge, `unknown` is `untyped`, and
//! there is neither a unit nor an end. relayd writes no exemplars, so samples are the same.

use std::collections::HashMap;

/// The text in the other format.
pub fn of(openmetrics: &str) -> String {
    let types: HashMap<&str, &str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        } else if let Some(comment) = comment(line, &types) {
            text.push_str(&comment);
            text.push('\n');
        }
    }
    text
}

fn comment(line: &str, types: &HashMap<&str, &str>) -> Option<String> {
    let mut words = line.strip_prefix("# ")?.splitn(3, ' ');
    let (keyword, name, rest) = (words.next()?, words.next()?, words.next()?);
    let (suffix, kind) = match *types.get(name)? {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        other => ("", other),
    };
    match keyword {
        "HELP" => Some(format!("# HELP {name}{suffix} {rest}")),
        "TYPE" => Some(format!("# TYPE {name}{suffix} {kind}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_rewritten_and_samples_stay() {
        let text = "# HELP a What is running.\n# TYPE a info\na_info{version=\"1\"} 1\n\
             # HELP b Bytes.\n# TYPE b_bytes counter\n# UNIT b_bytes bytes\nb_bytes_total{x=\"# EOF\"} 2\n\
             # HELP c Odd.\n# TYPE c unknown\nc 3\n\
             # HELP d Times.\n# TYPE d histogram\nd_bucket{le=\"+Inf\"} 0\n# EOF\n";
        let plain = "# HELP a_info What is running.\n# TYPE a_info gauge\na_info{version=\"1\"} 1\n\
             # TYPE b_bytes_total counter\nb_bytes_total{x=\"# EOF\"} 2\n\
             # HELP c Odd.\n# TYPE c untyped\nc 3\n\
             # HELP d Times.\n# TYPE d histogram\nd_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(of(text), plain);
    }
}
