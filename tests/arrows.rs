//! Keeps the direction of imports true (ARCHITECTURE.md): reads the `crate::` paths of every source file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import of the others. Rooms that are not listed may import only the leaves.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "acme",
            "admin",
            "check",
            "cli",
            "config",
            "credentials",
            "first_try",
            "io",
            "listen",
            "metrics",
            "page",
            "proxy",
            "quality",
            "snippet",
            "spans",
            "stun",
            "sys",
            "systemd",
            "telemetry",
            "tls",
            "turn",
            "external_ip",
            "limits",
        ],
    ),
    (
        "cli",
        &[
            "admin",
            "app",
            "catalogue",
            "check",
            "config",
            "fetch",
            "first_try",
            "import",
            "live",
            "proxy",
            "snippet",
            "sys",
            "telemetry",
            "tls",
            "top",
            "turn",
        ],
    ),
    (
        "live", // a client of the server: settings, codecs and what upstreams are reached by, nothing that serves
        &[
            "admin", "check", "config", "listen", "proxy", "stun", "sys", "tls", "turn",
        ],
    ),
    (
        "check",
        &[
            "acme",
            "config",
            "credentials",
            "io",
            "listen",
            "proxy",
            "spans",
            "sys",
            "tls",
            "turn",
            "admin",
            "telemetry",
        ],
    ),
    (
        "config",
        &[
            "acme",
            "admin",
            "credentials",
            "io",
            "listen",
            "proxy",
            "spans",
            "sys",
            "telemetry",
            "tls",
            "turn",
            "external_ip",
        ],
    ),
    ("acme", &["fetch", "sys", "tls"]),
    ("catalogue", &["proxy"]),
    ("credentials", &["limits", "turn"]),
    ("first_try", &["config", "snippet", "sys"]),
    ("import", &["config"]),
    ("page", &["snippet"]),
    ("snippet", &["config", "turn"]),
    ("io", &["limits", "quality", "spans", "stun", "sys", "turn"]),
    ("listen", &["limits", "sys", "tls"]),
    ("proxy", &["limits", "spans", "sys", "tls"]),
    ("admin", &["metrics", "sys"]), // what it asks of the others it asks by a trait
    ("turn", &["limits", "quality", "stun"]),
    ("quality", &["stun"]),
    ("tls", &["sys"]),
    ("spans", &["fetch", "sys", "telemetry", "tls"]),
    ("metrics", &["sys"]),
    ("systemd", &["sys"]),
    ("fetch", &["tls"]),
    ("top", &["fetch", "sys", "tls"]), // the admin API by HTTP, and nothing of the server
    ("telemetry", &["sys"]),
];

/// Words that every room may use: values, no behaviour of their own.
const LEAVES: [&str; 9] = [
    "accepted", "addr", "by_ip", "entropy", "ip_rules", "latency", "secret", "time", "limits",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a file names as `crate::room`, also inside `use crate::{a, b::c}`; test modules left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let mut rooms = BTreeSet::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0;
                for part in group.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        rooms.insert(first_word(part));
                    }
                    depth += part.matches('{').count();
                    depth = depth.saturating_sub(part.matches('}').count());
                }
            } else {
                rooms.insert(first_word(rest));
            }
        }
    }
    rooms.remove("");
    rooms
}

fn first_word(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
        .collect()
}

#[test]
fn every_import_follows_the_arrows_of_the_architecture() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 30, "only {} source files found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let inside = file
            .strip_prefix(&src)
            .expect("below src")
            .to_string_lossy()
            .into_owned();
        let room = inside.split(['/', '.']).next().expect("a name").to_owned();
        if room == "main" || room == "lib" || inside.contains("tests") {
            continue;
        }
        let allowed = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == room)
            .map_or(&[][..], |(_, to)| to);
        let text = fs::read_to_string(&file).expect("a source file is text");
        for import in imports(&text) {
            let known = src.join(&import).exists() || src.join(format!("{import}.rs")).exists();
            let leaf = LEAVES.contains(&import.as_str());
            if known && import != room && !leaf && !allowed.contains(&import.as_str()) {
                wrong.push(format!("src/{inside}: {room} must not import {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_use_lines_sees_groups_and_paths() {
    let found = imports(
        "use crate::{addr, io::{Media, udp}, sys};\nlet x = crate::turn::Server;\n// crate::config\n",
    );
    let expected: BTreeSet<String> = ["addr", "io", "sys", "turn"].map(str::to_owned).into();
    assert_eq!(found, expected);
}
