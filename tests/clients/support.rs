//! The server as a child process: relayd on ports of the system's choice, or coturn; certificates; waiting with a deadline.

use serde_json::Value;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland-4711";
pub const REALM: &str = "relay.test";

/// How long anything may take that takes milliseconds on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own, gone with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!(
            "relayd-clients-{name}-{}-{unique}",
            std::process::id()
        ));
        fs::create_dir_all(&dir).expect("a scratch directory can be made");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the scratch directory is writable");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a server is to be started, beyond the defaults.
#[derive(Default)]
pub struct Options<'a> {
    /// Lines for `[turn]`.
    pub turn: &'a str,
    /// Open-files limit, soft and hard; `None`: the inherited one.
    pub open_files: Option<u32>,
}

/// What a child has said so far.
#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    /// Its standard output is closed: it has ended.
    ended: AtomicBool,
}

/// A running server; ended and collected when dropped.
pub struct Server {
    child: Child,
    output: Arc<Output>,
    /// The admin listener's address; coturn has none.
    admin: Option<SocketAddr>,
    v4: Ports,
    v6: Ports,
    certificate: PathBuf,
    _scratch: Scratch,
}

/// Listening ports of one family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    pub udp: u16,
    pub tcp: u16,
    pub tls: u16,
}

/// The server that `TURN_SUBJECT` names.
pub fn start(name: &str) -> Server {
    match env::var("TURN_SUBJECT").as_deref() {
        Ok("coturn") => start_coturn(name),
        _ => start_relayd(name, &Options::default()),
    }
}

/// relayd on 127.0.0.1 and ::1, with loopback peers allowed.
pub fn start_relayd(name: &str, options: &Options<'_>) -> Server {
    let scratch = Scratch::new(name);
    let (certificate, key) = certificate(&scratch);
    let config = format!(
        r#"
[server]
domain = "{REALM}"
drain_timeout = "0s"
[listen]
udp = ["127.0.0.1:0", "[::1]:0"]
tcp = ["127.0.0.1:0", "[::1]:0"]
tls = ["127.0.0.1:0", "[::1]:0"]
[tls]
cert = {certificate:?}
key = {key:?}
[turn]
realm = "{REALM}"
users = {{ {USER} = "{PASSWORD}" }}
{}
[turn.peers]
allow = ["127.0.0.0/8", "::1/128"]
[turn.limits]
unauthenticated_per_second_per_address = 0
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
level = "info"
"#,
        options.turn
    );
    let file = scratch.write("relay.toml", &config);
    let binary = env!("CARGO_BIN_EXE_relayd");
    let mut command = match options.open_files {
        None => Command::new(binary),
        Some(limit) => {
            let mut shell = Command::new("sh");
            let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            shell.args(["-c", &script, binary]);
            shell
        }
    };
    command.arg("--config").arg(&file);
    let (child, output) = spawn(&mut command);
    let mut server = Server {
        child,
        output,
        admin: None,
        v4: Ports::default(),
        v6: Ports::default(),
        certificate,
        _scratch: scratch,
    };
    let admin = server.wait_for("the admin address in the log", |server| {
        server.find_line(admin_address)
    });
    server.admin = Some(admin);
    let state = server.wait_for("/readyz to say that relayd is ready", |server| {
        let state: Value = serde_json::from_str(&server.admin_get("/readyz").ok()?).ok()?;
        (state["ready"] == true).then_some(state)
    });
    let port = |transport: &str, v4: bool| {
        state[transport]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|addr| addr.as_str()?.parse::<SocketAddr>().ok())
            .find(|addr| addr.is_ipv4() == v4)
            .unwrap_or_else(|| panic!("/readyz names no {transport} listener: {state}"))
            .port()
    };
    let ports = |v4: bool| Ports {
        udp: port("udp", v4),
        tcp: port("tcp", v4),
        tls: port("tls", v4),
    };
    server.v4 = ports(true);
    server.v6 = ports(false);
    server
}

/// The field `admin` of a JSON log line.
fn admin_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["admin"]
        .as_str()
        .or_else(|| line["fields"]["admin"].as_str())?
        .parse()
        .ok()
}

