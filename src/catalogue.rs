//! The vendor presets as `relayd vendors` shows them: as text, and as the configuration that means the same. Pure.

use crate::proxy::allowlist::lines;
use crate::proxy::vendors::{Hosts, NAMES, Preset, preset, rules};
use std::fmt::Write;

/// Width of the text that explains a preset.
const WIDTH: usize = 100;

/// One line for each preset.
pub fn list() -> String {
    let mut text = String::from("vendors = [...] in [proxy] takes:\n\n");
    for preset in NAMES.into_iter().filter_map(preset) {
        let service = preset.note.split([':', '.']).next().unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:<20}{service} (checked {})",
            preset.name, preset.checked
        );
    }
    text.push_str(
        "\n`relayd vendors NAME` shows one; with --toml as the lines of [proxy] that mean the same, to copy and change.",
    );
    text
}

/// Everything that a preset is.
pub fn show(preset: &Preset) -> String {
    let mut text = format!("{}\n", preset.name);
    for line in wrapped(preset.note, WIDTH) {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  documentation: {}", preset.documentation);
    let _ = writeln!(
        text,
        "  compared with it and with the SDK's requests: {}",
        preset.checked
    );
    section(&mut text, "/HOST/path goes to", preset.hosts);
    section(
        &mut text,
        "/ap/?url=HOST/path, and /rs/, /ls/, /cs/, /ws/ with ?h=HOST&p=PORT&d=path, go to",
        preset.agora_hosts,
    );
    section(
        &mut text,
        "/v2/ws?signalDomain=HOST and /?signalDomain=HOST go to",
        preset.trtc_signal_hosts,
    );
    if !preset.fixed.is_empty() {
        text.push_str("prefixes\n");
    }
    for (prefix, upstream) in preset.fixed {
        let _ = writeln!(text, "  {prefix} to {upstream}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The lines of `[proxy]` that mean the same as this preset's name in `vendors`.
pub fn toml(preset: &Preset) -> String {
    let mut text = String::new();
    let about = format!(
        "{}, as a copy to change: leave it out of `vendors`. {}",
        preset.name, preset.note
    );
    for line in wrapped(&about, WIDTH) {
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(
        text,
        "# {}, compared {}",
        preset.documentation, preset.checked
    );
    text.push_str("[proxy]\n");
    array(&mut text, "allow", preset.hosts);
    array(&mut text, "agora_hosts", preset.agora_hosts);
    array(&mut text, "trtc_signal_hosts", preset.trtc_signal_hosts);
    for (prefix, upstream) in preset.fixed {
        let _ = write!(
            text,
            "\n[[proxy.route]]\nprefix = \"{prefix}\"\nupstream = \"{upstream}\"\n"
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn section(text: &mut String, title: &str, hosts: &[Hosts]) {
    if hosts.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for line in lines(&rules(hosts)) {
        let _ = writeln!(text, "  {line}");
    }
}

fn array(text: &mut String, key: &str, hosts: &[Hosts]) {
    if hosts.is_empty() {
        return;
    }
    let _ = writeln!(text, "{key} = [");
    for line in lines(&rules(hosts)) {
        let _ = writeln!(text, "  \"{line}\",");
    }
    text.push_str("]\n");
}

/// Lines of at most `width` characters, broken at spaces; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Machine, Surroundings, parse};
    use std::path::Path;

    fn config(proxy: &str) -> Config {
        let machine = Machine {
            hostname: None,
            addresses: Vec::new(),
            cpus: 1,
            rmem_max: None,
            open_files_max: None,
            unix_s: 1_700_000_000,
        };
        let around = Surroundings {
            base_dir: Path::new(""),
            env: &|_| None,
            machine: &machine,
        };
        let text = format!("[tls]\nself_signed = true\n[turn]\nauth_secret = \"s\"\n{proxy}\n");
        let loaded = parse(&text, "relay.toml", &around);
        loaded
            .unwrap_or_else(|report| panic!("{proxy}\n{report}"))
            .config
    }

    #[test]
    fn a_preset_as_configuration_makes_the_very_settings_of_its_name() {
        for name in NAMES {
            let preset = preset(name).expect("a preset");
            let named = config(&format!("[proxy]\nvendors = \"{name}\""));
            assert_eq!(config(&toml(preset)).proxy, named.proxy, "{name}");
        }
    }

    #[test]
    fn every_preset_is_listed_and_shown_with_all_that_it_opens() {
        let all = list();
        for name in NAMES {
            assert!(all.contains(&format!("\n  {name} ")), "{all}");
            let preset = preset(name).expect("a preset");
            let text = show(preset);
            let shown = |part: &str| assert!(text.contains(part), "{part} is not in\n{text}");
            [preset.documentation, preset.checked]
                .into_iter()
                .for_each(shown);
            for hosts in [preset.hosts, preset.agora_hosts, preset.trtc_signal_hosts].concat() {
                hosts.names.iter().copied().for_each(shown);
            }
            for (prefix, upstream) in preset.fixed {
                shown(&format!("{prefix} to {upstream}"));
            }
        }
    }

    #[test]
    fn text_is_wrapped_at_spaces() {
        assert_eq!(wrapped("a bb ccc dddd", 4), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrapped("aaaaaa b", 3), ["aaaaaa", "b"]);
    }
}
