//! `relayd import-coturn`: reads a turnserver.conf, writes a relay.toml, and says what became of each line.
//!
//! The configuration goes to standard output or into a file that only its owner may read, the account of the lines to
//! standard error. What is imported is checked as `relayd check` would, on this machine: what it says (a certificate
//! that is not here yet) is reported and changes nothing.

use super::{CANNOT_START, print, refuse};
use crate::config::{self, Machine, Problem, Report, Severity, Surroundings};
use crate::import::{self, FILE_BYTES_MAX, Fate, Imported, Options, Secrets};
use crate::secret::Secret;
use crate::sys::rng::SystemRng;
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Every line of the file is accounted for: it is mapped, mapped with a remark, what relayd always does, or without a \
counterpart, and then it is said why and what to do. The account goes to standard error and, as comments, into the \
result. A line that cannot be read (an unknown key, a bad value) is an error, and then nothing is written. Keys of \
coturn 4.0 to 4.17 are known.

THE RESULT HOLDS THE SECRETS OF THE FILE, unless --secrets-to puts them into files of their own.

Examples:
  relayd import-coturn /etc/turnserver.conf > relay.toml
  relayd import-coturn /etc/turnserver.conf -o /etc/relayd/relay.toml --secrets-to /etc/relayd/secrets
  relayd import-coturn /etc/turnserver.conf --json      what becomes of each line, without secrets

Exit codes: 0 imported, also with lines that have no counterpart; 64 something could not be read, or is there \
already; 1 the result could not be written.";

/// What stands for standard input.
const STDIN: &str = "-";
/// The owner alone: there are secrets in it.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// coturn's configuration, such as /etc/turnserver.conf; - for standard input
    #[arg(value_name = "TURNSERVER_CONF")]
    file: PathBuf,
    /// Write the result into this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    /// Write each password and secret into a file of its own in this directory
    #[arg(long, value_name = "DIR")]
    secrets_to: Option<PathBuf>,
    /// Print what becomes of each line as JSON; the result only goes into --output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(asked: &Asked) -> ExitCode {
    match imported(asked) {
        Ok(code) => code,
        Err(Failed::Refused(report)) => refuse(&report),
        Err(Failed::Unwritten(path, error)) => {
            eprintln!("error: cannot write {}: {error}", path.display());
            ExitCode::from(CANNOT_START)
        }
    }
}

enum Failed {
    Refused(Report),
    Unwritten(PathBuf, io::Error),
}

fn imported(asked: &Asked) -> Result<ExitCode, Failed> {
    let options = options(asked)?;
    let bytes = read(asked).map_err(Failed::Refused)?;
    if let Some(path) = &asked.output {
        not_there(path, asked.force)?;
    }
    let imported = import::import(&bytes, &options, &mut SystemRng).map_err(Failed::Refused)?;
    write_secrets(asked, &options, &imported)?;
    if let Some(path) = &asked.output {
        write(path, imported.toml.as_bytes(), asked.force)?;
    }
    let checked = checked(asked, &imported);
    if asked.json {
        print(&account_as_json(asked, &options, &imported, &checked));
        return Ok(ExitCode::SUCCESS);
    }
    if asked.output.is_none() {
        print(imported.toml.trim_end());
    }
    eprint!("{}", account(asked, &options, &imported, &checked));
    Ok(ExitCode::SUCCESS)
}

fn options(asked: &Asked) -> Result<Options, Failed> {
    let is_stdin = asked.file == Path::new(STDIN);
    let here = || std::env::current_dir().unwrap_or_default();
    let parent = |path: PathBuf| path.parent().map(Path::to_owned);
    let base_dir = match std::path::absolute(&asked.file) {
        Ok(path) if !is_stdin => parent(path).unwrap_or_else(here),
        Ok(_) | Err(_) => here(),
    };
    let file = if is_stdin {
        "standard input".to_owned()
    } else {
        asked.file.display().to_string()
    };
    // Without a result to name them there is no use for their files.
    let written = asked.output.is_some() || !asked.json;
    let secrets = match asked.secrets_to.as_ref().filter(|_| written) {
        None => Secrets::Inline,
        Some(dir) => {
            let absolute = std::path::absolute(dir);
            let dir = absolute.map_err(|error| Failed::Unwritten(dir.clone(), error))?;
            Secrets::Files(dir.to_string_lossy().into_owned())
        }
    };
    Ok(Options {
        file,
        base_dir,
        secrets,
    })
}

