//! The server under test: relayd, or another one named by `TURN_SUBJECT`, on loopback ports of its own.

use super::client::{Client, Kind, Outcome, PATIENCE, Wire, own_ports, transaction_id};
use super::stun::{self, Class, Writer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const REALM: &str = "relay.test";
pub const SECRET: &str = "between us";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Relayd,
    Coturn,
}

pub fn which() -> Which {
    match std::env::var("TURN_SUBJECT").as_deref() {
        Err(_) | Ok("relayd") => Which::Relayd,
        Ok("coturn") => Which::Coturn,
        Ok(other) => panic!("TURN_SUBJECT is {other}; known are relayd and coturn"),
    }
}

/// What a scenario wants different from the ordinary server.
#[derive(Clone, Debug)]
pub struct Setup {
    pub users: Vec<(&'static str, &'static str)>,
    /// First and last relayed port; `None` leaves the default.
    pub relay_ports: Option<(u16, u16)>,
    pub per_user: u32,
    pub total: u32,
    pub deny: Vec<&'static str>,
    pub drain_timeout: &'static str,
    /// `json` or `text`.
    pub log_format: &'static str,
    pub log_level: &'static str,
    /// Lines of relayd's file that nothing else can be asked for: (table, line).
    pub extra: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            users: vec![("alice", "wonderland"), ("bob", "builder")],
            // Above the ports that the system hands out (net.ipv4.ip_local_port_range ends at 60999).
            relay_ports: Some((61_000, 65_535)),
            per_user: 0,
            total: 0,
            deny: Vec::new(),
            drain_timeout: "30s",
            log_format: "json",
            log_level: "info",
            extra: Vec::new(),
        }
    }
}

pub struct Subject {
    pub which: Which,
    child: Child,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    dir: PathBuf,
    /// Standard output, line by line, as long as the process lives.
    pub log: Receiver<String>,
}

impl Subject {
    pub fn start(setup: &Setup) -> Self {
        match which() {
            Which::Relayd => start_relayd(setup),
            Which::Coturn => start_coturn(setup),
        }
    }

    /// The listener for `kind` as a client reaches it on `ip`.
    pub fn addr(&self, kind: Kind, ip: &str) -> SocketAddr {
        let ip: IpAddr = ip.parse().expect("a literal address");
        let all = match kind {
            Kind::Udp => &self.udp,
            Kind::Tcp => &self.tcp,
            Kind::Tls => &self.tls,
        };
        let found = all.iter().find(|addr| addr.is_ipv4() == ip.is_ipv4());
        SocketAddr::new(ip, found.expect("a listener of this family").port())
    }

    pub fn wire(&self, kind: Kind) -> Wire {
        let addr = self.addr(kind, "127.0.0.1");
        Wire::open(kind, addr).unwrap_or_else(|error| panic!("{kind:?} to {addr}: {error}"))
    }

    pub fn alice(&self, kind: Kind) -> Client {
        Client::new(self.wire(kind), "alice", "wonderland")
    }

