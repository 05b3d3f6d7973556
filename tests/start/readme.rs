//! README against the binary: its configuration, its commands, its keys.

use super::network;
use super::process::{relayd, run};
use super::site::Site;
use super::web::certs::Validity;

const README: &str = include_str!("../../README.md");
const REFERENCE: &str = include_str!("../../config/relay.toml");

/// The fenced blocks of one language, without the indentation of a list.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let mut found = Vec::new();
    for (at, _) in README.match_indices(&fence) {
        let rest = &README[at + fence.len()..];
        let end = rest.find("```").expect("a closing fence");
        let lines = rest[..end].lines().map(str::trim_start);
        found.push(lines.collect::<Vec<_>>().join("\n"));
    }
    found
}

#[test]
fn the_production_configuration_has_no_problem_once_its_files_are_there() {
    const NAME: &str =
        "readme::the_production_configuration_has_no_problem_once_its_files_are_there";
    network::alone(NAME, &["10.0.0.4/32"], || {
        let blocks = blocks("toml");
        let [text, credentials, acme] = &blocks[..] else {
            panic!("{} configurations", blocks.len());
        };
        let site = Site::new();
        site.certify(&["relay.example.com"], Validity::default());
        site.write("alice.password", "s3cret-of-alice\n");
        site.write("secret", "s3cret-of-all\n");
        site.write("token", "s3cret-token-of-the-application\n");
        // The address stands for a public one, and is one of those that are kept for documents.
        let text = format!("{text}\n{credentials}")
            .replace("/etc/relayd/", "")
            .replace("203.0.113.7", "9.9.9.9");
        site.write("relay.toml", &text);
        let ended = run(relayd()
            .args(["check", "--peer", "10.0.0.5", "--config"])
            .arg(site.toml()));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let endpoint = "POST https://relay.example.com/credentials: bearer tokens: 1";
        assert!(ended.stdout.contains(endpoint), "{ended:#?}");
        let warnings = ended.stdout.matches("warning: ").count();
        let of_machine = ended.stdout.matches("limits UDP receive buffers").count();
        assert_eq!(warnings, of_machine, "{}", ended.stdout);
        assert!(
            ended
                .stdout
                .contains("10.0.0.5: denied by the built-in special-use list"),
            "{ended:#?}"
        );
        assert!(
            ended.stdout.contains("told to clients as 9.9.9.9"),
            "{ended:#?}"
        );
        // The same with certificates that it obtains itself.
        let files = "[tls]\ncert = \"fullchain.pem\"\nkey = \"privkey.pem\"\n";
        assert!(text.contains(files), "{text}");
        let by_itself = text.replace(files, &format!("{acme}\nstate_dir = \"state\"\n"));
        site.write("acme.toml", &by_itself);
        let ended = run(relayd()
            .args(["check", "--config"])
            .arg(site.path("acme.toml")));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let asked = "certificates asked for at https://acme-v02.api.letsencrypt.org/directory\n  for: relay.example.com\n";
        assert!(ended.stdout.contains(asked), "{ended:#?}");
        let warnings = ended.stdout.matches("warning: ").count();
        assert_eq!(warnings, of_machine, "{}", ended.stdout);
        let line = ["credential", "alice", "--ttl", "8h", "--config"];
        let ended = run(relayd().args(line).arg(site.toml()));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert!(ended.stdout.contains("good for  8h"), "{ended:#?}");
    });
}

#[test]
fn every_relayd_command_in_the_text_is_one() {
    let ended = run(relayd().arg("--help"));
    let mut commands = 0;
    for (at, mark) in README.match_indices("`relayd ") {
        let rest = &README[at + mark.len()..];
        let line = rest.split('`').next().expect("a closing tick");
        let word = line.split(' ').next().expect("a word");
        assert!(
            ended.stdout.contains(&format!("  {word} ")),
            "relayd {line}"
        );
        for option in line.split(' ').filter(|word| word.starts_with("--")) {
            let help = run(relayd().args([word, "--help"]));
            assert!(help.stdout.contains(option), "relayd {line}");
        }
        commands += 1;
    }
    assert!(commands >= 4, "{commands}");
}

/// Rows such as: | `[listen]` | `udp`, `tcp`: lists of addresses |
#[test]
fn every_key_of_the_short_table_is_in_the_reference() {
    let mut keys = 0;
    for row in README.lines().filter(|line| line.starts_with("| `[")) {
        let mut cells = row.trim_matches('|').splitn(2, '|');
        let (table, text) = (cells.next().expect("a table"), cells.next().expect("keys"));
        let mut table = table.trim().trim_matches(['`', '[', ']']).to_owned();
        for code in text.split('`').skip(1).step_by(2) {
            let (first, rest) = code.split_once(' ').unwrap_or((code, ""));
            if let Some(other) = first.strip_prefix("[[").and_then(|t| t.strip_suffix("]]")) {
                assert!(REFERENCE.contains(&format!("#[[{other}]]")), "{row}");
                continue;
            }
            let names: Vec<&str> = match first.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                Some(other) if other.starts_with('"') => continue,
                Some(other) => {
                    assert!(REFERENCE.contains(&format!("\n[{other}]\n")), "{code}");
                    if rest.is_empty() {
                        continue;
                    }
                    table = other.to_owned();
                    rest.split('/').collect()
                }
                None if first.chars().all(|c| c.is_ascii_lowercase() || c == '_') => vec![first],
                None => continue,
            };
            for name in names {
                assert!(has_key(&table, name), "{table}.{name} of {row}");
                keys += 1;
            }
        }
    }
    assert!(keys >= 25, "{keys}");
}

fn has_key(table: &str, name: &str) -> bool {
    let start = REFERENCE.find(&format!("[{table}]\n"));
    let start = start.unwrap_or_else(|| panic!("no [{table}]"));
    let body = &REFERENCE[start + table.len() + 2..];
    let body = body.split("\n[").next().unwrap_or(body);
    let line = |line: &str| {
        let line = line.trim_start_matches('#');
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(" ="))
    };
    body.lines().any(line)
}

/// `a.b.c` in running text names a key of the file.
#[test]
fn every_dotted_key_of_the_text_is_in_the_reference() {
    let mut keys = 0;
    for code in README.split('`').skip(1).step_by(2) {
        let dotted = code.split(' ').next().unwrap_or_default();
        let Some((table, name)) = dotted.rsplit_once('.') else {
            continue;
        };
        let known = [
            "server", "listen", "tls", "turn", "proxy", "admin", "log", "tracing",
        ];
        let first = table.split('.').next().unwrap_or_default();
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !known.contains(&first) || !name.split('/').all(is_word) {
            continue;
        }
        for name in name.split('/') {
            assert!(has_key(table, name), "{code}");
            keys += 1;
        }
    }
    assert!(keys >= 8, "{keys}");
}
