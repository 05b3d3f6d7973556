//! The configuration as it may be shown: every key with its value and where that came from, secrets masked.
//!
//! It is made of what was read, not of what the parts got: so a key that is added is shown without a line here. The defaults are
//! those of the reference file, which a test holds equal to the program's.

use super::REFERENCE;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const MASK: &str = "***";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    File,
    Default,
}

/// One key's value as the file writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownValue {
    /// Null: there is no fixed default, it is worked out at start.
    pub value: Value,
    pub from: Origin,
}

/// Values by dotted key. `Debug` shows nothing: it is another view of what stands beside it.
#[derive(Clone, Default)]
pub struct Shown {
    /// The file's name; empty without one.
    pub file: Arc<str>,
    pub values: Arc<BTreeMap<String, ShownValue>>,
}

impl Shown {
    /// Shows these keys as `running` has them: what the file says of them is not in force.
    pub fn keep<'k>(&mut self, running: &Self, keys: impl Iterator<Item = &'k str>) {
        let values = Arc::make_mut(&mut self.values);
        for key in keys {
            if let Some(value) = running.values.get(key) {
                values.insert(key.to_owned(), value.clone());
            }
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// `known` are the keys that the reader asked for, `masks` the places of secrets in the file.
pub(super) fn of(
    file: &str,
    document: &DeTable<'_>,
    known: &[String],
    masks: &[Range<usize>],
) -> Shown {
    let mut values = BTreeMap::new();
    for key in known {
        // A list of tables is one value, which its first key brings.
        let key = key.split_once("[]").map_or(key.as_str(), |(list, _)| list);
        let shown = match find(document, key) {
            Some(value) => ShownValue {
                value: show(value, masks),
                from: Origin::File,
            },
            None => ShownValue {
                value: DEFAULTS.get(key).cloned().unwrap_or_default(),
                from: Origin::Default,
            },
        };
        values.insert(key.to_owned(), shown);
    }
    Shown {
        file: file.into(),
        values: Arc::new(values),
    }
}

static DEFAULTS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let (document, _) = DeTable::parse_recoverable(REFERENCE);
    let mut defaults = BTreeMap::new();
    flatten("", document.get_ref(), &mut defaults);
    defaults
});

/// Tables become dotted keys; an inline table that the reference shows empty is a value, too.
fn flatten(path: &str, table: &DeTable<'_>, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = match path {
            "" => key.get_ref().to_string(),
            path => format!("{path}.{}", key.get_ref()),
        };
        if let DeValue::Table(inner) = value.get_ref()
            && !inner.is_empty()
        {
            flatten(&key, inner, into);
        }
        into.insert(key, show(value, &[]));
    }
}

fn find<'d>(document: &'d DeTable<'d>, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
    let (tables, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table = document;
    for part in tables.split('.').filter(|part| !part.is_empty()) {
        let DeValue::Table(inner) = table.get(part)?.get_ref() else {
            return None;
        };
        table = inner;
    }
    table.get(name)
}

fn show(value: &Spanned<DeValue<'_>>, masks: &[Range<usize>]) -> Value {
    let span = value.span();
    let inside = |mask: &&Range<usize>| mask.start < span.end && mask.end > span.start;
    let masked = || masks.iter().find(inside).is_some();
    match value.get_ref() {
        DeValue::Array(elements) => elements.iter().map(|one| show(one, masks)).collect(),
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), show(value, masks)))
            .collect(),
        _ if masked() => MASK.into(),
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or_else(|_| number.as_str().into(), Value::from)
        }
        DeValue::Float(number) => {
            let parsed: Result<f64, _> = number.as_str().parse();
            parsed.map_or_else(|_| number.as_str().into(), Value::from)
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
    }
}
