//! `relayd import-coturn`: a turnserver.conf becomes a relay.toml, and each of its lines is accounted for.
//!
//! `lines` cuts the text as coturn does, `keys` is the table of all keys, `facts` gathers the values, `draft` turns
//! them into relayd's keys, `text` writes them down. Pure: no file is opened here. Bad lines are all reported at once,
//! with their places. A secret goes from its line into the result and nowhere else: no remark, problem or `Debug` has it.

mod draft;
mod facts;
mod keys;
mod lines;
mod peers;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use keys::KEYS;

use crate::config::{self, Problem, Report, Severity};
use crate::entropy::Entropy;
use crate::secret::Secret;
use facts::{Facts, Login};
use keys::{Key, Kind, Meaning};
use lines::{Line, Visible};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use values::Wrong;

/// A larger file is not a turnserver.conf; coturn's own example has 30 kB.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is in the result, or says what relayd does without being told.
    Mapped,
    /// It is in the result, and there is something to say about it.
    Remarked,
    /// relayd always does so.
    BuiltIn,
    /// Nothing in relayd does it.
    NoCounterpart,
    /// coturn itself does not go by this line.
    NotRead,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mapped => "mapped",
            Self::Remarked => "mapped",
            Self::BuiltIn => "built in",
            Self::NoCounterpart => "no counterpart",
            Self::NotRead => "not read by coturn",
        })
    }
}

/// One line of the file that sets something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    pub key: String,
    /// From 1.
    pub line: usize,
    pub fate: Fate,
    /// The keys of relay.toml that it became.
    pub to: Vec<String>,
    /// Empty if there is nothing to say.
    pub remark: String,
}

impl Occurrence {
    /// A remark is added to what was said before; the graver fate stays.
    fn tell(&mut self, fate: Fate, remark: &str) {
        if self.fate != Fate::NotRead && (self.fate == Fate::Mapped || fate != Fate::Mapped) {
            self.fate = fate;
        }
        if !remark.is_empty() && !self.remark.contains(remark) {
            let separator = if self.remark.is_empty() { "" } else { "; " };
            self.remark = format!("{}{separator}{remark}", self.remark);
        }
    }
}

/// Where the secrets of the result are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// In the result itself, as in the file.
    Inline,
    /// In files of this directory, one each.
    Files(String),
}

/// What the text alone does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the file, in reports.
    pub file: String,
    /// Relative paths of the file start here.
    pub base_dir: PathBuf,
    pub secrets: Secrets,
}

/// The result.
#[derive(Debug)]
pub struct Imported {
    /// A whole relay.toml. It holds secrets unless they are in files.
    pub toml: String,
    /// Every line that sets something, in the order of the file.
    pub settings: Vec<Occurrence>,
    /// What is to be said about the whole.
    pub remarks: Vec<String>,
    /// Files to write for `Secrets::Files`: name and content.
    pub files: Vec<(String, Secret)>,
}

/// Reads the bytes of a turnserver.conf. All lines that cannot be read are reported together.
pub fn import(
    bytes: &[u8],
    options: &Options,
    entropy: &mut dyn Entropy,
) -> Result<Imported, Report> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut problems = Vec::new();
    let mut lines = Vec::new();
    for (index, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match Line::read(index + 1, bytes) {
            Ok(line) => lines.extend(line),
            Err(bad) => problems.push(bad.problem(&options.file)),
        }
    }
    let mut facts = Facts::default();
    if problems.is_empty() && is_agoras(&lines) {
        agoras_users(&mut facts, &lines);
    } else {
        let wrong = lines.iter().filter_map(|line| read(&mut facts, line));
        problems.extend(wrong.map(|problem| Problem {
            file: Some(options.file.clone()),
            ..problem
        }));
    }
    if problems.is_empty() {
        let draft = draft::Draft::new(facts, options, entropy);
        return draft
            .map(|draft| text::imported(draft, options))
            .map_err(|problems| Report { problems });
    }
    problems.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.line));
    Err(Report { problems })
}

