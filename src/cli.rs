//! The command line: which configuration, and what to do with it.
//!
//! Exit codes: 0, 1 cannot start, 64 bad configuration or bad usage (`EX_USAGE`). Configuration problems go to
//! standard error, results to standard output.

mod health;
mod import;
mod listener;
mod live;
mod snippet;
mod top;

use crate::check::{Outcome, Peer};
use crate::config::{self, FirstTryPorts, Loaded, Machine, Problem, Report};
use crate::proxy::vendors;
use crate::secret::Secret;
use crate::sys::clock;
use crate::sys::limits;
use crate::sys::rng::SystemRng;
use crate::turn::credentials::{TimeLimited, time_limited_password};
use crate::{app, catalogue, check, first_try};
use clap::builder::PossibleValuesParser;
use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const CANNOT_START: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;
const LOW_PORT_HELP: &str = "ports below 1024 need the capability CAP_NET_BIND_SERVICE: config/relayd.service has it, and `setcap cap_net_bind_service=+ep` gives it to a binary";
/// What stands for the file in messages when there is none.
const WITHOUT_FILE: &str = "the built-in first-try configuration";

#[derive(Debug, Parser)]
#[command(
    name = "relayd",
    version,
    about = "TURN/STUN server and HTTPS/WSS signalling proxy for WebRTC, on one port",
    after_help = "Without --config relayd serves a first try: unprivileged ports, a self-signed certificate, a generated \
                  user, and a page that makes a call through it. Exit codes: 0, 1 cannot start, 64 bad configuration."
)]
struct Arguments {
    /// Configuration file; `relayd default-config` prints a commented one
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Log more: debug, twice: trace; until the first reload
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    #[command(flatten)]
    ports: Ports,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Ports of the first try; a file names its own.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Ports {
    /// First try: port of TURN over UDP and TCP [default: 3478]
    #[arg(long, value_name = "PORT", conflicts_with = "config", global = true)]
    turn_port: Option<u16>,
    /// First try: port of TURN over TLS, HTTPS and WSS [default: 8443]
    #[arg(long, value_name = "PORT", conflicts_with = "config", global = true)]
    tls_port: Option<u16>,
    /// First try: port of health and metrics on loopback [default: 9641]
    #[arg(long, value_name = "PORT", conflicts_with = "config", global = true)]
    admin_port: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report every problem of a configuration and what the server would do; with --live, test the running one
    #[command(after_help = live::HELP)]
    Check {
        /// Also tell whether clients may reach this peer, and by which rule; may be repeated
        #[arg(long, value_name = "ADDRESS[:PORT]")]
        peer: Vec<Peer>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        live: live::Asked,
    },
    /// Print the commented reference configuration
    DefaultConfig,
    /// Make a time-limited credential with the first secret of `turn.auth_secret`
    Credential {
        /// Name of the user; it becomes part of the user name
        #[arg(value_parser = user_name)]
        name: String,
        /// How long the credential is good
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time_to_live)]
        ttl: Duration,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the vendor presets, or show one
    Vendors {
        /// A name that `proxy.vendors` takes
        #[arg(value_parser = PossibleValuesParser::new(vendors::NAMES))]
        name: Option<String>,
        /// Print it as the lines of a configuration that mean the same
        #[arg(long, requires = "name")]
        toml: bool,
    },
    /// Print client code for this configuration: what to write into a vendor's SDK
    #[command(after_help = snippet::HELP)]
    Snippet(snippet::Asked),
    /// Ask the running server whether it is well: for health checks
    #[command(after_help = health::HELP)]
    Health(health::Asked),
    /// Show what the running server does, in the terminal: calls and their quality, traffic, proxy
    #[command(after_help = top::HELP)]
    Top(top::Asked),
    /// Make a configuration from coturn's turnserver.conf
    #[command(after_help = import::HELP)]
    ImportCoturn(import::Asked),
    /// Print the version
    Version,
}

