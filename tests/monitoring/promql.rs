//! As much of PromQL as it takes to see which metrics and labels an expression names; its grammar is promtool's affair.

/// A selector: `name{label op "value", …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub name: String,
    pub matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    /// A regular expression, of words and `.*` alone, with `|` between.
    pub regex: bool,
    pub value: String,
}

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub selectors: Vec<Selector>,
    /// Of `by`, `without`, `on` and `ignoring`.
    pub groupings: Vec<String>,
}

const GROUPING: [&str; 4] = ["by", "without", "on", "ignoring"];
const OPERATORS: [&str; 8] = [
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "group_left",
    "group_right",
    "inf",
];

pub fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = string(rest).1;
        } else if c == '[' {
            rest = after(rest, ']');
        } else if c.is_ascii_digit() {
            // A number, or a duration such as 5m.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_word(c) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = follow(word, behind.trim_start(), &mut named);
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    named
}

/// Takes note of a word; gives what is behind it and its brackets.
fn follow<'t>(word: &str, behind: &'t str, named: &mut Named) -> &'t str {
    if GROUPING.contains(&word) {
        let inside = behind.strip_prefix('(').expect("a list of labels");
        let (labels, rest) = inside.split_once(')').expect("the end of a list");
        let labels = labels
            .split(',')
            .map(str::trim)
            .filter(|label| !label.is_empty());
        named.groupings.extend(labels.map(str::to_owned));
        return rest;
    }
    // A function or an aggregation: its arguments are looked at like everything else.
    let aggregates =
        behind.starts_with("by ") || behind.starts_with("by(") || behind.starts_with("without");
    if behind.starts_with('(') || aggregates || OPERATORS.contains(&word) {
        return behind;
    }
    let mut selector = Selector {
        name: word.to_owned(),
        ..Selector::default()
    };
    let mut rest = behind;
    if let Some(mut inside) = behind.strip_prefix('{') {
        loop {
            inside = inside.trim_start_matches([' ', ',']);
            if let Some(behind) = inside.strip_prefix('}') {
                rest = behind;
                break;
            }
            let end = inside.find(|c| !is_word(c)).expect("an operator");
            let (label, behind) = inside.split_at(end);
            let operator = behind.trim_start();
            let regex = operator[..2].contains('~');
            let (value, behind) = string(operator.trim_start_matches(['=', '!', '~', ' ']));
            selector.matchers.push(Matcher {
                label: label.to_owned(),
                regex,
                value: value.to_owned(),
            });
            inside = behind;
        }
    }
    named.selectors.push(selector);
    rest
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The string at the start, and what is behind it.
fn string(text: &str) -> (&str, &str) {
    let inside = text.strip_prefix('"').expect("a string");
    inside.split_once('"').expect("the end of a string")
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

impl Matcher {
    /// The alternatives; of each, one value at least must be real.
    pub fn alternatives(&self) -> Vec<&str> {
        match self.regex {
            true => self.value.split('|').collect(),
            false => vec![&self.value],
        }
    }

    pub fn fits(&self, alternative: &str, value: &str) -> bool {
        match alternative.strip_suffix(".*") {
            Some(prefix) if self.regex => value.starts_with(prefix),
            Some(_) | None => value == alternative,
        }
    }
}

#[test]
fn the_reader_sees_metrics_labels_and_groupings_and_nothing_else() {
    let found = named(
        "histogram_quantile(0.9, sum by (le, side) (rate(a_bucket{x=\"1\", y=~\"b|c.*\"}[5m]))) > 2 * (d offset 1d) and on (job) e unless ignoring (x) time()",
    );
    let names: Vec<&str> = found.selectors.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a_bucket", "d", "e"]);
    assert_eq!(found.groupings, ["le", "side", "job", "x"]);
    let [x, y] = &found.selectors[0].matchers[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (x.label.as_str(), x.regex, x.value.as_str()),
        ("x", false, "1")
    );
    assert_eq!(y.alternatives(), ["b", "c.*"]);
    assert!(y.fits("c.*", "cat") && !y.fits("b", "bat") && !x.fits("1.*", "12"));
}