    pub fn bob(&self, kind: Kind) -> Client {
        Client::new(self.wire(kind), "bob", "builder")
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.pid().to_string();
        let name = format!("-{signal}");
        let sent = Command::new("kill")
            .args([name, pid])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "signal {signal} to a process that is gone");
    }

    /// Rewrites the configuration and asks for a reload.
    pub fn reload(&self, setup: &Setup) {
        assert_eq!(self.which, Which::Relayd, "only relayd is reloaded");
        let text = relayd_toml(setup, &self.dir);
        std::fs::write(self.dir.join("relay.toml"), text).expect("the file can be written");
        self.signal(SIGHUP);
    }

    /// The exit status, once the process has ended by itself.
    pub fn wait(&mut self) -> Outcome<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            if begin.elapsed() > PATIENCE * 2 {
                return Err("the server does not end".into());
            }
            std::thread::yield_now();
        }
    }

    /// The first line of the log from here on that says `text`.
    pub fn wait_for_line(&self, text: &str) -> Outcome<String> {
        let mut others = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => others.push(line),
                Err(end) => {
                    return Err(format!(
                        "the log does not say {text:?} ({end}): {others:#?}"
                    ));
                }
            }
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The body of an admin answer.
    pub fn admin_get(&self, path: &str) -> Outcome<(u16, String)> {
        let admin = self.admin.ok_or("this server has no admin endpoint")?;
        http_get(admin, path)
    }

    /// The sum over all labels of the counters whose name fits.
    pub fn metric(&self, fits: impl Fn(&str) -> bool) -> Outcome<f64> {
        let (_, text) = self.admin_get("/metrics")?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            fits(name).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the server lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.expect("VmRSS has a number")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub const SIGHUP: i32 = 1;
pub const SIGTERM: i32 = 15;

pub fn http_get(server: SocketAddr, path: &str) -> Outcome<(u16, String)> {
    let fault = |error: std::io::Error| format!("GET {path}: {error}");
    let mut socket = TcpStream::connect(server).map_err(fault)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(fault)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map_err(fault)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    Ok((status.ok_or("no status line")?, body.unwrap_or_default()))
}

fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance-{}-{number}", std::process::id());
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a scratch directory can be made");
    let signed = rcgen::generate_simple_self_signed(vec![REALM.to_owned(), "localhost".to_owned()]);
    let signed = signed.expect("a certificate can be made");
    std::fs::write(dir.join("cert.pem"), signed.cert.pem()).expect("a file can be written");
    std::fs::write(dir.join("key.pem"), signed.signing_key.serialize_pem())
        .expect("a file can be written");
    dir
}

fn start_relayd(setup: &Setup) -> Subject {
    let dir = scratch();
    let path = dir.join("relay.toml");
    std::fs::write(&path, relayd_toml(setup, &dir)).expect("a file can be written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_relayd"))
        .arg("--config")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("relayd starts");
    let (sender, log) = channel();
    let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut seen = Vec::new();
    let admin = loop {
        let line = log.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("relayd names no admin address: {seen:#?}"));
        if let Some(admin) = admin_of(&line) {
            break admin;
        }
        seen.push(line);
    };
    let begin = Instant::now();
    let ready = loop {
        if let Ok((200, body)) = http_get(admin, "/readyz") {
            break body;
        }
        assert!(begin.elapsed() < PATIENCE, "relayd does not get ready");
        std::thread::yield_now();
    };
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("/readyz answers JSON");
    let listeners = |key: &str| -> Vec<SocketAddr> {
        let list = ready[key].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|item| addr(item.as_str().expect("a listener is text")))
            .collect()
    };
    Subject {
        which: Which::Relayd,
        child,
        udp: listeners("udp"),
        tcp: listeners("tcp"),
        tls: listeners("tls"),
        admin: Some(admin),
        dir,
        log,
    }
}

fn admin_of(line: &str) -> Option<SocketAddr> {
    if let Some((_, admin)) = line.split_once(" admin=") {
        return admin.split(' ').next()?.parse().ok();
    }
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let admin = value
        .get("admin")
        .or_else(|| value.get("fields")?.get("admin"))?;
    admin.as_str()?.parse().ok()
}

