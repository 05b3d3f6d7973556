//! What the listeners count. Every label comes from a closed enum.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write};

/// Declares a closed enum whose values are metric labels and log texts.
macro_rules! labels {
    ($(#[$doc:meta])* $visibility:vis enum $name:ident {
        $($(#[$value_doc:meta])* $value:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            /// Metric label and log text.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.label())
            }
        }
    };
}

labels! {
    /// What carries the protocol.
    pub(super) enum Carrier {
        Tcp = "tcp",
        Tls = "tls",
    }
}

labels! {
    /// What a connection speaks, as far as it is known.
    pub(super) enum Protocol {
        Pending = "pending",
        Turn = "turn",
        Http = "http",
    }
}

labels! {
    /// Why a connection was closed before anybody took it over.
    pub enum Reason {
        /// `connections_total` was reached.
        TotalLimit = "total_limit",
        /// `connections_per_address` was reached.
        AddressLimit = "address_limit",
        /// `pending_per_address` was reached.
        PendingLimit = "pending_limit",
        /// A listed proxy sent no PROXY header, or a broken one.
        ProxyHeader = "proxy_header",
        /// PROXY header and TLS handshake took longer than `handshake_timeout_s`.
        HandshakeTimeout = "handshake_timeout",
        /// The TLS handshake failed, by either side's wish.
        Handshake = "handshake",
        /// The client offered only ALPN names that relayd does not speak.
        Alpn = "alpn",
        /// A certificate authority validated a name by TLS-ALPN-01, and got its answer.
        AcmeChallenge = "acme_challenge",
        /// Something else than TLS came to a TLS port.
        NotTls = "not_tls",
        /// A TLS ClientHello came, but there is no certificate.
        NoCertificate = "no_certificate",
        /// No byte came within `first_byte_timeout_s`.
        FirstByteTimeout = "first_byte_timeout",
        /// The first byte belongs to no protocol that relayd speaks.
        Garbage = "garbage",
        /// The client closed before it showed what it speaks.
        ClientClosed = "client_closed",
        /// Reading or writing failed.
        Socket = "socket",
        /// The server stops.
        Stopped = "stopped",
    }
}

labels! {
    /// Why `accept` failed.
    pub(super) enum AcceptFailure {
        /// The process or the system is out of file descriptors.
        FileLimit = "file_limit",
        /// The connection was gone before it was accepted.
        Aborted = "aborted",
        /// Memory, or something that is not known.
        Other = "other",
    }
}

labels! {
    /// How a TLS handshake went.
    pub(super) enum Handshake {
        Full = "full",
        Resumed = "resumed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabels {
    protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IdentifiedLabels {
    transport: Carrier,
    protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    cause: AcceptFailure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    kind: Handshake,
}

/// Counters of all accepting threads.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Family<ProtocolLabels, Gauge>,
    accepted: Counter,
    identified: Family<IdentifiedLabels, Counter>,
    closed: Family<ReasonLabels, Counter>,
    accept_failures: Family<FailureLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
}

impl Metrics {
    /// Registers everything, each label with the value it has, so that a rate is known from the first event on.
    pub fn register(&self, registry: &mut Registry) {
        for &protocol in Protocol::ALL {
            drop(self.connections.get_or_create(&ProtocolLabels { protocol }));
            for &transport in Carrier::ALL {
                if protocol != Protocol::Pending {
                    let labels = IdentifiedLabels {
                        transport,
                        protocol,
                    };
                    drop(self.identified.get_or_create(&labels));
                }
            }
        }
        for &reason in Reason::ALL {
            drop(self.closed.get_or_create(&ReasonLabels { reason }));
        }
        for &cause in AcceptFailure::ALL {
            drop(self.accept_failures.get_or_create(&FailureLabels { cause }));
        }
        for &kind in Handshake::ALL {
            drop(self.handshakes.get_or_create(&HandshakeLabels { kind }));
        }
        registry.register(
            "relayd_listen_connections",
            "Open TCP and TLS connections by what they speak",
            self.connections.clone(),
        );
        registry.register(
            "relayd_listen_accepted",
            "Accepted connections",
            self.accepted.clone(),
        );
        registry.register(
            "relayd_listen_identified",
            "Connections that were handed to TURN or to the proxy",
            self.identified.clone(),
        );
        registry.register(
            "relayd_listen_closed",
            "Connections that were closed before they showed what they speak",
            self.closed.clone(),
        );
        registry.register(
            "relayd_listen_accept_failures",
            "Failed accept calls",
            self.accept_failures.clone(),
        );
        registry.register(
            "relayd_listen_tls_handshakes",
            "Finished TLS handshakes",
            self.handshakes.clone(),
        );
    }

    /// Connections that were closed here for this reason.
    pub fn closed_for(&self, reason: Reason) -> u64 {
        self.closed.get_or_create(&ReasonLabels { reason }).get()
    }

    /// Connections that were handed over as HTTP and have not ended.
    pub(super) fn http_connections(&self) -> u32 {
        self.connections_of(Protocol::Http)
    }

    /// Connections that have not shown what they are.
    pub(super) fn pending_connections(&self) -> u32 {
        self.connections_of(Protocol::Pending)
    }

    fn connections_of(&self, protocol: Protocol) -> u32 {
        let open = self.connections.get_or_create(&ProtocolLabels { protocol });
        u32::try_from(open.get()).unwrap_or(0)
    }

    pub(super) fn opened(&self, protocol: Protocol) {
        self.connections
            .get_or_create(&ProtocolLabels { protocol })
            .inc();
    }

    pub(super) fn closed(&self, protocol: Protocol) {
        self.connections
            .get_or_create(&ProtocolLabels { protocol })
            .dec();
    }

    pub(super) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(super) fn identified(&self, transport: Carrier, protocol: Protocol) {
        let labels = IdentifiedLabels {
            transport,
            protocol,
        };
        self.identified.get_or_create(&labels).inc();
    }

    pub(super) fn refused(&self, reason: Reason, count: u64) {
        self.closed
            .get_or_create(&ReasonLabels { reason })
            .inc_by(count);
    }

    pub(super) fn accept_failed(&self, cause: AcceptFailure) {
        self.accept_failures
            .get_or_create(&FailureLabels { cause })
            .inc();
    }

    pub(super) fn handshake(&self, kind: Handshake) {
        self.handshakes
            .get_or_create(&HandshakeLabels { kind })
            .inc();
    }
}
