//! `relayd check --live`: the arguments, and what is printed.

use super::{CANNOT_START, Ports, WITHOUT_FILE, load, load_first_try, print, refuse, time_to_live};
use crate::config::Machine;
use crate::live::{self, Part, StunServer, Style};
use crate::sys::limits;
use clap::builder::PossibleValue;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const HELP: &str = "\
With --live it tests the running server and the ways out that it needs: every upstream that the configuration writes out (name, \
addresses, TLS, HTTP), a packet relayed there and back by every listener of TURN, HTTPS and WebSockets through the server, the \
relayed addresses as STUN servers see them, clock and limits. It works before the first start, too. Wildcards \
cannot be tried; an example of the vendor's stands for them. Nothing is sent to anybody whom neither the configuration nor \
--stun names. Allocations that it makes are deleted, also after Ctrl-C, SIGTERM and SIGHUP.

Exit codes: 0 no error (with --live: nothing failed; there may be warnings), 1 --live: something does not work, 64 bad configuration or usage, 130 --live: interrupted.";

/// SIGINT, as shells tell it.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Test the running server and its upstreams
    #[arg(long, conflicts_with = "peer")]
    pub(super) live: bool,
    /// With --live: ask this STUN server how the relayed addresses look from outside; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", requires = "live")]
    stun: Vec<StunServer>,
    /// With --live: these parts alone
    #[arg(long, value_name = "PART", value_delimiter = ',', requires = "live")]
    only: Vec<Part>,
    /// With --live: how long each step of a test may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = time_to_live, requires = "live")]
    timeout: Duration,
}

impl clap::ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::CHOICE
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

pub(super) fn run(file: Option<&Path>, ports: Ports, asked: Asked, as_json: bool) -> ExitCode {
    // As the server does; what cannot be raised is reported as it is.
    let _ = limits::raise_open_files();
    let machine = Machine::read();
    let loaded = match file {
        Some(path) => load(path),
        None => load_first_try("not the one that the server printed", ports, &machine),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(report) => return refuse(&report),
    };
    let asked = live::Asked {
        source: file.map_or_else(
            || WITHOUT_FILE.to_owned(),
            |path| path.display().to_string(),
        ),
        file: file.map(Path::to_owned),
        parts: match asked.only.is_empty() {
            true => Part::CHOICE.to_vec(),
            false => asked.only,
        },
        stun: asked.stun,
        step: asked.timeout,
    };
    let notice: fn(&str) = match as_json {
        true => |_| {},
        false => |text| eprintln!("{text}"),
    };
    let report = match live::run(asked, loaded, machine, notice) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: cannot test: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let text = match as_json {
        true => serde_json::to_string_pretty(&report).expect("plain data becomes JSON"),
        false => report.text(style()),
    };
    print(&text);
    ExitCode::from(match (report.interrupted, report.ok) {
        (true, _) => INTERRUPTED,
        (false, true) => 0,
        (false, false) => CANNOT_START,
    })
}

fn style() -> Style {
    let variable = |name: &str| std::env::var(name).ok();
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    let is_terminal = std::io::stdout().is_terminal();
    Style::of(is_terminal, no_color.as_deref(), term.as_deref())
}
