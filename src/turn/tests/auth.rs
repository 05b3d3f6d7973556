//! Who is served and what a stranger is told (RFC 8489 §9.2), the credentials of the contract.

use super::*;
use crate::stun::integrity::md5_key;
use crate::turn::credentials::time_limited_password;

fn with_secrets(settings: &mut Settings) {
    settings.auth_secrets = vec![Secret::new("new secret"), Secret::new("old secret")];
}

fn time_limited(username: &str, secret: &str) -> Client {
    let password = time_limited_password(&Secret::new(secret), username);
    Client::new(1).named(username, &password)
}

fn first_code(world: &mut World, client: &mut Client) -> u16 {
    client.allocate(world, &[]).code()
}

#[test]
fn a_stranger_is_told_realm_nonce_and_algorithms_and_leaves_no_trace() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let answer = client.challenge(&mut world);
    let realm = answer.message().attribute::<Realm>();
    assert_eq!(realm.expect("a realm").realm(), REALM_NAME);
    let algorithms = answer.message().attribute::<PasswordAlgorithms>();
    let offered = [PasswordAlgorithmValue::SHA256, PasswordAlgorithmValue::MD5];
    assert_eq!(algorithms.expect("algorithms").algorithms(), offered);
    assert!(answer.nonce().starts_with("obMatJos2"));
    assert!(!answer.has(MessageIntegrity::TYPE) && !answer.has(MessageIntegritySha256::TYPE));
    assert_eq!(world.server.allocation_count(), 0);
    assert_eq!(world.server.poll_timeout(), None);
}

/// On the wire, headers included: 28 bytes of IPv4 and UDP in front of each.
#[test]
fn a_challenge_is_smaller_than_three_times_the_request() {
    let mut world = World::with(|settings| settings.realm = "relay.example.com".to_owned());
    let mut client = Client::new(1);
    for request in [
        client.plain(ALLOCATE, &[]),
        client.plain(ALLOCATE, &[&RequestedTransport::new(17)]),
    ] {
        let answer = world.ask(&client.tuple, &request);
        assert_eq!(answer.code(), 401);
        assert!(answer.0.len() + 28 < 3 * (request.len() + 28));
    }
}

#[test]
fn unknown_user_wrong_password_and_expired_user_look_the_same() {
    let mut world = World::with(with_secrets);
    let late = format!("{UNIX_S}:late");
    let mut answers = [
        Client::new(1).named("mallory", "guess"),
        Client::new(1).named("alice", "guess"),
        time_limited(&late, "new secret"),
        time_limited(&format!("{}:x", UNIX_S + 60), "a third secret"),
    ]
    .map(|mut client| client.allocate(&mut world, &[]));
    for answer in &mut answers {
        assert_eq!(answer.code(), 401);
        answer.0[8..20].fill(0);
    }
    assert!(answers.iter().all(|answer| answer.0 == answers[0].0));
}

#[test]
fn a_wrong_realm_is_a_wrong_credential() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.realm = "elsewhere".to_owned();
    assert_eq!(first_code(&mut world, &mut client), 401);
}

#[test]
fn time_limited_users_are_served_beside_the_configured_ones_with_any_secret() {
    let until = UNIX_S + 60;
    for name in [
        format!("{until}:ann"),
        format!("ann:{until}"),
        until.to_string(),
    ] {
        for secret in ["new secret", "old secret"] {
            let mut world = World::with(with_secrets);
            assert_eq!(first_code(&mut world, &mut time_limited(&name, secret)), 0);
            assert_eq!(first_code(&mut world, &mut Client::new(9)), 0, "alice");
        }
    }
}

#[test]
fn a_user_of_whom_only_the_md5_is_known_is_served() {
    let key = md5_key("carol", REALM_NAME, "secret");
    let mut world = World::with(|settings| {
        settings.users.insert("carol".to_owned(), UserKey::Md5(key));
    });
    let mut client = Client::new(1).named("carol", "secret");
    let answer = client.challenge(&mut world);
    assert!(
        !answer.has(PasswordAlgorithms::TYPE),
        "SHA-256 is not offered where a user cannot use it"
    );
    assert_eq!(first_code(&mut world, &mut client), 0);
}

#[test]
fn sha256_is_served_and_answered_with_sha256() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.security = Security::Sha256;
    assert_eq!(first_code(&mut world, &mut client), 0);
    assert_eq!(client.permit(&mut world, PEER), 0);
    client.security = Security::Md5;
    assert_eq!(client.permit(&mut world, PEER), 0, "both in one allocation");
}

