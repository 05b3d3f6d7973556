//! The binary with a configuration that is rewritten again and again.

use super::support::client::{Client, Kind, PATIENCE, Wire};
use super::web::certs::{Authority, Leaf};
use super::web::relayd::Directory;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub const REALM: &str = "relay.test";

/// The configuration as a test varies it.
#[derive(Clone, Debug)]
pub struct Conf {
    pub udp: Vec<String>,
    pub tcp: Vec<String>,
    pub tls: Vec<String>,
    pub certificate: bool,
    pub users: Vec<(&'static str, &'static str)>,
    pub secrets: Vec<&'static str>,
    pub log: (&'static str, &'static str),
    /// Further lines: (table, line).
    pub lines: Vec<(&'static str, String)>,
}

impl Default for Conf {
    fn default() -> Self {
        let any = || vec!["127.0.0.1:0".to_owned()];
        Self {
            udp: any(),
            tcp: any(),
            tls: any(),
            certificate: true,
            users: vec![("alice", "wonderland"), ("bob", "builder")],
            secrets: vec!["s3cret-between-us"],
            log: ("json", "info"),
            lines: vec![("turn.peers", "allow = [\"127.0.0.0/8\"]".to_owned())],
        }
    }
}

impl Conf {
    pub fn with(mut self, table: &'static str, line: impl Into<String>) -> Self {
        self.lines.push((table, line.into()));
        self
    }

