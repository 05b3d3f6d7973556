//! Binding: shared ports, ports in use, addresses that cannot be had.

use super::*;

#[test]
fn threads_share_one_real_port_for_port_zero() {
    let listeners = Listeners::bind(&settings(|_| {}), 3).expect("loopback");
    let (tcp, tls) = (listeners.tcp_addresses(), listeners.tls_addresses());
    assert_ne!(tcp[0].port(), 0);
    assert_ne!(tcp, tls);
    let threads = listeners.into_threads();
    assert_eq!(threads.len(), 3);
}

#[test]
fn both_families_may_have_the_same_port() {
    // The port may be taken on ::1 by somebody else; not every time, though.
    let both = (0..8).any(|_| {
        let first = Listeners::bind(&tcp_only("127.0.0.1:0"), 1).expect("loopback");
        let port = first.tcp_addresses()[0].port();
        Listeners::bind(&tcp_only(&format!("[::1]:{port}")), 1).is_ok()
    });
    assert!(both);
}

#[test]
fn port_in_use_is_named_though_both_share_ports() {
    let first = Listeners::bind(&tcp_only("127.0.0.1:0"), 2).expect("loopback");
    let address = first.tcp_addresses()[0];
    let error = Listeners::bind(&tcp_only(&address.to_string()), 2).unwrap_err();
    assert!(error.is_in_use());
    assert_eq!(error.address, address);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn address_listed_twice_is_refused() {
    let held = Listeners::bind(&tcp_only("127.0.0.1:0"), 1).expect("loopback");
    let address = held.tcp_addresses()[0];
    let mut settings = tcp_only(&address.to_string());
    settings.tls = settings.tcp.clone();
    let error = Listeners::bind(&settings, 1).unwrap_err();
    // Not the `tcp` one, whose port is taken.
    assert_eq!(error.transport, "tls");
}

#[test]
fn address_of_another_machine_is_refused() {
    let error = Listeners::bind(&tcp_only("192.0.2.1:0"), 1).unwrap_err();
    assert!(!error.is_in_use());
    assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
}

fn tcp_only(address: &str) -> Settings {
    settings(|settings| {
        settings.tcp = vec![address.parse().expect("an address")];
        settings.tls = Vec::new();
    })
}
