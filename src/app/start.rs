//! Bind, then start: everything that can fail fails before anything is served.

use super::Source;
use super::control::{Control, Parts};
use super::credentials::{self, Hook};
use super::reload;
use super::signalling::{self, Pulse};
use super::upgrade::Upgrades;
use super::upgrade::successor::{Former, Taken};
use super::watchdog::Threads;
use crate::acme::{self, Acme};
use crate::addr::Family;
use crate::admin::{self, Addresses, Admin, AdminState, ReloadRequest};
use crate::check;
use crate::config::Config;
use crate::credentials::Service;
use crate::first_try::{self, Banner};
use crate::io::{Media, MediaHandle};
use crate::listen::{self, Asked, Listeners, Port};
use crate::metrics::Metrics;
use crate::page::{self, Page, PageData};
use crate::proxy::Proxy;
use crate::proxy::respond::ProxyError;
use crate::proxy::route::Router;
use crate::snippet::{self, Facts as ClientFacts, Login};
use crate::sys::clock;
use crate::sys::holder::{Protocol, holder};
use crate::sys::inherit::Inherited;
use crate::sys::limits::{self, Capacity};
use crate::sys::rng::SystemRng;
use crate::tls::CertificateSource;
use crate::{external_ip, telemetry, tls, turn};
use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

/// Everything bound, nothing served.
pub struct Bound {
    /// As it was read.
    file: Config,
    /// Completed.
    config: Config,
    facts: Facts,
    /// What ports, open files and settings together allow.
    allocations_max: u64,
    tls: Option<Arc<tls::Store>>,
    listeners: Listeners,
    media: Media,
    turn: Arc<turn::Shared>,
    proxy: Arc<Proxy>,
    admin: Option<Admin>,
    former: Option<(Former, Taken)>,
}

impl Bound {
    /// Loads the certificate, binds every socket and compiles the proxy's settings. The errors say what and where.
    ///
    /// Sockets that are there already are used. `former`: the process to take over from.
    pub fn new(
        mut config: Config,
        mut inherited: Inherited,
        former: Option<Former>,
    ) -> anyhow::Result<Self> {
        let file = config.clone();
        let open_files = limits::raise_open_files().context("cannot read the open-files limit")?;
        let tls = config.tls.as_ref().map(tls::Store::load).transpose()?;
        if let (Some(former), Some(store), Some(settings)) = (&former, &tls, &config.tls) {
            former.keep_certificate(store, settings)?;
        }
        warn_of_certificate(&config);
        let threads = config.io.workers;
        let sockets =
            (config.io.udp.len() + config.listen.tcp.len() + config.listen.tls.len()) * threads;
        let capacity = limits::capacity(open_files.soft, sockets);
        let facts = Facts {
            capacity,
            external_ips: find_external_ip(&config)?,
            listeners: config.turn.listeners.clone(),
        };
        let allocations_max = check::capacity(&config, Some(open_files.soft)).max;
        facts.complete(&mut config);
        let admin = bind_admin(&config.admin, &mut inherited)?;
        let asked = Asked::all(&config.listen);
        let listeners = bind_listeners(&asked, threads, &[], &mut inherited)?;
        let shared = turn::Shared::new(&mut SystemRng);
        let turn = Arc::new(config.turn.clone());
        if let Some(former) = &former {
            former.continue_nonces(&shared);
        }
        let media = Media::bind_beside(&config.io, turn, Arc::clone(&shared), &mut inherited);
        let mut media = media?;
        let former = former.map(|former| {
            let taken = former.join(&mut media)?;
            anyhow::Ok((former, taken))
        });
        inherited.refuse_rest().context("socket activation")?;
        let proxy = Proxy::new(config.proxy.clone())?;
        Ok(Self {
            file,
            config,
            facts,
            allocations_max,
            tls,
            listeners,
            media,
            turn: shared,
            proxy,
            admin,
            former: former.transpose()?,
        })
    }

