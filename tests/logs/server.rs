//! The binary with a `[log]` of the test's own: its lines are read where that table sends them.

use super::support::client::{Client, Wire};
use super::support::subject::http_get;
use super::web::relayd::Directory;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for what must come; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where every client of these tests is: no listener and no relayed address has it.
pub const CLIENT: &str = "127.0.0.77";
pub const USER: &str = "recognisable-user";
pub const PASSWORD: &str = "s3cret-password";

pub struct Server {
    child: Child,
    pub dir: Directory,
    /// What it wrote to standard output and error, unless a test reads these itself.
    said: Arc<Mutex<String>>,
    tcp: SocketAddr,
    udp: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// A server with these lines in `[log]`, and further tables.
    pub fn start(log: &str, tables: &str) -> Self {
        let dir = Directory::new();
        Self::start_in(dir, log, tables, &mut relayd())
    }

    /// `command` is the binary, perhaps behind something that ends with `exec "$@"`.
    pub fn start_in(dir: Directory, log: &str, tables: &str, command: &mut Command) -> Self {
        let mut server = Self::spawn(dir, log, tables, command);
        let stdout = server.child.stdout.take().expect("piped");
        server.collect(stdout);
        server.wait_until_ready();
        server
    }

    /// Standard output is left to the caller, and so is waiting for readiness.
    pub fn spawn(dir: Directory, log: &str, tables: &str, command: &mut Command) -> Self {
        // The log tells the ports of other tests; here the log is what is tested.
        let [admin, tcp, udp] = free_ports();
        configure(&dir, log, tables, [admin, tcp, udp]);
        let mut child = command
            .arg("--config")
            .arg(dir.path("relay.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = Arc::new(Mutex::new(String::new()));
        let stderr: ChildStderr = child.stderr.take().expect("piped");
        collect(stderr, &said);
        Self {
            child,
            dir,
            said,
            tcp,
            udp,
            admin,
        }
    }

    /// Changes the file, as an editor would, and asks for a reload.
    pub fn edit_and_reload(&self, from: &str, to: &str) {
        let path = self.dir.path("relay.toml");
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).expect("written");
        self.signal("HUP");
    }

    pub fn collect(&self, stdout: ChildStdout) {
        collect(stdout, &self.said);
    }

    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("piped, and not taken yet")
    }

    pub fn said(&self) -> String {
        self.said.lock().expect("whole").clone()
    }

    pub fn wait_until_ready(&mut self) {
        let begin = Instant::now();
        while !matches!(http_get(self.admin, "/readyz"), Ok((200, _))) {
            let ended = self.child.try_wait().expect("ours");
            let late = begin.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "{ended:?}: {}", self.said());
            std::thread::yield_now();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Sends SIGTERM; everything it said until its end.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        };
        // The readers' threads hold the other ends until they have read everything.
        wait_for("the end of its output", || {
            (Arc::strong_count(&self.said) == 1).then_some(())
        });
        let said = self.said();
        (status, said)
    }

    /// A TURN client at [`CLIENT`] over UDP.
    pub fn udp_client(&self, password: &str) -> Client {
        let socket = UdpSocket::bind((CLIENT, 0)).expect("loopback has it");
        socket.connect(self.udp).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Client::new(Wire::Udp(socket), USER, password)
    }

    /// A TURN client at [`CLIENT`] over TCP.
    pub fn tcp_client(&self) -> Client {
        Client::new(Wire::Tcp(self.connect(self.tcp)), USER, PASSWORD)
    }

    /// A UDP socket at [`CLIENT`] that talks to the server.
    pub fn udp_socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind((CLIENT, 0)).expect("loopback has it");
        socket.connect(self.udp).expect("connected");
        socket
    }

    /// A TCP connection from [`CLIENT`].
    fn connect(&self, to: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let own: SocketAddr = format!("{CLIENT}:0").parse().expect("an address");
        socket.bind(&own.into()).expect("loopback has it");
        socket.connect(&to.into()).expect("it listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// Sends bytes to the TCP listener; what comes back until it closes or, after a 101, the head.
    pub fn raw(&self, bytes: &str) -> String {
        exchange(self.connect(self.tcp), bytes)
    }

    pub fn get(&self, target: &str, headers: &str) -> String {
        self.raw(&format!(
            "GET {target} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n{headers}\r\n"
        ))
    }

    /// The same as [`Server::raw`] over TLS with a server name.
    pub fn raw_tls(&self, bytes: &str) -> String {
        let stream = super::support::client::secure(self.connect(self.tcp), &[]);
        exchange(stream.expect("a handshake"), bytes)
    }

    /// An admin request from [`CLIENT`].
    pub fn admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: relayd\r\nConnection: close\r\n\r\n");
        exchange(self.connect(self.admin), &request)
    }

    /// Lines that were lost, by reason.
    pub fn lost(&self, reason: &str) -> u64 {
        let name = format!("relayd_log_lines_lost_total{{reason=\"{reason}\"}} ");
        let (_, text) = http_get(self.admin, "/metrics").expect("it answers");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.expect("it is counted").parse().expect("a number")
    }

    /// One allocation from beginning to end, which is a line of the log.
    pub fn call(&self) {
        let mut client = self.udp_client(PASSWORD);
        client.allocate().expect("there is room");
        client.refresh(0).expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(dir: &Directory, log: &str, tables: &str, [admin, tcp, udp]: [SocketAddr; 3]) {
    let text = format!(
        "[server]\ndomain = \"relay.test\"\nworkers = 1\ndrain_timeout = \"0s\"\n\
             [listen]\nudp = [\"{udp}\"]\ntcp = [\"{tcp}\"]\ntls = []\n\
             [tls]\nself_signed = true\n\
             [turn]\nusers = {{ {USER} = {PASSWORD:?} }}\nauth_secret = \"s3cret-shared\"\n\
             relay_ports = \"61000-65535\"\n\
             [turn.peers]\nallow = \"127.0.0.0/8\"\n[turn.limits]\nallocations_per_user = 1\n\
             [admin]\nlisten = \"{admin}\"\n{tables}\n[log]\n{log}\n"
    );
    dir.write("relay.toml", &text);
}

pub fn relayd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_relayd"))
}

fn collect(mut from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..len]);
            said.lock().expect("whole").push_str(&text);
        }
    });
}

fn exchange(mut stream: impl Read + Write, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    // A reset is an end, too.
    while let Ok(len @ 1..) = stream.read(&mut room) {
        answer.extend_from_slice(&room[..len]);
        if answer.starts_with(b"HTTP/1.1 101") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Three ports that were free a moment ago: the system gives out others before it comes back to them.
fn free_ports() -> [SocketAddr; 3] {
    let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("bound"))
}

/// Asks again until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "no {what}");
        std::thread::yield_now();
    }
}

/// Waits until a file has a line with `mark`.
pub fn wait_for_line(path: &Path, mark: &str) -> String {
    wait_for(&format!("{mark:?} in {}", path.display()), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        lines.find(|line| line.contains(mark)).map(str::to_owned)
    })
}

/// The TOML of a file destination.
pub fn to_file(path: &Path) -> String {
    format!("to = \"file:{}\"", path.display())
}