/// The user list of Agora's own turnserver has one `NAME=MD5` for each user, and nothing else.
fn is_agoras(lines: &[Line<'_>]) -> bool {
    let user = |line: &Line<'_>| keys::find(line.key).is_none() && facts::is_md5(line.value);
    !lines.is_empty() && lines.iter().all(user)
}

fn agoras_users(facts: &mut Facts, lines: &[Line<'_>]) {
    for line in lines {
        let from = facts.occurrences.len();
        facts.occurrences.push(Occurrence {
            key: line.key.to_owned(),
            line: line.number,
            fate: Fate::Remarked,
            to: Vec::new(),
            remark: "a user of Agora's turnserver, by its key: set turn.realm to the realm in turnserver.sh, and the external address and ports as they are there".to_owned(),
        });
        let login = Login::Key(Secret::new(line.value.to_ascii_lowercase()));
        facts.add_user(from, line.key, login);
    }
}

/// Takes one line in; what is wrong with it is returned.
fn read(facts: &mut Facts, line: &Line<'_>) -> Option<Problem> {
    let Some(key) = keys::find(line.key) else {
        return Some(unknown(line));
    };
    let from = facts.occurrences.len();
    facts.occurrences.push(Occurrence {
        key: key.name.to_owned(),
        line: line.number,
        fate: Fate::Mapped,
        to: Vec::new(),
        remark: String::new(),
    });
    let settled = settle(facts, key, from, line.value);
    settled.err().map(|wrong| bad_value(line, key, wrong))
}

/// Gives the setting its fate, or takes it over.
fn settle(facts: &mut Facts, key: &Key, from: usize, whole: &str) -> Result<(), Wrong> {
    let (value, cut) = match key.kind {
        Kind::Text | Kind::Secret => (whole, false),
        Kind::Flag(_) | Kind::Switch | Kind::Number | Kind::NumberOr(_) | Kind::Word => {
            values::without_tail(whole)
        }
    };
    if cut {
        let remark = "coturn takes what stands behind a value for a part of it: it was left out";
        facts.tell([from], Fate::Remarked, remark);
    } else if whole.contains(" #") {
        let remark = "coturn has no comments behind a value: what follows the # is a part of it";
        facts.tell([from], Fate::Remarked, remark);
    }
    let default;
    let (meaning, value, on) = match key.kind {
        Kind::Flag(off) => {
            let on = values::flag(value)?;
            (if on { key.meaning } else { off }, value, on)
        }
        Kind::Switch => {
            if matches!(values::flag(value), Ok(false)) {
                let remark = "coturn turns it on whatever the value says";
                facts.tell([from], Fate::Remarked, remark);
            }
            (key.meaning, value, true)
        }
        Kind::NumberOr(number) if value.is_empty() => {
            default = number.to_string();
            (key.meaning, default.as_str(), true)
        }
        Kind::Number | Kind::NumberOr(_) | Kind::Word | Kind::Text | Kind::Secret => {
            (key.meaning, value, true)
        }
    };
    match meaning {
        // A flag may also say that an earlier line does not count.
        Meaning::Same => {
            let other = match key.kind {
                Kind::Flag(off) if on => off,
                Kind::Flag(_) => key.meaning,
                Kind::Switch
                | Kind::Number
                | Kind::NumberOr(_)
                | Kind::Word
                | Kind::Text
                | Kind::Secret => Meaning::Same,
            };
            if let Meaning::Take(setting) = other {
                facts.take(setting, from, value, false)?;
            }
        }
        Meaning::Take(setting) => facts.take(setting, from, value, true)?,
        Meaning::BuiltIn(remark) => facts.tell([from], Fate::BuiltIn, remark),
        Meaning::None(remark) => facts.tell([from], Fate::NoCounterpart, remark),
        Meaning::Unless(fixed, remark) => {
            if values::number(value)? != fixed {
                facts.tell([from], Fate::NoCounterpart, remark);
            }
        }
    }
    Ok(())
}

fn unknown(line: &Line<'_>) -> Problem {
    let (message, help) = if line.has_plain_key() {
        let nearest = config::nearest(line.key, KEYS.iter().map(|key| key.name));
        let help = match nearest {
            Some(name) => format!("did you mean `{name}`? Else delete the line"),
            None if facts::is_md5(line.value) => {
                format!("a user with a key is written `user={}:0x…`", line.key)
            }
            None => "delete the line, or put a # before it".to_owned(),
        };
        (format!("`{}` is not a key of coturn", line.key), help)
    } else {
        let help = "accepted: key=value, key value, or key; a # before a comment".to_owned();
        ("this line has no key of coturn".to_owned(), help)
    };
    Problem {
        severity: Severity::Error,
        message,
        file: None,
        place: Some(line.place_of_key()),
        label: "coturn ignores this line, so it does not do what it is meant to".to_owned(),
        help: Some(help),
    }
}

fn bad_value(line: &Line<'_>, key: &Key, wrong: Wrong) -> Problem {
    let visible = match key.kind {
        Kind::Secret => Visible::No,
        Kind::Flag(_) | Kind::Switch | Kind::Number | Kind::NumberOr(_) => Visible::Yes,
        Kind::Word | Kind::Text => Visible::Yes,
    };
    Problem {
        severity: Severity::Error,
        message: format!("`{}` {}", key.name, wrong.what),
        file: None,
        place: Some(line.place_of_value(visible)),
        label: wrong.label,
        help: wrong.help,
    }
}