fn read(asked: &Asked) -> Result<Vec<u8>, Report> {
    let name = asked.file.display().to_string();
    let refuse = |message: String, label: String| {
        Report::of_file(
            &name,
            message,
            label,
            "name coturn's configuration, such as /etc/turnserver.conf",
        )
    };
    let unreadable = |error: io::Error| refuse(format!("cannot read {name}"), error.to_string());
    let source: Box<dyn Read> = if asked.file == Path::new(STDIN) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs::File::open(&asked.file).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    let mut limited = source.take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let label = format!("accepted: {} at most", config::show_size(FILE_BYTES_MAX));
        return Err(refuse(format!("{name} is too large"), label));
    }
    Ok(bytes)
}

/// Before anything is written.
fn not_there(path: &Path, force: bool) -> Result<(), Failed> {
    if force || fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let problem = Problem::error(
        format!("{} is there already", path.display()),
        "nothing is replaced unless it is asked for",
        "choose another name, or add --force",
    );
    Err(Failed::Refused(Report {
        problems: vec![problem],
    }))
}

fn write_secrets(asked: &Asked, options: &Options, imported: &Imported) -> Result<(), Failed> {
    let Secrets::Files(dir) = &options.secrets else {
        return Ok(());
    };
    let dir = Path::new(dir);
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(DIR_MODE).create(dir);
    made.map_err(|error| Failed::Unwritten(dir.to_owned(), error))?;
    for (name, _) in &imported.files {
        not_there(&dir.join(name), asked.force)?;
    }
    for (name, secret) in &imported.files {
        let line = format!("{}\n", Secret::expose(secret));
        write(&dir.join(name), line.as_bytes(), asked.force)?;
    }
    Ok(())
}

/// With `force` the old file is there until the new one is whole.
fn write(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failed> {
    let failed = |error| Failed::Unwritten(path.to_owned(), error);
    let target = if force {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        path.with_file_name(name)
    } else {
        path.to_owned()
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(FILE_MODE);
    let mut file = options.open(&target).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| {
        if force {
            fs::rename(&target, path)
        } else {
            Ok(())
        }
    });
    placed.map_err(|error| {
        // What is half written is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&target);
        failed(error)
    })
}

/// What `relayd check` says about the result, on this machine.
fn checked(asked: &Asked, imported: &Imported) -> Vec<Problem> {
    let machine = Machine::read();
    let name = match &asked.output {
        Some(path) => path.display().to_string(),
        None => "relay.toml".to_owned(),
    };
    let base_dir = asked.output.as_ref().and_then(|path| path.parent());
    let around = Surroundings {
        base_dir: base_dir.unwrap_or(Path::new("")),
        env: &|name| std::env::var(name).ok(),
        machine: &machine,
    };
    match config::parse(&imported.toml, &name, &around) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report.problems,
    }
}

fn is_refused(problems: &[Problem]) -> bool {
    problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
}

fn account(asked: &Asked, options: &Options, imported: &Imported, checked: &[Problem]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for at in &imported.settings {
        if !at.remark.is_empty() {
            line(format!(
                "{}:{}: {}: {}: {}",
                options.file, at.line, at.key, at.fate, at.remark
            ));
        }
    }
    for remark in &imported.remarks {
        line(format!("note: {remark}"));
    }
    let count = |fate: Fate| {
        imported
            .settings
            .iter()
            .filter(|at| at.fate == fate)
            .count()
    };
    line(format!(
        "{} lines: {} mapped, {} mapped with a remark, {} as relayd always does, {} without a counterpart, {} that coturn does not go by",
        imported.settings.len(),
        count(Fate::Mapped),
        count(Fate::Remarked),
        count(Fate::BuiltIn),
        count(Fate::NoCounterpart),
        count(Fate::NotRead),
    ));
    let command = match &asked.output {
        Some(path) => format!("relayd check --config {}", path.display()),
        None => "relayd check --config FILE".to_owned(),
    };
    if is_refused(checked) {
        line(format!(
            "`{command}` refuses the result on this machine until this is settled:\n"
        ));
        for problem in checked
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
        {
            line(format!("{problem}\n"));
        }
    } else {
        let tally = config::report::tally(checked);
        line(format!("`{command}` accepts the result: {tally}"));
    }
    text
}

fn account_as_json(
    asked: &Asked,
    options: &Options,
    imported: &Imported,
    checked: &[Problem],
) -> String {
    let output = asked.output.as_ref().map(|path| path.display().to_string());
    let account = json!({
        "source": options.file,
        "output": output,
        "lines": imported.settings,
        "remarks": imported.remarks,
        "check": { "ok": !is_refused(checked), "problems": checked },
    });
    serde_json::to_string_pretty(&account).expect("plain data becomes JSON")
}
