//! The real binary, with a configuration of this test, on ports that the system chose.

use super::PATIENCE;
use super::certs::{Authority, Leaf};
use super::client::Client;
use super::message::{Message, Reader};
use rustls::RootCertStore;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// The name that clients use; the certificate is for it.
pub const NAME: &str = "proxy.example.com";

pub struct Relayd {
    child: Child,
    pub admin: SocketAddr,
    pub tls: SocketAddr,
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    roots: RootCertStore,
    log: Arc<Log>,
    dir: Directory,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

/// What a test configures beyond the listeners.
#[derive(Default)]
pub struct Setup<'a> {
    /// The lines of `[proxy]` and its tables.
    pub proxy: String,
    /// The authority that upstreams are signed by.
    pub upstream_ca: Option<&'a Authority>,
    /// The server's own certificate; made for this test if there is none.
    pub certificate: Option<(&'a Authority, Leaf)>,
    /// Lines of `[listen]` after the listeners.
    pub listen: String,
    /// Lines of `[admin]` after the listener.
    pub admin: String,
    /// Whole tables, at the end of the file.
    pub tables: String,
    /// `turn.auth_secret`; empty: none.
    pub auth_secret: String,
    /// Files beside the configuration: name and content.
    pub files: Vec<(&'static str, String)>,
}

impl Relayd {
    /// Starts the binary and waits until it is ready.
    pub fn start(setup: Setup<'_>) -> Self {
        let dir = Directory::new();
        let own;
        let (authority, leaf) = match &setup.certificate {
            Some((authority, leaf)) => (*authority, leaf),
            None => {
                let authority = Authority::new("proxy test root");
                let leaf = authority.leaf(&[NAME]);
                own = (authority, leaf);
                (&own.0, &own.1)
            }
        };
        dir.write("cert.pem", &leaf.chain_pem);
        dir.write("key.pem", &leaf.key_pem);
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.certificate.clone())
            .expect("a good root");
        let ca_line = match setup.upstream_ca {
            Some(ca) => {
                dir.write("upstream-ca.pem", &ca.pem);
                format!("ca_file = {:?}\n", dir.path("upstream-ca.pem"))
            }
            None => String::new(),
        };
        let auth_secret = match setup.auth_secret.as_str() {
            "" => String::new(),
            secret => format!("auth_secret = {secret:?}\n"),
        };
        for (name, content) in &setup.files {
            dir.write(name, content);
        }
        let config = format!(
            "[server]\ndomain = \"{NAME}\"\nworkers = 1\ndrain_timeout = \"5s\"\n\
             [listen]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\ntls = [\"127.0.0.1:0\"]\n{}\n\
             [tls]\ncert = {:?}\nkey = {:?}\n\
             [turn]\nusers = {{ test = \"test password\" }}\nrelay_ports = \"61000-65535\"\n{auth_secret}\
             [admin]\nlisten = \"127.0.0.1:0\"\n{}\n[log]\nformat = \"json\"\n[proxy]\n{ca_line}{}\n{}",
            setup.listen,
            dir.path("cert.pem"),
            dir.path("key.pem"),
            setup.admin,
            setup.proxy,
            setup.tables
        );
        dir.write("relay.toml", &config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_relayd"))
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
        let mut starting = Starting(Some(child));
        let admin = wait_for_admin(&log, &mut starting);
        let ready = wait_until_ready(admin, &log);
        let port = |key: &str| -> SocketAddr {
            let first = ready[key].get(0).and_then(|addr| addr.as_str());
            let first = first.unwrap_or_else(|| panic!("no {key} listener in {ready}"));
            first.parse().expect("an address")
        };
        Self {
            admin,
            tls: port("tls"),
            tcp: port("tcp"),
            udp: port("udp"),
            roots,
            child: starting.0.take().expect("still there"),
            log,
            dir,
        }
    }

    /// A proxy that may reach `hosts` (each `host` or `host:port`), all of them at `origin`.
    pub fn before(ca: &Authority, origin: SocketAddr, hosts: &[&str]) -> Self {
        Self::start(Setup {
            proxy: reach(hosts, origin),
            upstream_ca: Some(ca),
            ..Setup::default()
        })
    }

    pub fn authority(&self) -> String {
        format!("{NAME}:{}", self.tls.port())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> &Path {
        &self.dir.0
    }

    pub fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// A connection that speaks HTTP/1.1 by ALPN.
    pub fn connect(&self) -> Client {
        self.connect_alpn(&["http/1.1"])
    }

    pub fn connect_alpn(&self, alpn: &[&str]) -> Client {
        Client::tls(self.tls, NAME, self.roots.clone(), alpn)
    }

    /// One request on a connection of its own.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let mut client = self.connect();
        client.send(self.head(method, target, headers, body.len()));
        client.send(body);
        client.answer_to(method)
    }

    pub fn get(&self, target: &str) -> Message {
        self.request("GET", target, &[], b"")
    }

    /// A request head with Host, and Content-Length if there is a body or the method wants one.
    pub fn head(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> String {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n",
            self.authority()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if length > 0 || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    /// The head of a WebSocket handshake.
    pub fn websocket_head(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let own = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        self.head("GET", target, &[&own, headers].concat(), 0)
    }

    pub fn admin(&self, path: &str) -> Message {
        admin_get(self.admin, path).expect("an answer of the admin listener")
    }

    /// The sum of all samples of a metric whose labels contain every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics");
        let lines = text.text().lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
            let series_name = series.split('{').next().unwrap_or_default();
            series_name == name && labels.iter().all(|label| series.contains(label))
        });
        samples
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Waits for a log line that `wanted` accepts.
    pub fn wait_for_log(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.log
            .wait(what, |line| wanted(line).then(|| line.to_owned()))
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().expect("not poisoned").join("\n")
    }

    /// Rewrites the configuration and asks for a reload.
    pub fn reload(&self, change: impl FnOnce(String) -> String) {
        let file = fs::read_to_string(self.dir.path("relay.toml")).expect("the file");
        self.dir.write("relay.toml", &change(file));
        self.signal("HUP");
    }

    /// Sends a signal by its name: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill(1)");
        assert!(done.success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }

    /// Waits for the end and returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("an exit").code()
    }
}

impl Drop for Relayd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of relayd ---\n{}", self.log());
        }
    }
}

