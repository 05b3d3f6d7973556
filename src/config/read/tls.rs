//! `[tls]`: certificate files, certificates that relayd obtains itself, or a self-signed one.

use super::acme::Acme;
use crate::config::Surroundings;
use crate::config::secrets;
use crate::config::section::{At, Draft, Table};
use crate::tls::{CertificateSource, Settings};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub(in crate::config) struct Tls {
    pub settings: Option<Settings>,
    /// Where certificates come from in the third case.
    pub acme: Acme,
    /// The value of `cert`, or the table.
    pub span: Option<Range<usize>>,
    /// True if the table was wrong in itself, so that a missing certificate is not the cause.
    pub failed: bool,
}

pub(in crate::config) fn read(
    table: &Table<'_>,
    domain: &At<String>,
    around: &Surroundings<'_>,
) -> Tls {
    let given = |key: &str| table.item(key).is_some();
    let (cert_given, key_given) = (given("cert"), given("key"));
    let cert = table.read("cert", |item| secrets::readable_file(item, around));
    let key = table.read("key", |item| secrets::readable_file(item, around));
    let self_signed = table
        .read("self_signed", |item| item.boolean())
        .unwrap_or_else(|| At::absent(false));
    let mut acme = super::acme::read(&table.table("acme"), domain, around);
    let error = |span: Option<Range<usize>>, message: &str, label: &str, help: &str| {
        let draft = Draft::error(message, label).at(span).help(help);
        table.reader().push(draft);
    };

    let span = cert
        .as_ref()
        .and_then(|cert| cert.span.clone())
        .or_else(|| table.span());
    let failed = |span, acme| Tls {
        settings: None,
        acme,
        span,
        failed: true,
    };
    let files_given = cert_given || key_given;
    if (acme.settings.is_some() || acme.failed) && (files_given || self_signed.value) {
        table.reader().push(beside_acme(&acme, self_signed.value));
        acme.settings = None;
        return failed(span, acme);
    }
    match (cert_given, key_given) {
        (true, false) => {
            error(
                span.clone(),
                "`tls.cert` has no `tls.key` beside it",
                "a certificate needs its private key",
                "add key = \"privkey.pem\"",
            );
            return failed(span, acme);
        }
        (false, true) => {
            error(
                key.as_ref().and_then(|key| key.span.clone()),
                "`tls.key` has no `tls.cert` beside it",
                "a private key needs its certificate",
                "add cert = \"fullchain.pem\"",
            );
            return failed(span, acme);
        }
        (true, true) if self_signed.value => {
            error(
                self_signed.span,
                "`tls.self_signed` and `tls.cert` exclude each other",
                "there is one certificate",
                "remove one of the two",
            );
            return failed(span, acme);
        }
        (true, true) | (false, false) => {}
    }
    let source = match (cert, key) {
        (Some(cert), Some(key)) => Some(CertificateSource::Files {
            cert: cert.value,
            key: key.value,
        }),
        (None, None) if self_signed.value => Some(CertificateSource::SelfSigned {
            names: self_signed_names(&domain.value, around),
        }),
        (None, None) => acme
            .settings
            .as_ref()
            .map(|acme| CertificateSource::Managed {
                names: acme.names.clone(),
                file: acme.certificate_file(),
            }),
        (_, _) => None,
    };
    Tls {
        failed: source.is_none() && (cert_given || acme.failed),
        settings: source.map(|source| Settings { source }),
        acme,
        span,
    }
}

/// There is one certificate, and so one source of it.
fn beside_acme(acme: &Acme, self_signed: bool) -> Draft {
    let message = match self_signed {
        true => "`tls.acme` and `tls.self_signed` exclude each other",
        false => "`tls.acme` and `tls.cert` exclude each other",
    };
    Draft::error(message, "there is one certificate")
        .at(acme.span.clone())
        .help("remove one of the two: `terms_agreed = false` switches [tls.acme] off")
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
