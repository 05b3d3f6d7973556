//! `relayd snippet`: client code for a configuration, or for the first try.

use super::{Ports, load, load_first_try, time_to_live, user_name};
use crate::config::{self, Config, Machine, Problem, Report};
use crate::first_try;
use crate::snippet::{Chosen, Facts, Login, NoLogin, Vendor};
use crate::sys::clock;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

pub(super) const HELP: &str = "\
Prints code to paste: all that is not code is a comment. It has this configuration's domain, ports and user, and says \
beside it what does not work with this configuration (PROBLEM, with its fix) and which limits the SDK itself has (Note).

The user is the first of `turn.users`, or the one that --user names. With --ttl, or without users, it is a \
time-limited credential, made with the first secret of `turn.auth_secret`. THE PASSWORD IS PRINTED: the output is for \
you, and not for a log. Of a user with an MD5 key the password is not known; a placeholder stands for it. Without \
--config the code is for the first try, whose password changes with every start: it is printed there.

Examples:
  relayd snippet azure --config relay.toml                  all of Azure's SDKs
  relayd snippet azure --flavour ios --config relay.toml    one of them
  relayd snippet webrtc --ttl 8h --config relay.toml        with a time-limited credential
  relayd snippet --list                                     every vendor and flavour";

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Whose SDK: webrtc, azure, agora, trtc, watchrtc, vonage, daily, livekit
    #[arg(value_parser = vendor)]
    vendor: Option<Vendor>,
    /// One SDK of the vendor; --list names them [default: all]
    #[arg(long, value_name = "NAME")]
    flavour: Option<String>,
    /// List vendors and flavours
    #[arg(long, conflicts_with_all = ["vendor", "flavour", "user", "ttl", "prefix"])]
    list: bool,
    /// A user of `turn.users`; with --ttl, any name
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    user: Option<String>,
    /// Make a time-limited credential that is good this long
    #[arg(long, value_name = "DURATION", value_parser = time_to_live)]
    ttl: Option<Duration>,
    /// Reach the proxy under this path, one of `proxy.prefixes`
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `relayd snippet` prints.
pub(super) fn text(file: Option<&Path>, ports: Ports, asked: &Asked) -> Result<String, Report> {
    if asked.list {
        return Ok(list(asked.json));
    }
    let Some(vendor) = asked.vendor else {
        let known = Vendor::ALL.map(Vendor::name);
        return Err(one_problem(
            "no vendor is named",
            "`relayd snippet --list` has them with their SDKs",
            &format!("one of: {}", known.join(", ")),
        ));
    };
    let flavours = vendor.flavours().iter();
    let wanted = |name: &str| asked.flavour.as_deref().is_none_or(|one| one == name);
    let flavours: Vec<_> = flavours.filter(|flavour| wanted(flavour.name)).collect();
    if flavours.is_empty() {
        let known: Vec<&str> = vendor
            .flavours()
            .iter()
            .map(|flavour| flavour.name)
            .collect();
        return Err(one_problem(
            &format!(
                "{} has no flavour \"{}\"",
                vendor.name(),
                asked.flavour.as_deref().unwrap_or_default()
            ),
            "see `relayd snippet --list`",
            &format!("one of: {}", known.join(", ")),
        ));
    }
    let facts = facts(file, ports, asked)?;
    let snippets = flavours
        .iter()
        .map(|flavour| flavour.snippet(vendor, &facts));
    if asked.json {
        let all: Vec<_> = snippets.map(|snippet| snippet.to_json()).collect();
        return Ok(serde_json::to_string_pretty(&all).expect("plain data becomes JSON"));
    }
    let texts: Vec<String> = snippets.map(|snippet| snippet.to_string()).collect();
    Ok(texts.join("\n"))
}

fn facts(file: Option<&Path>, ports: Ports, asked: &Asked) -> Result<Facts, Report> {
    let chosen = Chosen {
        user: asked.user.clone(),
        ttl: asked.ttl,
    };
    match file {
        Some(path) => {
            let config = load(path)?.config;
            let login = Login::of_config(&config, &chosen, clock::now().unix_s());
            let login = login.map_err(|error| no_login(&error))?;
            with_prefix(Facts::of_config(&config, login), &config, asked)
        }
        None => {
            let config = load_first_try("of no use here", ports, &Machine::read())?.config;
            if chosen != Chosen::default() {
                // There is one user, and no secret.
                Login::of_config(&config, &chosen, 0).map_err(|error| no_login(&error))?;
            }
            let note =
                "The password of the first try changes with every start: relayd prints it there.";
            let login = Login {
                username: config::FIRST_TRY_USER.to_owned(),
                ..Login::placeholder(Some(note.to_owned()))
            };
            with_prefix(first_try::facts(&config, login), &config, asked)
        }
    }
}

fn with_prefix(facts: Facts, config: &Config, asked: &Asked) -> Result<Facts, Report> {
    let Some(prefix) = &asked.prefix else {
        return Ok(facts);
    };
    let plain = |path: &str| path.trim_matches('/').to_owned();
    let known = &config.proxy.prefixes;
    if !known.iter().any(|one| plain(one) == plain(prefix)) {
        return Err(one_problem(
            &format!("`proxy.prefixes` has no \"{prefix}\""),
            "requests under it would not be understood",
            &format!("add it to [proxy]: prefixes = [\"/{}\"]", plain(prefix)),
        ));
    }
    Ok(Facts {
        prefix: format!("/{}", plain(prefix)),
        ..facts
    })
}

fn no_login(error: &NoLogin) -> Report {
    match error {
        NoLogin::UnknownUser { known, .. } => one_problem(
            &error.to_string(),
            &format!("known: {}", known.join(", ")),
            "name one of them, or add --ttl for a time-limited credential of any name",
        ),
        NoLogin::NoSecret => one_problem(
            &error.to_string(),
            "--ttl asks for one",
            "add auth_secret = [\"file:secret\"] to [turn], or leave --ttl out to use a user of `turn.users`",
        ),
    }
}

fn one_problem(message: &str, label: &str, help: &str) -> Report {
    Report {
        problems: vec![Problem::error(message, label, help)],
    }
}

fn list(as_json: bool) -> String {
    if as_json {
        let all: Vec<_> = Vendor::ALL
            .into_iter()
            .map(|vendor| {
                let flavours: Vec<_> = vendor
                    .flavours()
                    .iter()
                    .map(|flavour| json!({ "name": flavour.name, "title": flavour.title }))
                    .collect();
                json!({ "vendor": vendor.name(), "title": vendor.title(), "flavours": flavours })
            })
            .collect();
        return serde_json::to_string_pretty(&all).expect("plain data becomes JSON");
    }
    let mut text = String::new();
    for vendor in Vendor::ALL {
        for flavour in vendor.flavours() {
            text.push_str(&format!(
                "{:<9} {:<8} {}: {}\n",
                vendor.name(),
                flavour.name,
                vendor.title(),
                flavour.title
            ));
        }
    }
    text
}

fn vendor(text: &str) -> Result<Vendor, String> {
    Vendor::parse(text).ok_or_else(|| {
        let known = Vendor::ALL.map(Vendor::name);
        format!("accepted: {}", known.join(", "))
    })
}
