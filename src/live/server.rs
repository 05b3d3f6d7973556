//! Whether a server runs, and whether it runs this file: asked of its admin listener.
//!
//! Secrets are masked in what it tells, so a changed secret is not seen here; a test with the new one fails then, and its advice
//! says so.

use super::report::{Part, Row};
use super::{Setup, own};
use crate::admin::probe::{Answer, ProbeError, Question, probe};
use crate::config::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Keys in the row about differences; the others are counted.
const KEYS_SHOWN_MAX: usize = 6;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the admin listener told, or why it did not.
pub(super) struct Server {
    pub facts: Facts,
    listeners: Listeners,
    /// `server.external_ip` as it was found out at start, where "auto" asked for it.
    pub external_ips: Vec<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listeners {
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Facts {
    /// The configuration leaves nobody to ask.
    NoListener(&'static str),
    Absent {
        address: SocketAddr,
    },
    /// Something is there; this is what is wrong with it.
    Strange {
        address: SocketAddr,
        problem: String,
    },
    Running(Running),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    pub address: SocketAddr,
    /// `ready`, `starting`, `draining`.
    pub state: String,
    pub told: Told,
}

/// What is told to those who may ask.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Everything {
        version: String,
        /// `None`: a first try.
        file: Option<String>,
        /// Keys whose value is another one than this file's.
        differing: Vec<String>,
    },
    /// The status, and whether this configuration has a token.
    Refused {
        status: u16,
        has_token: bool,
    },
    Nothing,
}

/// Asks; the listeners are those that are bound, or else those of the file.
pub(super) async fn ask(setup: &Setup) -> Server {
    let config = setup.loaded.config.clone();
    let step = setup.asked.step;
    let asked = tokio::task::spawn_blocking(move || {
        let ask = |path| {
            let listen = config.admin.listen?;
            let token = config.admin.token.as_ref();
            Some(probe(&Question {
                listen,
                path,
                token,
                timeout: step,
            }))
        };
        find_out(&config, ask)
    });
    let asked = setup.unless_stopped(asked).await.and_then(Result::ok);
    asked.unwrap_or_else(|| Server {
        facts: Facts::NoListener("it was not asked"),
        listeners: configured(&setup.loaded.config),
        external_ips: Vec::new(),
    })
}

fn find_out(
    config: &Config,
    ask: impl Fn(&'static str) -> Option<Result<Answer, ProbeError>>,
) -> Server {
    let mut server = Server {
        facts: Facts::NoListener("`admin.listen` is off"),
        listeners: configured(config),
        external_ips: Vec::new(),
    };
    let Some(listen) = config.admin.listen else {
        return server;
    };
    if listen.port() == 0 {
        server.facts =
            Facts::NoListener("`admin.listen` has port 0, which is another one at each start");
        return server;
    }
    let address = own::reachable(listen);
    let ready = match ask("/readyz") {
        Some(Ok(ready)) => ready,
        Some(Err(ProbeError::Connect { .. })) | None => {
            server.facts = Facts::Absent { address };
            return server;
        }
        Some(Err(error)) => {
            let problem = error.to_string();
            server.facts = Facts::Strange { address, problem };
            return server;
        }
    };
    let readiness: Value = serde_json::from_str(&ready.body).unwrap_or_default();
    let Some(state) = readiness["state"].as_str() else {
        let problem = format!(
            "status {} without the state that relayd tells",
            ready.status
        );
        server.facts = Facts::Strange { address, problem };
        return server;
    };
    if let Some(bound) = bound(&readiness) {
        server.listeners = bound;
    }
    let has_token = config.admin.token.is_some();
    let refused = |status| Told::Refused { status, has_token };
    let told = match (ask("/version"), ask("/config")) {
        (Some(Ok(version)), Some(Ok(shown))) if version.status == 200 && shown.status == 200 => {
            let shown: Value = serde_json::from_str(&shown.body).unwrap_or_default();
            server.external_ips = effective_external_ips(&shown);
            told(&version.body, &shown, config)
        }
        (Some(Ok(answer)), _) if answer.status != 200 => refused(answer.status),
        (_, Some(Ok(answer))) if answer.status != 200 => refused(answer.status),
        _ => Told::Nothing,
    };
    server.facts = Facts::Running(Running {
        address,
        state: state.to_owned(),
        told,
    });
    server
}

/// The file's listeners, without those whose port nobody can know.
fn configured(config: &Config) -> Listeners {
    let fixed = |listeners: &[SocketAddr]| {
        let fixed = listeners.iter().filter(|address| address.port() != 0);
        fixed.copied().collect()
    };
    Listeners {
        udp: fixed(&config.io.udp),
        tcp: fixed(&config.listen.tcp),
        tls: fixed(&config.listen.tls),
    }
}

fn bound(readiness: &Value) -> Option<Listeners> {
    let list = |key: &str| -> Option<Vec<SocketAddr>> {
        let texts = readiness.get(key)?.as_array()?.iter();
        texts.map(|text| text.as_str()?.parse().ok()).collect()
    };
    Some(Listeners {
        udp: list("udp")?,
        tcp: list("tcp")?,
        tls: list("tls")?,
    })
}

fn effective_external_ips(shown: &Value) -> Vec<IpAddr> {
    let effective = shown["values"]["server.external_ip"]["effective"].as_array();
    let texts = effective.into_iter().flatten();
    texts
        .filter_map(|text| text.as_str()?.parse().ok())
        .collect()
}

fn told(version: &str, shown: &Value, config: &Config) -> Told {
    let version: Value = serde_json::from_str(version).unwrap_or_default();
    let Some(running) = shown["values"].as_object() else {
        return Told::Nothing;
    };
    let own: BTreeMap<&str, &Value> = config
        .shown
        .values
        .iter()
        .map(|(key, shown)| (key.as_str(), &shown.value))
        .collect();
    let mut differing: Vec<String> = own
        .iter()
        .filter(|(key, value)| running.get(**key).map(|it| &it["value"]) != Some(**value))
        .map(|(key, _)| (*key).to_owned())
        .collect();
    let unknown = running.keys().filter(|key| !own.contains_key(key.as_str()));
    differing.extend(unknown.cloned());
    Told::Everything {
        version: version["version"].as_str().unwrap_or_default().to_owned(),
        file: shown["file"].as_str().map(str::to_owned),
        differing,
    }
}

impl Server {
    /// True if it is known that nobody serves.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.facts, Facts::Absent { .. })
    }

    /// `None` unless it is known that nobody serves.
    pub(super) fn how_to_start(&self, setup: &Setup) -> Option<String> {
        self.is_absent()
            .then(|| how_to_start(setup.asked.file.as_deref()))
    }

    /// Those to test; empty lists without a server.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    pub(super) fn rows(&self, setup: &Setup) -> Vec<Row> {
        rows(&self.facts, setup.asked.file.as_deref())
    }
}

