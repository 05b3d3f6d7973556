//! The result as text: relay.toml with a comment at each key that says where it came from.

use super::draft::{Draft, Entry, SecretValue, Table, Value};
use super::{Fate, Imported, Occurrence, Options, Secrets};
use crate::secret::Secret;
use std::fmt::Write;

/// Of a comment.
const COLUMNS: usize = 110;

pub fn imported(draft: Draft, options: &Options) -> Imported {
    let Draft {
        facts,
        entries,
        mut remarks,
    } = draft;
    let settings = facts.occurrences;
    if options.secrets == Secrets::Inline {
        remarks.push("The result holds secrets as they are in the file: let nobody but relayd read it, or import with --secrets-to DIR, which writes them into files of their own (\"file:PATH\").".to_owned());
    }
    let mut writer = Writer {
        text: String::new(),
        files: Vec::new(),
        options,
    };
    writer.head(&remarks);
    for table in Table::ALL {
        writer.table(table, &entries, &settings);
    }
    writer.left_out(&settings);
    Imported {
        toml: writer.text,
        files: writer.files,
        settings,
        remarks,
    }
}

struct Writer<'o> {
    text: String,
    files: Vec<(String, Secret)>,
    options: &'o Options,
}

impl Writer<'_> {
    fn head(&mut self, remarks: &[String]) {
        let file = printable(&self.options.file);
        self.comment(&format!("Made by `relayd import-coturn` from {file}; the lines named here are its lines. `relayd default-config` has every key with its default, and `relayd check` says what this comes to."));
        for remark in remarks {
            self.text.push_str("#\n");
            self.comment(remark);
        }
    }

    fn table(&mut self, table: Table, entries: &[Entry], settings: &[Occurrence]) {
        let mut own = entries
            .iter()
            .filter(|entry| entry.table == table)
            .peekable();
        if own.peek().is_none() {
            return;
        }
        let _ = write!(self.text, "\n[{}]\n", table.name());
        for entry in own {
            self.origin(entry, settings);
            let value = self.value(&entry.value);
            let _ = writeln!(self.text, "{} = {value}", toml_key(&entry.key));
        }
    }

    /// The lines that a key came from, and what there is to say about them.
    fn origin(&mut self, entry: &Entry, settings: &[Occurrence]) {
        let lines = entry.from.iter().filter_map(|from| settings.get(*from));
        let names: Vec<String> = lines
            .clone()
            .map(|at| format!("line {}: {}", at.line, at.key))
            .collect();
        if !names.is_empty() {
            self.comment(&names.join(", "));
        }
        let mut said: Vec<&str> = Vec::new();
        for at in lines {
            if !at.remark.is_empty() && !said.contains(&at.remark.as_str()) {
                said.push(&at.remark);
                self.comment(&format!("{}: {}", at.key, at.remark));
            }
        }
    }

    fn left_out(&mut self, settings: &[Occurrence]) {
        for (fate, title) in [
            (
                Fate::NoCounterpart,
                "Lines without a counterpart in relayd:",
            ),
            (Fate::NotRead, "Lines that coturn itself does not go by:"),
            (Fate::BuiltIn, "Lines that say what relayd always does:"),
        ] {
            let mut own = settings.iter().filter(|at| at.fate == fate).peekable();
            if own.peek().is_none() {
                continue;
            }
            self.text.push('\n');
            self.comment(title);
            for at in own {
                self.comment(&format!("- line {}, {}: {}", at.line, at.key, at.remark));
            }
        }
    }

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Text(text) => string(text),
            Value::Number(number) => number.to_string(),
            Value::List(list) => array(list.iter().map(|text| string(text)).collect()),
            Value::Secret(secret) => self.secret(secret),
            Value::Secrets(list) => array(list.iter().map(|one| self.secret(one)).collect()),
        }
    }

    fn secret(&mut self, value: &SecretValue) -> String {
        let text = format!("{}{}", value.prefix, value.secret.expose());
        match &self.options.secrets {
            Secrets::Inline => string(&text),
            Secrets::Files(dir) => {
                let path = format!("file:{}/{}", dir.trim_end_matches('/'), value.file);
                self.files.push((value.file.clone(), Secret::new(text)));
                string(&path)
            }
        }
    }

    /// Lines of comment, broken at blanks.
    fn comment(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in printable(text).split(' ') {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS && line != "#" {
                let _ = writeln!(self.text, "{line}");
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(self.text, "{line}");
    }
}

/// One line for a few, else one for each.
fn array(items: Vec<String>) -> String {
    let line = format!("[{}]", items.join(", "));
    if line.len() <= COLUMNS {
        return line;
    }
    let lines: String = items.iter().map(|item| format!("    {item},\n")).collect();
    format!("[\n{lines}]")
}

fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    string(name)
}

/// A basic string (TOML 1.0, "String").
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Nothing of a name ends a comment or moves the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back_from_toml(text in any::<String>(), name in any::<String>()) {
            let line = format!("{} = {}", toml_key(&name), string(&text));
            let read: toml::Table = line.parse().expect("TOML");
            prop_assert_eq!(read.get(&name).and_then(toml::Value::as_str), Some(text.as_str()));
        }
    }
}