#[test]
fn userhash_names_a_configured_user() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.userhash = true;
    assert_eq!(first_code(&mut world, &mut client), 0);
    client.username = "nobody".to_owned();
    assert_eq!(client.refresh(&mut world, 600), 401);
}

/// A hash tells no time, so a time-limited user is found by its allocation alone.
#[test]
fn userhash_of_a_time_limited_user_works_on_its_allocation() {
    let mut world = World::with(with_secrets);
    let mut client = time_limited(&format!("{}:ann", UNIX_S + 60), "new secret");
    assert_eq!(first_code(&mut world, &mut client), 0);
    client.userhash = true;
    assert_eq!(client.permit(&mut world, PEER), 0);
}

#[test]
fn integrity_without_username_realm_or_nonce_gets_400() {
    use stun_types::message::IntegrityAlgorithm;
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let name = Username::new("alice").expect("short");
    let realm = Realm::new(REALM_NAME).expect("short");
    let nonce = Nonce::new(&client.nonce).expect("short");
    let key = client.credentials().make_key(IntegrityAlgorithm::Sha1);
    let incomplete: [[&dyn AttributeWrite; 2]; 3] =
        [[&name, &realm], [&name, &nonce], [&realm, &nonce]];
    for attributes in incomplete {
        let mut write = client.unsigned(ALLOCATE, &attributes);
        write
            .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
            .expect("the first one");
        let answer = world.ask(&client.tuple, &write.finish());
        assert_eq!(answer.code(), 400);
        assert!(!answer.has(Realm::TYPE) && !answer.has(MessageIntegrity::TYPE));
    }
}

#[test]
fn a_bid_down_is_noticed_and_gets_400() {
    use stun_types::message::IntegrityAlgorithm;
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let md5_only = PasswordAlgorithms::new(&[PasswordAlgorithmValue::MD5]);
    let both =
        PasswordAlgorithms::new(&[PasswordAlgorithmValue::SHA256, PasswordAlgorithmValue::MD5]);
    let md5 = PasswordAlgorithm::new(PasswordAlgorithmValue::MD5);
    let tampered: [&[&dyn AttributeWrite]; 3] = [&[&md5_only, &md5], &[&both], &[&md5]];
    for attributes in tampered {
        let mut write = client.unsigned(ALLOCATE, attributes);
        write.push_attribute_unchecked(&Username::new("alice").expect("short"));
        write.push_attribute_unchecked(&Realm::new(REALM_NAME).expect("short"));
        write.push_attribute_unchecked(&Nonce::new(&client.nonce).expect("short"));
        let key = client.credentials().make_key(IntegrityAlgorithm::Sha1);
        write
            .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
            .expect("the first one");
        assert_eq!(world.ask(&client.tuple, &write.finish()).code(), 400);
    }
}

#[test]
fn nobody_between_can_take_the_features_out_of_a_nonce() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    client.nonce.replace_range(9..13, "AAAA");
    let answer = client.allocate(&mut world, &[]);
    assert_eq!(answer.code(), 438);
}

#[test]
fn an_unknown_or_stale_nonce_gets_438_with_a_fresh_one_that_works() {
    let mut world = World::new();
    let mut client = Client::new(1);
    for nonce in [
        "",
        "x",
        "obMatJos2",
        "obMatJos2AAAA",
        "obMatJos2AAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        client.nonce = nonce.to_owned();
        let answer = client.ask(&mut world, ALLOCATE, &[&RequestedTransport::new(17)]);
        assert_eq!(answer.code(), 438, "{nonce}");
        client.nonce = answer.nonce();
    }
    world.pass(seconds(599));
    assert_eq!(first_code(&mut world, &mut client), 0);
    world.pass(seconds(1));
    assert_eq!(client.refresh(&mut world, 600), 438);
}

#[test]
fn a_nonce_is_good_from_every_port_of_its_address_and_from_no_other() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let mut other = Client::new(2);
    assert_ne!(other.challenge(&mut world).nonce(), client.nonce);
    other.nonce = client.nonce.clone();
    assert_eq!(first_code(&mut world, &mut other), 0);
    let mut stranger = Client::at("11.0.0.2:1", SERVER, Transport::Udp);
    stranger.nonce = client.nonce.clone();
    assert_eq!(first_code(&mut world, &mut stranger), 438);
}

