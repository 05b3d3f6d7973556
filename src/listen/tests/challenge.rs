//! TLS-ALPN-01 (RFC 8737) beside everything else on a TLS port; certificates that change under handshakes.

use super::*;
use crate::tls::challenge::{ALPN_ACME, Open};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

const ACME: &str = "acme-tls/1";

/// RFC 8737 §3, §4: one answer, for the name whose challenge is open, with the certificate of the challenge.
#[tokio::test]
async fn an_open_challenge_is_answered_with_its_certificate_and_nothing_follows() {
    test(
        |_| {},
        async |mut server| {
            let (open, certificate) = open(&server, "a.example");
            for port in [server.tls, server.tcp] {
                let mut client = validator(&server, port, "A.example", &[ACME])
                    .await
                    .expect("an answer");
                assert_eq!(client.get_ref().1.alpn_protocol(), Some(ALPN_ACME));
                assert_eq!(peer_certificate(&client), certificate);
                // What a validator would say after it reaches nobody.
                let _ = client.write_all(BINDING).await;
                server.closed_for(&mut client, Reason::AcmeChallenge).await;
            }
            drop(open);
        },
    )
    .await;
}

#[tokio::test]
async fn acme_is_refused_for_other_names_for_no_name_and_once_the_challenge_is_closed() {
    test(
        |_| {},
        async |mut server| {
            let (open, _) = open(&server, "a.example");
            for name in ["b.example", "localhost", "127.0.0.1"] {
                let refused = validator(&server, server.tls, name, &[ACME]).await;
                refused.expect_err(name);
                server.counted(Reason::Alpn).await;
            }
            drop(open);
            let refused = validator(&server, server.tls, "a.example", &[ACME]).await;
            let error = refused.expect_err("it is closed");
            assert!(
                error.to_string().contains("NoApplicationProtocol"),
                "{error}"
            );
            server.counted(Reason::Alpn).await;
        },
    )
    .await;
}

/// RFC 8737 §3: a validator offers `acme-tls/1` alone. Who offers more is a client, and gets what clients get.
#[tokio::test]
async fn who_offers_acme_beside_another_protocol_is_served_as_a_client() {
    test(
        |_| {},
        async |mut server| {
            let (_open, certificate) = open(&server, "localhost");
            for (offered, chosen) in [
                (&[ACME, "h2"], "h2"),
                (&["http/1.1", ACME], "http/1.1"),
                (&[ACME, "stun.turn"], "stun.turn"),
            ] {
                let client = validator(&server, server.tls, "localhost", offered)
                    .await
                    .expect("a client");
                assert_eq!(alpn(&client), Some(chosen));
                assert_ne!(peer_certificate(&client), certificate);
                match chosen {
                    "stun.turn" => drop(server.turn().await),
                    _ => drop(server.http().await),
                }
            }
        },
    )
    .await;
}

#[tokio::test]
async fn clients_are_served_as_ever_while_a_challenge_is_open() {
    test(
        |_| {},
        async |mut server| {
            let (_open, _) = open(&server, "localhost");
            for (offered, is_turn) in [
                (&["stun.turn", "http/1.1"][..], true),
                (&["h2", "http/1.1"], false),
                (&["http/1.1"], false),
            ] {
                let client = server.tls_client(offered).await;
                assert_eq!(alpn(&client), Some(offered[0]));
                match is_turn {
                    true => drop(server.turn().await),
                    false => drop(server.http().await),
                }
            }
            let mut client = server.tls_client(&[]).await;
            client.write_all(BINDING).await.expect("open");
            let accepted = server.turn().await;
            assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);
            let mut client = server.tls_client(&[]).await;
            client.write_all(REQUEST).await.expect("open");
            let (mut stream, _) = server.http().await;
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);

            let connector = TlsConnector::from(server.client_config(&["smtp"]));
            let stream = server.client(server.tls).await;
            let refused = connector.connect(localhost(), stream).await;
            refused.expect_err("no common protocol");
            server.counted(Reason::Alpn).await;

            let mut plain = server.client(server.tls).await;
            plain.write_all(REQUEST).await.expect("open");
            server.closed_for(&mut plain, Reason::NotTls).await;
        },
    )
    .await;
}