    /// Starts the threads and says what is served. Runs inside the main thread's `LocalSet`.
    pub fn start(
        mut self,
        source: &Source,
        log: &Arc<telemetry::Handle>,
        reloads: mpsc::Sender<ReloadRequest>,
    ) -> anyhow::Result<Running> {
        let addresses = Addresses {
            udp: self.media.udp_addresses(),
            tcp: self.listeners.tcp_addresses(),
            tls: self.listeners.tls_addresses(),
        };
        let media = self.media.start();
        let admin_address = self.admin.as_ref().map(Admin::address);
        // The core never relays to relayd itself: it is told what was really bound.
        self.facts.listeners = listeners(&addresses, &[], admin_address);
        self.facts.complete(&mut self.config);
        media.set_settings(Arc::new(self.config.turn.clone()));
        let former = match self.former {
            Some((former, taken)) => {
                former.take_over(taken, &media)?;
                Some(former)
            }
            None => None,
        };
        let upgrades = Upgrades::default();
        if let Some(former) = &former {
            upgrades.count(|counts| *counts = former.counts());
        }
        let listen_shared = listen::Shared::new(&self.config.listen);
        let tls: listen::Tls = Arc::new(ArcSwapOption::new(self.tls));
        self.proxy.set_page(test_page(
            &self.config,
            source,
            &addresses,
            tls.load_full().as_deref(),
        ));
        let service = Service::new(clock::now(), &mut SystemRng);
        service.replace(credentials::settings(&self.config, &addresses));
        let hook = Hook(Arc::clone(&service));
        self.proxy.set_endpoint(Some(Box::new(hook)));
        let reload_metrics = reload::Metrics::new(clock::now().unix_s());
        let mut metrics = Metrics::new();
        reload_metrics.register(metrics.registry_mut(), Arc::clone(&tls));
        media.metrics().register(metrics.registry_mut());
        listen_shared.metrics.register(metrics.registry_mut());
        self.proxy.metrics().register(metrics.registry_mut());
        service.metrics().register(metrics.registry_mut());
        upgrades.register(metrics.registry_mut());
        telemetry::register_metrics(metrics.registry_mut());
        if self.config.admin.coturn_metrics {
            media.coturn_metrics().register(metrics.registry_mut());
        }
        let acme_metrics = acme::Metrics::default();
        acme_metrics.register(metrics.registry_mut());
        let admin_counts = admin::Counts::default();
        admin_counts.register(metrics.registry_mut());
        let admin_state = AdminState::new(Arc::new(metrics), admin_counts, &self.config.admin);
        let parts = Parts {
            media: media.clone(),
            proxy: Arc::clone(&self.proxy),
            listen: Arc::clone(&listen_shared),
            log: Arc::clone(log),
            tls: Arc::clone(&tls),
            reloads: reload_metrics.clone(),
        };
        let control = Control::new(parts, &addresses, &self.config);
        admin_state.set_control(Arc::clone(&control) as Arc<dyn admin::Control>);
        admin_state.set_reloads(reloads);
        let of_readyz = Arc::clone(&tls);
        admin_state.set_certificate(move || of_readyz.load().as_ref()?.standing());
        let admin = match self.admin {
            Some(admin) => Some(
                admin
                    .start(Arc::clone(&admin_state))
                    .context("cannot start the admin thread")?,
            ),
            None => None,
        };
        let (draining, drain_watch) = watch::channel(false);
        let (stopped, stop_watch) = watch::channel(false);
        let (ended, end_watch) = watch::channel(false);
        let shared = signalling::Shared {
            tls: Arc::clone(&tls),
            listen: Arc::clone(&listen_shared),
            proxy: Arc::clone(&self.proxy),
            media: media.clone(),
            stopped: stop_watch,
            draining: drain_watch,
            ended: end_watch,
        };
        let mut streams = StreamListeners {
            bound: self.listeners.bound().to_vec(),
            changes: Vec::new(),
        };
        let mut threads = Vec::new();
        let mut pulses = Vec::new();
        for (index, listeners) in self.listeners.into_threads().into_iter().enumerate() {
            let (changes, receiver) = mpsc::channel(1);
            streams.changes.push(changes);
            let pulse = Arc::new(Pulse::default());
            pulses.push(Arc::clone(&pulse));
            let thread = signalling::spawn(index, listeners, receiver, shared.clone(), pulse);
            threads.push(thread?);
        }
        info!(
            udp = %List(&addresses.udp),
            tcp = %List(&addresses.tcp),
            tls = %List(&addresses.tls),
            admin = %admin_address.map_or_else(|| "off".to_owned(), |address| address.to_string()),
            workers = self.config.io.workers,
            allocations_max = self.allocations_max,
            connections_max = self.config.listen.connections_total,
            upstream_connections_max = self.config.proxy.limits.upstream_connections,
            "serving"
        );
        if self.facts.capacity.allocations < SMALL_CAPACITY {
            warn!(
                allocations = self.facts.capacity.allocations,
                "the open-files limit leaves room for few calls: raise it (LimitNOFILE in a systemd unit, ulimit -n in a shell)"
            );
        }
        if let Source::FirstTry { .. } = source {
            let bound = with_bound_ports(self.config.clone(), &addresses);
            let hash = self_signed(tls.load_full().as_deref()).and_then(|der| page::key_hash(&der));
            let banner = Banner::new(&bound, login(source), hash);
            // A reader that went away is no reason not to serve.
            let _ = writeln!(std::io::stdout().lock(), "{banner}");
        }
        let mut acme = Acme::new(acme_metrics);
        acme.replace(self.config.acme.as_ref(), tls.load_full())
            .context("cannot start the thread that obtains certificates")?;
        admin_state.ready(addresses.clone());
        if let Some(former) = former {
            former.serving(&upgrades)?;
        }
        Ok(Running {
            file: self.file,
            config: self.config,
            facts: self.facts,
            addresses,
            credentials: service,
            tls,
            acme: Some(acme),
            media,
            turn: self.turn,
            streams,
            admin_address,
            reload_metrics,
            listen: listen_shared,
            proxy: self.proxy,
            upgrades,
            admin_state,
            admin,
            stopped,
            control,
            draining,
            ended,
            threads,
            pulses,
        })
    }
}

