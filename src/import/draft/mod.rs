//! From what a turnserver.conf says to the keys of a relay.toml, each with the lines that it came from.
//!
//! What relayd refuses or bounds otherwise is fitted here, with a remark, so that the result passes `relayd check`.

mod limits;
mod listen;
mod peers;
mod users;

use super::facts::{At, Facts};
use super::{Fate, Options};
use crate::config::{self, Place, Problem, Severity};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// What config/relayd.service lets the log be written to.
const LOGS_DIRECTORY: &str = "/var/log/relayd/";

/// A table of the result, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Server,
    Listen,
    ListenTimeouts,
    ListenLimits,
    Tls,
    Turn,
    TurnUsers,
    TurnPeers,
    TurnLimits,
    Admin,
    Log,
}

impl Table {
    pub const ALL: [Self; 11] = [
        Self::Server,
        Self::Listen,
        Self::ListenTimeouts,
        Self::ListenLimits,
        Self::Tls,
        Self::Turn,
        Self::TurnUsers,
        Self::TurnPeers,
        Self::TurnLimits,
        Self::Admin,
        Self::Log,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Listen => "listen",
            Self::ListenTimeouts => "listen.timeouts",
            Self::ListenLimits => "listen.limits",
            Self::Tls => "tls",
            Self::Turn => "turn",
            Self::TurnUsers => "turn.users",
            Self::TurnPeers => "turn.peers",
            Self::TurnLimits => "turn.limits",
            Self::Admin => "admin",
            Self::Log => "log",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
    /// A secret with what stands before it in the file, such as "key:", and the name of its file if it gets one.
    Secret(SecretValue),
    Secrets(Vec<SecretValue>),
}

#[derive(Clone, Debug)]
pub struct SecretValue {
    pub prefix: &'static str,
    pub secret: Secret,
    pub file: String,
}

/// One key of the result.
#[derive(Clone, Debug)]
pub struct Entry {
    pub table: Table,
    pub key: String,
    pub value: Value,
    /// The lines that it came from: indexes into the occurrences.
    pub from: Vec<usize>,
}

#[derive(Debug)]
pub struct Draft {
    pub facts: Facts,
    pub entries: Vec<Entry>,
    pub remarks: Vec<String>,
}

impl Draft {
    pub fn new(
        facts: Facts,
        options: &Options,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, Vec<Problem>> {
        let mut draft = Self {
            facts,
            entries: Vec::new(),
            remarks: Vec::new(),
        };
        let udp = draft.listeners();
        draft.certificate(options);
        if let Some(problem) = draft.relay_ports(&udp) {
            return Err(vec![in_file(problem, options)]);
        }
        draft.server();
        draft.realm();
        draft.credentials(entropy);
        draft.lifetimes();
        draft.peers();
        draft.limits();
        draft.admin();
        draft.log();
        Ok(draft)
    }

    /// Puts a key into the result; the lines that it came from are told where they went.
    fn add(&mut self, table: Table, key: &str, value: Value, from: Vec<usize>) {
        let name = match table {
            // User names are somebody's: the account of the lines has the table alone.
            Table::TurnUsers => table.name().to_owned(),
            _ => format!("{}.{key}", table.name()),
        };
        for index in &from {
            if let Some(at) = self.facts.about(*index)
                && !at.to.contains(&name)
            {
                at.to.push(name.clone());
            }
        }
        self.entries.push(Entry {
            table,
            key: key.to_owned(),
            value,
            from,
        });
    }

    fn remark(&mut self, remark: &str) {
        self.remarks.push(remark.to_owned());
    }

    fn server(&mut self) {
        if let Some(At { value, from }) = self.facts.server_name.clone()
            && !value.is_empty()
        {
            let remark =
                "coturn has it for OAuth alone; in relayd it is what clients call this server";
            match config::parse_host(&value) {
                Ok(host) => {
                    self.facts.tell([from], Fate::Remarked, remark);
                    self.add(Table::Server, "domain", Value::Text(host), vec![from]);
                }
                Err(_) => {
                    let remark = "it is no host name: set server.domain to the name by which clients reach this server";
                    self.facts.tell([from], Fate::NoCounterpart, remark);
                }
            }
        }
        if !self.entries.iter().any(|entry| entry.key == "domain") {
            self.remark("Set server.domain to the name by which clients reach this server: coturn has no such key, and relayd's client code and certificate check go by it.");
        }
        self.external();
        self.workers();
    }

    fn external(&mut self) {
        use super::values::External;
        let external = self.facts.external.clone();
        if external.is_empty() {
            return;
        }
        let texts = external.iter().map(|at| match at.value {
            External::Plain(ip) => ip.to_string(),
            External::Pair(public, private) => format!("{public}/{private}"),
        });
        let value = Value::List(texts.collect());
        self.add(Table::Server, "external_ip", value, lines(&external));
    }

    fn workers(&mut self) {
        const THREADS_MAX: u64 = 128;
        let (threads, cpus) = (self.facts.threads.clone(), self.facts.cpus.clone());
        if let (Some(_), Some(cpus)) = (&threads, &cpus) {
            let remark = "relay-threads is there too, and coturn goes by that";
            self.facts.tell([cpus.from], Fate::NotRead, remark);
        }
        let Some(At { value, from }) = threads.or(cpus) else {
            return;
        };
        let workers = value.clamp(1, THREADS_MAX);
        if workers != value {
            let remark =
                format!("relayd has {workers}: one worker at least, and coturn 128 at most");
            self.facts.tell([from], Fate::Remarked, &remark);
        }
        self.add(Table::Server, "workers", Value::Number(workers), vec![from]);
    }

    fn admin(&mut self) {
        const DEFAULT_PORT: u16 = 9641;
        let (port, address) = (
            self.facts.prometheus_port.clone(),
            self.facts.prometheus_address.clone(),
        );
        let others = port.iter().map(|at| at.from);
        let others: Vec<usize> = others.chain(address.iter().map(|at| at.from)).collect();
        let Some(on) = self.facts.prometheus.clone() else {
            let remark = "without `prometheus` coturn serves no metrics";
            self.facts.tell(others, Fate::NotRead, remark);
            return;
        };
        let port = port.map_or(DEFAULT_PORT, |port| port.value);
        let loopback = address
            .as_ref()
            .map(|at| at.value)
            .filter(|ip| ip.is_loopback());
        let ip = loopback.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        if loopback.is_none() {
            let remark = "coturn serves metrics on every address, or on the one that is named; relayd on loopback, since any other address needs `admin.token`: set one, or let a local agent or a tunnel fetch them";
            self.facts.tell([on.from], Fate::Remarked, remark);
        }
        let listen = std::net::SocketAddr::new(ip, port).to_string();
        let from = std::iter::once(on.from).chain(others).collect();
        self.add(Table::Admin, "listen", Value::Text(listen), from);
        self.remark("Metrics have coturn's names, turn_…, beside relayd's own (`admin.coturn_metrics`), without users in labels.");
    }

    fn log(&mut self) {
        self.log_destination();
        let extra = self.facts.extra.clone().filter(|extra| extra.value);
        let level = match (&self.facts.level, &extra) {
            (Some(At { value: "debug", .. }) | None, Some(_)) => "debug",
            // What coturn writes at "debug" without Verbose, relayd writes at "info".
            (Some(At { value: "debug", .. }), None) => "info",
            (Some(level), _) => level.value,
            (None, None) => return,
        };
        let from = self.facts.level.iter().map(|at| at.from);
        let from = from.chain(extra.iter().map(|at| at.from)).collect();
        self.add(Table::Log, "level", Value::Text(level.to_owned()), from);
    }

    /// coturn's `syslog` overrides its `log-file`.
    fn log_destination(&mut self) {
        let syslog = self.facts.syslog.clone().filter(|on| on.value);
        let file = self.facts.log_to.clone();
        if let Some(At { from, .. }) = syslog {
            let ignored = file.map(|at| at.from);
            self.facts.tell(
                ignored,
                Fate::NotRead,
                "with `syslog` coturn writes no file",
            );
            let remark = "under systemd standard output goes to the journal; with log.to = \"journald\" its entries have every field";
            self.facts.tell([from], Fate::Remarked, remark);
            let to = Value::Text("stdout".to_owned());
            self.add(Table::Log, "to", to, vec![from]);
        } else if let Some(At { value, from }) = file {
            if let Some(path) = value.strip_prefix("file:") {
                let mut remark = "relayd appends to the file, which its user must be able to write, and opens it again at SIGHUP; coturn begins one at each start".to_owned();
                if !path.starts_with(LOGS_DIRECTORY) {
                    remark += "; under config/relayd.service only /var/log/relayd is writable";
                }
                self.facts.tell([from], Fate::Remarked, &remark);
            }
            self.add(Table::Log, "to", Value::Text(value), vec![from]);
        }
    }
}

/// The occurrences of a list's values.
fn lines<T>(list: &[At<T>]) -> Vec<usize> {
    list.iter().map(|at| at.from).collect()
}

fn in_file(problem: Problem, options: &Options) -> Problem {
    Problem {
        file: Some(options.file.clone()),
        ..problem
    }
}

/// An error about a line that can be read, but not together with others.
fn problem(facts: &Facts, from: usize, what: &str, label: &str, help: &str) -> Problem {
    let at = facts.occurrences.get(from);
    let (key, line) = at.map_or(("", 0), |at| (at.key.as_str(), at.line));
    Problem {
        severity: Severity::Error,
        message: format!("`{key}` {what}"),
        file: None,
        place: Some(Place {
            line,
            column: 1,
            source: key.to_owned(),
            caret_start: 0,
            caret_count: key.len().max(1),
        }),
        label: label.to_owned(),
        help: Some(help.to_owned()),
    }
}
