//! relayd under test, with what it inherits and what takes over from it: all write into one log.

use super::support::client::{Client, Kind, Wire};
use super::support::subject::{REALM, http_get};
use super::web::relayd::Directory;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a test waits for what must come; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The configuration of one server; every field is text of the file.
pub struct Setup {
    pub workers: usize,
    pub udp: String,
    pub tcp: String,
    pub tls: String,
    pub admin: String,
    pub relay_ports: &'static str,
    /// `turn.peers.allow`; empty: nothing but the server's own relays.
    pub peers: &'static str,
    /// Whole lines, by table.
    pub extra: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        let any = "127.0.0.1:0".to_owned();
        Self {
            workers: 2,
            udp: any.clone(),
            tcp: any.clone(),
            tls: any.clone(),
            admin: any,
            relay_ports: "61000-65535",
            peers: "127.0.0.0/8",
            extra: Vec::new(),
        }
    }
}

impl Setup {
    pub fn text(&self) -> String {
        let peers = match self.peers {
            "" => "allow = []".to_owned(),
            peers => format!("allow = {peers:?}"),
        };
        let mut tables = vec![
            (
                "server",
                format!(
                    "domain = {REALM:?}\nworkers = {}\ndrain_timeout = \"5s\"",
                    self.workers
                ),
            ),
            (
                "listen",
                format!(
                    "udp = {:?}\ntcp = {:?}\ntls = {:?}",
                    self.udp, self.tcp, self.tls
                ),
            ),
            ("tls", "self_signed = true".to_owned()),
            (
                "turn",
                format!(
                    "users = {{ alice = \"wonderland\", bob = \"builder\" }}\nrelay_ports = {:?}",
                    self.relay_ports
                ),
            ),
            ("turn.peers", peers),
            ("admin", format!("listen = {:?}", self.admin)),
            ("log", "level = \"info\"".to_owned()),
        ];
        for (table, line) in &self.extra {
            match tables.iter_mut().find(|(name, _)| name == table) {
                Some((_, lines)) => *lines = format!("{lines}\n{line}"),
                None => tables.push((table, line.clone())),
            }
        }
        let texts = tables
            .iter()
            .map(|(name, lines)| format!("[{name}]\n{lines}\n"));
        texts.collect()
    }
}

/// Sockets that a service manager would have bound.
pub struct Activation {
    pub sockets: Vec<OwnedFd>,
    pub names: &'static str,
}

impl Activation {
    /// Lets the shell do what systemd does between fork and exec: number the descriptors from 3, and tell the process
    /// its own ID.
    fn command(&self, program: &[String]) -> Command {
        let mut script = String::new();
        for (number, socket) in (3..).zip(&self.sockets) {
            // Above all that are to be overwritten.
            script += &format!("exec {}<&{}; ", number + 100, socket.as_raw_fd());
        }
        for (number, _) in (3..).zip(&self.sockets) {
            script += &format!("exec {number}<&{0} {0}<&-; ", number + 100);
        }
        script += "export LISTEN_PID=$$; exec \"$@\"";
        let mut command = Command::new("bash");
        command
            .args(["-c", &script, "bash"])
            .args(program)
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDNAMES", self.names);
        for socket in &self.sockets {
            // The shell finds them by their numbers.
            let socket = socket2::SockRef::from(socket);
            socket.set_cloexec(false).expect("an open socket");
        }
        command
    }
}

pub struct Server {
    child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
    pub dir: Directory,
    pub udp: Option<SocketAddr>,
    pub tcp: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// Who serves.
    pub pid: u32,
}

/// A directory with `relay.toml`, and with `relayd`, a link to the binary.
pub fn site(setup: &Setup) -> Directory {
    let dir = Directory::new();
    dir.write("relay.toml", &setup.text());
    let link = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relayd"), dir.path("relayd"));
    link.expect("a new directory");
    dir
}

/// The command line of a server in `dir`.
pub fn program(dir: &Directory) -> Vec<String> {
    let text = |path: PathBuf| path.into_os_string().into_string().expect("UTF-8");
    vec![
        text(dir.path("relayd")),
        "--config".to_owned(),
        text(dir.path("relay.toml")),
    ]
}

/// Runs to the end, for what cannot start: exit code and standard error.
pub fn refused(setup: &Setup, activation: &Activation) -> (Option<i32>, String) {
    let dir = site(setup);
    let mut child = activation
        .command(&program(&dir))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let mut stderr = child.stderr.take().expect("piped");
    let (sender, text) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    let text = text.recv_timeout(PATIENCE);
    if text.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("it was started");
    (status.code(), text.expect("it ends by itself"))
}

