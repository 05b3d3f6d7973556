//! `/stats`: the numbers of this moment.

use super::Stamp;
use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::routes::Call;
use crate::admin::stats::{Quality, Stats};
use serde::Serialize;

#[derive(Serialize)]
struct Moment {
    #[serde(flatten)]
    stamp: Stamp,
    version: &'static str,
    draining: bool,
    #[serde(flatten)]
    stats: Stats,
    /// Of the last minute.
    quality: Quality,
}

pub async fn show(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    let control = call.control()?;
    let (draining, _) = call.state.draining();
    Ok(ok(&Moment {
        stamp: Stamp::now(control.as_ref()),
        version: env!("CARGO_PKG_VERSION"),
        draining,
        stats: control.stats(),
        quality: call.state.recent_quality(),
    }))
}
