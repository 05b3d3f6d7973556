//! A configuration over another one: everything that can fail is done on the side, then all of it takes effect.
//!
//! Invariant: `prepare` changes nothing, and `commit` cannot fail.

use super::super::start::{Running, bind_listeners, test_page};
use super::super::{Source, credentials};
use super::metrics::Verdict;
use crate::check;
use crate::config::Config;
use crate::listen::{self, Asked, Bound, Listeners};
use crate::sys::inherit::Inherited;
use crate::telemetry;
use crate::{io, proxy, spans, tls};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// How long a thread may take to hear of a change: it is a matter of microseconds unless the machine is on its knees.
const THREADS_MAX: Duration = Duration::from_secs(5);

/// Why a configuration was not put in force.
pub struct Refusal {
    pub verdict: Verdict,
    pub cause: anyhow::Error,
}

/// A configuration that is ready to be put in force.
pub struct Prepared {
    lines: Option<telemetry::Prepared>,
    spans: spans::Prepared,
    config: Config,
    certificate: Certificate,
    proxy: Option<proxy::Prepared>,
    udp: io::Plan,
    streams: Streams,
}

enum Certificate {
    /// There is none, before or after.
    None,
    Another(tls::Prepared),
    SwitchedOn(Arc<tls::Store>),
    SwitchedOff,
}

/// TCP and TLS listeners that come and go.
struct Streams {
    open: Listeners,
    close: Vec<Bound>,
    /// All that will be open, in the order of the settings.
    bound: Vec<Bound>,
    /// A place in the queue of every signalling thread.
    places: Vec<mpsc::OwnedPermit<listen::Change>>,
}

impl Prepared {
    /// What the certificate becomes, if it is another one than before.
    pub fn certificate_change(&self, running: &Running) -> Option<String> {
        let chain = running.tls.load_full().map(|store| store.chain());
        let until = |not_after: i64| {
            format!(
                "another certificate, valid until {}",
                check::date(not_after)
            )
        };
        match &self.certificate {
            Certificate::Another(prepared) if Some(prepared.chain()) != chain => {
                Some(until(prepared.not_after()))
            }
            Certificate::SwitchedOn(store) => Some(until(store.not_after())),
            Certificate::Another(_) | Certificate::None | Certificate::SwitchedOff => None,
        }
    }
}

/// Does everything that can fail. `config` is complete.
pub async fn prepare(
    running: &Running,
    log: &telemetry::Handle,
    config: Config,
) -> Result<Prepared, Refusal> {
    // A level that was set on the admin listener lasts until here.
    let log_changed = !log.has(&config.log);
    let lines = log_changed.then(|| log.prepare(&config.log)).transpose();
    let lines = lines.map_err(refuse(Verdict::Log))?;
    let spans = spans::prepare(&config.spans).map_err(refuse(Verdict::Tracing))?;
    let certificate =
        certificate(running, config.tls.as_ref()).map_err(refuse(Verdict::Certificate))?;
    let proxy = running.proxy.prepare_changed(&config.proxy);
    let proxy = proxy.map_err(refuse(Verdict::Proxy))?;
    let streams = streams(running, &config).await?;
    // Last: it keeps listeners from closing that would close otherwise.
    let udp = running.media.plan(&config.io);
    let udp = udp.map_err(refuse(Verdict::Listener))?;
    Ok(Prepared {
        lines,
        spans,
        config,
        certificate,
        proxy,
        udp,
        streams,
    })
}

fn refuse<E: Into<anyhow::Error>>(verdict: Verdict) -> impl Fn(E) -> Refusal {
    move |error| Refusal {
        verdict,
        cause: error.into(),
    }
}

fn certificate(running: &Running, new: Option<&tls::Settings>) -> Result<Certificate, tls::Error> {
    Ok(match (running.tls.load_full(), new) {
        (None, None) => Certificate::None,
        (Some(store), Some(settings)) => Certificate::Another(store.prepare(settings)?),
        (None, Some(settings)) => Certificate::SwitchedOn(tls::Store::load(settings)?),
        (Some(_), None) => Certificate::SwitchedOff,
    })
}