/// The command line as data: for its manual page and its completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors, and a closed output is nobody's problem.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                BAD_CONFIGURATION
            } else {
                0
            });
        }
    };
    let Arguments {
        config,
        verbose,
        ports,
        command,
    } = arguments;
    let file = config.as_deref();
    match command {
        None => serve(file, verbose, ports),
        Some(Command::Check { json, live, .. }) if live.live => live::run(file, ports, live, json),
        Some(Command::Check { peer, json, .. }) => check(file, ports, &peer, json),
        Some(Command::DefaultConfig) => print(config::REFERENCE.trim_end()),
        Some(Command::Credential { name, ttl, json }) => credential(file, &name, ttl, json),
        Some(Command::Snippet(arguments)) => match snippet::text(file, ports, &arguments) {
            Ok(text) => print(text.trim_end()),
            Err(report) => refuse(&report),
        },
        Some(Command::ImportCoturn(arguments)) => import::run(&arguments),
        Some(Command::Vendors { name, toml }) => print(&presets(name.as_deref(), toml)),
        Some(Command::Health(asked)) => health::health(file, ports, &asked),
        Some(Command::Top(asked)) => top::top(file, ports, &asked),
        Some(Command::Version) => print(concat!("relayd ", env!("CARGO_PKG_VERSION"))),
    }
}

fn serve(file: Option<&Path>, verbose: u8, ports: Ports) -> ExitCode {
    let former = match app::Former::from_environment() {
        Ok(former) => former,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let shown = former
        .as_ref()
        .and_then(|former| former.first_try_password());
    let password = shown.map_or_else(|| first_try::password(&mut SystemRng), str::to_owned);
    let (source, loaded) = match file {
        Some(path) => (app::Source::File(path.to_owned()), load(path)),
        None => {
            let source = app::Source::FirstTry {
                user: config::FIRST_TRY_USER.to_owned(),
                password: Secret::new(password.clone()),
            };
            (source, load_first_try(&password, ports, &Machine::read()))
        }
    };
    let Loaded {
        mut config,
        warnings,
    } = match loaded {
        Ok(loaded) => loaded,
        Err(report) => {
            if let Some(former) = former {
                former.ear().refuse_configuration(in_one_line(&report));
            }
            return refuse(&report);
        }
    };
    for warning in warnings {
        eprintln!("{warning}\n");
    }
    if let Some(level) = level(verbose) {
        config.log.level = level.to_owned();
    }
    match app::serve(config, source, former) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if file.is_none() && app::is_port_in_use(&error) {
                eprintln!("  = help: {}", first_try::PORT_HELP);
            }
            if app::is_port_denied(&error) {
                eprintln!("  = help: {LOW_PORT_HELP}");
            }
            ExitCode::from(CANNOT_START)
        }
    }
}

/// The level that `-v` asks for, over the configured one.
fn level(verbose: u8) -> Option<&'static str> {
    match verbose {
        0 => None,
        1 => Some("debug"),
        2.. => Some("trace"),
    }
}

fn load(path: &Path) -> Result<Loaded, Report> {
    config::load(path, &|name| std::env::var(name).ok())
}

fn load_first_try(password: &str, ports: Ports, machine: &Machine) -> Result<Loaded, Report> {
    let defaults = FirstTryPorts::default();
    let ports = FirstTryPorts {
        turn: ports.turn_port.unwrap_or(defaults.turn),
        tls: ports.tls_port.unwrap_or(defaults.tls),
        admin: ports.admin_port.unwrap_or(defaults.admin),
    };
    config::first_try(password, ports, machine)
}

fn refuse(report: &Report) -> ExitCode {
    eprintln!("{report}");
    ExitCode::from(BAD_CONFIGURATION)
}

/// Errors and their places, for another process's log.
fn in_one_line(report: &Report) -> String {
    let text = report.to_string();
    let is_told = |line: &&str| line.starts_with("error") || line.starts_with("-->");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(is_told).collect();
    lines.join(" ")
}