    fn text(&self, dir: &Directory) -> String {
        let users: Vec<String> = self
            .users
            .iter()
            .map(|(name, password)| format!("{name} = {password:?}"))
            .collect();
        let (format, level) = self.log;
        let mut tables: Vec<(&str, Vec<String>)> = vec![
            (
                "server",
                vec![
                    format!("domain = {REALM:?}"),
                    "workers = 2".into(),
                    "drain_timeout = \"5s\"".into(),
                ],
            ),
            (
                "listen",
                vec![
                    format!("udp = {:?}", self.udp),
                    format!("tcp = {:?}", self.tcp),
                    format!("tls = {:?}", self.tls),
                ],
            ),
            (
                "turn",
                vec![
                    format!("users = {{ {} }}", users.join(", ")),
                    format!("auth_secret = {:?}", self.secrets),
                    "relay_ports = \"61000-65535\"".into(),
                ],
            ),
            ("admin", vec!["listen = \"127.0.0.1:0\"".into()]),
            (
                "log",
                vec![format!("format = {format:?}"), format!("level = {level:?}")],
            ),
        ];
        if self.certificate {
            let (cert, key) = (dir.path("cert.pem"), dir.path("key.pem"));
            tables.push((
                "tls",
                vec![format!("cert = {cert:?}"), format!("key = {key:?}")],
            ));
        }
        for (table, line) in &self.lines {
            match tables.iter_mut().find(|(name, _)| name == table) {
                Some((_, lines)) => lines.push(line.clone()),
                None => tables.push((table, vec![line.clone()])),
            }
        }
        let texts = tables
            .iter()
            .map(|(name, lines)| format!("[{name}]\n{}\n", lines.join("\n")));
        texts.collect()
    }
}

pub struct Server {
    child: Child,
    pub dir: Directory,
    pub admin: SocketAddr,
    log: Arc<Log>,
    pub authority: Authority,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Server {
    pub fn start(conf: &Conf) -> Self {
        let dir = Directory::new();
        let authority = Authority::new("reload test root");
        write_pair(&dir, &authority.leaf(&[REALM]));
        dir.write("relay.toml", &conf.text(&dir));
        let mut child = Command::new(binary())
            .arg("--config")
            .arg(dir.path("relay.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let log = Arc::<Log>::default();
        collect(child.stdout.take().expect("piped"), &log);
        collect(child.stderr.take().expect("piped"), &log);
        let mut server = Self {
            child,
            dir,
            admin: ([127, 0, 0, 1], 0).into(),
            log,
            authority,
        };
        let line = server.wait_for_log(&["\"serving\""]);
        let line: Value = serde_json::from_str(&line).expect("JSON");
        server.admin = line["admin"]
            .as_str()
            .expect("text")
            .parse()
            .expect("an address");
        until("it is ready", || server.get("/readyz").0 == 200);
        server
    }

    pub fn write(&self, conf: &Conf) {
        self.dir.write("relay.toml", &conf.text(&self.dir));
    }

    /// Puts another file in its place, in one step.
    pub fn replace(&self, conf: &Conf) {
        self.dir.write("relay.toml.new", &conf.text(&self.dir));
        std::fs::rename(self.dir.path("relay.toml.new"), self.config_path()).expect("renamed");
    }

    /// Writes the file and reloads by request; what came of it.
    pub fn reload(&self, conf: &Conf) -> (u16, Value) {
        self.write(conf);
        self.post()
    }

    /// The same, which must succeed; the changes as `key: change`.
    pub fn reloaded(&self, conf: &Conf) -> Vec<String> {
        let (status, report) = self.reload(conf);
        assert_eq!((status, &report["ok"]), (200, &true.into()), "{report:#}");
        changes(&report)
    }

    pub fn post(&self) -> (u16, Value) {
        let (status, body) = self.ask("POST", "/reload");
        let value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        (status, value)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        ask(self.admin, method, path)
    }

    /// The value of a metric, its labels included in the name; `None` if there is no such line.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    /// The first listener of a kind: `udp`, `tcp`, `tls`.
    pub fn listeners(&self, kind: Kind) -> Vec<SocketAddr> {
        let (_, body) = self.get("/readyz");
        let ready: Value = serde_json::from_str(&body).expect("JSON");
        let list = match kind {
            Kind::Udp => &ready["udp"],
            Kind::Tcp => &ready["tcp"],
            Kind::Tls => &ready["tls"],
        };
        let list = list.as_array().expect("a list").iter();
        list.map(|addr| addr.as_str().expect("text").parse().expect("an address"))
            .collect()
    }

    pub fn client(&self, kind: Kind, (name, password): (&str, &str)) -> Client {
        let address = self.listeners(kind)[0];
        let wire = Wire::open(kind, address)
            .unwrap_or_else(|error| panic!("{kind:?} to {address}: {error}"));
        Client::new(wire, name, password)
    }

    pub fn alice(&self, kind: Kind) -> Client {
        self.client(kind, ("alice", "wonderland"))
    }

    pub fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The first line that has all of these in it, waited for.
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE * 3;
        let mut lines = self.log.lines.lock().expect("whole");
        loop {
            let found = lines
                .iter()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            if let Some(line) = found {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {parts:?} in\n{}", lines.join("\n"));
            lines = self.log.changed.wait_timeout(lines, left).expect("whole").0;
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().expect("whole").clone()
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path("relay.toml")
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.expect("a number")
    }

    /// Open descriptors.
    pub fn fds(&self) -> usize {
        let list = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        list.expect("it lives").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        assert!(
            std::thread::panicking() || !log.iter().any(|line| line.contains("s3cret")),
            "a secret in the log"
        );
        if std::thread::panicking() {
            let from = log.len().saturating_sub(40);
            eprintln!("--- log of relayd ---\n{}", log[from..].join("\n"));
        }
    }
}

fn collect(from: impl Read + Send + 'static, log: &Arc<Log>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.lines.lock().expect("whole").push(line);
            log.changed.notify_all();
        }
    });
}

pub fn ask(admin: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(admin).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE * 3)).expect("set");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    (status.expect("a status"), body.to_owned())
}

/// `RELAYD_BIN` for a release build.
pub fn binary() -> PathBuf {
    match std::env::var_os("RELAYD_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_relayd").into(),
    }
}

pub fn write_pair(dir: &Directory, leaf: &Leaf) {
    dir.write("cert.pem", &leaf.chain_pem);
    dir.write("key.pem", &leaf.key_pem);
}

pub fn changes(report: &Value) -> Vec<String> {
    let list = report["changes"].as_array().expect("a list").iter();
    list.map(|change| {
        format!(
            "{}: {}",
            change["key"].as_str().expect("text"),
            change["change"].as_str().expect("text")
        )
    })
    .collect()
}

/// Waits for what is about to come true.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < PATIENCE * 3,
            "{what}: it does not come true"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