async fn streams(running: &Running, config: &Config) -> Result<Streams, Refusal> {
    let asked = Asked::all(&config.listen);
    let mut close = running.streams.bound.clone();
    let mut kept = Vec::new();
    let mut missing = Vec::new();
    for asked in &asked {
        let fits = |bound: &Bound| {
            let same = bound.asked.address == asked.address || bound.address == asked.address;
            same && bound.asked.port == asked.port
        };
        match close.iter().position(fits) {
            Some(at) => kept.push((*asked, close.remove(at))),
            None => missing.push(*asked),
        }
    }
    let own: Vec<_> = running
        .streams
        .bound
        .iter()
        .map(|bound| bound.address)
        .collect();
    let threads = running.streams.changes.len();
    let open = bind_listeners(&missing, threads, &own, &mut Inherited::default())
        .map_err(refuse(Verdict::Listener))?;
    let mut places = Vec::with_capacity(threads);
    for changes in &running.streams.changes {
        let place = tokio::time::timeout(THREADS_MAX, changes.clone().reserve_owned()).await;
        let busy = || anyhow::anyhow!("a signalling thread does not take a change");
        let place = place
            .map_err(|_| busy())
            .and_then(|place| place.map_err(|_| busy()));
        places.push(place.map_err(refuse(Verdict::Internal))?);
    }
    let of = |asked: &Asked| -> Option<Bound> {
        let kept = kept.iter().find(|(kept, _)| kept == asked);
        let new = open.bound().iter().find(|bound| bound.asked == *asked);
        kept.map(|(_, bound)| *bound).or(new.copied())
    };
    Ok(Streams {
        bound: asked.iter().filter_map(of).collect(),
        close,
        places,
        open,
    })
}

/// Puts it in force, and returns once every thread acts by it.
pub async fn commit(
    running: &mut Running,
    log: &telemetry::Handle,
    source: &Source,
    prepared: Prepared,
) {
    let Prepared {
        lines,
        spans,
        mut config,
        certificate,
        proxy,
        udp,
        streams,
    } = prepared;
    let (applied, mut all_applied) = mpsc::channel::<()>(1);
    let token = || -> Box<dyn Send> { Box::new(applied.clone()) };
    match certificate {
        Certificate::None => {}
        Certificate::Another(prepared) => {
            if let Some(store) = running.tls.load_full() {
                store.install(prepared);
            }
        }
        Certificate::SwitchedOn(store) => running.tls.store(Some(store)),
        Certificate::SwitchedOff => running.tls.store(None),
    }
    if let Some(acme) = &mut running.acme
        && let Err(error) = acme.replace(config.acme.as_ref(), running.tls.load_full())
    {
        warn!(%error, "cannot start the thread that obtains certificates: the next reload tries again");
    }
    running.listen.set_settings(&config.listen);
    let orders = running.media.adopt(udp);
    running.streams.bound = streams.bound;
    running.update_addresses();
    running.facts.complete(&mut config);
    let turn = (running.config.turn != config.turn).then(|| Arc::new(config.turn.clone()));
    running
        .media
        .change(orders, turn.as_ref(), &config.io, token);
    for (place, open) in streams.places.into_iter().zip(streams.open.into_threads()) {
        place.send(listen::Change {
            open,
            close: streams.close.clone(),
            applied: token(),
        });
    }
    drop(applied);
    running.config = config;
    if let Some(prepared) = proxy {
        running.proxy.install(prepared);
    }
    let store = running.tls.load_full();
    let page = test_page(
        &running.config,
        source,
        &running.addresses,
        store.as_deref(),
    );
    running.proxy.set_page(page);
    let served = credentials::settings(&running.config, &running.addresses);
    running.credentials.replace(served);
    if let Some(Err(error)) = lines.map(|lines| log.commit(lines)) {
        warn!(%error, "the log goes on as it was");
    }
    spans::commit(spans);
    let token = running.config.admin.token.as_ref();
    running.admin_state.set_token(token);
    running
        .control
        .set_config(&running.config, &running.addresses);
    running.admin_state.ready(running.addresses.clone());
    // Nobody sends on it: it ends when the last token is dropped.
    if tokio::time::timeout(THREADS_MAX, all_applied.recv())
        .await
        .is_err()
    {
        warn!("a thread is slow to take the configuration over; it will");
    }
}