/// A session of the ordinary kind cannot be taken into a validation, nor the other way round.
#[tokio::test]
async fn a_validation_neither_resumes_nor_can_be_resumed() {
    test(
        |_| {},
        async |mut server| {
            let (_open, certificate) = open(&server, "localhost");
            let acme = unverified(&[ACME]);
            for _ in 0..3 {
                let stream = server.client(server.tls).await;
                let connector = TlsConnector::from(Arc::clone(&acme));
                let mut client = connector.connect(localhost(), stream).await.expect("open");
                assert_eq!(
                    client.get_ref().1.handshake_kind(),
                    Some(HandshakeKind::Full)
                );
                assert_eq!(peer_certificate(&client), certificate);
                server.closed_for(&mut client, Reason::AcmeChallenge).await;
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_validator_that_stops_halfway_is_closed_at_the_deadline() {
    test(
        |settings| settings.handshake_timeout_s = 1,
        async |mut server| {
            let (_open, _) = open(&server, "a.example");
            let mut client = server.client(server.tls).await;
            client.write_all(&[0x16, 0x03, 0x01]).await.expect("open");
            server
                .closed_for(&mut client, Reason::HandshakeTimeout)
                .await;
        },
    )
    .await;
}

/// A renewal at the moment of a handshake: each client sees the old certificate or the next one, whole.
#[tokio::test]
async fn handshakes_that_run_while_certificates_change_all_succeed() {
    let file = std::path::PathBuf::from("/relayd-test/certificate.pem");
    let managed = tls::Settings {
        source: CertificateSource::Managed {
            names: vec!["localhost".to_owned()],
            file: file.clone(),
        },
    };
    let store = Store::load(&managed).expect("a stand-in");
    assert!(store.is_stand_in());
    let stand_in = store.chain()[0].to_vec();
    let (good, pems): (Vec<_>, Vec<_>) = (0..4).map(|_| made("localhost")).unzip();
    with_store(settings(|_| {}), Some(store), async |mut server| {
        let store = Arc::clone(server.store.as_ref().expect("there is one"));
        let (stop, mut stopped) = watch::channel(false);
        // On a thread of its own, as the one that obtains certificates is.
        let swapping = std::thread::spawn(move || {
            let mut swaps = 0_u32;
            while !stopped.has_changed().expect("the test lives") {
                let pem = &pems[swaps as usize % pems.len()];
                assert!(store.install_obtained(&file, pem).expect("a good pair"));
                swaps += 1;
                std::thread::yield_now();
            }
            stopped.mark_unchanged();
            swaps
        });
        let mut seen = std::collections::HashSet::new();
        for round in 0..300 {
            let offered = [&["stun.turn"][..], &["h2"], &["http/1.1"]][round % 3];
            let client = validator(&server, server.tls, "localhost", offered)
                .await
                .expect("a whole certificate");
            let shown = peer_certificate(&client);
            assert!(shown == stand_in || good.contains(&shown));
            seen.insert(shown);
            drop(server.handed.recv().await);
        }
        stop.send_replace(true);
        let swaps = swapping.join().expect("no swap fails");
        assert!(
            swaps > 10 && seen.len() > 1,
            "{swaps} swaps, {} seen",
            seen.len()
        );
        assert!(!server.store.as_ref().expect("there is one").is_stand_in());
    })
    .await;
}

fn open(server: &Server, name: &str) -> (Open, Vec<u8>) {
    // As RFC 8737 §3 has it, with the critical extension that no library for clients knows.
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
    let key = rcgen::KeyPair::generate().expect("a key");
    let der = params.self_signed(&key).expect("signed").der().clone();
    let store = server.store.as_ref().expect("there is one");
    let key = key.into();
    let open = store.challenges().open(name, der.clone(), key);
    (open.expect("a good pair"), der.to_vec())
}

/// A certificate and, with its key, the text that is installed.
fn made(name: &str) -> (Vec<u8>, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    (made.cert.der().to_vec(), pem)
}

async fn validator(
    server: &Server,
    address: SocketAddr,
    name: &str,
    offered: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let stream = server.client(address).await;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = TlsConnector::from(unverified(offered));
    connector.connect(name, stream).await
}

fn unverified(offered: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("built-in versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    config.alpn_protocols = offered
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

/// Takes any certificate, as a validator does: one with the extension of a challenge fails every check there is.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
