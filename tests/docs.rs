//! The docs show what `relayd snippet` prints: each marked block equals the code's own text for one example configuration.
//!
//! A block is marked by a line `<!-- snippet: VENDOR FLAVOUR -->` before it.

use relayd::secret::Secret;
use relayd::snippet::{Facts, Flavour, Login, Vendor};
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The configuration of README's "Production in ten minutes".
fn facts() -> Facts {
    Facts {
        host: "relay.example.com".to_owned(),
        ipv4: Some(Ipv4Addr::new(203, 0, 113, 7)),
        udp: vec![3478],
        tcp: vec![3478],
        tls: vec![443],
        realm: "relay.example.com".to_owned(),
        login: Login {
            username: "alice".to_owned(),
            password: Secret::new("alice's password"),
            note: None,
        },
        prefix: String::new(),
        vendors: [
            "azure", "agora", "trtc", "watchrtc", "vonage", "daily", "livekit",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

#[test]
fn every_block_of_the_docs_is_what_the_command_prints() {
    let mut shown = BTreeSet::new();
    let mut wrong = String::new();
    for file in documents() {
        let text = fs::read_to_string(&file).expect("a document is text");
        for (name, block) in blocks(&text) {
            let (vendor, flavour) = find(&name);
            let snippet = flavour.snippet(vendor, &facts());
            let expected = format!("```{}\n{snippet}```\n", snippet.language.label());
            if block != expected {
                let file = file.display();
                wrong.push_str(&format!(
                    "\n{file}: <!-- snippet: {name} --> is to be\n{expected}"
                ));
            }
            shown.insert(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let all: BTreeSet<String> = Vendor::ALL
        .into_iter()
        .flat_map(|vendor| {
            let flavours = vendor.flavours().iter();
            flavours.map(move |flavour| format!("{} {}", vendor.name(), flavour.name))
        })
        .collect();
    assert_eq!(shown, all, "every SDK has its block in some document");
}

/// Files that a document links to are there.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut links = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).expect("a document is text");
        for (at, _) in text.match_indices("](") {
            let (target, _) = text[at + 2..].split_once(')').expect("a closed link");
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let place = file.parent().expect("a directory").join(path);
            assert!(place.exists(), "{} links to {target}", file.display());
            links += 1;
        }
    }
    assert!(links >= 5, "only {links} links found");
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs is there");
    let mut files: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.push(root.join("README.md"));
    files.sort();
    files
}

/// What follows each mark: its name, and the fenced block.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("<!-- snippet: ").skip(1) {
        let (name, rest) = part.split_once(" -->\n").expect("a mark ends its line");
        let block = rest.strip_prefix("```").map(|inner| {
            let (body, _) = inner.split_once("\n```\n").unwrap_or((inner, ""));
            format!("```{body}\n```\n")
        });
        found.push((name.to_owned(), block.unwrap_or_default()));
    }
    found
}

fn find(name: &str) -> (Vendor, &'static Flavour) {
    let (vendor, flavour) = name.split_once(' ').expect("vendor and flavour");
    let vendor = Vendor::parse(vendor).expect(name);
    let mut flavours = vendor.flavours().iter();
    let found = flavours.find(|one| one.name == flavour);
    (vendor, found.expect(name))
}
