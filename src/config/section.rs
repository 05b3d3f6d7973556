//! Reading a parsed file key by key: wrong types, bad values and unknown keys are noted, never returned early.
//!
//! A `Table` that goes out of scope notes the keys that nobody asked for. What was asked for is remembered, so
//! that the reference file can be checked against it. No defaults here.

use super::report::{Problem, Severity};
use super::source::Source;
use super::{nearest::nearest, source};
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with its place; no place when it is a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Option<Range<usize>>,
}

impl<T> At<T> {
    pub fn absent(value: T) -> Self {
        Self { value, span: None }
    }
}

/// Why one value cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Completes "`key` …".
    pub what: String,
    /// What is accepted, or why not.
    pub label: String,
    pub help: Option<String>,
}

impl Wrong {
    pub fn new(what: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            label: label.into(),
            help: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A problem before its place is looked up.
pub(super) struct Draft {
    severity: Severity,
    message: String,
    span: Option<Range<usize>>,
    label: String,
    help: Option<String>,
}

impl Draft {
    pub fn error(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: label.into(),
            help: None,
        }
    }

    pub fn warning(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message, label)
        }
    }

    pub fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

struct Unknown {
    table: String,
    key: String,
    span: Range<usize>,
    siblings: Vec<String>,
}

#[derive(Default)]
struct Notes {
    drafts: Vec<Draft>,
    unknown: Vec<Unknown>,
    masks: Vec<Range<usize>>,
    known: Vec<String>,
}

/// Takes note of everything that is met while a file is read.
#[derive(Default)]
pub(super) struct Reader {
    notes: RefCell<Notes>,
}

impl Reader {
    pub fn push(&self, draft: Draft) {
        self.notes.borrow_mut().drafts.push(draft);
    }

    /// Hides a range of the file from every report.
    pub fn mask(&self, range: Range<usize>) {
        self.notes.borrow_mut().masks.push(range);
    }

    pub fn has_errors(&self) -> bool {
        let notes = self.notes.borrow();
        !notes.unknown.is_empty() || notes.drafts.iter().any(|d| d.severity == Severity::Error)
    }

    /// True if the file itself holds secrets.
    pub fn has_masks(&self) -> bool {
        !self.notes.borrow().masks.is_empty()
    }

    /// The places of the secrets.
    pub fn masks(&self) -> Vec<Range<usize>> {
        self.notes.borrow().masks.clone()
    }

    /// Every key that was asked for, as `table.key`; elements of a list of tables as `table[].key`.
    pub fn known(&self) -> Vec<String> {
        let mut known = self.notes.borrow().known.clone();
        known.sort();
        known.dedup();
        known
    }

    /// All problems with their places, in the order of the file; those without a place last.
    pub fn problems(self, file: &str, source: &Source<'_>) -> Vec<Problem> {
        let known = self.known();
        let notes = self.notes.into_inner();
        let unknown = notes.unknown.iter().map(|unknown| unknown.draft(&known));
        let mut drafts: Vec<Draft> = notes.drafts.into_iter().chain(unknown).collect();
        drafts.sort_by_key(|draft| draft.span.as_ref().map_or(usize::MAX, |span| span.start));
        drafts
            .into_iter()
            .map(|draft| Problem {
                severity: draft.severity,
                message: draft.message,
                file: Some(file.to_owned()),
                place: draft.span.map(|span| source.place(&span, &notes.masks)),
                label: draft.label,
                help: draft.help,
            })
            .collect()
    }
}

impl Unknown {
    fn draft(&self, known: &[String]) -> Draft {
        let place = if self.table.is_empty() {
            "at the top level".to_owned()
        } else {
            format!("in [{}]", self.table)
        };
        let path = join(&self.table, &self.key);
        let siblings = || self.siblings.iter().map(String::as_str);
        let elsewhere = known.iter().find(|path| {
            path.rsplit_once('.')
                .is_some_and(|(_, key)| key == self.key)
        });
        let help = if let Some(meant) = nearest(&self.key, siblings()) {
            format!("did you mean `{meant}`?")
        } else if let Some((table, key)) = elsewhere.and_then(|path| path.rsplit_once('.')) {
            format!("`{key}` belongs in [{}]", table.trim_end_matches("[]"))
        } else {
            let mut names: Vec<&str> = siblings().collect();
            names.sort_unstable();
            format!("known {place}: {}", names.join(", "))
        };
        Draft::error(
            format!("unknown key `{path}`"),
            format!("no such key {place}"),
        )
        .at(Some(self.span.clone()))
        .help(help)
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

/// One table of the file, or one that the file leaves out.
pub(super) struct Table<'r> {
    reader: &'r Reader,
    path: String,
    /// The path without indexes of lists.
    known_path: String,
    span: Option<Range<usize>>,
    entries: Option<&'r DeTable<'r>>,
    asked: RefCell<Vec<String>>,
}

impl<'r> Table<'r> {
    pub fn root(reader: &'r Reader, entries: &'r DeTable<'r>) -> Self {
        Self::new(reader, String::new(), None, Some(entries))
    }

