//! Open TLS-ALPN-01 challenges (RFC 8737): which name is to be proven, and with which certificate.
//!
//! What holds: `acme-tls/1` is spoken with who offers it and nothing else, and asks for a name whose challenge is open
//! (§4); such a handshake has a configuration of its own, without tickets, so it can neither resume nor be resumed by
//! another. A challenge is open for as long as its [`Open`] lives.

use super::{Error, KeyDer};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::sync::Arc;

/// ALPN protocol name (RFC 8737 §6.2).
pub const ALPN_ACME: &[u8] = b"acme-tls/1";

/// The open challenges by name, in lower case.
#[derive(Debug, Default)]
pub struct Challenges {
    open: ArcSwap<HashMap<String, Arc<ServerConfig>>>,
}

impl Challenges {
    /// Opens the challenge for `name`; another one for the same name is replaced.
    pub fn open(
        self: &Arc<Self>,
        name: &str,
        certificate: CertificateDer<'static>,
        key: KeyDer,
    ) -> Result<Open, Error> {
        let name = name.to_ascii_lowercase();
        let config = Arc::new(configuration(certificate, key).map_err(Error::Setup)?);
        self.open.rcu(|open| {
            let mut open = HashMap::clone(open);
            open.insert(name.clone(), Arc::clone(&config));
            open
        });
        Ok(Open {
            challenges: Arc::clone(self),
            name,
            config,
        })
    }

    /// True nearly always: then a handshake need not be looked into.
    pub fn is_empty(&self) -> bool {
        self.open.load().is_empty()
    }

    /// How to answer this client, if it comes for an open challenge.
    pub fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        let (first, second) = (offered.next(), offered.next());
        if first != Some(ALPN_ACME) || second.is_some() {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        self.open.load().get(&name).map(Arc::clone)
    }
}

/// Closes its challenge when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Open {
    challenges: Arc<Challenges>,
    name: String,
    config: Arc<ServerConfig>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.challenges.open.rcu(|open| {
            let mut open = HashMap::clone(open);
            let own = open
                .get(&self.name)
                .is_some_and(|config| Arc::ptr_eq(config, &self.config));
            if own {
                open.remove(&self.name);
            }
            open
        });
    }
}

fn configuration(
    certificate: CertificateDer<'static>,
    key: KeyDer,
) -> Result<ServerConfig, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(key)?;
    // That they belong together is not checked: the certificate has a critical extension that is unknown to the check.
    let certified = CertifiedKey::new(vec![certificate], key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN_ACME.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