/// CLIENTS.md: libwebrtc gives up at a 438 on Allocate.
#[test]
fn a_nonce_of_a_401_is_good_on_another_worker_after_a_key_rotation_and_a_reload() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    world
        .shared
        .rotate_nonce_key(&mut Seeded::new(77), world.now.instant());
    world.server = worker(&world.settings, &world.shared, 3);
    world.reload(|settings| settings.limits.allocations_per_user = 5);
    assert_eq!(first_code(&mut world, &mut client), 0);
    world
        .shared
        .rotate_nonce_key(&mut Seeded::new(78), world.now.instant());
    assert_eq!(client.refresh(&mut world, 600), 438, "two keys ago");
}

#[test]
fn the_nonce_key_changes_by_itself() {
    let mut world = World::new();
    world.settings.nonce_lifetime_s = u32::MAX;
    world.reload(|_| {});
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let old = client.nonce.clone();
    for _ in 0..2 {
        world.pass(seconds(24 * 3600));
        client.challenge(&mut world);
    }
    client.nonce = old;
    assert_eq!(first_code(&mut world, &mut client), 438);
}

#[test]
fn another_user_on_an_allocation_gets_441() {
    let mut world = World::new();
    let client = world.allocated();
    let mut bob = client.clone().named("bob", "builder");
    assert_eq!(bob.refresh(&mut world, 0), 441);
    assert_eq!(bob.permit(&mut world, PEER), 441);
    assert_eq!(bob.bind(&mut world, 0x4000, PEER), 441);
    assert_eq!(bob.connect(&mut world, PEER), 441);
    assert_eq!(first_code(&mut world, &mut bob), 437);
}

/// CLIENTS.md: a Refresh error other than 438 drops the call.
#[test]
fn an_allocation_keeps_its_key_over_a_reload() {
    let mut world = World::new();
    let mut client = world.allocated();
    world.reload(|settings| {
        settings.users.clear();
        settings.realm = "another.realm".to_owned();
    });
    assert_eq!(client.refresh(&mut world, 600), 0);
    assert_eq!(client.permit(&mut world, PEER), 0);
    assert_eq!(client.bind(&mut world, 0x4000, PEER), 0);
    client.security = Security::Sha256;
    assert_eq!(client.refresh(&mut world, 600), 0);
    client.security = Security::Md5;
    assert_eq!(client.refresh(&mut world, 0), 0);
    assert_eq!(first_code(&mut world, &mut client), 401, "and no longer");
}

#[test]
fn an_allocation_outlives_its_usernames_time_and_its_secret() {
    let mut world = World::with(with_secrets);
    let mut client = time_limited(&format!("{}:ann", UNIX_S + 60), "old secret");
    assert_eq!(first_code(&mut world, &mut client), 0);
    world.pass(seconds(300));
    world.reload(|settings| settings.auth_secrets.clear());
    assert_eq!(client.refresh(&mut world, 3600), 0);
    assert_eq!(client.permit(&mut world, PEER), 0);
}

#[test]
fn integrity_covers_the_whole_request() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let right = client.signed(ALLOCATE, &[&RequestedTransport::new(17)]);
    for byte in [21, 24, 30] {
        let mut changed = right.clone();
        changed[byte] ^= 0x40;
        let (_, replies) = world.send(&client.tuple, &changed);
        assert!(
            replies
                .iter()
                .all(|reply| Answered(reply.clone()).code() != 0)
        );
    }
    assert_eq!(world.server.allocation_count(), 0);
    assert_eq!(world.ask(&client.tuple, &right).code(), 0);
}

#[test]
fn time_limited_usernames_are_read_in_all_three_forms() {
    use crate::turn::credentials::TimeLimited;
    let parse = |text| TimeLimited::parse(text).map(|parsed| (parsed.expires_s, parsed.name));
    assert_eq!(parse("1700:ann"), Some((1700, "ann")));
    assert_eq!(parse("ann:1700"), Some((1700, "ann")));
    assert_eq!(parse("1700"), Some((1700, "")));
    assert_eq!(parse("1700:a:b"), Some((1700, "a:b")));
    assert_eq!(parse("a:b:1700"), Some((1700, "a:b")));
    for text in [
        "ann",
        "",
        ":",
        "+1700:ann",
        "17x:ann",
        "99999999999999999999999:ann",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

/// The TURN REST convention, computed once with openssl.
#[test]
fn the_password_of_a_time_limited_username_is_the_one_that_others_compute() {
    let password = time_limited_password(&Secret::new("north"), "1433895918:bob");
    assert_eq!(password, EXPECTED_PASSWORD);
}

const EXPECTED_PASSWORD: &str = "+qCJxktJhPsEAA0wfh7NCKO+G0M=";