impl Server {
    pub fn start(setup: &Setup) -> Self {
        let dir = site(setup);
        let program = program(&dir);
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]);
        Self::spawn(command, dir)
    }

    pub fn activated(setup: &Setup, activation: &Activation, before: &[&str]) -> Self {
        let dir = site(setup);
        let mut line: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        line.extend(program(&dir));
        Self::spawn(activation.command(&line), dir)
    }

    pub fn spawn(mut command: Command, dir: Directory) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let output: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("piped")),
            Box::new(child.stderr.take().expect("piped")),
        ];
        for output in output {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let pid = child.id();
        let mut server = Self {
            child,
            lines,
            seen: Vec::new(),
            dir,
            udp: None,
            tcp: None,
            tls: None,
            admin: None,
            pid,
        };
        server.wait_until_serving();
        server
    }

    /// Reads where it serves.
    pub fn wait_until_serving(&mut self) {
        let line = self.wait_for(" serving ");
        self.note_addresses(&line);
    }

    fn note_addresses(&mut self, line: &str) {
        let address = |key: &str| {
            let (_, rest) = line.split_once(&format!(" {key}="))?;
            rest.split(' ').next()?.parse().ok()
        };
        self.udp = address("udp");
        self.tcp = address("tcp");
        self.tls = address("tls");
        self.admin = address("admin");
    }

    /// Waits for a line of the log, of whichever process.
    pub fn wait_for(&mut self, mark: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {mark:?} in {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(mark) {
                return line;
            }
        }
    }

    /// Has another process take over, and waits until both say that it did.
    pub fn upgrade(&mut self) {
        self.signal(self.pid, "-USR2");
        self.wait_until_upgraded();
    }

    pub fn wait_until_upgraded(&mut self) {
        let from = self.seen.len();
        // Two processes write, in whichever order.
        let marks = [
            "upgraded: the new process serves",
            "upgraded: this process serves",
        ];
        let said = |server: &Self, mark: &str| {
            let mut lines = server.seen[from..].iter();
            lines.find(|line| line.contains(mark)).cloned()
        };
        for mark in marks {
            if said(self, mark).is_none() {
                self.wait_for(mark);
            }
        }
        let line = said(self, marks[1]).expect("waited for");
        let (_, pid) = line.split_once(" pid=").expect("it names itself");
        let pid = pid.split(' ').next().and_then(|pid| pid.parse().ok());
        self.pid = pid.expect("a process ID");
        let served = |line: &&String| line.contains(" serving ");
        let line = self.seen[from..]
            .iter()
            .find(served)
            .expect("its addresses");
        self.note_addresses(&line.clone());
    }

    /// Another configuration, for the next process.
    pub fn rewrite(&self, setup: &Setup) {
        self.dir.write("relay.toml", &setup.text());
    }

    pub fn signal(&self, pid: u32, name: &str) {
        let sent = Command::new("kill").args([name, &pid.to_string()]).status();
        assert!(sent.expect("kill runs").success(), "{pid} is gone");
    }

    /// The end of the process that the test started.
    pub fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "it does not end: {:#?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    pub fn client(&self, kind: Kind, user: (&str, &str)) -> Client {
        let addr = match kind {
            Kind::Udp => self.udp,
            Kind::Tcp => self.tcp,
            Kind::Tls => self.tls,
        };
        let wire = Wire::open(kind, addr.expect("a listener")).expect("it serves");
        Client::new(wire, user.0, user.1)
    }

    pub fn alice(&self, kind: Kind) -> Client {
        self.client(kind, ("alice", "wonderland"))
    }

    pub fn bob(&self, kind: Kind) -> Client {
        self.client(kind, ("bob", "builder"))
    }

    pub fn admin(&self, path: &str) -> (u16, String) {
        http_get(self.admin.expect("an admin listener"), path).expect("it answers")
    }

    /// The sum over all labels that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, text) = self.admin("/metrics");
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        });
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        lines.filter_map(value).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all(&self.dir);
    }
}

/// A successor is nobody's child here: it is ours if its command line names our own directory.
pub fn end_all(dir: &Directory) {
    let own = format!("{}/", dir.0.display());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let line = std::fs::read_to_string(process.path().join("cmdline"));
        if line.is_ok_and(|line| line.contains(&own)) {
            let pid = process.file_name();
            let _ = Command::new("kill").arg("-KILL").arg(pid).status();
        }
    }
}

/// A UDP socket as a service manager binds it.
pub fn udp(addr: &str, reuse_port: bool) -> (OwnedFd, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
    let socket = socket.expect("made");
    socket.set_reuse_port(reuse_port).expect("set");
    let addr: SocketAddr = addr.parse().expect("valid");
    socket.bind(&addr.into()).expect("free");
    let socket = UdpSocket::from(socket);
    let addr = socket.local_addr().expect("bound");
    (socket.into(), addr)
}

pub fn tcp(addr: &str) -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind(addr).expect("free");
    let addr = listener.local_addr().expect("bound");
    (listener.into(), addr)
}
