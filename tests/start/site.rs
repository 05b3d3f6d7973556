//! A directory with a configuration that has nothing to be said against it, for tests to spoil.

use super::web::certs::{Authority, Leaf, Validity};
use super::web::relayd::Directory;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

pub const DOMAIN: &str = "relay.example.com";

/// Listens on ports of the system's choice, which are none of the relayed ones; no problem, no warning.
pub const GOOD: &str = r#"
[server]
domain = "relay.example.com"
drain_timeout = "5s"
[listen]
udp = ["127.0.0.1:0"]
tcp = ["127.0.0.1:0"]
tls = ["127.0.0.1:0"]
limits = { udp_buffer_bytes = "64KiB" }
[tls]
cert = "fullchain.pem"
key = "privkey.pem"
[turn]
users = { alice = "s3cret-of-alice" }
relay_ports = "61000-65535"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
"#;

pub struct Site {
    pub dir: Directory,
}

impl Site {
    /// Certificate, key and other files in place; the configuration is [`GOOD`].
    pub fn new() -> Self {
        let site = Self {
            dir: Directory::new(),
        };
        site.certify(&[DOMAIN], Validity::default());
        site.write("relay.toml", GOOD);
        site
    }

    /// The same with replaced parts of the configuration; each must be there.
    pub fn with(changes: &[(&str, &str)]) -> Self {
        let site = Self::new();
        let mut text = GOOD.to_owned();
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is not in the configuration");
            text = text.replace(old, new);
        }
        site.write("relay.toml", &text);
        site
    }

    /// A chain that leads to its root, with its key.
    pub fn certify(&self, names: &[&str], validity: Validity) {
        let authority = Authority::new("start test root");
        let Leaf {
            chain_pem, key_pem, ..
        } = authority.leaf_valid(names, validity);
        self.write("fullchain.pem", &format!("{chain_pem}{}", authority.pem));
        self.write("privkey.pem", &key_pem);
    }

    /// Readable for the owner alone, as a careful person leaves it.
    pub fn write(&self, name: &str, text: &str) {
        self.dir.write(name, text);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).expect("a mode");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    pub fn toml(&self) -> PathBuf {
        self.path("relay.toml")
    }
}