    fn new(
        reader: &'r Reader,
        path: String,
        span: Option<Range<usize>>,
        entries: Option<&'r DeTable<'r>>,
    ) -> Self {
        Self {
            reader,
            known_path: path.clone(),
            path,
            span,
            entries,
            asked: RefCell::default(),
        }
    }

    fn in_list(mut self, list: &str) -> Self {
        self.known_path = format!("{list}[]");
        self
    }

    pub fn reader(&self) -> &'r Reader {
        self.reader
    }

    /// Its header, if the file has one.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// A table inside this one; empty if the file has none.
    pub fn table(&self, key: &str) -> Table<'r> {
        let path = join(&self.path, key);
        self.ask(key);
        let Some(item) = self.item(key) else {
            return Table::new(self.reader, path, None, None);
        };
        let DeValue::Table(entries) = item.value else {
            item.report(item.wrong_type(&format!("a table: [{path}]")));
            return Table::new(self.reader, path, Some(item.span), None);
        };
        Table::new(self.reader, path, Some(item.span), Some(entries))
    }

    /// The tables of `[[key]]`; each is read by `read`. An absent list is read once too, so that its keys are known.
    pub fn tables<T>(&self, key: &str, read: impl Fn(&Table<'r>) -> Option<T>) -> Vec<T> {
        let path = join(&self.path, key);
        self.ask(key);
        let absent = Table::new(self.reader, path.clone(), None, None).in_list(&path);
        let Some(item) = self.item(key) else {
            read(&absent);
            return Vec::new();
        };
        let DeValue::Array(elements) = item.value else {
            item.report(item.wrong_type(&format!("a list of tables: [[{path}]]")));
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let element = self.element(&item, index, element);
            match element.value {
                DeValue::Table(entries) => {
                    let span = Some(element.span.clone());
                    let name = element.path.clone();
                    let table = Table::new(self.reader, name, span, Some(entries));
                    values.extend(read(&table.in_list(&path)));
                }
                _ => element.report(element.wrong_type(&format!("a table: [[{path}]]"))),
            }
        }
        values
    }

    /// The value of a key; a bad one is noted and reads as absent. `parse` is not called when there is none.
    pub fn read<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&Item<'r>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        self.know(key);
        let item = self.item(key)?;
        item.parsed(parse)
    }

    /// A list; one value alone is a list of one. Bad elements are noted and left out.
    pub fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&Item<'r>) -> Result<T, Wrong>,
    ) -> Option<At<Vec<At<T>>>> {
        self.know(key);
        let item = self.item(key)?;
        let span = Some(item.span.clone());
        let DeValue::Array(elements) = item.value else {
            let value = item.parsed(parse).into_iter().collect();
            return Some(At { value, span });
        };
        let value = elements
            .iter()
            .enumerate()
            .filter_map(|(index, element)| self.element(&item, index, element).parsed(&parse))
            .collect();
        Some(At { value, span })
    }

    /// A table whose keys are the operator's: every entry with its key and the key's place.
    pub fn map(&self, key: &str) -> Vec<(At<String>, Item<'r>)> {
        self.know(key);
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let DeValue::Table(entries) = item.value else {
            item.report(item.wrong_type("a table: { name = \"value\" }"));
            return Vec::new();
        };
        let mut entries: Vec<_> = entries
            .iter()
            .map(|(name, value)| {
                let key = At {
                    value: name.get_ref().to_string(),
                    span: Some(name.span()),
                };
                let path = join(&item.path, name.get_ref());
                (key, Item::new(self.reader, path, value))
            })
            .collect();
        entries.sort_by_key(|(_, item)| item.span.start);
        entries
    }

    /// The raw value of a key, without asking for it: to hide or refuse it.
    pub fn item(&self, key: &str) -> Option<Item<'r>> {
        let value = self.entries?.get(key)?;
        Some(Item::new(self.reader, join(&self.path, key), value))
    }

    /// Accepts a key that is dealt with elsewhere.
    pub fn ask(&self, key: &str) {
        self.asked.borrow_mut().push(key.to_owned());
    }

    fn know(&self, key: &str) {
        self.ask(key);
        let path = join(&self.known_path, key);
        self.reader.notes.borrow_mut().known.push(path);
    }

    fn element(&self, list: &Item<'r>, index: usize, value: &'r Spanned<DeValue<'r>>) -> Item<'r> {
        Item::new(self.reader, format!("{}[{index}]", list.path), value)
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref().to_string();
            if asked.contains(&name) {
                continue;
            }
            let item = Item::new(self.reader, join(&self.path, &name), value);
            if may_be_secret(&name, &asked) {
                item.mask_all(true);
            }
            self.reader.notes.borrow_mut().unknown.push(Unknown {
                table: self.path.clone(),
                key: name,
                span: key.span(),
                siblings: asked.clone(),
            });
        }
    }
}

