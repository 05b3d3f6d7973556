//! What a reload says about two configurations.

use super::*;

#[test]
fn every_known_key_has_a_value_to_compare() {
    let machine = machine();
    let around = Surroundings {
        base_dir: Path::new(""),
        env: &|_| None,
        machine: &machine,
    };
    let document = DeTable::parse("").expect("an empty document");
    let reader = Reader::default();
    let _ = Parts::read(&Table::root(&reader, document.get_ref()), &around);
    let mut known: Vec<String> = reader
        .known()
        .iter()
        .map(|key| key.split("[]").next().unwrap_or(key).to_owned())
        .collect();
    known.dedup();
    let config = parse_text(SELF_SIGNED).expect("valid").config;
    let mut compared = entries::keys(&config);
    compared.sort_unstable();
    assert_eq!(compared, known);
}

#[test]
fn a_configuration_is_no_change_to_itself() {
    let config = parse_text(SELF_SIGNED).expect("valid").config;
    assert_eq!(changes(&config, &config), []);
}

#[test]
fn changes_are_named_by_key_with_old_and_new_and_without_a_secret() {
    let changed = difference(
        "[turn]\nusers = { alice = \"s3cret-a\", bob = \"s3cret-b\", carol = \"s3cret-c\" }\nauth_secret = [\"s3cret-one-two-three\"]\n\
         [listen]\nudp = [\"127.0.0.1:3478\"]\n[log]\nlevel = \"info\"\n",
        "[turn]\nusers = { bob = \"s3cret-x\", carol = \"s3cret-c\", dave = \"s3cret-d\" }\nauth_secret = [\"s3cret-four-five-six\", \"s3cret-one-two-three\"]\n\
         [turn.limits]\nbytes_per_second_total = \"2KiB\"\n\
         [listen]\nudp = [\"127.0.0.1:3478\", \"127.0.0.2:3478\"]\n[listen.timeouts]\nhandshake = \"3s\"\n[log]\nlevel = \"debug\"\n",
    );
    let expected = [
        ("listen.udp", "127.0.0.2:3478 added"),
        ("listen.timeouts.handshake", "10s → 3s"),
        ("turn.users", "dave added, bob changed, alice removed"),
        ("turn.auth_secret", "1 added"),
        ("turn.limits.bytes_per_second_total", "0B → 2KiB"),
        ("log.level", "info → debug"),
    ];
    let changed: Vec<_> = changed.iter().map(|c| (c.key, c.change.as_str())).collect();
    assert_eq!(changed, expected);
}

#[test]
fn a_list_in_another_order_and_a_long_one_are_told_briefly() {
    let changed = difference(
        "[turn]\nusers = { a = \"long enough\" }\n[proxy]\ncors_origins = [\"https://a.example\", \"https://b.example\"]\n",
        "[turn]\nusers = { a = \"long enough\" }\n[proxy]\ncors_origins = [\"https://b.example\", \"https://a.example\"]\nvendors = [\"azure\", \"trtc\"]\n",
    );
    let of = |key: &str| {
        let found = changed.iter().find(|change| change.key == key);
        found.map_or("", |change| change.change.as_str()).to_owned()
    };
    assert_eq!(of("proxy.cors_origins"), "in another order");
    assert_eq!(of("proxy.vendors"), "azure added, trtc added");
    assert!(of("proxy.allow").ends_with(" more added"), "{changed:?}");
}

#[test]
fn what_only_a_restart_can_change_stays_as_it_is_and_is_named() {
    let old = config("[turn]\nusers = { a = \"long enough\" }\n");
    let file = config(
        "[server]\nworkers = 7\nexternal_ip = [\"auto\"]\n[listen.limits]\nudp_buffer_bytes = \"1MiB\"\n\
         [turn]\nusers = { a = \"long enough\" }\nrelay_ports = \"50000-60000\"\n[turn.limits]\nrelay_buffer_bytes = \"64KiB\"\n\
         [admin]\nlisten = \"127.0.0.1:9999\"\n[log]\nlevel = \"warn\"\n",
    );
    let mut kept = file.clone();
    keep_restart_only(&old, &mut kept);
    let keys = |changes: Vec<KeyChange>| -> Vec<&str> { changes.iter().map(|c| c.key).collect() };
    assert_eq!(keys(changes(&old, &kept)), ["log.level"]);
    assert_eq!(
        keys(changes(&kept, &file)),
        [
            "server.external_ip",
            "server.external_ip_stun",
            "server.workers",
            "listen.limits.udp_buffer_bytes",
            "turn.relay_ports",
            "turn.limits.relay_buffer_bytes",
            "admin.listen",
        ]
    );
}

#[test]
fn another_admin_listener_brings_no_other_need_for_a_token() {
    let mut running = with_admin("0.0.0.0:9641", Some("correct-horse-battery-staple"));
    running.admin.coturn_metrics = true;
    for token in [None, Some("another-horse-battery-staple")] {
        let mut file = with_admin("127.0.0.1:9641", token);
        file.admin.coturn_metrics = false;
        file.io.workers += 1;
        file.io.relay_ports = (50_000, 60_000);
        let mut kept = file.clone();
        keep_restart_only(&running, &mut kept);
        assert_eq!(kept.admin.listen, running.admin.listen);
        assert_eq!(kept.admin.token, running.admin.token);
        assert_eq!(changes(&running, &kept), []);
        let waiting: Vec<&str> = changes(&kept, &file).iter().map(|c| c.key).collect();
        assert_eq!(
            waiting,
            [
                "server.workers",
                "turn.relay_ports",
                "admin.listen",
                "admin.token",
                "admin.coturn_metrics",
            ]
        );
    }
}

#[test]
fn another_token_for_the_same_listener_is_in_force_at_once() {
    let running = with_admin("0.0.0.0:9641", Some("correct-horse-battery-staple"));
    let file = with_admin("0.0.0.0:9641", Some("another-horse-battery-staple"));
    let mut kept = file.clone();
    keep_restart_only(&running, &mut kept);
    assert_eq!(kept.admin.token, file.admin.token);
}

fn with_admin(listen: &str, token: Option<&str>) -> Config {
    let mut config = config("[turn]\nusers = { a = \"long enough\" }\n");
    config.admin.listen = Some(listen.parse().expect("an address"));
    config.admin.token = token.map(crate::secret::Secret::new);
    config
}

fn difference(old: &str, new: &str) -> Vec<KeyChange> {
    changes(&config(old), &config(new))
}

fn config(text: &str) -> Config {
    let text = format!("{text}[tls]\nself_signed = true\n");
    parse_text(&text)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}