/// What is said about the server that this file describes.
pub(super) fn rows(facts: &Facts, file: Option<&Path>) -> Vec<Row> {
    const WHAT: &str = "running server";
    match facts {
        Facts::NoListener(why) => vec![Row::untried(
            Part::Server,
            WHAT,
            format!("{why}: cannot be asked what it runs"),
        )],
        Facts::Absent { address } => vec![Row::fail(
            Part::Server,
            WHAT,
            format!("nobody answers at {address}"),
            how_to_start(file),
        )],
        Facts::Strange { address, problem } => vec![Row::fail(
            Part::Server,
            WHAT,
            problem.clone(),
            format!(
                "Something answers at {address}, `admin.listen` of this file, but not as a relayd that is well: look at its log, and at who has the port (`ss -tlnp`)."
            ),
        )],
        Facts::Running(running) => running_rows(running, file),
    }
}

fn how_to_start(file: Option<&Path>) -> String {
    match file {
        None => "The server does not run; start it: `relayd`.".to_owned(),
        Some(file) => format!(
            "The server does not run; start it: `systemctl start relayd`, or `relayd --config {}`.",
            file.display()
        ),
    }
}

fn running_rows(running: &Running, file: Option<&Path>) -> Vec<Row> {
    let (address, state) = (running.address, running.state.as_str());
    let mut rows = vec![match state {
        "ready" => Row::ok(
            Part::Server,
            "running server",
            format!("ready, asked at {address}"),
        ),
        "starting" => Row::warn(
            Part::Server,
            "running server",
            "starting",
            "It has not finished its start: ask again in a moment.",
        ),
        other => Row::fail(
            Part::Server,
            "running server",
            format!("{other}: new calls are refused"),
            "Somebody drains or stops it. `DELETE /drain` at the admin listener takes a drain back; a server that is stopping has to be started again.",
        ),
    }];
    match &running.told {
        Told::Everything {
            version,
            file: runs,
            differing,
        } => {
            rows.extend(version_row(version));
            rows.push(file_row(file, runs.as_deref(), differing));
        }
        Told::Refused { status, has_token } => {
            rows.push(refused_row(*status, *has_token));
        }
        Told::Nothing => rows.push(Row::warn(
            Part::Server,
            "running configuration",
            "it does not tell what it runs",
            "The admin listener's answers to /version and /config were not understood: it is a relayd of another version, or its configuration is larger than 64 KiB.",
        )),
    }
    rows
}