/// Whether the value of an unknown key may be meant as a secret: unless its name is nearly that of a key that is none.
fn may_be_secret(name: &str, siblings: &[String]) -> bool {
    match nearest(name, siblings.iter().map(String::as_str)) {
        Some(meant) => source::speaks_of_secrets(name) || source::speaks_of_secrets(meant),
        None => true,
    }
}

/// One value of the file with its path and place.
#[derive(Clone)]
pub(super) struct Item<'r> {
    reader: &'r Reader,
    pub path: String,
    pub span: Range<usize>,
    value: &'r DeValue<'r>,
}

impl<'r> Item<'r> {
    fn new(reader: &'r Reader, path: String, value: &'r Spanned<DeValue<'r>>) -> Self {
        Self {
            reader,
            path,
            span: value.span(),
            value: value.get_ref(),
        }
    }

    pub fn reader(&self) -> &'r Reader {
        self.reader
    }

    pub fn parsed<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Wrong>) -> Option<At<T>> {
        match parse(self) {
            Ok(value) => Some(At {
                value,
                span: Some(self.span.clone()),
            }),
            Err(wrong) => {
                self.report(wrong);
                None
            }
        }
    }

    pub fn report(&self, mut wrong: Wrong) {
        if self.maybe_text().is_some_and(may_hold_a_secret) {
            self.mask_all(true);
            wrong.help = Some("write it without user name, password or key material".to_owned());
        }
        self.reader.push(Draft {
            severity: Severity::Error,
            message: format!("`{}` {}", self.path, wrong.what),
            span: Some(self.span.clone()),
            label: wrong.label,
            help: wrong.help,
        });
    }

    pub fn wrong_type(&self, accepted: &str) -> Wrong {
        let found = match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Wrong::new(
            "has the wrong type",
            format!("this is {found}; accepted: {accepted}"),
        )
    }

    pub fn text(&self, accepted: &str) -> Result<&'r str, Wrong> {
        match self.value {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.wrong_type(accepted)),
        }
    }

    /// The value if it is text.
    pub fn maybe_text(&self) -> Option<&'r str> {
        self.value.as_str()
    }

    /// The value if it is a whole number that fits.
    pub fn maybe_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The value if it is a number, with a decimal point or without.
    pub fn maybe_number(&self) -> Option<f64> {
        match self.value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => self.maybe_integer().map(|number| number as f64),
        }
    }

    pub fn boolean(&self) -> Result<bool, Wrong> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// True for a list or table with nothing in it.
    pub fn is_empty(&self) -> bool {
        match self.value {
            DeValue::Array(elements) => elements.is_empty(),
            DeValue::Table(entries) => entries.is_empty(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => false,
        }
    }

    /// Hides text inside the value from every report: all of it, or with `everything` numbers and the like too.
    ///
    /// `file:` and `env:` references stay readable: they are not secret.
    pub fn mask_all(&self, everything: bool) {
        match self.value {
            DeValue::String(text) if is_reference(text) => {}
            DeValue::String(_) => {
                let Range { start, end } = self.span;
                self.reader.mask(if end - start >= 2 {
                    start + 1..end - 1
                } else {
                    start..end
                });
            }
            DeValue::Array(elements) => {
                for element in elements.iter() {
                    Self::new(self.reader, String::new(), element).mask_all(everything);
                }
            }
            DeValue::Table(entries) => {
                for (_, value) in entries.iter() {
                    Self::new(self.reader, String::new(), value).mask_all(everything);
                }
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                if everything {
                    self.reader.mask(self.span.clone());
                }
            }
        }
    }
}

/// `https://name:password@host`, or a pasted private key.
fn may_hold_a_secret(text: &str) -> bool {
    text.contains('@') || text.contains("-----BEGIN")
}

/// `file:PATH` or `env:NAME`.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("file:") || text.starts_with("env:")
}
