//! SIGHUP: the file is read again, and takes effect as a whole or not at all.
//!
//! Live allocations keep the key that they were made with, live tunnels and requests their settings. What only a restart
//! can change (listeners, workers, the relayed port range, the admin listener) is named and left as it is.

use super::credentials;
use super::start::Running;
use crate::config::{self, Config};
use crate::proxy::Proxy;
use crate::telemetry;
use crate::tls;
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;
use tracing::{error, info, warn};

/// Reads the file and puts it into force, or says in the log what is wrong with it.
pub fn reload(running: &mut Running, log: &telemetry::Handle, path: &Path) {
    // Whatever the file says: a rotated log must not wait until its mistakes are mended.
    if let Err(cause) = log.reopen() {
        let cause = anyhow::Error::new(cause);
        warn!(cause = %format_args!("{cause:#}"), "the log goes on in the file that was open");
    }
    let loaded = match config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(report) => {
            error!(file = %path.display(), %report, "the configuration stays as it was: the file has problems, which `relayd check` lists");
            return;
        }
    };
    for warning in &loaded.warnings {
        warn!(%warning, "configuration");
    }
    let mut new = loaded.config;
    running.facts.complete(&mut new);
    if let Err(cause) = apply(running, log, &new) {
        error!(file = %path.display(), cause = %format_args!("{cause:#}"), "the configuration stays as it was");
        return;
    }
    let kept = restart_only(&running.config, &new);
    for table in &kept {
        warn!(
            key = *table,
            "changed in the file; takes effect at a restart"
        );
    }
    info!(file = %path.display(), "reloaded");
    running.config = Config {
        io: running.config.io.clone(),
        listen: running.config.listen.clone(),
        admin: running.config.admin.clone(),
        ..new
    };
}

/// Everything that can fail is tried on the side first.
fn apply(running: &mut Running, log: &telemetry::Handle, new: &Config) -> anyhow::Result<()> {
    let prepared = log.prepare(&new.log)?;
    drop(Proxy::new(new.proxy.clone())?);
    if let Some(settings) = &new.tls {
        drop(tls::Store::load(settings)?);
    }
    if let (Some(store), Some(settings)) = (&running.tls, &new.tls) {
        store.reload(settings)?;
    }
    if let Some(acme) = &mut running.acme {
        acme.replace(new.acme.clone())
            .context("cannot start the thread that obtains certificates")?;
    }
    running.proxy.replace(new.proxy.clone())?;
    log.commit(prepared)?;
    running.media.set_settings(Arc::new(new.turn.clone()));
    let served = credentials::settings(new, &running.addresses);
    running.credentials.replace(served);
    Ok(())
}

/// Tables whose change is not in force.
fn restart_only(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        (
            "listen.udp, server.workers, turn.relay_ports, buffer sizes",
            old.io != new.io,
        ),
        (
            "listen.tcp, listen.tls, listen.proxy_protocol_from, listen.timeouts, listen.limits",
            old.listen != new.listen,
        ),
        (
            "tls (switched on or off)",
            old.tls.is_some() != new.tls.is_some(),
        ),
        ("admin.listen", old.admin != new.admin),
        ("proxy.test_page", old.test_page != new.test_page),
    ];
    changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(table, _)| table)
        .collect()
}