/// coturn cannot listen on port 0: free ports are looked up first, which is good enough for proving scenarios.
fn start_coturn(name: &str) -> Server {
    let scratch = Scratch::new(name);
    let (certificate, key) = certificate(&scratch);
    let free = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener
            .local_addr()
            .expect("a bound listener has an address")
            .port()
    };
    let (plain, tls) = (free(), free());
    let mut command = Command::new("turnserver");
    command.current_dir(scratch.path()).args([
        "-n",
        "--listening-ip=127.0.0.1",
        "--listening-ip=::1",
        "--relay-ip=127.0.0.1",
        "--relay-ip=::1",
        "--lt-cred-mech",
        "--allow-loopback-peers",
        "--no-cli",
        "--no-dtls",
        "--no-rfc5780",
        "--log-file=stdout",
        "--pidfile=pid",
    ]);
    command.args([
        format!("--listening-port={plain}"),
        format!("--tls-listening-port={tls}"),
        format!("--user={USER}:{PASSWORD}"),
        format!("--realm={REALM}"),
        format!("--cert={}", certificate.display()),
        format!("--pkey={}", key.display()),
    ]);
    let (child, output) = spawn(&mut command);
    let ports = Ports {
        udp: plain,
        tcp: plain,
        tls,
    };
    let server = Server {
        child,
        output,
        admin: None,
        v4: ports,
        v6: ports,
        certificate,
        _scratch: scratch,
    };
    server.wait_for("coturn to listen", |_| {
        TcpStream::connect(("::1", tls)).ok()
    });
    server
}

fn spawn(command: &mut Command) -> (Child, Arc<Output>) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let program = command.get_program().to_owned();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.to_string_lossy()));
    let output = Arc::new(Output::default());
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let (said, complained) = (Arc::clone(&output), Arc::clone(&output));
    std::thread::spawn(move || {
        said.collect(stdout);
        said.ended.store(true, Ordering::Release);
    });
    std::thread::spawn(move || complained.collect(stderr));
    (child, output)
}

impl Output {
    fn collect(&self, stream: impl Read) {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            self.lines.lock().expect("no holder panics").push(line);
        }
    }
}

/// A certificate for `relay.test` and the loopback addresses, self-signed: PEM files of it and of its key.
fn certificate(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let names = [REALM, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
    let cert = scratch.write("cert.pem", &made.cert.pem());
    let key = scratch.write("key.pem", &made.signing_key.serialize_pem());
    (cert, key)
}

impl Server {
    pub fn ports(&self, ip: IpAddr) -> Ports {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }

    pub fn udp(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.v4.udp))
    }

    /// PEM of what the TLS listener shows.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Fails the test with the server's last words if it has ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(
            ended.is_none(),
            "the server ended with {ended:?}:\n{}",
            self.tail()
        );
    }

    pub fn is_relayd(&self) -> bool {
        self.admin.is_some()
    }

    /// Packets to peers and to clients, by the log lines of all allocations that have ended.
    pub fn relayed_packets(&self) -> (u64, u64) {
        let lines = self.output.lines.lock().expect("no holder panics");
        let ends = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["message"] == "allocation ended");
        let count =
            |line: &Value, field: &str| line[field].as_u64().expect("an end counts its packets");
        ends.fold((0, 0), |(to_peer, to_client), line| {
            (
                to_peer + count(&line, "to_peer_packets"),
                to_client + count(&line, "to_client_packets"),
            )
        })
    }

    /// The body of an admin page.
    pub fn admin_get(&self, path: &str) -> std::io::Result<String> {
        let admin = self.admin.expect("relayd has an admin listener");
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok(body.to_owned())
    }

    /// Asks again until there is an answer; panics with the server's last words after `PATIENCE`.
    pub fn wait_for<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            let ended = self.output.ended.load(Ordering::Acquire);
            assert!(
                !ended,
                "the server ended before {what}; it said:\n{}",
                self.tail()
            );
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {what}; the server said:\n{}",
                self.tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn find_line<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let lines = self.output.lines.lock().expect("no holder panics");
        lines.iter().find_map(|line| pick(line))
    }

    pub fn tail(&self) -> String {
        let lines = self.output.lines.lock().expect("no holder panics");
        let mut text = String::new();
        for line in lines.iter().rev().take(20).rev() {
            writeln!(text, "  {line}").expect("a string takes everything");
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a foreign tool to its end; its whole output. A missing tool fails with the package that has it.
pub fn run_tool(program: &str, package: &str, args: &[String]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}): install Debian's package {package}")
        });
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{program} {args:?} ended with {}:\n{text}",
        output.status
    );
    text
}

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