fn check(file: Option<&Path>, ports: Ports, peers: &[Peer], as_json: bool) -> ExitCode {
    // As the server does; what cannot be raised is reported as it is.
    let _ = limits::raise_open_files();
    let machine = Machine::read();
    let loaded = match file {
        Some(path) => load(path),
        None => load_first_try("of no use here", ports, &machine),
    };
    let source = match file {
        Some(path) => path.display().to_string(),
        None => WITHOUT_FILE.to_owned(),
    };
    let outcome = Outcome::new(source, loaded, &machine, peers);
    let text = if as_json {
        serde_json::to_string_pretty(&outcome).expect("plain data becomes JSON")
    } else {
        outcome.to_string()
    };
    let code = if outcome.ok { 0 } else { BAD_CONFIGURATION };
    print(&text);
    ExitCode::from(code)
}

fn credential(file: Option<&Path>, name: &str, ttl: Duration, as_json: bool) -> ExitCode {
    let Some(path) = file else {
        let problem = no_secret(
            "without a file there is no secret",
            "name a file: --config FILE",
        );
        return refuse(&Report {
            problems: vec![problem],
        });
    };
    let config = match load(path) {
        Ok(loaded) => loaded.config,
        Err(report) => return refuse(&report),
    };
    let Some(secret) = config.turn.auth_secrets.first() else {
        let problem = no_secret(
            "`turn.auth_secret` is empty",
            "add auth_secret = [\"file:secret\"] to [turn]; `openssl rand -hex 32` makes one",
        );
        return refuse(&Report {
            problems: vec![problem],
        });
    };
    let expires_s = clock::now().unix_s().saturating_add(ttl.as_secs());
    let username = format!("{expires_s}:{name}");
    let password = time_limited_password(secret, &username);
    print(&if as_json {
        json!({ "username": username, "password": password, "ttl": ttl.as_secs() }).to_string()
    } else {
        let expires = check::date(i64::try_from(expires_s).unwrap_or(i64::MAX));
        let ttl = config::show_duration(ttl);
        format!(
            "username  {username}\npassword  {password}\ngood for  {ttl}, until {expires} (UTC)"
        )
    })
}

fn presets(name: Option<&str>, as_toml: bool) -> String {
    match name.and_then(vendors::preset) {
        None => catalogue::list(),
        Some(preset) if as_toml => catalogue::toml(preset),
        Some(preset) => catalogue::show(preset),
    }
}

fn no_secret(label: &str, help: &str) -> Problem {
    Problem::error("no secret to make a credential with", label, help)
}

fn user_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a name has at least one character and no control characters".to_owned());
    }
    // As the server will read it: the expiry must be told from the name.
    let username = format!("4102444800:{text}");
    match TimeLimited::parse(&username) {
        Some(parsed) if parsed.name == text && username.len() <= 508 => Ok(text.to_owned()),
        Some(_) | None => {
            Err("this name cannot be told from an expiry time, or is too long".to_owned())
        }
    }
}

fn time_to_live(text: &str) -> Result<Duration, String> {
    let ttl = config::parse_duration(text)?;
    if ttl < Duration::from_secs(1) {
        return Err("accepted: 1s and more".to_owned());
    }
    Ok(ttl)
}

/// A reader that went away (`relayd default-config | head`) is no error.
fn print(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_file_may_stand_before_or_after_the_command() {
        for line in [["--config", "x", "check"], ["check", "--config", "x"]] {
            let parsed = Arguments::try_parse_from(["relayd"].iter().chain(&line)).expect("usage");
            assert_eq!(parsed.config.as_deref(), Some(Path::new("x")));
        }
    }

    #[test]
    fn ports_of_the_first_try_and_a_file_exclude_each_other() {
        let line = ["relayd", "--config", "x", "--tls-port", "1"];
        assert!(Arguments::try_parse_from(line).is_err());
    }

    #[test]
    fn names_and_times_that_no_server_would_take_are_refused() {
        for name in ["", "a\nb"] {
            assert!(user_name(name).is_err(), "{name:?}");
        }
        assert_eq!(user_name("alice").as_deref(), Ok("alice"));
        for ttl in ["", "0s", "10", "1 fortnight"] {
            assert!(time_to_live(ttl).is_err(), "{ttl}");
        }
        assert_eq!(time_to_live("1h"), Ok(Duration::from_secs(3600)));
    }
}
