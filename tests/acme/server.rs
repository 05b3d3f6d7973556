//! relayd with `[tls.acme]`, and what a client sees of it.

use super::authority::{EXTERNAL_ID, EXTERNAL_KEY, Pebble, Settings, free_address};
use super::gate::{Gate, Way};
use super::process::{PATIENCE, Serving, relayd};
use super::support::client::Kind;
use super::support::client::{self, Wire};
use super::support::subject::http_get;
use super::web::relayd::Directory;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

pub const NAME: &str = "relay.example.com";
pub const OTHER: &str = "turn.example.com";
/// The log line of a certificate that is there.
pub const OBTAINED: &str = "obtained a certificate";
pub const NOT_YET: &str = "there is no certificate yet";

/// An authority, the way to it, and what relayd is to be told.
pub struct World {
    pub dir: Directory,
    pub pebble: Pebble,
    pub gate: Gate,
    pub tls: SocketAddr,
}

impl World {
    pub fn new(validity_s: u32, way: Way) -> Self {
        Self::with(validity_s, way, false)
    }

    pub fn with(validity_s: u32, way: Way, wants_external_account: bool) -> Self {
        let tls = free_address();
        let pebble = Pebble::start(&Settings {
            tls_port: tls.port(),
            validity_s,
            wants_external_account,
        });
        let gate = Gate::start(pebble.address, way);
        let world = Self {
            dir: Directory::new(),
            pebble,
            gate,
            tls,
        };
        world.dir.write("directory-ca.pem", &world.pebble.ca.pem);
        world.configure(&[NAME], "", "");
        world
    }

    /// Writes the file; `acme` are more lines of `[tls.acme]`, `tables` whole tables.
    pub fn configure(&self, names: &[&str], acme: &str, tables: &str) {
        let (tls, gate) = (self.tls, self.gate.address);
        self.dir.write(
            "relay.toml",
            &format!(
                "[server]\ndomain = \"{NAME}\"\nworkers = 1\ndrain_timeout = \"2s\"\n\
                 [listen]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\ntls = [\"{tls}\"]\nlimits = {{ udp_buffer_bytes = \"64KiB\" }}\n\
                 [turn]\nusers = {{ test = \"test password\" }}\nrelay_ports = \"61000-65535\"\npeers = {{ allow = \"127.0.0.0/8\" }}\n\
                 [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
                 [tls.acme]\nterms_agreed = true\nnames = {names:?}\ncontact = \"admin@example.com\"\n\
                 directory = \"https://{gate}/dir\"\nca_file = \"directory-ca.pem\"\nstate_dir = \"state\"\n{acme}\n{tables}\n"
            ),
        );
    }

    pub fn external_account() -> String {
        format!("external_account_id = {EXTERNAL_ID:?}\nexternal_account_key = {EXTERNAL_KEY:?}")
    }

    pub fn start(&self) -> Server {
        self.start_by(&mut relayd())
    }

    /// The same by a command that ends in running relayd.
    pub fn start_by(&self, command: &mut Command) -> Server {
        command.arg("--config").arg(self.dir.path("relay.toml"));
        let serving = Serving::start(command, "\"serving\"");
        let line = serving.seen.last().expect("it was waited for").clone();
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let admin = line.get("admin").or_else(|| line["fields"].get("admin"));
        let admin = admin.and_then(|admin| admin.as_str()).expect("an address");
        let server = Server {
            admin: admin.parse().expect("an address"),
            tls: self.tls,
            serving,
        };
        server.wait_until_ready();
        server
    }

    pub fn folder(&self) -> PathBuf {
        let name = format!("127.0.0.1-{}-dir", self.gate.address.port());
        self.dir.path("state").join(name)
    }
}

pub struct Server {
    pub admin: SocketAddr,
    pub tls: SocketAddr,
    pub serving: Serving,
}

impl Server {
    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while http_get(self.admin, "/readyz").map(|(status, _)| status) != Ok(200) {
            assert!(Instant::now() < deadline, "never ready");
            std::thread::yield_now();
        }
    }

    pub fn readyz(&self) -> serde_json::Value {
        let (status, body) = http_get(self.admin, "/readyz").expect("an answer");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The value of a series as `/metrics` writes it.
    pub fn metric(&self, series: &str) -> u64 {
        let (_, text) = http_get(self.admin, "/metrics").expect("an answer");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        value.parse().expect("a whole number")
    }

    pub fn attempts(&self, result: &str) -> u64 {
        self.metric(&format!(
            "relayd_acme_attempts_total{{result=\"{result}\"}}"
        ))
    }

    pub fn reload(&self) {
        let pid = self.serving.pid().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// A handshake as a browser does it; the certificate that it accepted.
    pub fn verified(&self, name: &str, roots: &RootCertStore, alpn: &str) -> Shown {
        verified(self.tls, name, roots, alpn)
    }

    /// A handshake of who takes any certificate.
    pub fn shown(&self) -> Vec<u8> {
        let socket = client::connect(self.tls).expect("it listens");
        let stream = client::secure(socket, &[]).expect("a handshake");
        let shown = stream.conn.peer_certificates().expect("the server has one");
        shown[0].to_vec()
    }

    pub fn turn_over_tls(&self) -> client::Client {
        let wire = Wire::open(Kind::Tls, self.tls).expect("a handshake");
        client::Client::new(wire, "test", "test password")
    }
}

/// The certificate that a client accepted, or why it did not.
pub type Shown = Result<Vec<u8>, String>;

pub fn verified(server: SocketAddr, name: &str, roots: &RootCertStore, alpn: &str) -> Shown {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("built-in versions")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let socket = client::connect(server).expect("it listens");
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        let done = stream.conn.complete_io(&mut stream.sock);
        done.map_err(|error| error.to_string())?;
    }
    let shown = stream.conn.peer_certificates().expect("the server has one");
    Ok(shown[0].to_vec())
}
