//! The client's side: which authorities relayd itself trusts, and its TLS towards HTTP servers.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The operator's CA file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("cannot read the CA file {}", path.display())]
    Read {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("the CA file {} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("certificate {number} of the CA file {} cannot be used", path.display())]
    Unusable {
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        source: rustls::Error,
    },
}

/// TLS 1.2 and 1.3 for HTTP/1.1; sessions are resumed.
pub fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The public authorities: what clients trust without being told to.
pub fn public_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// The public authorities and those of `ca_file`.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let mut roots = public_roots();
    if let Some(path) = ca_file {
        add_roots(&mut roots, path)?;
    }
    Ok(roots)
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), RootsError> {
    let read = |source| RootsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut number = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        number += 1;
        let certificate = certificate.map_err(read)?;
        roots
            .add(certificate)
            .map_err(|source| RootsError::Unusable {
                path: path.to_owned(),
                number,
                source,
            })?;
    }
    if number == 0 {
        return Err(RootsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_is_missing_or_empty_or_garbage_is_told_apart() {
        let dir = std::env::temp_dir();
        let path = |name: &str| dir.join(format!("relayd-roots-{}-{name}", std::process::id()));
        let missing = path("missing.pem");
        let found = roots(Some(&missing));
        assert!(matches!(found, Err(RootsError::Read { .. })));
        let empty = path("empty.pem");
        std::fs::write(&empty, "no certificate here\n").expect("written");
        let found = roots(Some(&empty));
        assert!(matches!(found, Err(RootsError::Empty { .. })));
        let garbage = path("garbage.pem");
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&garbage, text).expect("written");
        let found = roots(Some(&garbage));
        assert!(matches!(found, Err(RootsError::Unusable { number: 1, .. })));
        for file in [empty, garbage] {
            std::fs::remove_file(file).expect("removed");
        }
    }
}
