//! `[tls]`: certificate files, or a self-signed certificate.

use crate::config::Surroundings;
use crate::config::secrets;
use crate::config::section::{At, Draft, Table, Wrong};
use crate::tls::{CertificateSource, Settings};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub(in crate::config) struct Tls {
    pub settings: Option<Settings>,
    /// The value of `cert`, or the table.
    pub span: Option<Range<usize>>,
    /// True if the table was wrong in itself, so that a missing certificate is not the cause.
    pub failed: bool,
}

pub(in crate::config) fn read(table: &Table<'_>, domain: &str, around: &Surroundings<'_>) -> Tls {
    let given = |key: &str| table.item(key).is_some();
    let (cert_given, key_given) = (given("cert"), given("key"));
    let cert = table.read("cert", |item| secrets::readable_file(item, around));
    let key = table.read("key", |item| secrets::readable_file(item, around));
    let self_signed = table
        .read("self_signed", |item| item.boolean())
        .unwrap_or_else(|| At::absent(false));
    if let Some(acme) = table.item("acme") {
        table.ask("acme");
        acme.report(
            Wrong::new(
                "is not available in this version",
                "relayd does not request certificates itself",
            )
            .help("let certbot or another ACME client write the files, and name them in `tls.cert` and `tls.key`"),
        );
    }
    let error = |span: Option<Range<usize>>, message: &str, label: &str, help: &str| {
        let draft = Draft::error(message, label).at(span).help(help);
        table.reader().push(draft);
    };

    let span = cert
        .as_ref()
        .and_then(|cert| cert.span.clone())
        .or_else(|| table.span());
    let failed = |span| Tls {
        settings: None,
        span,
        failed: true,
    };
    match (cert_given, key_given) {
        (true, false) => {
            error(
                span.clone(),
                "`tls.cert` has no `tls.key` beside it",
                "a certificate needs its private key",
                "add key = \"privkey.pem\"",
            );
            return failed(span);
        }
        (false, true) => {
            error(
                key.as_ref().and_then(|key| key.span.clone()),
                "`tls.key` has no `tls.cert` beside it",
                "a private key needs its certificate",
                "add cert = \"fullchain.pem\"",
            );
            return failed(span);
        }
        (true, true) if self_signed.value => {
            error(
                self_signed.span,
                "`tls.self_signed` and `tls.cert` exclude each other",
                "there is one certificate",
                "remove one of the two",
            );
            return failed(span);
        }
        (true, true) | (false, false) => {}
    }
    let source = match (cert, key) {
        (Some(cert), Some(key)) => Some(CertificateSource::Files {
            cert: cert.value,
            key: key.value,
        }),
        (None, None) if self_signed.value => Some(CertificateSource::SelfSigned {
            names: self_signed_names(domain, around),
        }),
        (_, _) => None,
    };
    Tls {
        failed: source.is_none() && cert_given,
        settings: source.map(|source| Settings { source }),
        span,
    }
}

/// What a client on this machine or in its network may call this server.
fn self_signed_names(domain: &str, around: &Surroundings<'_>) -> Vec<String> {
    let mut names = vec![domain.to_owned()];
    names.extend(around.machine.hostname.clone());
    names.push("localhost".to_owned());
    names.push(Ipv4Addr::LOCALHOST.to_string());
    names.push(Ipv6Addr::LOCALHOST.to_string());
    let usable = around
        .machine
        .addresses
        .iter()
        .filter(|ip| !crate::config::machine::is_link_local(**ip));
    names.extend(usable.map(ToString::to_string));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
