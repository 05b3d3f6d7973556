//! `[tls.acme]`: whom relayd asks for certificates itself, for which names, and where it keeps them.

use crate::acme::{
    DIRECTORIES, DIRECTORY_BYTES_MAX, ExternalAccount, NAMES_MAX, Settings, VALIDATION_PORT,
};
use crate::config::section::{At, Draft, Item, Table, Wrong};
use crate::config::{Surroundings, hosts, secrets, values};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::ops::Range;
use std::path::PathBuf;

/// Where the packages and the unit keep it.
const STATE_DIR: &str = "/var/lib/relayd/acme";
const TEXT_BYTES_MAX: usize = 254;

pub(in crate::config) struct Acme {
    /// `None`: off, or wrong.
    pub settings: Option<Settings>,
    /// What switches it on, or was meant to.
    pub span: Option<Range<usize>>,
    /// True if it is wanted, but something is wrong with it.
    pub failed: bool,
    /// Something is asked for, but the terms have not been agreed to.
    pub unagreed: bool,
}

pub(in crate::config) fn read(
    table: &Table<'_>,
    domain: &At<String>,
    around: &Surroundings<'_>,
) -> Acme {
    let agreed = table.read("terms_agreed", |item| item.boolean());
    let given_names = table.list("names", name);
    let contact = table.list("contact", |item| {
        values::plain_text(item, TEXT_BYTES_MAX).map(|text| (text, item.span.clone()))
    });
    let directory = table.read("directory", directory);
    let state_dir = table.read("state_dir", |item| path(item, around));
    let ca_file = table.read("ca_file", |item| secrets::certificates_file(item, around));
    let profile = table.read("profile", |item| values::plain_text(item, TEXT_BYTES_MAX));
    let key_id = table.read("external_account_id", |item| {
        values::plain_text(item, TEXT_BYTES_MAX)
    });
    let key = table.read("external_account_key", |item| external_key(item, around));

    let on = agreed.as_ref().is_some_and(|agreed| agreed.value);
    let wanted = ["names", "contact", "profile", "external_account_id"];
    let meant = wanted.iter().find_map(|key| table.item(key));
    let span = agreed.and_then(|agreed| agreed.span).filter(|_| on);
    let span = span.or_else(|| meant.as_ref().map(|item| item.span.clone()));
    let judge = Judge {
        table,
        span: span.clone(),
    };
    let contact = plain(contact);
    let mut sound = judge.contact(&contact);
    sound &= !on || judge.external_account(key_id.is_some(), key.is_some());
    let names = plain(given_names);
    let names = match names.is_empty() && on {
        true => judge.name_of_domain(domain),
        false => unique(names),
    };
    sound &= judge.count_of_names(&names);
    let read = |key: &str, has_value: bool| has_value || table.item(key).is_none();
    sound &= read("directory", directory.is_some())
        && read("state_dir", state_dir.is_some())
        && read("ca_file", ca_file.is_some())
        && !names.is_empty();
    let settings = (on && sound).then(|| Settings {
        names,
        contact: contact.into_iter().map(|(text, _)| text).collect(),
        directory: directory.map_or_else(|| DIRECTORIES[0].1.to_owned(), |at| at.value),
        state_dir: state_dir.map_or_else(|| PathBuf::from(STATE_DIR), |at| at.value),
        ca_file: ca_file.map(|at| at.value),
        external_account: key_id.zip(key).map(|(id, key)| ExternalAccount {
            key_id: id.value,
            key: key.value,
        }),
        profile: profile.map(|at| at.value),
    });
    Acme {
        failed: on && settings.is_none(),
        settings,
        span,
        unagreed: !on && meant.is_some(),
    }
}

/// What cannot be told from one value alone. Each check is true where nothing is wrong.
struct Judge<'t, 'r> {
    table: &'t Table<'r>,
    /// What switches it on.
    span: Option<Range<usize>>,
}

impl Judge<'_, '_> {
    fn wrong(&self, place: Option<Range<usize>>, message: &str, label: String, help: &str) -> bool {
        let draft = Draft::error(message, label).at(place).help(help);
        self.table.reader().push(draft);
        false
    }

    /// Here and not in the reading of the value: text with an @ is taken for a password there, and hidden.
    fn contact(&self, contact: &[(String, Range<usize>)]) -> bool {
        let bad = contact.iter().find(|(text, _)| !is_mail_address(text));
        let Some((_, place)) = bad else {
            return true;
        };
        self.wrong(
            Some(place.clone()),
            "`tls.acme.contact` has something that is no e-mail address",
            "accepted: e-mail addresses such as admin@example.com".to_owned(),
            "leave \"mailto:\" out",
        )
    }

