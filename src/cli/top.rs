//! `relayd top`: whom to ask, with which token, and whether there is a terminal to show it on.

use super::listener::address;
use super::{CANNOT_START, Ports, load, load_first_try, print, refuse};
use crate::admin::probe::reachable;
use crate::config::{self, Machine, Problem, Report};
use crate::fetch::sentence;
use crate::secret::Secret;
use crate::top::{self, Client, Options};
use clap::builder::PossibleValuesParser;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub(super) const HELP: &str = "\
Without --url it asks the address of `admin.listen` with the token of that configuration. ? shows the keys. Without a \
terminal it prints one snapshot, as with --once. Exit codes: 0, 1 no terminal or no answer, 64 bad configuration or usage.";

const TOKEN_VARIABLE: &str = "RELAYD_ADMIN_TOKEN";
/// Longest token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;
const INTERVAL_MIN: Duration = Duration::from_millis(500);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Address of the admin listener, or of a proxy before it: http://127.0.0.1:9641
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// File with the server's admin.token; else that of --config, or RELAYD_ADMIN_TOKEN in the environment
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How often to ask: 500ms to 60s
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// What allocations are sorted by
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(top::sorts()))]
    sort: Option<String>,
    /// Which allocations: user=NAME transport=udp client=IP relayed=IP:PORT peer=IP
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    filter: Option<String>,
    /// Print one snapshot as plain text, which takes one interval, and end
    #[arg(long)]
    once: bool,
    /// Allocations of a snapshot, at most
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rows: u16,
    /// No colours; as with NO_COLOR in the environment
    #[arg(long)]
    no_color: bool,
}

pub(super) fn top(file: Option<&Path>, ports: Ports, asked: &Asked) -> ExitCode {
    let client = match client(file, ports, asked) {
        Ok(client) => client,
        Err(report) => return refuse(&report),
    };
    let no_color = std::env::var("NO_COLOR").ok();
    let mut options = Options::new(asked.interval, no_color.as_deref(), asked.no_color);
    options.sort = asked.sort.clone();
    options.filter = asked.filter.clone();
    if asked.once {
        return snapshot(&client, &options, asked.rows);
    }
    if !is_terminal() {
        eprintln!("no terminal to draw on: one snapshot, as with --once");
        return snapshot(&client, &options, asked.rows);
    }
    match top::run(client, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn snapshot(client: &Arc<Client>, options: &Options, rows: u16) -> ExitCode {
    match top::snapshot(client, options, rows) {
        Ok(text) => print(&text),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &top::Failure) -> ExitCode {
    eprintln!("error: {}", sentence(failure));
    ExitCode::from(CANNOT_START)
}

/// A "dumb" terminal knows no cursor.
fn is_terminal() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !is_dumb && top::is_drawable()
}

fn client(file: Option<&Path>, ports: Ports, asked: &Asked) -> Result<Arc<Client>, Report> {
    let (url, configured) = match &asked.url {
        Some(url) => (url.clone(), None),
        None => listener(file, ports)?,
    };
    let given = asked.token_file.as_deref().map(token_of).transpose()?;
    let token = given.or(configured).or_else(|| {
        let token = std::env::var(TOKEN_VARIABLE).ok();
        token.filter(|token| !token.is_empty()).map(Secret::new)
    });
    Client::new(&url, token.as_ref()).map_err(|error| {
        let help = "write --url http://127.0.0.1:9641, or name a file: --config FILE";
        problem("the server cannot be asked", &error.to_string(), help)
    })
}

/// URL and token of a configuration's admin listener.
fn listener(file: Option<&Path>, ports: Ports) -> Result<(String, Option<Secret>), Report> {
    let loaded = match file {
        Some(path) => load(path)?,
        None => load_first_try("of no use here", ports, &Machine::read())?,
    };
    let listen = address(&loaded.config, "nobody can be asked what the server does")?;
    let token = loaded.config.admin.token;
    Ok((format!("http://{}", reachable(listen)), token))
}

fn token_of(path: &Path) -> Result<Secret, Report> {
    let refused = |label: String| {
        let help = "the file holds the token of the server's `admin.token`, and nothing else";
        problem(&format!("no token in {}", path.display()), &label, help)
    };
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("it is empty".to_owned())),
        token => Ok(Secret::new(token)),
    }
}

fn problem(message: &str, label: &str, help: &str) -> Report {
    Report {
        problems: vec![Problem::error(message, label, help)],
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = config::parse_duration(text)?;
    match (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        true => Ok(interval),
        false => Err("accepted: 500ms to 60s".to_owned()),
    }
}

fn filter(text: &str) -> Result<String, String> {
    top::check_filter(text)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_filters_that_cannot_be_used_are_refused_before_anything_is_asked() {
        for text in ["", "2", "0s", "499ms", "61s", "1h"] {
            assert!(interval(text).is_err(), "{text}");
        }
        assert_eq!(interval("500ms"), Ok(INTERVAL_MIN));
        assert_eq!(interval("1min"), Ok(INTERVAL_MAX));
        assert!(filter("usr=alice").is_err());
        assert!(filter("user=alice udp").is_ok());
    }
}