/// Binds the admin listener; blames as [`bind_listeners`] does.
fn bind_admin(
    settings: &admin::Settings,
    inherited: &mut Inherited,
) -> Result<Option<Admin>, admin::BindError> {
    Admin::bind_beside(settings, inherited).map_err(|mut error| {
        if let admin::BindError::Socket {
            address,
            holder: blamed,
            source,
        } = &mut error
            && source.kind() == ErrorKind::AddrInUse
        {
            *blamed = holder(Protocol::Tcp, *address).map(|holder| holder.to_string());
        }
        error
    })
}

/// Binds TCP and TLS listeners beside our `own`; an address in use is blamed on the process that has it.
pub fn bind_listeners(
    wanted: &[Asked],
    threads: usize,
    own: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Listeners, listen::BindError> {
    let listeners =
        Listeners::bind_beside(wanted, threads, own, inherited).map_err(|mut error| {
            if error.is_in_use() {
                error.holder =
                    holder(Protocol::Tcp, error.address).map(|holder| holder.to_string());
            }
            error
        })?;
    for address in listeners.skipped() {
        warn!(%address, "not listening here: this machine has no IPv6");
    }
    Ok(listeners)
}

/// What a client will trip over: logged at every start, not only by `relayd check`.
pub fn warn_of_certificate(config: &Config) {
    let Some(settings) = &config.tls else { return };
    // A self-signed one is expected to be refused; of a managed one `acme` speaks itself.
    if !matches!(settings.source, CertificateSource::Files { .. }) {
        return;
    }
    if let Ok(inspection) = tls::inspect(settings, &config.domain, clock::now().unix_s()) {
        for warning in &inspection.warnings {
            // By the reason the log tells two warnings apart, instead of folding them into one.
            warn!(reason = %warning, "certificate");
        }
    }
}

/// One in so many of the connections that the open-files limit has room for is an upstream's: a WebSocket needs one beside
/// its client's, a TURN connection none.
const UPSTREAM_SHARE: u32 = 3;

/// Fewer allocations than this are worth a warning.
const SMALL_CAPACITY: u32 = 1000;

/// A limit of 0 means what the machine allows; a higher one is not more than that.
fn lower(limit: &mut u32, possible: u32) {
    if *limit == 0 || *limit > possible {
        *limit = possible;
    }
}

/// "auto" in `server.external_ip`: asks the configured STUN servers, before anything is bound.
fn find_external_ip(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    if config.external_ip_stun.is_empty() {
        return Ok(Vec::new());
    }
    let found = external_ip::discover(&config.external_ip_stun, &mut SystemRng)
        .context("cannot find out the external address (server.external_ip = \"auto\")")?;
    for ip in &found {
        info!(%ip, "found the external address");
    }
    Ok(found)
}

/// What a configuration is completed with: facts that no file holds. The same at every reload.
#[derive(Clone, Debug)]
pub struct Facts {
    capacity: Capacity,
    /// What the STUN servers said at start.
    external_ips: Vec<IpAddr>,
    /// relayd's own listeners as they are bound.
    listeners: Vec<SocketAddr>,
}

impl Facts {
    pub fn complete(&self, config: &mut Config) {
        lower(
            &mut config.turn.limits.allocations_total,
            self.capacity.allocations,
        );
        let upstreams = (self.capacity.connections / UPSTREAM_SHARE).max(1);
        let clients = self.capacity.connections.saturating_sub(upstreams);
        lower(&mut config.listen.connections_total, clients.max(1));
        config.proxy.limits.upstream_connections = usize::try_from(upstreams).unwrap_or(usize::MAX);
        config.io.relay_sockets_max = self.capacity.allocations as usize;
        config.turn.listeners.clone_from(&self.listeners);
        if config.external_ip_stun.is_empty() {
            return;
        }
        let plain = &mut config.turn.external_ips.plain;
        for ip in &self.external_ips {
            // What the file says of a family goes before what a server saw.
            if !plain
                .iter()
                .any(|known| Family::of(*known) == Family::of(*ip))
            {
                plain.push(*ip);
            }
        }
    }
}

/// For the text that names ports: those that were really bound.
fn with_bound_ports(mut config: Config, addresses: &Addresses) -> Config {
    config.io.udp.clone_from(&addresses.udp);
    config.listen.tcp.clone_from(&addresses.tcp);
    config.listen.tls.clone_from(&addresses.tls);
    config
}

/// Every listener, and each UDP address that only live calls keep open.
///
/// Each `open` one once, and in one order: what a reload leaves as it is must not look changed.
fn listeners(
    addresses: &Addresses,
    open: &[SocketAddr],
    admin: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let Addresses { udp, tcp, tls } = addresses;
    let left = open.iter().filter(|address| !udp.contains(address));
    let all = udp.iter().chain(tcp).chain(tls).chain(left);
    all.copied().chain(admin).collect()
}

/// The built-in page, where it is configured.
pub fn test_page(
    config: &Config,
    source: &Source,
    addresses: &Addresses,
    tls: Option<&tls::Store>,
) -> Option<crate::proxy::Page> {
    let page = config
        .test_page
        .then(|| Page::new(&page_data(config, source, addresses, tls)))?;
    Some(Box::new(move |parts| {
        page.respond(&parts.method, parts.uri.path())
    }))
}

fn page_data(
    config: &Config,
    source: &Source,
    addresses: &Addresses,
    tls: Option<&tls::Store>,
) -> PageData {
    let port = |list: &[SocketAddr]| list.first().map(SocketAddr::port);
    let (username, credential) = match source {
        Source::File(_) => (None, None),
        Source::FirstTry { user, password } => (Some(user.clone()), Some(password.clone())),
    };
    let router = Router::new(&config.proxy).ok();
    PageData {
        domain: Some(config.domain.clone()),
        udp_port: port(&addresses.udp),
        tcp_port: port(&addresses.tcp),
        tls_port: port(&addresses.tls),
        username,
        credential,
        self_signed: self_signed(tls),
        probes: page::probes(|target| {
            let route = router.as_ref().map(|r| r.route(&config.domain, target));
            route.is_some_and(|route| route.is_ok())
        }),
        error_labels: ProxyError::ALL.iter().map(|error| error.label()).collect(),
        snippets: snippet::everything(&client_facts(config, source, addresses)),
    }
}

/// What the page's client code is made of: credentials only in a first try.
fn client_facts(config: &Config, source: &Source, addresses: &Addresses) -> ClientFacts {
    let bound = with_bound_ports(config.clone(), addresses);
    match source {
        Source::File(_) => ClientFacts::of_config(&bound, login(source)),
        Source::FirstTry { .. } => first_try::facts(&bound, login(source)),
    }
}

fn login(source: &Source) -> Login {
    match source {
        Source::File(_) => Login::placeholder(None),
        Source::FirstTry { user, password } => Login {
            username: user.clone(),
            password: password.clone(),
            note: None,
        },
    }
}

/// The certificate in DER, if it was made at start.
fn self_signed(tls: Option<&tls::Store>) -> Option<Vec<u8>> {
    let store = tls?;
    store.self_signed()?;
    let leaf = store.chain().into_iter().next()?;
    Some(leaf.to_vec())
}

/// Everything that runs, and the means to end it.
pub struct Running {
    /// The file that is in force, as it was read; what only a restart can change is as it was at the start.
    pub file: Config,
    /// The same, completed.
    pub config: Config,
    pub facts: Facts,
    /// What was bound.
    pub addresses: Addresses,
    pub credentials: Arc<Service>,
    pub tls: listen::Tls,
    /// `None` once it drains.
    pub acme: Option<Acme>,
    pub media: MediaHandle,
    pub streams: StreamListeners,
    admin_address: Option<SocketAddr>,
    pub reload_metrics: reload::Metrics,
    pub listen: Arc<listen::Shared>,
    pub proxy: Arc<Proxy>,
    pub turn: Arc<turn::Shared>,
    pub upgrades: Upgrades,
    pub admin_state: Arc<AdminState>,
    pub admin: Option<admin::Running>,
    stopped: watch::Sender<bool>,
    pub control: Arc<Control>,
    draining: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    pulses: Vec<Arc<Pulse>>,
}

/// TCP and TLS listeners, and who accepts there.
pub struct StreamListeners {
    /// In the order of the settings.
    pub bound: Vec<listen::Bound>,
    /// To each signalling thread.
    pub changes: Vec<mpsc::Sender<listen::Change>>,
}

impl Running {
    /// The threads that the watchdog asks for signs of life.
    pub fn threads(&self) -> Threads {
        Threads {
            media: self.media.clone(),
            signalling: self.pulses.clone(),
        }
    }

    /// Takes note of what is open, after listeners have come or gone.
    pub fn update_addresses(&mut self) {
        self.addresses = Addresses {
            udp: self.media.udp_addresses(),
            tcp: listen::addresses(&self.streams.bound, Port::Tcp),
            tls: listen::addresses(&self.streams.bound, Port::Tls),
        };
        let open = self.media.open_udp_addresses();
        self.facts.listeners = listeners(&self.addresses, &open, self.admin_address);
    }

    /// Stops accepting and refuses new allocations; what runs goes on.
    pub fn drain(&mut self) {
        // No validation would reach this process; and its turn is over for another one that takes its place.
        self.acme = None;
        self.admin_state.drain();
        self.media.drain();
        self.stopped.send_replace(true);
        self.draining.send_replace(true);
    }

    /// Leaves everything new to another process; what is here goes on, and may begin new calls on its connections.
    pub fn hand_over(&mut self) {
        // Validations reach the other process, whose turn it is.
        self.acme = None;
        self.listen.hand_over();
        self.stopped.send_replace(true);
        if let Some(admin) = self.admin.take() {
            admin.hand_over();
        }
    }

    /// Closes HTTP connections that have no request, and the others after theirs.
    pub fn end_keep_alive(&self) {
        self.draining.send_replace(true);
    }

    pub fn calls(&self) -> Calls {
        let (requests, tunnels) = self.proxy.under_way();
        Calls {
            allocations: self.media.allocation_count(),
            requests,
            tunnels,
            connections: self.listen.http_connections(),
        }
    }

    /// Ends what still runs and joins the threads.
    pub fn end(self) {
        self.stopped.send_replace(true);
        self.draining.send_replace(true);
        self.ended.send_replace(true);
        self.media.stop();
        self.media.join();
        for thread in self.threads {
            if thread.join().is_err() {
                warn!("a signalling thread ended badly");
            }
        }
    }
}

/// What a draining server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    allocations: usize,
    requests: usize,
    tunnels: usize,
    /// HTTP connections: an answer that the proxy is done with may still be on its way to a slow client. Those without a
    /// request are closed when the drain begins.
    connections: u32,
}

impl Calls {
    pub fn is_none(self) -> bool {
        self == Self {
            allocations: 0,
            requests: 0,
            tunnels: 0,
            connections: 0,
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            allocations,
            requests,
            tunnels,
            connections,
        } = self;
        write!(
            f,
            "{allocations} allocations, {requests} requests, {tunnels} tunnels, {connections} HTTP connections"
        )
    }
}

/// Addresses as one log value.
struct List<'a>(&'a [SocketAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            address.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_is_listed_once_and_after_the_listeners() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            udp: vec![at(1), at(2)],
            tcp: vec![at(1)],
            tls: vec![at(3)],
        };
        let unchanged = listeners(&addresses, &[], Some(at(9)));
        assert_eq!(unchanged, [at(1), at(2), at(1), at(3), at(9)]);
        assert_eq!(
            listeners(&addresses, &[at(2), at(1)], Some(at(9))),
            unchanged
        );
        assert_eq!(
            listeners(&addresses, &[at(1), at(7), at(2)], None),
            [at(1), at(2), at(1), at(3), at(7)]
        );
    }
}
