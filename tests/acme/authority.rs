//! Pebble, started for one test: its own HTTPS by a certificate of this test, its chain known to who asks.

use super::names::Names;
use super::process::PATIENCE;
use super::web::certs::Authority;
use super::web::client::Client;
use super::web::relayd::Directory;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// External accounts that Pebble knows when it asks for one (base64url of 32 bytes).
pub const EXTERNAL_ID: &str = "kid-1";
pub const EXTERNAL_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wE";

pub struct Settings {
    /// Where it validates: relayd's TLS port.
    pub tls_port: u16,
    /// Lifetime of what it issues, in seconds.
    pub validity_s: u32,
    pub wants_external_account: bool,
}

pub struct Pebble {
    child: Child,
    pub address: SocketAddr,
    management: SocketAddr,
    /// Trusts its HTTPS.
    pub ca: Authority,
    pub names: Names,
    log: Arc<Mutex<Vec<String>>>,
    dir: Directory,
}

impl Pebble {
    pub fn start(settings: &Settings) -> Self {
        let dir = Directory::new();
        let ca = Authority::new("acme test root");
        let leaf = ca.leaf(&["127.0.0.1"]);
        dir.write("cert.pem", &leaf.chain_pem);
        dir.write("key.pem", &leaf.key_pem);
        let (address, management) = (free_address(), free_address());
        let names = Names::start();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": dir.path("cert.pem"),
            "privateKey": dir.path("key.pem"),
            // Nothing listens there.
            "httpPort": 1,
            "tlsPort": settings.tls_port,
            "externalAccountBindingRequired": settings.wants_external_account,
            "externalAccountMACKeys": { EXTERNAL_ID: EXTERNAL_KEY },
            "certificateValidityPeriod": settings.validity_s,
        }});
        dir.write("pebble.json", &config.to_string());
        let log = Arc::default();
        let child = run(&dir, &names, &log);
        let pebble = Self {
            child,
            address,
            management,
            ca,
            names,
            log,
            dir,
        };
        pebble.wait_until_it_listens();
        pebble
    }

    /// Ends it and starts it again: it knows nobody then, and has another root.
    pub fn start_again(&mut self) {
        self.end();
        self.child = run(&self.dir, &self.names, &self.log);
        self.wait_until_it_listens();
    }

    /// What a client must trust to accept its certificates.
    pub fn roots(&self) -> RootCertStore {
        let mut own = RootCertStore::empty();
        own.add(self.ca.certificate.clone()).expect("a good root");
        let mut client = Client::tls(self.management, "127.0.0.1", own, &["http/1.1"]);
        let host = self.management;
        client.send(format!(
            "GET /roots/0 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!(answer.status(), 200);
        let root = CertificateDer::from_pem_slice(answer.text().as_bytes()).expect("PEM");
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a good root");
        roots
    }

    fn end(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + PATIENCE;
        for address in [self.address, self.management] {
            while TcpStream::connect(address).is_err() {
                let log = self.log.lock().expect("not poisoned");
                assert!(
                    Instant::now() < deadline,
                    "Pebble does not listen: {log:#?}"
                );
                drop(log);
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = self.log.lock().expect("not poisoned");
            eprintln!("--- log of Pebble ---\n{}", log.join("\n"));
        }
    }
}

fn run(dir: &Directory, names: &Names, log: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut command = Command::new("pebble");
    command
        .args(["-strict", "-config"])
        .arg(dir.path("pebble.json"))
        .args(["-dnsserver", &names.address.to_string()])
        // Its pauses, up to 15 s by default, are shortened; its failures are as they are.
        .env("PEBBLE_VA_SLEEPTIME", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("Pebble does not run ({error}): apt-get install pebble; tests/run.sh does that")
    });
    let stdout = child.stdout.take().expect("piped");
    let stderr = child.stderr.take().expect("piped");
    let streams: [Box<dyn std::io::Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
    for stream in streams {
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lock().expect("not poisoned").push(line);
            }
        });
    }
    child
}

/// One that nobody has now; Pebble and relayd need to know each other's before they are bound.
///
/// Below the ports that the system gives away by itself, so that nobody gets it in the meantime.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (low, count) = (20_000, 12_000);
    for _ in 0..count {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = low + (std::process::id().wrapping_mul(101).wrapping_add(number)) % count;
        let port = u16::try_from(port).expect("below 32 000");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
    panic!("no free port from {low} on");
}
