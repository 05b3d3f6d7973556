//! Writes relayd's manual pages and shell completions, made from its command line and its reference configuration.
//!
//! usage: cargo run --example manual -- DIRECTORY
//!
//! Apart from the binary, which carries none of this.

use clap_complete::Shell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIRECTORY");
        return ExitCode::from(64);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// `man1`, `man5` and `completions` below `directory`.
pub fn write(directory: &Path) -> io::Result<()> {
    let folder = |name: &str| {
        let path = directory.join(name);
        fs::create_dir_all(&path).map(|()| path)
    };
    // A page for each command: relayd.1, relayd-check.1 and so on.
    clap_mangen::generate_to(command(), folder("man1")?)?;
    let page = configuration_page(relayd::config::REFERENCE);
    fs::write(folder("man5")?.join("relay.toml.5"), page)?;
    let completions = folder("completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command(), "relayd", &completions)?;
    }
    Ok(())
}

fn command() -> clap::Command {
    // `relayd help check` and `relayd check --help` say the same.
    relayd::cli::command().disable_help_subcommand(true)
}

/// The reference as it is, in a fixed font.
fn configuration_page(reference: &str) -> String {
    let mut page = format!(
        ".TH relay.toml 5 \"\" \"relayd {}\"\n.SH NAME\nrelay.toml \\- configuration of relayd(1)\n.SH FILE\n.nf\n",
        env!("CARGO_PKG_VERSION")
    );
    for line in reference.lines() {
        // \& before a dot or an apostrophe, which begin a request; \e for a backslash; \- for a minus that can be copied.
        let text = line.replace('\\', "\\e").replace('-', "\\-");
        let _ = writeln!(page, "\\&{text}");
    }
    page.push_str(".fi\n.SH SEE ALSO\nrelayd(1), relayd\\-check(1)\n");
    page
}
