//! A configuration with an upstream behind it, a server that runs it, and the check.

use super::process::{Ended, PATIENCE, Serving, relayd, run};
use super::web::certs::{Authority, Leaf, Validity};
use super::web::message::Reader;
use super::web::origin::{Origin, Seen, Then, Wire, accept_websocket, echo_bytes, send};
use super::web::relayd::Directory;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub const DOMAIN: &str = "relay.example.com";
pub const UPSTREAM: &str = "api.example.com";
pub const ADMIN: &str = "127.0.0.1:9641";

/// Fixed ports: the network is the test's own.
pub const GOOD: &str = r#"
[server]
domain = "relay.example.com"
drain_timeout = "5s"
workers = 1
[listen]
udp = ["127.0.0.1:3478"]
tcp = ["127.0.0.1:3478"]
tls = ["127.0.0.1:8443"]
limits = { udp_buffer_bytes = "64KiB" }
[tls]
cert = "fullchain.pem"
key = "privkey.pem"
[turn]
users = { alice = "s3cret-of-alice" }
relay_ports = "61000-65535"
[admin]
listen = "127.0.0.1:9641"
[log]
format = "json"
"#;

pub struct Site {
    pub dir: Directory,
    /// Signs upstreams; `proxy.ca_file` names it.
    pub authority: Authority,
}

impl Site {
    /// The good configuration without upstreams.
    pub fn new() -> Self {
        let site = Self {
            dir: Directory::new(),
            authority: Authority::new("upstream test root"),
        };
        site.certify(&[DOMAIN], Validity::default());
        site.write("upstream-ca.pem", &site.authority.pem);
        site.write("relay.toml", GOOD);
        site
    }

    /// Appends `[proxy]` with one allowed host that is at `address`.
    pub fn reaching(self, address: SocketAddr) -> Self {
        self.append(&format!(
            "[proxy]\nallow = [\"{UPSTREAM}\"]\nresolve = {{ \"{UPSTREAM}:443\" = \"{address}\" }}\nca_file = \"upstream-ca.pem\"\n"
        ))
    }

    pub fn append(self, text: &str) -> Self {
        self.write("relay.toml", &format!("{}{text}", self.text()));
        self
    }

    /// The old part must be there.
    pub fn with(self, old: &str, new: &str) -> Self {
        let text = self.text();
        assert!(text.contains(old), "{old} is not in {text}");
        self.write("relay.toml", &text.replace(old, new));
        self
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.toml()).expect("the file")
    }

    pub fn certify(&self, names: &[&str], validity: Validity) {
        let authority = Authority::new("own test root");
        let leaf = authority.leaf_valid(names, validity);
        self.write(
            "fullchain.pem",
            &format!("{}{}", leaf.chain_pem, authority.pem),
        );
        self.write("privkey.pem", &leaf.key_pem);
    }

    /// Readable for the owner alone: nothing is to be said against it.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.dir.write(name, text);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.dir.path(name), mode).expect("a mode");
    }

    pub fn toml(&self) -> PathBuf {
        self.dir.path("relay.toml")
    }

    pub fn serve(&self) -> Serving {
        self.serve_by(&mut relayd())
    }

    pub fn serve_by(&self, command: &mut Command) -> Serving {
        let serving = Serving::start(command.arg("--config").arg(self.toml()), "\"serving\"");
        if self.text().contains(ADMIN) {
            wait_until_ready();
        }
        serving
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = relayd();
        command
            .args(["check", "--live", "--config"])
            .arg(self.toml());
        command.args(arguments);
        command
    }

    pub fn check(&self, arguments: &[&str]) -> Checked {
        let mut json = vec!["--json"];
        json.extend(arguments);
        Checked::of(run(&mut self.command(&json)))
    }
}

/// What a check with `--json` printed.
#[derive(Debug)]
pub struct Checked {
    pub ended: Ended,
    pub json: Value,
}

impl Checked {
    pub fn of(ended: Ended) -> Self {
        let json = ended.json();
        Self { ended, json }
    }

    /// The only row of this name.
    #[track_caller]
    pub fn row(&self, what: &str) -> &Value {
        let rows = self.json["checks"].as_array().expect("rows").iter();
        let found: Vec<&Value> = rows.filter(|row| row["what"] == what).collect();
        let [row] = found.as_slice() else {
            panic!("{} rows {what:?} in {:#}", found.len(), self.json);
        };
        row
    }

    /// Result, and parts of detail and advice.
    #[track_caller]
    pub fn assert(&self, what: &str, result: &str, detail: &str, advice: &str) {
        let row = self.row(what);
        assert_eq!(row["result"], result, "{row:#}");
        let has = |key: &str, part: &str| {
            let text = row[key].as_str().unwrap_or_default();
            assert!(text.contains(part), "no {part:?} in {row:#}");
        };
        has("detail", detail);
        has("advice", advice);
    }

    #[track_caller]
    pub fn assert_ok(&self, what: &str, detail: &str) {
        self.assert(what, "ok", detail, "");
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.ended.code, Some(code), "{:#}", self.json);
        assert_eq!(self.json["ok"], code == 0, "{:#}", self.json);
    }

    /// Nothing fails but this row.
    #[track_caller]
    pub fn assert_only_failure(&self, what: &str) {
        let rows = self.json["checks"].as_array().expect("rows").iter();
        let failed: Vec<&Value> = rows
            .filter(|row| row["result"] == "fail")
            .map(|row| &row["what"])
            .collect();
        assert_eq!(failed, [what], "{:#}", self.json);
        self.assert_code(1);
    }
}

/// An upstream that accepts WebSockets, and answers anything else with this Date.
pub fn origin(leaf: &Leaf, ahead_s: i64) -> Origin {
    Origin::start(leaf, move |seen, wire, reader| {
        answer(seen, wire, reader, ahead_s)
    })
}

fn answer(seen: &Seen, wire: &mut Wire, reader: &mut Reader, ahead_s: i64) -> Then {
    if seen.message.one("upgrade") == Some("websocket") {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        return Then::Close;
    }
    let date = date(ahead_s);
    let body: &[u8] = if seen.message.method() == "HEAD" {
        b""
    } else {
        b"fine"
    };
    send(wire, "200 OK", &[("Date", &date)], body)
}

fn date(ahead_s: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let then = now.as_secs().saturating_add_signed(ahead_s);
    httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(then))
}

/// Asks the admin listener; the body.
pub fn admin(method: &str, path: &str) -> Value {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(ADMIN).expect("the admin listener");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {ADMIN}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let answer = Reader::default().message(&mut stream, false);
    answer.expect("an answer").expect("an answer").json()
}

/// The line about serving comes a moment before; each question is a wait.
fn wait_until_ready() {
    let deadline = Instant::now() + PATIENCE;
    while admin("GET", "/readyz")["state"] != "ready" {
        assert!(Instant::now() < deadline, "it does not become ready");
    }
}

pub fn allocations() -> Value {
    admin("GET", "/allocations")["total"].clone()
}
