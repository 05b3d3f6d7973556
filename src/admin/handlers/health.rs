//! `/healthz`, `/readyz`, `/version`, `/metrics`, `/openapi.json`.

use crate::admin::OPENAPI;
use crate::admin::answer::{Fault, Reply, json, ok, respond};
use crate::admin::routes::Call;
use crate::metrics;
use http::StatusCode;
use serde::Serialize;

#[derive(Serialize)]
struct Healthy {
    healthy: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

/// That somebody answers is the answer.
pub async fn healthz(_: Call) -> Result<Reply, Fault> {
    Ok(ok(&Healthy { healthy: true }))
}

pub async fn readyz(call: Call) -> Result<Reply, Fault> {
    let (ready, body) = call.state.readiness();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(json(status, &body))
}

pub async fn version(_: Call) -> Result<Reply, Fault> {
    Ok(ok(&Version {
        version: env!("CARGO_PKG_VERSION"),
    }))
}

pub async fn metrics(call: Call) -> Result<Reply, Fault> {
    let text = call.state.metrics().encode();
    Ok(respond(StatusCode::OK, metrics::CONTENT_TYPE, text))
}

pub async fn openapi(_: Call) -> Result<Reply, Fault> {
    Ok(respond(StatusCode::OK, "application/json", OPENAPI))
}
