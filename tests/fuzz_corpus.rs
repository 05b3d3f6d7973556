//! The fuzz corpora as ordinary tests: every kept input, and a few thousand inputs made from them.

#[path = "fuzz/harness.rs"]
mod harness;
#[path = "support/rng.rs"]
#[allow(dead_code)] // The runs here are always the same.
mod rng;

use rng::Rng;
use std::path::Path;

/// Inputs made from each kept one.
const MUTANTS: usize = 400;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let entries =
        std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable corpus").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    let mut rng = Rng::new(target.len() as u64);
    for file in files {
        println!("{}", file.display());
        let input = std::fs::read(&file).expect("a readable input");
        run(&input);
        for _ in 0..MUTANTS {
            let mutant = mutated(&mut rng, &input);
            let outcome = std::panic::catch_unwind(|| run(&mutant));
            assert!(outcome.is_ok(), "{target} fails on {mutant:?}");
        }
    }
}

fn mutated(rng: &mut Rng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let len = rng.below(16).min(bytes.len() - at);
                let copy = bytes[at..at + len].to_vec();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
    }
    bytes
}

#[test]
fn stun_framing_holds_for_its_corpus() {
    replay("stun_framing", harness::stun_framing);
}

#[test]
fn the_turn_core_holds_for_its_corpus() {
    replay("handle_client", harness::handle_client);
}

#[test]
fn the_proxy_header_holds_for_its_corpus() {
    replay("proxy_header", harness::proxy_header);
}

#[test]
fn the_configuration_holds_for_its_corpus() {
    replay("config", harness::config);
}

#[test]
fn the_router_holds_for_its_corpus() {
    replay("router", harness::router);
}

#[test]
fn the_quality_of_a_call_holds_for_its_corpus() {
    replay("quality", harness::quality);
}

#[test]
fn the_import_of_coturns_file_holds_for_its_corpus() {
    replay("import_coturn", harness::import_coturn);
}