/// `allow` and `resolve` lines for hosts that are all at one address.
pub fn reach(hosts: &[&str], origin: SocketAddr) -> String {
    let allow: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
    format!("allow = [{}]\n{}", allow.join(", "), resolve(hosts, origin))
}

pub fn resolve(hosts: &[&str], origin: SocketAddr) -> String {
    let with_port = |host: &&str| match host.contains(':') {
        true => (*host).to_owned(),
        false => format!("{host}:443"),
    };
    let entries: Vec<String> = hosts
        .iter()
        .map(|h| format!("{:?} = \"{origin}\"", with_port(h)))
        .collect();
    format!("resolve = {{ {} }}\n", entries.join(", "))
}

/// Kills the child if the start fails.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Log {
    fn wait<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().expect("not poisoned");
        loop {
            if let Some(found) = lines.iter().find_map(|line| wanted(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no {what} in the log:\n{}",
                lines.join("\n")
            );
            lines = self
                .changed
                .wait_timeout(lines, left)
                .expect("not poisoned")
                .0;
        }
    }
}

fn collect(from: impl Read + Send + 'static, log: &Arc<Log>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.lines.lock().expect("not poisoned").push(line);
            log.changed.notify_all();
        }
        log.lines
            .lock()
            .expect("not poisoned")
            .push(END_OF_LOG.to_owned());
        log.changed.notify_all();
    });
}

const END_OF_LOG: &str = "(end of output)";

fn wait_for_admin(log: &Log, starting: &mut Starting) -> SocketAddr {
    let found = log.wait("admin address", |line| {
        if line == END_OF_LOG {
            return Some(None);
        }
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let admin = value
            .get("admin")
            .or_else(|| value.get("fields")?.get("admin"))?;
        admin.as_str()?.parse().ok().map(Some)
    });
    found.unwrap_or_else(|| {
        let exit = starting.0.as_mut().map(Child::wait);
        panic!(
            "relayd ended at once ({exit:?}):\n{}",
            log.lines.lock().expect("not poisoned").join("\n")
        )
    })
}

/// Asks until it is ready; between two questions the connection itself is the wait.
fn wait_until_ready(admin: SocketAddr, log: &Log) -> serde_json::Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(answer) = admin_get(admin, "/readyz").filter(|answer| answer.status() == 200) {
            let ready = answer.json();
            if ready["ready"] == true {
                return ready;
            }
        }
        thread::yield_now();
    }
    panic!(
        "not ready:\n{}",
        log.lines.lock().expect("not poisoned").join("\n")
    );
}

fn admin_get(admin: SocketAddr, path: &str) -> Option<Message> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    Reader::default().message(&mut stream, false).ok()?
}

/// A directory of this test, removed at its end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "web-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