/// A row for a version that is not this program's.
fn version_row(version: &str) -> Option<Row> {
    (version != VERSION).then(|| {
        Row::warn(
            Part::Server,
            "version",
            format!("relayd {version} runs, this is {VERSION}"),
            "The binary was replaced under the running server: SIGUSR2 upgrades it without dropping a call (`systemctl kill -s USR2 --kill-who=main relayd`).",
        )
    })
}

fn refused_row(status: u16, has_token: bool) -> Row {
    let advice = match (status, has_token) {
        (401, false) => {
            "The running server wants a token and this file has none: write admin.token as the running server's file has it, or reload it with this one."
        }
        (401, true) => {
            "The running server has another admin.token than this file: reload it, or name the file that it runs."
        }
        (429, _) => {
            "Too many wrong tokens came from here: wait a few seconds, and look at admin.token."
        }
        _ => "Look at the log of the running server.",
    };
    Row::fail(
        Part::Server,
        "running configuration",
        format!("the admin listener answers {status}"),
        advice,
    )
}

fn file_row(file: Option<&Path>, runs: Option<&str>, differing: &[String]) -> Row {
    const WHAT: &str = "running configuration";
    let is_this = match (file, runs) {
        (None, None) => true,
        (Some(file), Some(runs)) => is_same_file(file, Path::new(runs)),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !is_this {
        let runs = runs.unwrap_or("the built-in first try");
        let and = match differing {
            [] => "; the values are the same".to_owned(),
            keys => format!("; other values: {}", keys_of(keys)),
        };
        return Row::warn(
            Part::Server,
            WHAT,
            format!("it runs {runs}, not this file{and}"),
            "What follows tests the running server with the users, secrets and hosts of this file: name the file that it runs, or restart it with this one.",
        );
    }
    if differing.is_empty() {
        return Row::ok(Part::Server, WHAT, "this file, as it is");
    }
    Row::warn(
        Part::Server,
        WHAT,
        format!(
            "the file has changed since it was read: {}",
            keys_of(differing)
        ),
        "`systemctl reload relayd`, or SIGHUP; what is still named afterwards takes a restart (the log's line about the reload says so).",
    )
}

fn keys_of(keys: &[String]) -> String {
    let shown = keys.iter().take(KEYS_SHOWN_MAX).map(String::as_str);
    let shown: Vec<&str> = shown.collect();
    match keys.len() {
        n if n > KEYS_SHOWN_MAX => {
            format!("{} and {} more", shown.join(", "), n - KEYS_SHOWN_MAX)
        }
        _ => shown.join(", "),
    }
}

/// A relative name of the running server's is relative to a directory that nobody tells: then the last part must do.
fn is_same_file(own: &Path, runs: &Path) -> bool {
    if let (Ok(own), Ok(runs)) = (own.canonicalize(), runs.canonicalize()) {
        return own == runs;
    }
    own == runs || runs.is_relative() && own.file_name() == runs.file_name()
}