    fn external_account(&self, id_given: bool, key_given: bool) -> bool {
        id_given == key_given
            || self.wrong(
                self.span.clone(),
                "`tls.acme.external_account_id` and `tls.acme.external_account_key` belong together",
                "the authority gives both to those who have an account there".to_owned(),
                "set both, or none",
            )
    }

    /// Empty if it is no name.
    fn name_of_domain(&self, domain: &At<String>) -> Vec<String> {
        match name_of(&domain.value) {
            Ok(name) => vec![name],
            Err(error) => {
                self.wrong(
                    self.span.clone(),
                    "`tls.acme` has no name to ask for",
                    format!("server.domain is {}: {}", domain.value, error.label),
                    "set names = [\"relay.example.com\"] in [tls.acme], or `server.domain`",
                );
                Vec::new()
            }
        }
    }

    fn count_of_names(&self, names: &[String]) -> bool {
        names.len() <= NAMES_MAX
            || self.wrong(
                self.span.clone(),
                "`tls.acme.names` has too many names",
                format!("accepted: {NAMES_MAX} at most in one certificate"),
                "leave some out",
            )
    }
}

/// Whether validation can come to one of these ports without something that leads it there.
pub(in crate::config) fn is_validated_on(mut ports: impl Iterator<Item = u16>) -> bool {
    ports.any(|port| port == VALIDATION_PORT)
}

fn plain<T>(list: Option<At<Vec<At<T>>>>) -> Vec<T> {
    let values = list.map(|list| list.value).unwrap_or_default();
    values.into_iter().map(|item| item.value).collect()
}

fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut names = names;
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn name(item: &Item<'_>) -> Result<String, Wrong> {
    name_of(item.text("a host name, such as \"relay.example.com\"")?)
}

/// What can be proven by a TLS handshake: a name, and no pattern or address (RFC 8737 §3, RFC 8738 left out).
fn name_of(text: &str) -> Result<String, Wrong> {
    if text.starts_with("*.") {
        return Err(Wrong::new(
            "is a wildcard",
            "no authority gives one for TLS-ALPN-01, which proves single names",
        )
        .help("list the names; or let a client with DNS-01 write `tls.cert` and `tls.key`"));
    }
    hosts::parse_host(text)
}

fn directory(item: &Item<'_>) -> Result<String, Wrong> {
    const ACCEPTED: &str =
        "\"letsencrypt\", \"letsencrypt-staging\", or the https URL of a directory";
    let text = item.text(ACCEPTED)?;
    if let Some((_, url)) = DIRECTORIES.iter().find(|(name, _)| *name == text) {
        return Ok((*url).to_owned());
    }
    let refuse = || Wrong::new("is no directory", format!("accepted: {ACCEPTED}"));
    let uri: http::Uri = text.parse().map_err(|_| refuse())?;
    let authority = uri.authority().ok_or_else(refuse)?.as_str();
    let plain = uri.scheme_str() == Some("https") && !authority.contains('@');
    if !plain || text.len() > DIRECTORY_BYTES_MAX {
        return Err(refuse());
    }
    Ok(text.to_owned())
}

/// Need not be there yet.
fn path(item: &Item<'_>, around: &Surroundings<'_>) -> Result<PathBuf, Wrong> {
    let text = item.text("a path, relative to the configuration file")?;
    if text.is_empty() {
        return Err(Wrong::new("is empty", "accepted: the path of a directory"));
    }
    Ok(around.base_dir.join(text))
}

fn external_key(
    item: &Item<'_>,
    around: &Surroundings<'_>,
) -> Result<crate::secret::Secret, Wrong> {
    let key = secrets::secret(item, around)?;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(key.expose().trim_end_matches('='));
    match decoded {
        Ok(bytes) if !bytes.is_empty() => Ok(key),
        Ok(_) | Err(_) => Err(Wrong::new(
            "is no base64url text",
            "accepted: the key as the authority gives it: letters, digits, - and _",
        )),
    }
}

/// Enough to find what is plainly something else; the authority judges the rest.
fn is_mail_address(text: &str) -> bool {
    let Some((user, host)) = text.rsplit_once('@') else {
        return false;
    };
    let clean = |c: char| !c.is_whitespace() && !c.is_control() && !",;:?&\"<>".contains(c);
    !user.is_empty() && hosts::parse_host(host).is_ok() && text.chars().all(clean)
}