fn addr(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no transport address"))
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items
        .into_iter()
        .map(|item| format!("{:?}", item.to_string()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

fn relayd_toml(setup: &Setup, dir: &std::path::Path) -> String {
    let any = list(["0.0.0.0:0", "[::]:0"]);
    let users: Vec<String> = setup
        .users
        .iter()
        .map(|(name, password)| format!("{name} = {password:?}"))
        .collect();
    let mut tables: Vec<(&str, Vec<String>)> = vec![
        (
            "server",
            vec![
                format!("domain = {REALM:?}"),
                "workers = 2".into(),
                format!("drain_timeout = {:?}", setup.drain_timeout),
            ],
        ),
        (
            "listen",
            vec![
                format!("udp = {any}"),
                format!("tcp = {any}"),
                format!("tls = {any}"),
            ],
        ),
        (
            "tls",
            vec![
                format!("cert = {:?}", dir.join("cert.pem")),
                format!("key = {:?}", dir.join("key.pem")),
            ],
        ),
        (
            "turn",
            vec![
                format!("realm = {REALM:?}"),
                format!("users = {{ {} }}", users.join(", ")),
                format!("auth_secret = {}", list([SECRET])),
            ],
        ),
        (
            "turn.peers",
            vec![
                format!("allow = {}", list(["127.0.0.0/8", "::1/128"])),
                format!("deny = {}", list(&setup.deny)),
            ],
        ),
        (
            "turn.limits",
            vec![
                format!("allocations_per_user = {}", setup.per_user),
                format!("allocations_total = {}", setup.total),
            ],
        ),
        ("admin", vec!["listen = \"127.0.0.1:0\"".into()]),
        (
            "log",
            vec![
                format!("format = {:?}", setup.log_format),
                format!("level = {:?}", setup.log_level),
            ],
        ),
    ];
    if let Some((first, last)) = setup.relay_ports {
        let turn = tables.iter_mut().find(|(name, _)| *name == "turn");
        turn.expect("listed above")
            .1
            .push(format!("relay_ports = \"{first}-{last}\""));
    }
    for (table, line) in &setup.extra {
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

fn start_coturn(setup: &Setup) -> Subject {
    let dir = scratch();
    let (plain, tls) = (free_port(), free_port());
    let mut command = Command::new("turnserver");
    command
        .args([
            "-n",
            "--no-cli",
            "--log-file=stdout",
            "--simple-log",
            "--lt-cred-mech",
        ])
        .args([
            "--allow-loopback-peers",
            "--no-rfc5780",
            "--relay-threads=1",
        ])
        .arg(format!("--realm={REALM}"))
        .args([
            "--listening-ip=127.0.0.1",
            "--listening-ip=::1",
            "--relay-ip=127.0.0.1",
            "--relay-ip=::1",
        ])
        .arg(format!("--listening-port={plain}"))
        .arg(format!("--tls-listening-port={tls}"))
        .arg(format!("--cert={}", dir.join("cert.pem").display()))
        .arg(format!("--pkey={}", dir.join("key.pem").display()))
        .arg(format!("--pidfile={}", dir.join("pid").display()))
        .arg(format!("--userdb={}", dir.join("users.db").display()));
    for (name, password) in &setup.users {
        command.arg(format!("--user={name}:{password}"));
    }
    for ip in &setup.deny {
        command.arg(format!(
            "--denied-peer-ip={}",
            ip.split('/').next().unwrap_or(ip)
        ));
    }
    if let Some((first, last)) = setup.relay_ports {
        command
            .arg(format!("--min-port={first}"))
            .arg(format!("--max-port={last}"));
    }
    if setup.per_user > 0 {
        command.arg(format!("--user-quota={}", setup.per_user));
    }
    if setup.total > 0 {
        command.arg(format!("--total-quota={}", setup.total));
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.expect("turnserver (package coturn) starts");
    let both = |port| {
        vec![
            SocketAddr::from(([127, 0, 0, 1], port)),
            addr(&format!("[::1]:{port}")),
        ]
    };
    let subject = Subject {
        which: Which::Coturn,
        child,
        udp: both(plain),
        tcp: both(plain),
        tls: both(tls),
        admin: None,
        dir,
        log: channel().1,
    };
    let begin = Instant::now();
    while !answers(&subject) {
        assert!(begin.elapsed() < PATIENCE, "coturn does not get ready");
    }
    subject
}

/// Whether every listener is up; UDP says so by answering.
fn answers(subject: &Subject) -> bool {
    let binding = Writer::new(Class::Request, stun::BINDING, transaction_id()).bytes();
    ["127.0.0.1", "::1"].into_iter().all(|ip| {
        let streams = Kind::STREAMS.map(|kind| TcpStream::connect(subject.addr(kind, ip)).is_ok());
        let asked = Wire::open(Kind::Udp, subject.addr(Kind::Udp, ip)).and_then(|mut wire| {
            if let Wire::Udp(socket) = &wire {
                socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            }
            wire.send(&binding)?;
            wire.read(&mut [0; 512])
        });
        streams == [true, true] && asked.is_ok()
    })
}

/// A port that was free a moment ago; the foreign server cannot be given port 0.
fn free_port() -> u16 {
    let is_free = |port: &u16| {
        ["127.0.0.1", "::1"].into_iter().all(|ip| {
            UdpSocket::bind((ip, *port)).is_ok() && TcpListener::bind((ip, *port)).is_ok()
        })
    };
    own_ports()
        .find(is_free)
        .expect("one of many ports is free")
}
